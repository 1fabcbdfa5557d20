//! A card that is really full, because another process holds most of it (R30): what is idle makes room, the message names the other
//! process, and a process that takes the room before we do is outlasted.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Lines, Write, stdin};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use end_to_end::context;
use end_to_end::stand_in;
use end_to_end::weights::{Kind, elements};
use gpu_probe::{Allocation, DeviceMemory, Error, GpuProbe};
use omnimind_memory::{Consolidator, DType, IdleId, Item, NamedTensor, Ran, Taken};

use crate::{card, check_nothing_leaked, is_small, used_bytes};

const MIB: u64 = 1 << 20;
/// Tells this program, started again, to take memory and hold it.
const HOLDER: &str = "OMNIMIND_HOLD_BUT_BYTES";

/// Another process that holds memory of the card, until this is dropped.
struct Holder {
    process: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Holder {
    /// It holds everything but so many bytes.
    fn of_all_but(bytes: u64) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "full_card::holder", "--nocapture"])
            .env(HOLDER, bytes.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut holder = Self { process, orders, answers };
        holder.wait_until("holding");
        holder
    }

    fn wait_until(&mut self, what: &str) {
        assert!(self.answers.any(|line| line.unwrap().contains(what)), "the other process ended");
    }

    /// Has it take whatever is free.
    fn take_the_rest(&mut self) {
        writeln!(self.orders, "take").unwrap();
        self.wait_until("taken");
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
#[ignore = "started by the checks below, as another process"]
fn holder() {
    let (Some(but), Some(gpu)) = (std::env::var_os(HOLDER), card()) else { return };
    let but: u64 = but.to_str().unwrap().parse().unwrap();
    let mut held = Vec::new();
    let piece = |bytes: u64| gpu.allocate(0, bytes.clamp(1, 4 << 30));
    loop {
        let free = gpu.memory(0).unwrap().free_bytes;
        let Some(more @ 1..) = free.checked_sub(but) else { break };
        match piece(more) {
            Ok(piece) => held.push(piece),
            Err(_) => break,
        }
    }
    println!("holding {} bytes", held.iter().map(Allocation::bytes).sum::<u64>());
    for order in stdin().lines() {
        assert_eq!(order.unwrap(), "take");
        // Free memory comes in pieces; take them large and then small.
        for bytes in [512 * MIB, 64 * MIB, 8 * MIB, 2 * MIB] {
            while let Ok(piece) = piece(bytes) {
                held.push(piece);
            }
        }
        println!("taken");
    }
}

/// Puts an item of so many bytes on the card and lets it be idle.
fn idle(consolidator: &Consolidator, gpu: &dyn DeviceMemory, bytes: u64, minutes: u64) -> IdleId {
    let held = gpu.allocate(0, bytes).unwrap();
    let piece = elements(DType::F32, Kind::Normal, (bytes / 4).min(4 << 20) as usize, minutes);
    for at in (0..bytes).step_by(piece.len()) {
        gpu.write(&held, at, &piece[..piece.len().min((bytes - at) as usize)]).unwrap();
    }
    let tensor = NamedTensor::device("w", DType::F32, [4, bytes as usize / 16], held);
    let item = Item::new("model", vec![tensor]);
    consolidator.idle_since(item, &context("agents"), Duration::from_secs(60 * minutes)).unwrap()
}

/// As many pieces as fit.
fn fill(gpu: &dyn DeviceMemory) -> (Vec<Allocation>, Error) {
    let mut held = Vec::new();
    let mut last = None;
    for bytes in [256 * MIB, 16 * MIB, 2 * MIB] {
        loop {
            match gpu.allocate(0, bytes) {
                Ok(piece) => held.push(piece),
                Err(error) => {
                    last = Some(error);
                    break;
                }
            }
        }
    }
    (held, last.unwrap())
}

#[test]
fn what_is_idle_makes_room_on_a_card_that_others_have_filled() {
    let Some(gpu) = card() else { return };
    let dir = tempfile::tempdir().unwrap();
    let consolidator = Consolidator::builder().store(dir.path()).gpu(gpu.clone()).build().unwrap();
    let before = used_bytes(&**gpu);
    // Each is larger than what is left over when the card is full.
    let bytes = if stand_in::is_here() { 3 * MIB } else { 384 * MIB };
    let ids = [1, 2, 3].map(|minutes| idle(&consolidator, &**gpu, bytes, minutes));
    // The stand-in's card is each process's own: there another one can neither fill it nor be quicker.
    let alone = stand_in::is_here();
    let mut holder = Holder::of_all_but(if alone { 16 * MIB } else { 1024 * MIB });
    let (full, error) = fill(&**gpu);
    let Error::OutOfMemory(oom) = &error else { panic!("{error}") };
    let text = error.to_string();
    assert!(text.starts_with("CUDA out of memory. Tried to allocate 2.00 MiB."), "{text}");
    let pid = holder.process.id();
    if oom.other_processes.iter().any(|process| process.pid == pid) {
        assert!(text.contains(&format!("Process {pid} ")), "{text}");
    } else if !alone {
        println!(
            "processes are not told apart here (a container?): the name of the other one is not checked"
        );
    }

    let mut attempts = 0;
    let rescued = consolidator.with_rescue(
        || {
            attempts += 1;
            if attempts == 2 {
                // Room was made for us, and somebody else is quicker.
                holder.take_the_rest();
            }
            gpu.allocate(0, bytes - MIB)
        },
        || Ok::<_, Infallible>("the processor"),
    );
    let Ok(Ran::OnDevice(allocation)) = rescued.value else { panic!("{rescued:?}") };
    let left: Vec<_> = rescued.relief.consolidated.iter().map(|(id, _)| *id).collect();
    let expected = if alone { 1 } else { 2 };
    assert_eq!((left, rescued.attempts), (ids[3 - expected..].iter().rev().copied().collect(), expected + 1));
    assert!(rescued.relief.failed.is_empty());
    gpu.write(&allocation, bytes - MIB - 1, &[1]).unwrap();
    gpu.free(allocation).unwrap();

    drop(holder);
    for piece in full {
        gpu.free(piece).unwrap();
    }
    for (id, minutes) in ids.into_iter().zip(1..) {
        match consolidator.take(id) {
            Taken::Item(item) => {
                let mut done = consolidator.consolidate(vec![item], &context("agents"));
                assert!(done.failed.is_empty() && done.outcomes.remove(0).freed_bytes == bytes);
            }
            Taken::Consolidated(hash) => {
                let back = consolidator.reactivate_on_device(&hash, &context("agents")).unwrap();
                for tensor in back.tensors {
                    assert_eq!(gpu.free(tensor.allocation).unwrap(), bytes, "{minutes}");
                }
            }
            Taken::Unknown => panic!("{id:?} was forgotten"),
        }
    }
    check_nothing_leaked(&**gpu, before);
}

#[test]
fn a_full_card_is_an_error_with_its_numbers_and_takes_nothing() {
    let Some(gpu) = card() else { return };
    let before = used_bytes(&**gpu);
    let memory = gpu.memory(0).unwrap();
    for bytes in [memory.free_bytes + MIB, memory.total_bytes + MIB] {
        let Err(Error::OutOfMemory(oom)) = gpu.allocate(0, bytes) else { panic!("{bytes} bytes fitted") };
        assert_eq!((oom.requested_bytes, oom.total_bytes), (bytes, memory.total_bytes));
        let refused = gpu.allocate_anchored(0, bytes).unwrap_err();
        assert!(matches!(refused, Error::OutOfMemory(_)), "{refused}");
    }
    check_nothing_leaked(&**gpu, before);
    if !is_small() {
        println!("{} bytes of {} were free", memory.free_bytes, memory.total_bytes);
    }
}
