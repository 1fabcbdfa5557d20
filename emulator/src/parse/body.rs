//! Statements of a function, within the scopes that braces open.

use std::collections::HashMap;

use super::Parser;
use super::lexer::Token;
use super::tree::{Address, Body, Function, Guard, Operand, RegisterId, Special, Statement};
use crate::error::{ParseError, Result};
use crate::instructions::Type;

/// Braces within braces, and operands within operands.
const DEEPEST: usize = 64;

/// What a pair of braces declares.
#[derive(Default)]
struct Scope<'a> {
    /// Identity of the scope, and of those around it, outermost first.
    path: Vec<usize>,
    registers: HashMap<&'a str, RegisterId>,
    /// `%r<5>`: `%r0` to `%r4`, made when they are first used.
    families: HashMap<&'a str, (u64, Type)>,
    variables: HashMap<&'a str, usize>,
}

/// A body in the making.
struct Builder<'a> {
    body: Body,
    scopes: Vec<Scope<'a>>,
    scopes_so_far: usize,
    /// Statement of each label, by its scope and name.
    labels: HashMap<(usize, &'a str), usize>,
    /// Branches, which may go forward: statement, name, scopes around it, line.
    branches: Vec<(usize, &'a str, Vec<usize>, u32)>,
}

impl<'a> Builder<'a> {
    fn new() -> Self {
        let outermost = Scope { path: vec![0], ..Scope::default() };
        Self {
            body: Body::default(),
            scopes: vec![outermost],
            scopes_so_far: 1,
            labels: HashMap::new(),
            branches: Vec::new(),
        }
    }

    fn scope(&mut self) -> Option<&mut Scope<'a>> {
        self.scopes.last_mut()
    }

    fn path(&self) -> Vec<usize> {
        self.scopes.last().map(|scope| scope.path.clone()).unwrap_or_default()
    }

    fn open(&mut self) {
        let mut path = self.path();
        path.push(self.scopes_so_far);
        self.scopes_so_far += 1;
        self.scopes.push(Scope { path, ..Scope::default() });
    }

    fn new_register(&mut self, of: Type) -> RegisterId {
        self.body.registers.push(of);
        self.body.registers.len() - 1
    }

    fn register(&mut self, name: &'a str) -> Option<RegisterId> {
        let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let family = name.split_at(name.len() - digits);
        for at in (0..self.scopes.len()).rev() {
            if let Some(&register) = self.scopes[at].registers.get(name) {
                return Some(register);
            }
            // `%r01` is not `%r1`.
            let number =
                family.1.parse::<u64>().ok().filter(|_| family.1 == "0" || !family.1.starts_with('0'));
            if let (Some(&(count, of)), Some(number)) = (self.scopes[at].families.get(family.0), number)
                && number < count
            {
                let register = self.new_register(of);
                self.scopes[at].registers.insert(name, register);
                return Some(register);
            }
        }
        None
    }

    fn variable(&self, name: &str) -> Option<usize> {
        self.scopes.iter().rev().find_map(|scope| scope.variables.get(name).copied())
    }

    /// Puts the statement of its label into each branch.
    fn find_labels(mut self) -> Result<Body> {
        for (statement, name, path, line) in self.branches {
            let Some(&to) = path.iter().rev().find_map(|&scope| self.labels.get(&(scope, name))) else {
                return Err(ParseError::new(line, format!("there is no label {name}")));
            };
            self.body.statements[statement].operands = vec![Operand::Label(to)];
        }
        Ok(self.body)
    }
}

impl<'a> Parser<'_, 'a> {
    /// Everything between the braces of a function.
    pub(super) fn body(&mut self, head: &Function) -> Result<Body> {
        self.expect('{')?;
        let mut builder = Builder::new();
        loop {
            match self.peek() {
                Some(Token::Sign('{')) => {
                    self.at += 1;
                    if builder.scopes.len() == DEEPEST {
                        return self.error("braces nested too deeply");
                    }
                    builder.open();
                }
                Some(Token::Sign('}')) => {
                    self.at += 1;
                    builder.scopes.pop();
                    if builder.scopes.is_empty() {
                        break;
                    }
                }
                Some(Token::Sign(';')) => self.at += 1,
                Some(Token::Word(".loc" | ".file")) => self.skip_line(),
                Some(Token::Word(".pragma")) => self.pragma()?,
                Some(Token::Word(".reg")) => self.registers(&mut builder)?,
                Some(Token::Word(".shared" | ".local" | ".param")) => {
                    let (name, variable) = self.variable(false)?;
                    builder.body.variables.push(variable);
                    let index = builder.body.variables.len() - 1;
                    if let Some(scope) = builder.scope() {
                        scope.variables.insert(name, index);
                    }
                }
                Some(Token::Word(word)) if word.starts_with('.') => {
                    return self.error(format!("{word} is not supported in a function"));
                }
                Some(Token::Word(label))
                    if self.tokens.get(self.at + 1).map(|t| t.token) == Some(Token::Sign(':')) =>
                {
                    self.at += 2;
                    let scope = builder.path().last().copied().unwrap_or_default();
                    let statement = builder.body.statements.len();
                    if builder.labels.insert((scope, label), statement).is_some() {
                        return self.error(format!("the label {label} stands twice"));
                    }
                }
                _ => self.statement(&mut builder)?,
            }
        }
        // Whoever passes the last statement has returned.
        let line = self.tokens[self.at - 1].line;
        builder.body.statements.push(Statement {
            line,
            guard: None,
            name: "ret".into(),
            operands: Vec::new(),
        });
        builder
            .find_labels()
            .map_err(|error| ParseError::new(error.line, format!("{}: {}", head.name, error.reason)))
    }

    fn registers(&mut self, builder: &mut Builder<'a>) -> Result<()> {
        self.at += 1;
        let word = self.word()?;
        let Some(of) = word.strip_prefix('.').and_then(Type::named) else {
            return self.error(format!("{word} is not a type of registers"));
        };
        loop {
            let name = self.word()?;
            if self.takes('<') {
                let count = self.integer()?;
                self.expect('>')?;
                if let Some(scope) = builder.scope() {
                    scope.families.insert(name, (count, of));
                }
            } else {
                let register = builder.new_register(of);
                if let Some(scope) = builder.scope() {
                    scope.registers.insert(name, register);
                }
            }
            if !self.takes(',') {
                return self.expect(';');
            }
        }
    }

    fn statement(&mut self, builder: &mut Builder<'a>) -> Result<()> {
        let line = self.line();
        let guard = if self.takes('@') {
            let negated = self.takes('!');
            let name = self.word()?;
            match builder.register(name) {
                Some(register) if builder.body.registers[register] == Type::Predicate => {
                    Some(Guard { register, negated })
                }
                _ => return self.error(format!("{name} is not a predicate")),
            }
        } else {
            None
        };
        let name = self.word()?;
        if matches!(name, "bra" | "bra.uni") {
            let label = self.word()?;
            builder.branches.push((builder.body.statements.len(), label, builder.path(), line));
            self.expect(';')?;
            builder.body.statements.push(Statement { line, guard, name: name.into(), operands: Vec::new() });
            return Ok(());
        }
        let mut operands = Vec::new();
        if !self.takes(';') {
            loop {
                operands.push(self.operand(builder, 0)?);
                if !self.takes(',') {
                    self.expect(';')?;
                    break;
                }
            }
        }
        builder.body.statements.push(Statement { line, guard, name: name.into(), operands });
        Ok(())
    }

    fn operand(&mut self, builder: &mut Builder<'a>, depth: usize) -> Result<Operand> {
        if depth == DEEPEST {
            return self.error("operands nested too deeply");
        }
        let operand = match self.next()? {
            Token::Word("_") => Operand::Nothing,
            Token::Word(name) => self.named(builder, name)?,
            Token::Integer(value) => Operand::Integer(value),
            Token::Float32(bits) => Operand::Float32(bits),
            Token::Float64(bits) => Operand::Float64(bits),
            Token::Sign('-') => Operand::Integer(self.integer()?.wrapping_neg()),
            Token::Sign('!') => Operand::Not(Box::new(self.operand(builder, depth + 1)?)),
            Token::Sign('[') => {
                let base = Box::new(self.operand(builder, depth + 1)?);
                let offset = if self.takes('+') {
                    let negative = self.takes('-');
                    let value = self.integer()? as i64;
                    if negative { value.wrapping_neg() } else { value }
                } else if self.takes('-') {
                    (self.integer()? as i64).wrapping_neg()
                } else {
                    0
                };
                self.expect(']')?;
                Operand::Address(Address { base, offset })
            }
            Token::Sign('{') => Operand::Vector(self.list(builder, '}', depth)?),
            Token::Sign('(') => Operand::List(self.list(builder, ')', depth)?),
            other => {
                self.at -= 1;
                return self.error(format!("{other:?} is not an operand"));
            }
        };
        if self.takes('|') {
            let second = self.operand(builder, depth + 1)?;
            return Ok(Operand::Pair(Box::new(operand), Box::new(second)));
        }
        Ok(operand)
    }

    fn list(&mut self, builder: &mut Builder<'a>, end: char, depth: usize) -> Result<Vec<Operand>> {
        let mut items = Vec::new();
        if self.takes(end) {
            return Ok(items);
        }
        loop {
            items.push(self.operand(builder, depth + 1)?);
            if !self.takes(',') {
                self.expect(end)?;
                return Ok(items);
            }
        }
    }

    fn named(&mut self, builder: &mut Builder<'a>, name: &'a str) -> Result<Operand> {
        if let Some(register) = builder.register(name) {
            return Ok(Operand::Register(register));
        }
        if let Some(variable) = builder.variable(name) {
            return Ok(Operand::Variable(variable));
        }
        if let Some(special) = Special::named(name) {
            return Ok(Operand::Special(special));
        }
        if name.starts_with('%') || name.starts_with('.') {
            self.at -= 1;
            return self.error(format!("there is no register {name}, or it is not supported"));
        }
        Ok(Operand::Name(name.into()))
    }
}
