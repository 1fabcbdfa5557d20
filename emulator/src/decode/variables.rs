//! Where the variables of a module lie.

use std::collections::HashMap;

use crate::error::{ParseError, Result};
use crate::parse::{Module, SpaceOf};

/// Addresses from here are variables of the module.
pub(crate) const VARIABLES_WINDOW: u64 = 1 << 62;
/// Addresses from here are shared memory.
pub(crate) const SHARED_WINDOW: u64 = 2 << 62;
/// Addresses from here are the thread's own memory.
pub(crate) const LOCAL_WINDOW: u64 = 3 << 62;

/// Unused bytes between variables, so that overruns are found.
pub(super) const GAP: u64 = 256;

/// Most bytes of all variables of a module.
const MOST_BYTES: u64 = 64 << 20;

/// Variables and constants of a module.
#[derive(Debug, Clone)]
pub(crate) struct Variables {
    /// First values.
    pub(crate) bytes: Vec<u8>,
    /// First byte, first byte after it, and whether it is a constant; ordered.
    pub(crate) ranges: Vec<(usize, usize, bool)>,
    /// Index within `ranges`.
    names: HashMap<String, usize>,
}

impl Variables {
    pub(super) fn new(module: &Module) -> Result<Self> {
        let mut variables = Self { bytes: Vec::new(), ranges: Vec::new(), names: HashMap::new() };
        for variable in &module.variables {
            let (Some(bytes), Some(initial)) = (variable.bytes, &variable.initial) else { continue };
            let start = (variables.bytes.len() as u64 + GAP).next_multiple_of(variable.align);
            let end = start + bytes;
            if end > MOST_BYTES {
                return Err(ParseError::new(1, format!("more than {MOST_BYTES} bytes of variables")));
            }
            let (start, end) = (start as usize, end as usize);
            variables.bytes.resize(end, 0);
            variables.bytes[start..start + initial.len()].copy_from_slice(initial);
            variables.names.insert(variable.name.clone(), variables.ranges.len());
            variables.ranges.push((start, end, variable.space == SpaceOf::Constant));
        }
        Ok(variables)
    }

    /// Address that a kernel sees.
    pub(super) fn address(&self, name: &str) -> Option<u64> {
        self.names.get(name).map(|&index| VARIABLES_WINDOW + self.ranges[index].0 as u64)
    }
}
