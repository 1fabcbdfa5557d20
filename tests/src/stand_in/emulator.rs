//! Runs what the stand-in is asked to launch, in its memory, and refuses launches on demand.
#![expect(unsafe_code, reason = "the stand-in is a C library, and its memory is known by address only")]

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use libloading::os::unix::{Library, RTLD_NOW};
use ptx_emulator::{Memory, MemoryFault, Program};

/// What the stand-in calls to run a kernel.
type Launcher = unsafe extern "C" fn(
    *mut c_void,
    *const c_char,
    *const c_char,
    c_uint,
    c_uint,
    *const *const c_void,
) -> c_int;

/// Whether so many bytes at an address are memory of the card.
type IsMemory = unsafe extern "C" fn(u64, usize) -> c_int;

/// What the driver says of a kernel that made a mistake (`CUDA_ERROR_LAUNCH_FAILED`).
const LAUNCH_FAILED: c_int = 719;

static LAUNCHES: AtomicUsize = AtomicUsize::new(0);
static REFUSED_FROM: AtomicUsize = AtomicUsize::new(usize::MAX);
static REFUSED_WITH: AtomicI32 = AtomicI32::new(0);

/// How many kernels were launched so far.
#[must_use]
pub fn launches() -> usize {
    LAUNCHES.load(Ordering::SeqCst)
}

/// After `more` launches from now on, refuses each with this `CUresult`.
pub fn refuse_launches(more: usize, code: i32) {
    REFUSED_WITH.store(code, Ordering::SeqCst);
    REFUSED_FROM.store(launches().saturating_add(more), Ordering::SeqCst);
}

/// The library that stays loaded, and what it answers.
struct StandIn {
    _library: Library,
    is_memory: IsMemory,
}

fn stand_in() -> &'static StandIn {
    static STAND_IN: OnceLock<StandIn> = OnceLock::new();
    STAND_IN.get_or_init(|| {
        // SAFETY: it is loaded already, so that no initialiser runs; both symbols have the types that its header documents, and
        // it stays loaded for as long as this process runs.
        unsafe {
            let library = Library::open(Some("libcuda.so"), RTLD_NOW).expect("the stand-in");
            let set = library
                .get::<unsafe extern "C" fn(Launcher, *mut c_void)>(b"stand_in_set_launcher")
                .expect("the stand-in, and not a driver");
            set(launch, std::ptr::null_mut());
            let is_memory = *library.get::<IsMemory>(b"stand_in_is_memory").expect("the stand-in");
            StandIn { _library: library, is_memory }
        }
    })
}

/// From now on the stand-in computes.
pub(super) fn install() {
    stand_in();
}

/// A program, and how many parameters each of its kernels has.
struct Loaded {
    program: Program,
    parameters: HashMap<String, usize>,
}

/// Parsed once for each text: it is long.
fn loaded(ptx: &str) -> Arc<Loaded> {
    static LOADED: Mutex<Vec<(String, Arc<Loaded>)>> = Mutex::new(Vec::new());
    let mut known = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, loaded)) = known.iter().find(|(text, _)| text == ptx) {
        return loaded.clone();
    }
    let program = Program::parse(ptx).unwrap_or_else(|error| panic!("{error}"));
    let parameters = program.kernels().map(|kernel| (kernel.to_owned(), parameters(ptx, kernel))).collect();
    let new = Arc::new(Loaded { program, parameters });
    known.push((ptx.to_owned(), new.clone()));
    new
}

/// How many parameters the kernel has, each of eight bytes: ours have no others.
fn parameters(ptx: &str, kernel: &str) -> usize {
    let entry = ptx.split(".entry").skip(1).map(str::trim_start);
    let mut lists = entry.filter_map(|entry| entry.strip_prefix(kernel)?.trim_start().strip_prefix('('));
    let list = lists.next().and_then(|list| list.split(')').next()).unwrap_or_default();
    let all = list.matches(".param").count();
    assert_eq!(
        list.matches(".param .u64").count(),
        all,
        "{kernel} has parameters that are not of eight bytes"
    );
    all
}

/// # Safety
/// As cuLaunchKernel: the texts end with a zero, and `parameters` has a pointer to the value of each parameter.
unsafe extern "C" fn launch(
    _context: *mut c_void,
    ptx: *const c_char,
    kernel: *const c_char,
    grid: c_uint,
    threads: c_uint,
    parameters: *const *const c_void,
) -> c_int {
    if LAUNCHES.fetch_add(1, Ordering::SeqCst) >= REFUSED_FROM.load(Ordering::SeqCst) {
        return REFUSED_WITH.load(Ordering::SeqCst);
    }
    // SAFETY: the caller's promise.
    let (ptx, kernel) = unsafe { (CStr::from_ptr(ptx), CStr::from_ptr(kernel)) };
    let (ptx, kernel) = (ptx.to_string_lossy(), kernel.to_string_lossy());
    let loaded = loaded(&ptx);
    let count = loaded.parameters.get(&*kernel).copied().unwrap_or_default();
    // SAFETY: the caller's promise; there are `count` parameters of eight bytes, as the text of the program says.
    let arguments: Vec<u64> =
        (0..count).map(|i| unsafe { (*parameters.add(i)).cast::<u64>().read() }).collect();
    let mut memory = Addresses { is_memory: stand_in().is_memory, known: [u64::MAX; KNOWN_LINES] };
    match loaded.program.launch(&mut memory, &kernel, grid, threads, &arguments) {
        Ok(_) => 0,
        Err(fault) => {
            eprintln!("emulated card: {fault}");
            LAUNCH_FAILED
        }
    }
}

/// Asking for each access would take longer than computing: lines of memory that were found to be there are remembered.
const LINE_BYTES: u64 = 256;
const KNOWN_LINES: usize = 1024;

/// The memory of the stand-in's card. Its addresses are addresses of this process.
struct Addresses {
    is_memory: IsMemory,
    /// Numbers of lines that are wholly memory, each where its number says; only for one launch.
    known: [u64; KNOWN_LINES],
}

impl Addresses {
    fn check(&mut self, address: u64, bytes: usize) -> Result<(), MemoryFault> {
        let line = address / LINE_BYTES;
        let slot = line as usize % KNOWN_LINES;
        let in_line = address % LINE_BYTES + bytes as u64 <= LINE_BYTES;
        if in_line && self.known[slot] == line {
            return Ok(());
        }
        // SAFETY: it only looks at the numbers.
        let is_memory = |address, bytes| unsafe { (self.is_memory)(address, bytes) } != 0;
        if in_line && is_memory(line * LINE_BYTES, LINE_BYTES as usize) {
            self.known[slot] = line;
            Ok(())
        } else if is_memory(address, bytes) {
            Ok(())
        } else {
            Err(MemoryFault::OutOfBounds { address, bytes: bytes as u64 })
        }
    }
}

impl Memory for Addresses {
    fn load(&mut self, address: u64, out: &mut [u8]) -> Result<(), MemoryFault> {
        self.check(address, out.len())?;
        // SAFETY: the stand-in says that these bytes are memory of its card. Nobody frees them while a kernel runs that uses
        // them: on a card that would be as wrong as it is here.
        unsafe { std::ptr::copy_nonoverlapping(address as *const u8, out.as_mut_ptr(), out.len()) };
        Ok(())
    }

    fn store(&mut self, address: u64, bytes: &[u8]) -> Result<(), MemoryFault> {
        self.check(address, bytes.len())?;
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) };
        Ok(())
    }
}
