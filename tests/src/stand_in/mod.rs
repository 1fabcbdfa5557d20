//! A real card's code where there is no card: the stand-in for NVIDIA's driver that `gpu-probe` is tested with, and an emulator that
//! computes in its place.
//!
//! A test builds the stand-in, and starts its own program again with it first in the loader's path; what is to run there asks
//! [`gpu`] for its card.
//!
//! | module | its idea |
//! |---|---|
//! | `emulator` | what the stand-in calls to run a kernel |
//! | this one | building it, starting a program with it, looking for what was left behind |

mod emulator;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

pub use emulator::{launches, refuse_launches};
use gpu_probe::CudaGpu;

/// What the stand-in is told by: a way to fail, or nothing.
const MODE: &str = "STAND_IN";

/// Builds the stand-in's libraries below `folder`, in a folder of this name; `None`, and a line that says so, without a C compiler.
///
/// # Panics
/// If it does not compile.
#[must_use]
pub fn build(folder: &str, name: &str) -> Option<PathBuf> {
    let folder = Path::new(folder).join(format!("stand-in-{name}"));
    std::fs::create_dir_all(&folder).expect("a folder for the stand-in");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/gpu-probe/tests/cards/driver.c");
    for (file, flags) in [("libcuda.so", &[][..]), ("libnvidia-ml.so.1", &["-DMANAGEMENT"])] {
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let built = Command::new(compiler)
            .args(["-shared", "-fPIC", "-pthread", "-w", "-o"])
            .arg(folder.join(file))
            .arg(&source)
            .args(flags)
            .status();
        match built {
            Ok(status) => assert!(status.success(), "the stand-in does not compile"),
            Err(error) => {
                println!("no C compiler ({error}): skipped");
                return None;
            }
        }
    }
    Some(folder)
}

/// Runs the tests of this program whose name has `inside` in it, the ignored ones too, one after the other, with the stand-in; and
/// returns what they printed.
///
/// # Panics
/// If one of them fails, or there is none.
#[must_use]
pub fn run(folder: &Path, mode: &str, inside: &str) -> String {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--include-ignored", "--nocapture", "--test-threads=1", inside])
        .env("LD_LIBRARY_PATH", folder)
        .env(MODE, mode)
        .output()
        .expect("this program, started again");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("\nrunning 0 tests"), "{text}");
    text
}

/// Whether this program was started by [`run`]. Alone, what is to run there has nothing to test.
#[must_use]
pub fn is_here() -> bool {
    std::env::var_os(MODE).is_some()
}

/// The stand-in's card, with an emulator that computes for it.
///
/// # Panics
/// If the stand-in is not [here](is_here).
#[must_use]
pub fn gpu() -> Arc<CudaGpu> {
    assert!(is_here(), "the stand-in is not there");
    let gpu = CudaGpu::new().expect("a stand-in");
    emulator::install();
    Arc::new(gpu)
}

/// Checks that everything that was taken from the driver was given back in the end.
///
/// # Panics
/// If something was left.
pub fn check_nothing_is_left(text: &str) {
    let released: Vec<_> =
        text.lines().filter(|line| line.starts_with("stand-in: context released")).collect();
    let nothing = "stand-in: context released, 0 bytes left, 0 contexts left, 0 reservations left, 0 mappings left, \
                   0 pinned bytes left, 0 streams left, 0 modules left";
    assert_eq!(released.last(), Some(&nothing), "{text}");
}
