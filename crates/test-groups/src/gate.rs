//! The gate before each test that `nextest` starts: asks whether it may begin, and then becomes the test.
//!
//! `nextest` has a setting for a program that runs in place of each test binary (`CARGO_TARGET_<TRIPLE>_RUNNER`). A run sets
//! it to `GATE test-groups --gate SOCKET -- BINARY ARGUMENTS`, and that program calls [`enter`]. As the test keeps the number of
//! the process, it is known from its first instruction which process is which test.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::process::TEST_VARIABLE;

/// The variable with the runner that the user had set before: its words, with a `\x1f` between them.
pub(crate) const CHAIN_VARIABLE: &str = "OMNIMIND_TEST_CHAIN";
const CHAIN_SEPARATOR: u8 = 0x1f;
const MOST_ANSWER_BYTES: u64 = 64 << 10;

/// What the gate asks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Question {
    pub(crate) event: String,
    pub(crate) binary_id: String,
    pub(crate) test: String,
    pub(crate) pid: u32,
}

/// What it is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) go: bool,
    /// The mark of the test.
    #[serde(default)]
    pub(crate) mark: String,
}

/// Asks the run that listens on `socket` whether the test may begin, waits until it may, and becomes `argv`: the binary of the
/// test and its arguments. A binary that is only asked for its list of tests becomes that at once. Returns only if that fails.
///
/// # Errors
///
/// `argv` is empty or cannot be started, the run is over, or it says that the test is not to begin.
pub fn enter(socket: &Path, argv: &[OsString]) -> io::Error {
    let chain = std::env::var_os(CHAIN_VARIABLE).map(OsString::into_vec).unwrap_or_default();
    let words = chain.split(|byte| *byte == CHAIN_SEPARATOR).filter(|word| !word.is_empty());
    let mut whole: Vec<OsString> = words.map(|word| OsString::from_vec(word.to_vec())).collect();
    whole.extend_from_slice(argv);
    let [program, arguments @ ..] = whole.as_slice() else {
        return io::Error::new(io::ErrorKind::InvalidInput, "the gate was given no program to become");
    };
    let mut command = Command::new(program);
    command.args(arguments).env_remove(CHAIN_VARIABLE);
    let asked_to_run = std::env::var_os("NEXTEST_TEST_PHASE").is_none_or(|phase| phase == "run");
    if asked_to_run
        && let (Ok(binary_id), Ok(test)) =
            (std::env::var("NEXTEST_BINARY_ID"), std::env::var("NEXTEST_TEST_NAME"))
    {
        match ask(socket, binary_id, test) {
            Ok(answer) if answer.go => command.env(TEST_VARIABLE, answer.mark),
            Ok(_) => return io::Error::other("the run has ended, and this test is not to begin"),
            Err(error) => return error,
        };
    }
    command.exec()
}

/// The words of a runner as [`CHAIN_VARIABLE`] holds them.
pub(crate) fn chain(words: &[String]) -> String {
    words.join(&char::from(CHAIN_SEPARATOR).to_string())
}

fn ask(socket: &Path, binary_id: String, test: String) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    let question = Question { event: "enter".to_owned(), binary_id, test, pid: std::process::id() };
    let mut line = serde_json::to_vec(&question)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream.take(MOST_ANSWER_BYTES)).read_line(&mut answer)?;
    if answer.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the run ended while this test waited for room",
        ));
    }
    Ok(serde_json::from_str(&answer)?)
}
