//! Text to a [`Module`]: variables, functions and their statements, with every register and label found.
//!
//! What is not known here, is an error. Only what cannot change a result is passed over: debugging information and
//! hints for the compiler.

mod body;
mod declarations;
mod lexer;
mod tree;

use std::collections::HashMap;

use crate::error::{ParseError, Result};
use lexer::{Located, Token};

pub(crate) use tree::{
    Address, Function, Module, Operand, RegisterId, SpaceOf, Special, Statement, Variable,
};

/// Parses a whole text.
pub(crate) fn module(text: &str) -> Result<Module> {
    let tokens = lexer::tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, module: Module::default(), functions: HashMap::new() };
    parser.module()?;
    Ok(parser.module)
}

struct Parser<'t, 'a> {
    tokens: &'t [Located<'a>],
    at: usize,
    module: Module,
    /// Index of each function, by its name.
    functions: HashMap<&'a str, usize>,
}

impl<'a> Parser<'_, 'a> {
    /// Line of the next token, or of the last one.
    fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |located| located.line)
    }

    fn error<T>(&self, reason: impl Into<String>) -> Result<T> {
        Err(ParseError::new(self.line(), reason))
    }

    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).map(|located| located.token)
    }

    fn next(&mut self) -> Result<Token<'a>> {
        let Some(token) = self.peek() else { return self.error("the text ends too early") };
        self.at += 1;
        Ok(token)
    }

    /// Takes this sign if it is next.
    fn takes(&mut self, sign: char) -> bool {
        let found = self.peek() == Some(Token::Sign(sign));
        self.at += usize::from(found);
        found
    }

    /// Takes this word if it is next.
    fn takes_word(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(Token::Word(word));
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: char) -> Result<()> {
        if self.takes(sign) {
            Ok(())
        } else {
            self.error(format!("`{sign}` is missing before {:?}", self.peek()))
        }
    }

    fn word(&mut self) -> Result<&'a str> {
        match self.peek() {
            Some(Token::Word(word)) => {
                self.at += 1;
                Ok(word)
            }
            other => self.error(format!("a name is missing before {other:?}")),
        }
    }

    fn integer(&mut self) -> Result<u64> {
        match self.peek() {
            Some(Token::Integer(value)) => {
                self.at += 1;
                Ok(value)
            }
            other => self.error(format!("a number is missing before {other:?}")),
        }
    }

    fn skip_line(&mut self) {
        let line = self.line();
        while self.tokens.get(self.at).is_some_and(|located| located.line == line) {
            self.at += 1;
        }
    }

    fn module(&mut self) -> Result<()> {
        loop {
            let Some(token) = self.peek() else { return Ok(()) };
            match token {
                Token::Word(".version" | ".target" | ".address_size") => self.header()?,
                Token::Word(".file") => self.skip_line(),
                Token::Word(".section") => self.section()?,
                Token::Word(".pragma") => self.pragma()?,
                Token::Word(".visible" | ".weak" | ".common" | ".extern" | ".entry" | ".func") => {
                    self.linked_declaration()?;
                }
                Token::Word(".global" | ".const" | ".shared") => {
                    let (_, variable) = self.variable(false)?;
                    self.module.variables.push(variable);
                }
                other => return self.error(format!("{other:?} is not supported at the level of the module")),
            }
        }
    }

    fn header(&mut self) -> Result<()> {
        match self.word()? {
            ".version" => {
                self.integer()?;
                // The minor version, with its dot.
                self.word()?;
            }
            ".address_size" => {
                if self.integer()? != 64 {
                    return self.error("addresses of other than 64 bits are not supported");
                }
            }
            _ => {
                self.word()?;
                while self.takes(',') {
                    self.word()?;
                }
            }
        }
        Ok(())
    }

    /// Debugging information.
    fn section(&mut self) -> Result<()> {
        while !self.takes('{') {
            self.next()?;
        }
        while !self.takes('}') {
            self.next()?;
        }
        Ok(())
    }

    fn pragma(&mut self) -> Result<()> {
        self.word()?;
        while !self.takes(';') {
            self.next()?;
        }
        Ok(())
    }
}
