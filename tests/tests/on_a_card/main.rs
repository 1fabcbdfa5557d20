//! What must hold on a real card. Where there is none each check says so; and all of them run on the stand-in for a driver, smaller, so
//! that the checks themselves are tested.
//!
//! `ON_A_CARD=small` makes them small on a real card as well, for a sanitiser.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

mod addresses;
mod codec;
mod full_card;
mod story;
mod threads;

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use end_to_end::queue::{FULL, codec_on};
use end_to_end::stand_in;
use end_to_end::weights::{KERNEL_TYPES, Kind, elements};
use gpu_probe::{CudaGpu, DeviceMemory};
use omnimind_memory::Policy;

/// The card, for one check at a time: some fill it, and some look at how full it is.
struct Alone {
    gpu: Arc<CudaGpu>,
    _turn: MutexGuard<'static, ()>,
}

impl Deref for Alone {
    type Target = Arc<CudaGpu>;

    fn deref(&self) -> &Self::Target {
        &self.gpu
    }
}

/// The card to check; `None`, and a line that says so, where there is none.
fn card() -> Option<Alone> {
    static TURN: Mutex<()> = Mutex::new(());
    // A check that failed leaves nothing to protect.
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let found = if stand_in::is_here() { Ok(stand_in::gpu()) } else { CudaGpu::new().map(Arc::new) };
    match found {
        Ok(gpu) => {
            if !stand_in::is_here() {
                warm_up(&gpu);
            }
            Some(Alone { gpu, _turn: turn })
        }
        Err(error) => {
            println!("skipped ({error})");
            None
        }
    }
}

/// Runs every kernel once: what a driver takes of the card for running them it keeps, and that is no leak.
fn warm_up(gpu: &CudaGpu) {
    let mut codec = codec_on(gpu, FULL);
    let held = gpu.allocate(0, 2 << 20).unwrap();
    gpu.write(&held, 0, &vec![0; 2 << 20]).unwrap();
    for dtype in KERNEL_TYPES {
        gpu.write(&held, 0, &elements(dtype, Kind::Normal, 1 << 16, 0)).unwrap();
        codec.card().0.join().unwrap();
        let mut frame = std::io::Cursor::new(Vec::new());
        codec.compress_to(dtype, &[256, 256], held.address(), Policy::Default, &mut frame).unwrap();
        codec.restore_from(frame.get_ref().as_slice(), held.address()).unwrap();
    }
    codec.digest(held.address(), held.bytes()).unwrap();
    drop(codec);
    gpu.free(held).unwrap();
}

/// Whether everything is to be small: in an emulator, or under a sanitiser.
fn is_small() -> bool {
    stand_in::is_here() || std::env::var_os("ON_A_CARD").is_some_and(|size| size == "small")
}

fn used_bytes(gpu: &dyn DeviceMemory) -> u64 {
    gpu.memory(0).unwrap().used_bytes
}

/// Whether the memory in use is what it was, but for what a driver keeps for itself.
fn check_nothing_leaked(gpu: &dyn DeviceMemory, before: u64) {
    let noise = if stand_in::is_here() { 0 } else { 32 << 20 };
    let after = used_bytes(gpu);
    assert!(after <= before + noise, "{before} bytes were in use before, {after} are now");
}

#[test]
fn the_checks_hold_on_the_stand_in() {
    if stand_in::is_here() {
        return;
    }
    let Some(folder) = stand_in::build(env!("CARGO_TARGET_TMPDIR"), "on-a-card") else { return };
    for checks in ["addresses::", "codec::", "full_card::", "story::", "threads::"] {
        let text = stand_in::run(&folder, "", checks);
        assert!(!text.contains("no GPU"), "{text}");
        stand_in::check_nothing_is_left(&text);
    }
}
