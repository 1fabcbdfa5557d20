//! One simulated card, many processes: whatever they do and however they end, the sum fits and the book is right (R31, R32).
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use gpu_probe::{Allocation, DeviceMemory, Error, GpuProbe, OomCause, SimulatedGpu};
use proptest::prelude::*;

const KIB: u64 = 1 << 10;
const CAPACITY: u64 = 256 * KIB;

/// A directory for one book, removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("gpu-probe-shared-{}-{test}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn book(&self) -> PathBuf {
        self.0.join("card")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// What one who takes part does when told, in this process or in another.
#[derive(Default)]
struct Hand {
    gpu: Option<SimulatedGpu>,
    held: Vec<Allocation>,
}

impl Hand {
    /// `join PATH`, `allocate BYTES`, `anchor BYTES`, `vacate WHICH`, `free WHICH`, `used`, `churn TIMES`.
    fn does(&mut self, told: &str) -> String {
        let words: Vec<&str> = told.split(' ').collect();
        let number = || words[1].parse::<u64>().unwrap();
        if words[0] == "join" {
            self.held.clear();
            self.gpu = None;
            self.gpu = Some(SimulatedGpu::shared(Path::new(words[1]), CAPACITY).unwrap());
            return "joined".into();
        }
        let gpu = self.gpu.as_ref().unwrap();
        match words[0] {
            "allocate" | "anchor" => {
                let taken = match words[0] {
                    "allocate" => gpu.allocate(0, number()),
                    _ => gpu.allocate_anchored(0, number()),
                };
                match taken {
                    Ok(allocation) => {
                        self.held.push(allocation);
                        "yes".into()
                    }
                    Err(Error::OutOfMemory(oom)) if oom.cause == OomCause::Fragmented => "in pieces".into(),
                    Err(Error::OutOfMemory(oom)) => format!("full: {} free", oom.free_bytes),
                    Err(error) => error.to_string(),
                }
            }
            "vacate" => gpu.vacate(&self.held[number() as usize]).unwrap().to_string(),
            "free" => gpu.free(self.held.swap_remove(number() as usize)).unwrap().to_string(),
            "used" => gpu.memory(0).unwrap().used_bytes.to_string(),
            "churn" => churn(gpu, number()).to_string(),
            other => panic!("{other:?}"),
        }
    }
}

/// Takes and gives back again and again, and returns how often the card was full.
fn churn(gpu: &SimulatedGpu, times: u64) -> u64 {
    let (mut held, mut full, mut random) = (Vec::new(), 0, u64::from(std::process::id()));
    for _ in 0..times {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if random >> 63 == 0 && !held.is_empty() {
            gpu.free(held.swap_remove((random >> 33) as usize % held.len())).unwrap();
        } else {
            match gpu.allocate(0, (random >> 40) % (CAPACITY / 8)) {
                Ok(allocation) => held.push(allocation),
                Err(Error::OutOfMemory(_)) => full += 1,
                Err(error) => panic!("{error}"),
            }
            // Not through `memory`, which could not say more than all.
            let seen = gpu.processes(0).unwrap();
            let sum: u64 = seen.iter().map(|process| process.used_bytes.unwrap()).sum();
            assert!(sum <= CAPACITY, "{sum}");
        }
    }
    for allocation in held {
        gpu.free(allocation).unwrap();
    }
    full
}

/// Another process that takes part.
struct Other {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Other {
    fn new(book: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "a_process_that_does_what_it_is_told", "--ignored", "--nocapture"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut other = Self { child, to, from };
        assert_eq!(other.does(&format!("join {}", book.display())), "joined");
        other
    }

    fn tell(&mut self, what: &str) {
        writeln!(self.to, "{what}").unwrap();
    }

    /// What it says next.
    fn hear(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.from.read_line(&mut line).unwrap() > 0, "it ended");
            // The harness says things too, and begins a line with the name of the test.
            if let Some((_, said)) = line.split_once("said: ") {
                return said.trim_end().to_owned();
            }
        }
    }

    fn does(&mut self, what: &str) -> String {
        self.tell(what);
        self.hear()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
#[ignore = "started by the tests around it"]
fn a_process_that_does_what_it_is_told() {
    let mut hand = Hand::default();
    for line in std::io::stdin().lines() {
        println!("said: {}", hand.does(&line.unwrap()));
    }
}

enum Participant {
    Here(Hand),
    There(Other),
}

impl Participant {
    fn does(&mut self, what: &str) -> String {
        match self {
            Self::Here(hand) => hand.does(what),
            Self::There(other) => other.does(what),
        }
    }

    fn pid(&self) -> u32 {
        match self {
            Self::Here(_) => std::process::id(),
            Self::There(other) => other.child.id(),
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Allocate(u64),
    Free(usize),
}

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let size = prop_oneof![0..2000u64, 0..CAPACITY / 2, Just(CAPACITY)];
    let step = prop_oneof![3 => size.prop_map(Step::Allocate), 2 => any::<usize>().prop_map(Step::Free)];
    prop::collection::vec((0..4usize, step), 1..60)
}

/// Does the steps, each by whom it names, and compares with a sum after each.
fn check(participants: &mut [Participant], watcher: &SimulatedGpu, steps: &[(usize, Step)]) {
    let mut held: Vec<Vec<u64>> = vec![Vec::new(); participants.len()];
    for (who, step) in steps {
        let sum: u64 = held.iter().flatten().sum();
        match *step {
            Step::Allocate(bytes) => {
                let padded = bytes.next_multiple_of(512);
                let said = participants[*who].does(&format!("allocate {bytes}"));
                if sum + padded > CAPACITY {
                    assert_eq!(said, format!("full: {} free", CAPACITY - sum));
                } else if said == "yes" {
                    held[*who].push(padded);
                } else {
                    assert_eq!(said, "in pieces");
                    assert!(held[*who].len() > 1, "where nothing was freed nothing is in pieces");
                }
            }
            Step::Free(which) if !held[*who].is_empty() => {
                let which = which % held[*who].len();
                let bytes = held[*who].swap_remove(which);
                assert_eq!(participants[*who].does(&format!("free {which}")), bytes.to_string());
            }
            Step::Free(_) => {}
        }
        let mut expected: BTreeMap<u32, u64> = BTreeMap::new();
        for (participant, held) in participants.iter().zip(&held) {
            *expected.entry(participant.pid()).or_default() += held.iter().sum::<u64>();
        }
        expected.retain(|_, bytes| *bytes > 0);
        let seen = watcher.processes(0).unwrap();
        let seen: BTreeMap<u32, u64> =
            seen.into_iter().map(|process| (process.pid, process.used_bytes.unwrap())).collect();
        assert_eq!(seen, expected);
        let used = watcher.memory(0).unwrap().used_bytes;
        assert_eq!(used, expected.values().sum::<u64>());
        assert_eq!(participants[*who].does("used"), used.to_string());
    }
}

#[test]
fn whoever_takes_and_gives_back_the_sum_fits_and_the_book_is_what_is_live() {
    let scratch = Scratch::new("model");
    let first = scratch.0.join("first");
    let mut participants: Vec<_> = (0..2).map(|_| Participant::Here(Hand::default())).collect();
    participants.extend((0..2).map(|_| Participant::There(Other::new(&first))));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(32));
    let participants = std::cell::RefCell::new(participants);
    runner
        .run(&steps(), |steps| {
            let mut participants = participants.borrow_mut();
            drop(fs::remove_file(scratch.book()));
            for participant in participants.iter_mut() {
                participant.does(&format!("join {}", scratch.book().display()));
            }
            let watcher = SimulatedGpu::join(&scratch.book()).unwrap();
            check(&mut participants, &watcher, &steps);
            Ok(())
        })
        .unwrap();
}

#[test]
fn processes_that_churn_at_once_never_hold_more_than_there_is() {
    let scratch = Scratch::new("churn");
    let watcher = SimulatedGpu::shared(&scratch.book(), CAPACITY).unwrap();
    let mut others: Vec<_> = (0..4).map(|_| Other::new(&scratch.book())).collect();
    for other in &mut others {
        other.tell("churn 2000");
    }
    let full: u64 = std::thread::scope(|scope| {
        let waiting: Vec<_> =
            others.iter_mut().map(|other| scope.spawn(|| other.hear().parse::<u64>().unwrap())).collect();
        while !waiting.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            let sum: u64 =
                watcher.processes(0).unwrap().iter().map(|process| process.used_bytes.unwrap()).sum();
            assert!(sum <= CAPACITY, "{sum}");
        }
        waiting.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(full > 0, "nobody was ever in want");
    assert_eq!(watcher.memory(0).unwrap().used_bytes, 0);
}

#[test]
fn what_a_killed_process_held_comes_back() {
    let scratch = Scratch::new("killed");
    let ours = SimulatedGpu::shared(&scratch.book(), CAPACITY).unwrap();
    let _held = ours.allocate(0, 16 * KIB).unwrap();
    for round in 0..8 {
        let mut victim = Other::new(&scratch.book());
        assert_eq!(victim.does(&format!("allocate {}", 240 * KIB)), "yes", "round {round}");
        let Err(Error::OutOfMemory(oom)) = ours.allocate(0, KIB) else { panic!("the card is full") };
        assert_eq!((oom.free_bytes, oom.other_processes.len()), (0, 1));
        assert_eq!(oom.other_processes[0].pid, victim.child.id());
        assert!(oom.to_string().contains("(shared_card"), "{oom}");
        // Ended, and not yet waited for: it holds nothing any more.
        victim.child.kill().unwrap();
        for _ in 0..10_000 {
            if ours.memory(0).unwrap().used_bytes == 16 * KIB {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(ours.memory(0).unwrap().used_bytes, 16 * KIB, "round {round}");
        victim.kill();

        // In the middle of whatever it is doing.
        let mut victim = Other::new(&scratch.book());
        victim.tell("churn 1000000");
        for _ in 0..=round * 20 {
            drop(ours.free(ours.allocate(0, 0).unwrap()));
        }
        victim.kill();
        assert_eq!(ours.memory(0).unwrap().used_bytes, 16 * KIB, "round {round}");
    }
}

#[test]
fn a_number_that_is_another_process_now_holds_nothing() {
    let scratch = Scratch::new("reused");
    let ours = SimulatedGpu::shared(&scratch.book(), CAPACITY).unwrap();
    let mut book = File::options().append(true).open(scratch.book()).unwrap();
    // Process 1 is always there; it did not begin at this tick, and neither did this process.
    writeln!(book, "{:<127}", "1 18446744073709551615 4096 init").unwrap();
    writeln!(book, "{:<127}", format!("{} 1 4096 shared", std::process::id())).unwrap();
    assert_eq!(ours.processes(0).unwrap(), []);
    assert_eq!(ours.memory(0).unwrap().free_bytes, CAPACITY);
    let text = fs::read_to_string(scratch.book()).unwrap();
    assert_eq!(text.split_whitespace().count(), 3, "their lines are blank: {text}");
}

#[test]
fn a_card_that_is_dropped_gives_everything_back_and_another_of_the_same_process_keeps_its_own() {
    let scratch = Scratch::new("dropped");
    let [first, second] = [0, 1].map(|_| SimulatedGpu::shared(&scratch.book(), CAPACITY).unwrap());
    let _first = first.allocate(0, 100 * KIB).unwrap();
    let _second = second.allocate(0, 50 * KIB).unwrap();
    assert_eq!(second.processes(0).unwrap()[0].used_bytes, Some(150 * KIB));
    drop(first);
    let seen = second.processes(0).unwrap();
    assert_eq!((seen.len(), seen[0].used_bytes), (1, Some(50 * KIB)));
    assert_eq!(second.fragmentation(0).unwrap().largest_free_bytes, Some(206 * KIB));
}

#[test]
fn anchored_memory_and_made_up_processes_count_too() {
    let scratch = Scratch::new("anchored");
    let [ours, theirs] = [0, 1].map(|_| SimulatedGpu::shared(&scratch.book(), 8 << 20).unwrap());
    let anchored = ours.allocate_anchored(0, 3 << 20).unwrap();
    assert_eq!(theirs.memory(0).unwrap().free_bytes, 4 << 20);
    assert_eq!(ours.vacate(&anchored).unwrap(), 4 << 20);
    let held = theirs.allocate(0, 5 << 20).unwrap();
    assert!(matches!(ours.occupy(&anchored), Err(Error::OutOfMemory(_))));
    theirs.free(held).unwrap();
    ours.occupy(&anchored).unwrap();
    ours.add_process(0, 4242, "python", 1 << 20).unwrap();
    assert_eq!(theirs.memory(0).unwrap().free_bytes, 3 << 20);
    assert_eq!(ours.remove_process(0, 4242).unwrap(), 1 << 20);
    assert_eq!(theirs.memory(0).unwrap().free_bytes, 4 << 20);
}

#[test]
fn a_damaged_book_is_an_error_that_says_so_and_changes_nothing() {
    let scratch = Scratch::new("damaged");
    let gpu = SimulatedGpu::shared(&scratch.book(), CAPACITY).unwrap();
    let held = gpu.allocate(0, KIB).unwrap();
    let whole = fs::read(scratch.book()).unwrap();
    for damage in [&b""[..], b"omnimind-card 1 262144\n", &whole[..200], &[0xff; 256], &whole.repeat(2)] {
        fs::write(scratch.book(), damage).unwrap();
        for error in [
            gpu.memory(0).unwrap_err(),
            gpu.allocate(0, KIB).unwrap_err(),
            SimulatedGpu::join(&scratch.book()).unwrap_err(),
        ] {
            let text = error.to_string();
            assert!(text.contains("is damaged (") && text.contains("remove it"), "{text}");
        }
    }
    let failed = gpu.free(held).unwrap_err();
    fs::write(scratch.book(), &whole).unwrap();
    assert_eq!(gpu.memory(0).unwrap().used_bytes, KIB, "it is still there");
    assert_eq!(gpu.free(failed.allocation).unwrap(), KIB);
    assert_eq!(gpu.memory(0).unwrap().used_bytes, 0);
}

#[test]
fn a_card_is_joined_as_it_was_made_or_not_at_all() {
    let scratch = Scratch::new("joined");
    let error = SimulatedGpu::join(&scratch.book()).unwrap_err().to_string();
    assert!(error.contains("whoever shares a card makes it first"), "{error}");
    let made = SimulatedGpu::shared(&scratch.book(), 1000).unwrap();
    assert_eq!(made.memory(0).unwrap().total_bytes, 512, "whole granules");
    let error = SimulatedGpu::shared(&scratch.book(), 2048).unwrap_err().to_string();
    assert!(error.contains("512 bytes instead of 2048"), "{error}");
    assert_eq!(SimulatedGpu::shared(&scratch.book(), 1000).unwrap().memory(0).unwrap().total_bytes, 512);
    let error = SimulatedGpu::shared(&scratch.0.join("huge"), u64::MAX).unwrap_err().to_string();
    assert!(error.contains("64 TiB"), "{error}");
}

#[test]
fn every_program_that_detects_takes_part_where_the_environment_says_so() {
    let scratch = Scratch::new("environment");
    let look = |book: &Path| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "what_is_detected_is_said", "--ignored", "--nocapture"]);
        let output = command.env(gpu_probe::SHARED_CARD_VARIABLE, book).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let said = look(&scratch.book());
    assert!(said.contains("said: none 0 no GPU: the simulated card shared through"), "{said}");
    let ours = SimulatedGpu::shared(&scratch.book(), CAPACITY).unwrap();
    let _held = ours.allocate(0, 100 * KIB).unwrap();
    let said = look(&scratch.book());
    assert!(said.contains("said: simulated 102400 a simulated GPU with 256.00 KiB, shared"), "{said}");
}

#[test]
#[ignore = "started by the test above"]
fn what_is_detected_is_said() {
    for found in [gpu_probe::detect(), gpu_probe::detect_to_look()] {
        let used = found.probe.memory(0).map_or(0, |memory| memory.used_bytes);
        println!("said: {} {used} {}", found.probe.source(), found.note);
    }
}

/// As the documentation of the book's format has it.
const PYTHON: &str = r#"
import fcntl, os, sys
with open(os.environ["OMNIMIND_SIMULATED_CARD"], "r+b") as book:
    fcntl.flock(book, fcntl.LOCK_EX)
    header, *lines = book.read().splitlines()
    free = int(header.split()[2]) - sum(int(line.split()[2]) for line in lines if line.strip())
    started = open("/proc/self/stat").read().rsplit(")", 1)[1].split()[19]
    if free >= 4096:  # else: out of memory
        at = next((i for i, line in enumerate(lines, 1) if not line.strip()), len(lines) + 1)
        book.seek(128 * at)
        book.write(f"{os.getpid()} {started} 4096 python".encode().ljust(127) + b"\n")
print(free, flush=True)
sys.stdin.read()
"#;

#[test]
fn a_few_lines_of_python_take_part() {
    let scratch = Scratch::new("python");
    let ours = SimulatedGpu::shared(&scratch.book(), CAPACITY).unwrap();
    let held = ours.allocate(0, CAPACITY - 4 * KIB).unwrap();
    let mut command = Command::new("python3");
    command.args(["-c", PYTHON]).env(gpu_probe::SHARED_CARD_VARIABLE, scratch.book());
    let Ok(mut child) = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
        println!("no python3: skipped");
        return;
    };
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "4096\n");
    assert_eq!(ours.memory(0).unwrap().free_bytes, 0);
    let processes = ours.processes(0).unwrap();
    let python = processes.iter().find(|process| process.pid == child.id()).unwrap();
    assert_eq!((python.name.as_deref(), python.used_bytes), (Some("python"), Some(4096)));
    ours.free(held).unwrap();
    drop(child.stdin.take());
    child.wait().unwrap();
    assert_eq!(ours.memory(0).unwrap().used_bytes, 0);
}
