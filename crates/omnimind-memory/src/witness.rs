//! Says what happened to memory, for whoever watches from outside: one JSON line for each event, appended to the file that
//! `OMNIMIND_WITNESS` names. Nothing here is ever read again by this crate, and nothing fails because nobody listens: a file that
//! cannot be written is told once, as a [notice](crate::Notice::WithoutWitness).
//!
//! ```json
//! {"pid":71,"at_unix_ms":1790000000000,"event":"consolidated","memory":"9f…","bytes":1048576,"test":"recalls_itself"}
//! ```
//!
//! | field | |
//! |---|---|
//! | `pid` | the process that says it |
//! | `at_unix_ms` | when, in milliseconds since 1970 |
//! | `event` | see below |
//! | `memory` | the content hash, where the event is about one memory |
//! | `bytes` | see below; left out where it is not known |
//! | `reason` | of a `cpu_fallback`, in words; cut if it is long |
//! | `test` | the value of `OMNIMIND_TEST`, where that is set |
//!
//! | event | when | `bytes` |
//! |---|---|---|
//! | `consolidated` | an item, or a group of a pool, is durable and its memory released | of device memory that was released |
//! | `reactivated` | a memory was brought back whole, wherever to | of its tensors |
//! | `rescued` | an allocation that had run out of memory succeeded, after idle items were consolidated (each of them said so before) | of device memory that they released |
//! | `cpu_fallback` | no room could be made, and the processor did the work | that were wanted of the device |
//!
//! A line is shorter than 4,096 bytes and written at once to a file opened for appending, so that lines of several processes do not
//! mix. Readers pass over events and fields that they do not know: there will be more.

use std::{
    env,
    ffi::OsString,
    fs::OpenOptions,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use memory_store::ContentHash;
use serde::Serialize;

use crate::{Consolidator, Notice};

/// Names the file to which events are appended. It is made if it is not there.
pub const WITNESS_VARIABLE: &str = "OMNIMIND_WITNESS";

/// Names the test that a process belongs to, if somebody said so.
const TEST_VARIABLE: &str = "OMNIMIND_TEST";

/// Every line is shorter. So much goes into a file at once.
const LINE_BYTES: usize = 4096;

/// Most bytes that are kept of a text of others; each takes up to six in JSON.
const TEXT_BYTES: usize = 300;

/// Says that a program goes on with the processor after the device ran out of memory. For programs that decide that by themselves;
/// [`Consolidator::with_rescue`] says it for its callers. Does nothing where nobody listens.
pub fn cpu_fallback(reason: &str) {
    let witness = Witness::from_environment();
    // There is nobody here to tell; the program goes on either way.
    drop(witness.write(&Line { reason: Some(cut(reason)), ..Line::new(Event::CpuFallback) }));
}

/// What can happen to memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    Consolidated,
    Reactivated,
    Rescued,
    CpuFallback,
}

/// Where to say it.
#[derive(Debug)]
pub(crate) struct Witness {
    path: Option<PathBuf>,
    test: Option<String>,
    /// Whether it has been told that it cannot be written.
    is_told: AtomicBool,
}

impl Witness {
    pub(crate) fn from_environment() -> Self {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        Self::new(set(WITNESS_VARIABLE).map(PathBuf::from), set(TEST_VARIABLE))
    }

    fn new(path: Option<PathBuf>, test: Option<OsString>) -> Self {
        let test = test.map(|test| cut(&test.to_string_lossy()).to_owned());
        Self { path, test, is_told: AtomicBool::new(false) }
    }

    fn write(&self, line: &Line<'_>) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        append(path, &Line { test: self.test.as_deref(), ..*line })
    }
}

impl Consolidator {
    /// Says what happened. Whatever becomes of that, it has happened.
    pub(crate) fn testify(&self, event: Event, memory: Option<&ContentHash>, bytes: Option<u64>) {
        let memory = memory.copied();
        if let Err(error) = self.witness.write(&Line { memory, bytes, ..Line::new(event) })
            && !self.witness.is_told.swap(true, Ordering::Relaxed)
        {
            self.index.tell(Notice::WithoutWitness { reason: error.to_string() });
        }
    }
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Line<'a> {
    pid: u32,
    at_unix_ms: u64,
    event: Event,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<ContentHash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    test: Option<&'a str>,
}

impl Line<'_> {
    fn new(event: Event) -> Self {
        // A clock before 1970 is set wrong; then so is this.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            pid: std::process::id(),
            at_unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            event,
            memory: None,
            bytes: None,
            reason: None,
            test: None,
        }
    }
}

fn append(path: &Path, line: &Line<'_>) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    debug_assert!(text.len() < LINE_BYTES, "{} bytes", text.len());
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    // Not `write_all`: the rest of a line may not come behind that of another process.
    let written = file.write(&text)?;
    if written == text.len() {
        Ok(())
    } else {
        Err(io::Error::other("only a part of a line could be written"))
    }
}

/// The beginning of a text, without cutting a character.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES)]
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use gpu_probe::{DeviceMemory, SimulatedGpu};
    use proptest::prelude::*;
    use serde_json::Value;
    use softhair_compress::DType;

    use super::*;
    use crate::{Item, NamedTensor, ProcessContext, Ran};

    fn said(path: &Path) -> Vec<Value> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn item(gpu: &SimulatedGpu, bytes: u64) -> Item<'static> {
        let allocation = gpu.allocate(0, bytes).unwrap();
        Item::new("model", vec![NamedTensor::device("w", DType::U8, [bytes as usize], allocation)])
    }

    fn watched(dir: &Path, witness: &Path, capacity: u64) -> (Consolidator, Arc<SimulatedGpu>) {
        let gpu = Arc::new(SimulatedGpu::new(capacity));
        let mut consolidator =
            Consolidator::builder().store(dir.join("store")).gpu(gpu.clone()).build().unwrap();
        consolidator.witness = Witness::new(Some(witness.to_owned()), Some("a test".into()));
        (consolidator, gpu)
    }

    #[test]
    fn what_happens_to_memory_is_said_in_the_order_in_which_it_happens() {
        // R34
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("witness.jsonl");
        let (consolidator, gpu) = watched(dir.path(), &path, 1 << 20);
        let context = ProcessContext::new("a").unwrap();
        consolidator.idle(item(&gpu, 600 << 10), &context).unwrap();
        let rescued = consolidator.with_rescue(|| gpu.allocate(0, 500 << 10), || Err::<(), _>("no"));
        assert!(matches!(rescued.value, Ok(Ran::OnDevice(_))));
        let hash = rescued.relief.consolidated[0].1.content_hash;
        let cpu = consolidator.with_rescue(|| gpu.allocate(0, 2 << 20), || Ok::<_, &str>(()));
        assert!(matches!(cpu.value, Ok(Ran::OnCpu(()))));
        consolidator.reactivate(&hash, &context).unwrap();
        drop(consolidator.reactivate_on_device(&hash, &context));

        let lines = said(&path);
        let events: Vec<_> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
        assert_eq!(
            events,
            ["consolidated", "rescued", "cpu_fallback", "reactivated"],
            "the card had no room at last"
        );
        let bytes: Vec<_> = lines.iter().map(|line| line["bytes"].as_u64()).collect();
        assert_eq!(bytes, [Some(600 << 10), Some(600 << 10), Some(2 << 20), Some(600 << 10)]);
        for line in &lines {
            assert_eq!(
                (line["pid"].as_u64(), line["test"].as_str()),
                (Some(u64::from(std::process::id())), Some("a test"))
            );
            assert!(line["at_unix_ms"].as_u64() > Some(1_600_000_000_000));
        }
        assert_eq!(lines[0]["memory"].as_str(), Some(hash.to_string().as_str()));
        assert!(lines[1].get("memory").is_none());
        assert!(consolidator.notices().is_empty());
    }

    #[test]
    fn a_pool_says_what_it_pauses_and_resumes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("witness.jsonl");
        let (consolidator, _) = watched(dir.path(), &path, 4 << 20);
        let (pool, context) = (Arc::new(consolidator).pool(), ProcessContext::new("a").unwrap());
        let tensor = pool.allocate("weights", "w", DType::U8, [4096]).unwrap();
        pool.write(&tensor, 0, &[7; 4096]).unwrap();
        let paused = pool.pause("weights", &context).unwrap();
        pool.pause("weights", &context).unwrap();
        pool.resume("weights", &context).unwrap();
        let said: Vec<_> = said(&path)
            .iter()
            .map(|line| (line["event"].as_str().unwrap().to_owned(), line["bytes"].as_u64()))
            .collect();
        let expected = [("consolidated", Some(paused.freed_bytes)), ("reactivated", Some(4096))];
        assert_eq!(said, expected.map(|(event, bytes)| (event.to_owned(), bytes)));
    }

    #[test]
    fn a_witness_that_cannot_be_written_is_told_once_and_fails_nothing() {
        // R4
        let dir = tempfile::tempdir().unwrap();
        let (consolidator, gpu) = watched(dir.path(), &dir.path().join("not there/witness.jsonl"), 1 << 20);
        for bytes in [10, 20] {
            let consolidated =
                consolidator.consolidate(vec![item(&gpu, bytes)], &ProcessContext::new("a").unwrap());
            assert!(consolidated.failed.is_empty() && consolidated.freed_bytes() > 0);
            let notices = consolidator.notices();
            assert_eq!(notices.len(), usize::from(bytes == 10), "{notices:?}");
            assert!(notices.iter().all(|notice| matches!(notice, Notice::WithoutWitness { .. })));
        }
    }

    #[test]
    fn lines_of_many_threads_do_not_mix() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("witness.jsonl");
        let reason = "x".repeat(TEXT_BYTES);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let line = Line { reason: Some(&reason), ..Line::new(Event::CpuFallback) };
                    (0..200).for_each(|_| append(&path, &line).unwrap());
                });
            }
        });
        assert_eq!(said(&path).len(), 800);
    }

    proptest! {
        #[test]
        fn whatever_the_reason_a_line_is_one_line_and_short(text in ".{0,2000}|[\u{0}-\u{1f}]{0,2000}") {
            let line = Line {
                memory: Some(ContentHash::of(b"x")),
                bytes: Some(u64::MAX),
                reason: Some(cut(&text)),
                test: Some(cut(&text)),
                ..Line::new(Event::CpuFallback)
            };
            let json = serde_json::to_vec(&line).unwrap();
            prop_assert!(json.len() < LINE_BYTES - 1 && !json.contains(&b'\n'), "{} bytes", json.len());
        }
    }
}
