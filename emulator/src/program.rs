//! A program, and its launches.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::decode::{self, Kernel, Variables};
use crate::error::ParseError;
use crate::fault::Fault;
use crate::memory::Memory;
use crate::parse;
use crate::run::{self, Grid, Machine};

/// Most warp instructions of a launch, until [`Program::with_limit`] says otherwise: a few minutes.
const LIMIT: u64 = 1_000_000_000;
/// Threads of a block at most.
const MOST_THREADS: u32 = 1024;

/// PTX, decoded.
///
/// Variables of the module keep their values from one launch to the next; launches of a program with such variables
/// wait for each other.
#[derive(Debug)]
pub struct Program {
    kernels: Vec<Kernel>,
    variables: Variables,
    /// Values of the variables now.
    values: Mutex<Vec<u8>>,
    lines: Vec<Box<str>>,
    limit: u64,
}

/// What a launch did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Launch {
    /// Warp instructions that were issued.
    pub instructions: u64,
    /// Instructions times the lanes that took part.
    pub thread_instructions: u64,
    /// Bytes that loads and atomics read from [`Memory`].
    pub global_bytes_read: u64,
    /// Bytes that stores and atomics wrote to [`Memory`].
    pub global_bytes_written: u64,
    /// Warp instructions that were issued, by their names.
    pub by_opcode: BTreeMap<String, u64>,
}

impl Program {
    /// Parses and decodes PTX.
    ///
    /// # Errors
    ///
    /// When the text is malformed, or has anything that is not known here; the error names the line.
    pub fn parse(ptx: &str) -> Result<Self, ParseError> {
        let module = parse::module(ptx)?;
        let (kernels, variables) = decode::program(&module)?;
        let values = Mutex::new(variables.bytes.clone());
        let lines = ptx.lines().map(Into::into).collect();
        Ok(Self { kernels, variables, values, lines, limit: LIMIT })
    }

    /// The same with another limit to the warp instructions of a launch.
    #[must_use]
    pub fn with_limit(self, warp_instructions: u64) -> Self {
        Self { limit: warp_instructions, ..self }
    }

    /// Names of the kernels, in the order of the text.
    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        self.kernels.iter().map(|kernel| kernel.name.as_str())
    }

    /// Runs `grid` blocks of `threads` threads, to the end.
    ///
    /// `arguments` has a number for each parameter; narrower parameters take its low bytes, those of more than 8 bytes
    /// take as many numbers as they need.
    ///
    /// # Errors
    ///
    /// When the launch does not fit the kernel, and when the kernel makes a mistake.
    pub fn launch(
        &self,
        memory: &mut impl Memory,
        kernel: &str,
        grid: u32,
        threads: u32,
        arguments: &[u64],
    ) -> Result<Launch, Fault> {
        // Not generic from here, so that it is compiled once, and as this crate is.
        self.run(memory, kernel, Grid { blocks: grid, threads }, arguments)
    }

    fn run(
        &self,
        memory: &mut dyn Memory,
        name: &str,
        grid: Grid,
        arguments: &[u64],
    ) -> Result<Launch, Fault> {
        let Some(kernel) = self.kernels.iter().find(|kernel| kernel.name == name) else {
            let kernels = self.kernels().map(Into::into).collect();
            return Err(Fault::NoSuchKernel { kernel: name.into(), kernels });
        };
        let wrong = |reason: String| Fault::WrongArguments { kernel: name.into(), reason };
        if grid.blocks == 0 || grid.threads == 0 || grid.threads > MOST_THREADS {
            let reason = format!(
                "{} blocks of {} threads; there must be some, of at most 1024",
                grid.blocks, grid.threads
            );
            return Err(wrong(reason));
        }
        if let Some(most) = kernel.most_threads.filter(|&most| u64::from(grid.threads) > most) {
            return Err(wrong(format!("{} threads; it is compiled for at most {most}", grid.threads)));
        }
        let mut parameters = vec![0; kernel.parameter_bytes];
        let needed: usize = kernel.parameters.iter().map(|(_, bytes)| bytes.div_ceil(8)).sum();
        if needed != arguments.len() {
            return Err(wrong(format!("{} arguments; it takes {needed}", arguments.len())));
        }
        let mut values = arguments.iter();
        for &(offset, bytes) in &kernel.parameters {
            for (word, value) in parameters[offset..offset + bytes].chunks_mut(8).zip(&mut values) {
                word.copy_from_slice(&value.to_le_bytes()[..word.len()]);
            }
        }
        let mut shared_values;
        let mut no_values = Vec::new();
        let values = if self.variables.bytes.is_empty() {
            &mut no_values
        } else {
            shared_values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
            &mut *shared_values
        };
        let mut machine = Machine::new(
            (kernel, grid, self.limit),
            memory,
            (&self.variables, values),
            parameters,
            &self.lines,
        );
        run::run(&mut machine)?;
        let mut by_opcode = BTreeMap::new();
        for (instruction, issued) in kernel.code.iter().zip(&machine.issued) {
            if let Some(name) = instruction.name.filter(|_| *issued > 0) {
                *by_opcode.entry(kernel.names[name as usize].clone()).or_default() += issued;
            }
        }
        Ok(Launch {
            instructions: machine.instructions,
            thread_instructions: machine.thread_instructions,
            global_bytes_read: machine.bytes_read,
            global_bytes_written: machine.bytes_written,
            by_opcode,
        })
    }
}
