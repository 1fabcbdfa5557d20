//! The classes of error that weigh. What reports them is [`label`](crate::label)'s and
//! [`message`](crate::message)'s business.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A class of error. Each adds its weight once, however often and in however many words it is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// Memory could not be had: on the device, on the host, or the kernel killed a process to get some.
    OutOfMemory,
    /// The process or the device context ended: a fatal error, a signal, an illegal memory access.
    Crash,
    /// A part of the system failed as a structure: a module missing, a graph broken.
    StructuralFailure,
}

impl ErrorKind {
    /// Every kind, in the order in which reasons are given.
    pub const ALL: [Self; 3] = [Self::OutOfMemory, Self::Crash, Self::StructuralFailure];

    /// The `snake_case` name, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OutOfMemory => "out_of_memory",
            Self::Crash => "crash",
            Self::StructuralFailure => "structural_failure",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
