//! Text to tokens.

use crate::error::{ParseError, Result};

/// A token of PTX.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Token<'a> {
    /// A name, a directive with its dot, or an instruction with all its dots.
    Word(&'a str),
    Integer(u64),
    /// Bits of a single-precision number.
    Float32(u32),
    /// Bits of a double-precision number.
    Float64(u64),
    /// What stands between quotes.
    Text(&'a str),
    Sign(char),
}

/// A token, and the line where it stands, from 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Located<'a> {
    pub(super) token: Token<'a>,
    pub(super) line: u32,
}

/// The tokens of a text, without comments.
pub(super) fn tokens(text: &str) -> Result<Vec<Located<'_>>> {
    let mut lexer = Lexer { text, at: 0, line: 1 };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next()? {
        tokens.push(token);
    }
    Ok(tokens)
}

struct Lexer<'a> {
    text: &'a str,
    /// Always at the start of a character.
    at: usize,
    line: u32,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn error<T>(&self, reason: impl Into<String>) -> Result<T> {
        Err(ParseError::new(self.line, reason))
    }

    /// Takes the next `bytes` bytes, which end at the end of a character.
    fn take(&mut self, bytes: usize) -> &'a str {
        let taken = &self.rest()[..bytes];
        self.at += bytes;
        self.line += taken.bytes().filter(|&byte| byte == b'\n').count() as u32;
        taken
    }

    fn next(&mut self) -> Result<Option<Located<'a>>> {
        self.skip_blank()?;
        let line = self.line;
        let Some(first) = self.rest().chars().next() else { return Ok(None) };
        let token = match first {
            'a'..='z' | 'A'..='Z' | '_' | '$' | '%' | '.' => Token::Word(self.word()),
            '0'..='9' => self.number()?,
            '"' => {
                let Some(end) = self.rest()[1..].find('"') else { return self.error("a text does not end") };
                Token::Text(&self.take(end + 2)[1..=end])
            }
            '{' | '}' | '(' | ')' | '[' | ']' | '<' | '>' | ',' | ';' | ':' | '=' | '+' | '-' | '@' | '!'
            | '|' => {
                self.take(1);
                Token::Sign(first)
            }
            other => return self.error(format!("the character {other:?} has no meaning here")),
        };
        Ok(Some(Located { token, line }))
    }

    fn skip_blank(&mut self) -> Result<()> {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start().len();
            if blank > 0 {
                self.take(blank);
            } else if rest.starts_with("//") {
                self.take(rest.find('\n').unwrap_or(rest.len()));
            } else if rest.starts_with("/*") {
                let Some(end) = rest.find("*/") else { return self.error("a comment does not end") };
                self.take(end + 2);
            } else {
                return Ok(());
            }
        }
    }

    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '.');
        let mut end = 1;
        loop {
            end += rest[end..].find(|c| !inside(c)).unwrap_or(rest.len() - end);
            // As in `.L1::no_allocate`.
            if !rest[end..].starts_with("::") {
                return self.take(end);
            }
            end += 2;
        }
    }

    fn number(&mut self) -> Result<Token<'a>> {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let text = self.take(end);
        let token = match text.as_bytes() {
            [b'0', b'f' | b'F', ..] if text.len() == 10 => {
                u32::from_str_radix(&text[2..], 16).ok().map(Token::Float32)
            }
            [b'0', b'd' | b'D', ..] if text.len() == 18 => {
                u64::from_str_radix(&text[2..], 16).ok().map(Token::Float64)
            }
            _ => integer(text).map(Token::Integer),
        };
        match token {
            Some(token) => Ok(token),
            None => self.error(format!("`{text}` is not a number; decimal fractions are not supported")),
        }
    }
}

fn integer(text: &str) -> Option<u64> {
    let digits = text.strip_suffix('U').unwrap_or(text);
    let (digits, radix) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&digits[2..], 16),
        [b'0', b'b' | b'B', ..] => (&digits[2..], 2),
        [b'0', _, ..] => (&digits[1..], 8),
        _ => (digits, 10),
    };
    u64::from_str_radix(digits, radix).ok()
}
