//! The gate alone: what `nextest` starts in place of each test while a run of this crate's tests goes on. A program that runs groups
//! with `nextest` has the same few lines.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [verb, option, socket, separator, test @ ..] = arguments.as_slice() else {
        eprintln!("usage: gate test-groups --gate SOCKET -- BINARY ARGUMENTS");
        return ExitCode::from(2);
    };
    if verb != "test-groups" || option != "--gate" || separator != "--" {
        eprintln!("usage: gate test-groups --gate SOCKET -- BINARY ARGUMENTS");
        return ExitCode::from(2);
    }
    eprintln!("{}", test_groups::gate::enter(Path::new(socket), test));
    ExitCode::FAILURE
}
