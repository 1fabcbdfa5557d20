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

use end_to_end::stand_in;
use gpu_probe::{CudaGpu, DeviceMemory};

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
        Ok(gpu) => Some(Alone { gpu, _turn: turn }),
        Err(error) => {
            println!("no GPU: skipped ({error})");
            None
        }
    }
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
