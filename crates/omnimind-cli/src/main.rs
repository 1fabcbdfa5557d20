//! The binary `omnimind`: everything is in the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    omnimind_cli::run(std::env::args_os())
}
