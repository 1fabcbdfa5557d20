//! What a text says, before it is decoded.

use crate::instructions::Type;

/// A whole text.
#[derive(Debug, Default)]
pub(crate) struct Module {
    pub(crate) variables: Vec<Variable>,
    pub(crate) functions: Vec<Function>,
}

/// Memory in which a variable lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpaceOf {
    Global,
    Constant,
    Shared,
    Local,
    /// Parameters of a call.
    Parameter,
}

/// A variable, of a module or of a function.
#[derive(Debug, Clone)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) space: SpaceOf,
    /// Bytes, a power of two.
    pub(crate) align: u64,
    /// None where the host decides when it launches.
    pub(crate) bytes: Option<u64>,
    /// First bytes; the rest is zero. None where nobody wrote it.
    pub(crate) initial: Option<Vec<u8>>,
}

/// A parameter of a kernel or a function, or what a function gives back.
#[derive(Debug, Clone)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) align: u64,
    pub(crate) bytes: u64,
}

/// A kernel or a function.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: u32,
    pub(crate) entry: bool,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) returns: Vec<Parameter>,
    /// Most threads of a block, where it says so.
    pub(crate) most_threads: Option<u64>,
    /// None while only declared.
    pub(crate) body: Option<Body>,
}

/// Statements of a function.
#[derive(Debug, Default)]
pub(crate) struct Body {
    /// Type of each register.
    pub(crate) registers: Vec<Type>,
    pub(crate) variables: Vec<Variable>,
    pub(crate) statements: Vec<Statement>,
}

/// Index into [`Body::registers`].
pub(crate) type RegisterId = usize;

/// The predicate under which a statement runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guard {
    pub(crate) register: RegisterId,
    pub(crate) negated: bool,
}

/// An instruction.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) line: u32,
    pub(crate) guard: Option<Guard>,
    pub(crate) name: String,
    pub(crate) operands: Vec<Operand>,
}

/// Registers that the hardware fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Special {
    Thread,
    Threads,
    Block,
    Blocks,
    Lane,
    Warp,
    Warps,
    MaskBelow,
    MaskUpTo,
    MaskSame,
    MaskFrom,
    MaskAbove,
    /// Of the axes that are not used.
    Zero,
    One,
    WarpSize,
}

/// An operand.
#[derive(Debug, Clone)]
pub(crate) enum Operand {
    Register(RegisterId),
    Special(Special),
    /// Bits of an integer, extended by its sign.
    Integer(u64),
    Float32(u32),
    Float64(u64),
    /// A variable of the function.
    Variable(usize),
    /// Something of the module, a parameter, or a function.
    Name(String),
    /// Statement to go to.
    Label(usize),
    Address(Address),
    Vector(Vec<Operand>),
    /// `p|q`
    Pair(Box<Operand>, Box<Operand>),
    /// `!p`
    Not(Box<Operand>),
    /// `(a, b)` of a call.
    List(Vec<Operand>),
    /// `_`
    Nothing,
}

/// `[base+offset]`
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(crate) base: Box<Operand>,
    pub(crate) offset: i64,
}

impl Special {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "%tid.x" => Self::Thread,
            "%ntid.x" => Self::Threads,
            "%ctaid.x" => Self::Block,
            "%nctaid.x" => Self::Blocks,
            "%laneid" => Self::Lane,
            "%warpid" => Self::Warp,
            "%nwarpid" => Self::Warps,
            "%lanemask_lt" => Self::MaskBelow,
            "%lanemask_le" => Self::MaskUpTo,
            "%lanemask_eq" => Self::MaskSame,
            "%lanemask_ge" => Self::MaskFrom,
            "%lanemask_gt" => Self::MaskAbove,
            "%tid.y" | "%tid.z" | "%ctaid.y" | "%ctaid.z" => Self::Zero,
            "%ntid.y" | "%ntid.z" | "%nctaid.y" | "%nctaid.z" => Self::One,
            "WARP_SZ" => Self::WarpSize,
            _ => return None,
        })
    }
}
