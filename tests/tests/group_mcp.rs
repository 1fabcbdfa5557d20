//! Group "mcp": do several servers that compete for one card all finish, with nothing lost and no more held than there is? The card
//! is the shared simulated one that this run named, or one made here: nobody else's real card is filled for this.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::{
    collections::BTreeSet,
    env,
    ffi::OsString,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
};

use end_to_end::{
    context,
    groups::{activations, leave_room},
};
use gpu_probe::{DeviceMemory, GpuProbe, SHARED_CARD_VARIABLE, SimulatedGpu};
use omnimind_memory::{Consolidator, ContentHash};
use serde_json::Value;
use tempfile::TempDir;

const SERVER: &str = env!("CARGO_BIN_EXE_mcp-server");
const SERVERS: u64 = 4;
const TENSORS: u64 = 8;
const TENSOR_BYTES: u64 = 512 << 10;
/// What is left for all of them: less than half of what they want.
const ROOM_BYTES: u64 = 7 << 20;

/// The card for which the servers compete, where its book is, and what goes with it.
fn shared_card(dir: &TempDir) -> (SimulatedGpu, OsString) {
    if let Some(shared) = SimulatedGpu::shared_from_environment() {
        return (shared.unwrap(), env::var_os(SHARED_CARD_VARIABLE).unwrap());
    }
    let book = dir.path().join("card");
    (SimulatedGpu::shared(&book, ROOM_BYTES).unwrap(), book.into_os_string())
}

struct Running {
    child: Child,
    says: BufReader<ChildStdout>,
}

impl Running {
    fn start(store: &Path, book: &OsString, server: u64) -> Self {
        let mut command = Command::new(SERVER);
        command.arg(store).args([server, TENSORS, TENSOR_BYTES].map(|number| number.to_string()));
        command.env(SHARED_CARD_VARIABLE, book).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let says = BufReader::new(child.stdout.take().unwrap());
        Self { child, says }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn go(&mut self) {
        self.child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    }

    /// What came of it, when it has ended.
    fn report(mut self) -> Value {
        let line = self.line();
        assert!(self.child.wait().unwrap().success(), "{line}");
        serde_json::from_str(&line).unwrap()
    }
}

/// What was seen of the card until everybody had finished.
#[derive(Debug, Default)]
struct Seen {
    most_bytes: u64,
    most_servers: usize,
}

fn watch(gpu: &SimulatedGpu, servers: &BTreeSet<u32>, is_over: &AtomicBool) -> Seen {
    let (mut seen, capacity) = (Seen::default(), gpu.memory(0).unwrap().total_bytes);
    while !is_over.load(Ordering::Relaxed) {
        let holders = gpu.processes(0).unwrap();
        let bytes = holders.iter().map(|process| process.used_bytes.unwrap()).sum();
        assert!(bytes <= capacity, "{bytes} of {capacity}: {holders:?}");
        let at_once = holders.iter().filter(|process| servers.contains(&process.pid)).count();
        seen = Seen { most_bytes: seen.most_bytes.max(bytes), most_servers: seen.most_servers.max(at_once) };
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    seen
}

#[test]
fn servers_that_want_more_than_there_is_all_finish_and_lose_nothing() {
    // R10, R30, R31
    const { assert!(SERVERS * TENSORS * TENSOR_BYTES > 2 * ROOM_BYTES && SERVERS * TENSOR_BYTES < ROOM_BYTES) };
    let dir = tempfile::tempdir().unwrap();
    let (store, (gpu, book)) = (dir.path().join("store"), shared_card(&dir));
    let rest = leave_room(&gpu, ROOM_BYTES);
    let mut servers: Vec<_> = (0..SERVERS).map(|server| Running::start(&store, &book, server)).collect();
    for server in &mut servers {
        assert_eq!(server.line(), "ready");
    }
    let pids: BTreeSet<u32> = servers.iter().map(|server| server.child.id()).collect();
    let is_over = AtomicBool::new(false);
    let (reports, seen) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&gpu, &pids, &is_over));
        servers.iter_mut().for_each(Running::go);
        let reports: Vec<Value> = servers.into_iter().map(Running::report).collect();
        is_over.store(true, Ordering::Relaxed);
        (reports, watching.join().unwrap())
    });

    assert_eq!(seen.most_servers as u64, SERVERS, "all held something at once: {seen:?}");
    let number = |report: &Value, key: &str| report[key].as_u64().unwrap();
    let sum = |key| reports.iter().map(|report| number(report, key)).sum::<u64>();
    assert_eq!(sum("held_bytes"), 0, "{reports:?}");
    assert!(sum("attempts") > SERVERS * TENSORS, "nobody was ever in want: {reports:?}");
    assert!(sum("rescued_bytes") >= TENSOR_BYTES, "nobody made room: {reports:?}");
    let holders = gpu.processes(0).unwrap();
    assert!(!holders.iter().any(|process| pids.contains(&process.pid)), "{holders:?}");

    let consolidator = Consolidator::builder().store(&store).build().unwrap();
    for (server, report) in (0..).zip(&reports) {
        let memories = report["memories"].as_array().unwrap();
        assert_eq!(memories.len() as u64, TENSORS);
        for (tensor, memory) in (0..).zip(memories) {
            let hash: ContentHash = memory.as_str().unwrap().parse().unwrap();
            let back = consolidator.reactivate(&hash, &context("afterwards")).unwrap();
            let expected = activations(1000 * server + tensor, TENSOR_BYTES as usize / 4);
            assert!(back.tensors[0].bytes == expected, "tensor {tensor} of server {server}");
        }
    }
    assert_eq!(consolidator.stats().unwrap().total_consolidated, SERVERS * TENSORS, "each once");
    if let Some(held) = rest {
        gpu.free(held).unwrap();
    }
}

#[test]
fn a_server_that_is_killed_leaves_its_share_to_the_others() {
    // R11, R31
    let dir = tempfile::tempdir().unwrap();
    let (store, (gpu, book)) = (dir.path().join("store"), shared_card(&dir));
    let rest = leave_room(&gpu, ROOM_BYTES);
    let mut victim = Running::start(&store, &book, 0);
    assert_eq!(victim.line(), "ready");
    let holds = |pid: u32| gpu.processes(0).unwrap().iter().any(|process| process.pid == pid);
    let pid = victim.child.id();
    assert!(holds(pid));
    victim.child.kill().unwrap();
    victim.child.wait().unwrap();
    assert!(!holds(pid));
    let mut survivor = Running::start(&store, &book, 1);
    assert_eq!(survivor.line(), "ready");
    survivor.go();
    assert_eq!(survivor.report()["memories"].as_array().unwrap().len() as u64, TENSORS);
    if let Some(held) = rest {
        gpu.free(held).unwrap();
    }
}
