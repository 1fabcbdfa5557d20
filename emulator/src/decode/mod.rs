//! Statements to the compact form that runs.

mod code;
mod kernel;
mod memory;
mod statement;
mod together;
mod variables;

pub(crate) use code::{
    CARRY, Condition, Instruction, Join, Kernel, Meeting, Named, Operation, Question, Reduction, Slot, Target,
};
pub(crate) use variables::{LOCAL_WINDOW, SHARED_WINDOW, VARIABLES_WINDOW, Variables};

use crate::error::Result;
use crate::parse::Module;

/// Every kernel of a module, and its variables.
pub(crate) fn program(module: &Module) -> Result<(Vec<Kernel>, Variables)> {
    let variables = Variables::new(module)?;
    let kernels = (0..module.functions.len()).filter(|&index| module.functions[index].entry);
    let kernels = kernels.map(|index| kernel::decode(module, &variables, index)).collect::<Result<_>>()?;
    Ok((kernels, variables))
}
