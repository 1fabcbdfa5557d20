//! Variables, parameters, and the heads of functions.

use super::Parser;
use super::lexer::Token;
use super::tree::{Function, Parameter, SpaceOf, Variable};
use crate::error::Result;
use crate::instructions::Type;

/// Most bytes of one variable; enough for every table, and a limit to what a text can ask for.
const MOST_BYTES: u64 = 16 << 20;

impl<'a> Parser<'_, 'a> {
    /// A function, or a variable that other modules see.
    pub(super) fn linked_declaration(&mut self) -> Result<()> {
        let mut external = false;
        loop {
            match self.peek() {
                Some(Token::Word(".visible" | ".weak" | ".common")) => self.at += 1,
                Some(Token::Word(".extern")) => {
                    self.at += 1;
                    external = true;
                }
                Some(Token::Word(".entry")) => return self.function(true),
                Some(Token::Word(".func")) => return self.function(false),
                Some(Token::Word(".global" | ".const" | ".shared")) => {
                    let (_, variable) = self.variable(external)?;
                    self.module.variables.push(variable);
                    return Ok(());
                }
                other => return self.error(format!("{other:?} cannot be declared")),
            }
        }
    }

    fn function(&mut self, entry: bool) -> Result<()> {
        let line = self.line();
        self.at += 1;
        let returns = if self.peek() == Some(Token::Sign('(')) { self.parameters()? } else { Vec::new() };
        let name = self.word()?;
        let parameters = if self.peek() == Some(Token::Sign('(')) { self.parameters()? } else { Vec::new() };
        if entry && !returns.is_empty() {
            return self.error("a kernel gives nothing back");
        }
        let most_threads = self.performance_directives()?;
        let declared = !entry && self.takes(';');
        let head = Function { name: name.into(), line, entry, parameters, returns, most_threads, body: None };
        let index = match self.functions.get(name) {
            Some(&index) if self.module.functions[index].body.is_some() && !declared => {
                return self.error(format!("{name} is defined twice"));
            }
            Some(&index) => {
                let earlier = &self.module.functions[index];
                if earlier.parameters.len() != head.parameters.len()
                    || earlier.returns.len() != head.returns.len()
                {
                    return self.error(format!("{name} is defined otherwise than it was declared"));
                }
                index
            }
            None => {
                self.functions.insert(name, self.module.functions.len());
                self.module.functions.push(head.clone_head());
                self.module.functions.len() - 1
            }
        };
        if !declared {
            let body = self.body(&head)?;
            self.module.functions[index] = Function { body: Some(body), ..head };
        }
        Ok(())
    }

    /// Limits for the compiler; of these only the number of threads binds a launch.
    fn performance_directives(&mut self) -> Result<Option<u64>> {
        let mut most_threads = None;
        loop {
            match self.peek() {
                Some(Token::Word(".maxntid" | ".reqntid")) => {
                    self.at += 1;
                    let mut threads = self.integer()?;
                    while self.takes(',') {
                        threads = threads.saturating_mul(self.integer()?);
                    }
                    most_threads = Some(threads);
                }
                Some(Token::Word(".minnctapersm" | ".maxnreg")) => {
                    self.at += 1;
                    self.integer()?;
                }
                Some(Token::Word(".noreturn")) => self.at += 1,
                Some(Token::Word(".pragma")) => self.pragma()?,
                _ => return Ok(most_threads),
            }
        }
    }

    fn parameters(&mut self) -> Result<Vec<Parameter>> {
        self.expect('(')?;
        let mut parameters = Vec::new();
        if self.takes(')') {
            return Ok(parameters);
        }
        loop {
            if !self.takes_word(".param") {
                return self.error("only parameters in .param memory are supported");
            }
            let (align, of) = self.alignment_and_type()?;
            let mut align = align;
            // What a pointer points to, which only the compiler needs.
            if self.takes_word(".ptr") {
                while let Some(Token::Word(".global" | ".const" | ".shared" | ".local")) = self.peek() {
                    self.at += 1;
                }
                if self.takes_word(".align") {
                    self.alignment()?;
                }
                align = of.bytes() as u64;
            }
            let name = self.word()?;
            let bytes = self.array(of)?.filter(|bytes| *bytes <= 4096);
            let Some(bytes) = bytes else { return self.error("a parameter has no usable size") };
            parameters.push(Parameter { name: name.into(), align, bytes });
            if parameters.len() > 1024 {
                return self.error("more than 1024 parameters");
            }
            if !self.takes(',') {
                self.expect(')')?;
                return Ok(parameters);
            }
        }
    }

    /// `.space .align 4 .b8 name[16] = {..};`
    pub(super) fn variable(&mut self, external: bool) -> Result<(&'a str, Variable)> {
        let space = match self.word()? {
            ".global" => SpaceOf::Global,
            ".const" => SpaceOf::Constant,
            ".shared" => SpaceOf::Shared,
            ".local" => SpaceOf::Local,
            ".param" => SpaceOf::Parameter,
            other => return self.error(format!("{other} is not a memory for variables")),
        };
        let (align, of) = self.alignment_and_type()?;
        let name = self.word()?;
        let mut bytes = self.array(of)?;
        let held = matches!(space, SpaceOf::Global | SpaceOf::Constant);
        let initial = if self.takes('=') {
            if !held {
                return self.error("only global variables and constants have first values");
            }
            let mut initial = Vec::new();
            self.values(of, &mut initial, 0)?;
            Some(initial)
        } else {
            (held && !external).then(Vec::new)
        };
        if let Some(initial) = &initial {
            let all = *bytes.get_or_insert(initial.len() as u64);
            if initial.len() as u64 > all {
                return self.error(format!("{name} has more first values than it holds"));
            }
        }
        if external && bytes.is_some() && held {
            return self.error(format!("{name} is in another module, which is not supported"));
        }
        self.expect(';')?;
        Ok((name, Variable { name: name.into(), space, align, bytes, initial }))
    }

    fn alignment(&mut self) -> Result<u64> {
        let align = self.integer()?;
        if !align.is_power_of_two() || align > 4096 {
            return self.error(format!("{align} is not an alignment"));
        }
        Ok(align)
    }

    fn alignment_and_type(&mut self) -> Result<(u64, Type)> {
        let align = if self.takes_word(".align") { Some(self.alignment()?) } else { None };
        let word = self.word()?;
        match word.strip_prefix('.').and_then(Type::named) {
            Some(of) if of != Type::Predicate => Ok((align.unwrap_or(of.bytes() as u64), of)),
            _ => self.error(format!("{word} is not a type of variables")),
        }
    }

    /// Bytes with all dimensions; none for `[]`.
    fn array(&mut self, of: Type) -> Result<Option<u64>> {
        let mut bytes = Some(of.bytes() as u64);
        while self.takes('[') {
            if self.takes(']') {
                bytes = None;
                continue;
            }
            let count = self.integer()?;
            bytes = bytes.map(|bytes| bytes.saturating_mul(count));
            self.expect(']')?;
        }
        if bytes.is_some_and(|bytes| bytes > MOST_BYTES) {
            return self.error(format!("a variable of more than {MOST_BYTES} bytes"));
        }
        Ok(bytes)
    }

    fn values(&mut self, of: Type, out: &mut Vec<u8>, depth: u32) -> Result<()> {
        if self.takes('{') {
            if depth > 8 {
                return self.error("first values nested too deeply");
            }
            loop {
                self.values(of, out, depth + 1)?;
                if !self.takes(',') {
                    return self.expect('}');
                }
            }
        }
        let negative = self.takes('-');
        let bits = match (self.next()?, of) {
            (Token::Integer(value), _) if !of.is_float() => {
                if negative {
                    value.wrapping_neg()
                } else {
                    value
                }
            }
            (Token::Float32(bits), Type::F32) if !negative => u64::from(bits),
            (Token::Float64(bits), Type::F64) if !negative => bits,
            (other, _) => return self.error(format!("{other:?} is not supported as a first value here")),
        };
        out.extend_from_slice(&bits.to_le_bytes()[..of.bytes()]);
        Ok(())
    }
}

impl Function {
    /// The same without its body.
    fn clone_head(&self) -> Self {
        Self {
            name: self.name.clone(),
            line: self.line,
            entry: self.entry,
            parameters: self.parameters.clone(),
            returns: self.returns.clone(),
            most_threads: self.most_threads,
            body: None,
        }
    }
}
