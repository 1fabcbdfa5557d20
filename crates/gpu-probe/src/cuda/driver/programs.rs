//! Programs, the streams they run on, and the page-locked memory that copies go through.
//!
//! Each handle is ended by the function that takes it; whoever holds it keeps the context retained meanwhile.

use std::ffi::{CStr, c_uint, c_void};
use std::ptr::NonNull;

use cudarc::driver::sys::{self, CUjit_option as option, cudaError_enum as code};

use super::{Context, Current, Driver, Failure, explain, missing};

const SYMBOLS: [&str; 14] = [
    "cuCtxSynchronize",
    "cuModuleLoadDataEx",
    "cuModuleUnload",
    "cuModuleGetFunction",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamSynchronize",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemHostAlloc",
    "cuMemFreeHost",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuLaunchKernel",
];

/// Since CUDA 12.4. Without it a kernel may be brought to the card at its first launch only.
const LOAD_NOW: &str = "cuFuncLoad";

/// How much of the compiler's words is kept, in bytes.
const LOG_BYTES: usize = 4096;

/// A driver that can run programs.
#[derive(Debug, Clone, Copy)]
pub(in crate::cuda) struct Programs {
    loads_now: bool,
}

/// A program on the card.
#[derive(Debug)]
pub(in crate::cuda) struct Program(sys::CUmodule);

/// A kernel of a program; usable until the program ends.
#[derive(Debug, Clone, Copy)]
pub(in crate::cuda) struct Kernel(sys::CUfunction);

/// A queue of work that does not wait for other queues.
#[derive(Debug)]
pub(in crate::cuda) struct Stream(sys::CUstream);

/// Page-locked memory of the host.
#[derive(Debug)]
pub(in crate::cuda) struct Staging {
    at: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the driver takes its handles on any thread on which their context is current.
unsafe impl Send for Program {}
// SAFETY: as above.
unsafe impl Send for Kernel {}
// SAFETY: as above.
unsafe impl Send for Stream {}
// SAFETY: plain memory with one owner.
unsafe impl Send for Staging {}

/// Why a program was not loaded.
#[derive(Debug)]
pub(in crate::cuda) enum Refusal {
    /// This driver or card does not take it, in words.
    Program(String),
    Failure(Failure),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Driver {
    /// Whether programs can be run, or which symbol is missing.
    pub(in crate::cuda) fn programs(self) -> Result<Programs, &'static str> {
        match missing(&SYMBOLS) {
            Some(symbol) => Err(symbol),
            None => Ok(Programs { loads_now: missing(&[LOAD_NOW]).is_none() }),
        }
    }
}

impl Programs {
    /// Compiles PTX for the card and brings it there.
    pub(in crate::cuda) fn load(self, context: Context, ptx: &CStr) -> Result<Program, Refusal> {
        let _current = Current::enter(context).map_err(Failure::from)?;
        let mut log = [0_u8; LOG_BYTES];
        let mut options = [option::CU_JIT_ERROR_LOG_BUFFER, option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
        // The size is a number in the place of a pointer; the last byte stays zero whatever the driver writes.
        let size = std::ptr::without_provenance_mut::<c_void>(LOG_BYTES - 1);
        let mut values = [log.as_mut_ptr().cast::<c_void>(), size];
        let mut module: sys::CUmodule = std::ptr::null_mut();
        // SAFETY: the text ends with a zero; two options with their values; the log is as long as its size says.
        let loaded = unsafe {
            sys::cuModuleLoadDataEx(
                &raw mut module,
                ptx.as_ptr().cast(),
                options.len() as c_uint,
                options.as_mut_ptr(),
                values.as_mut_ptr(),
            )
        };
        let Err(error) = loaded.result() else { return Ok(Program(module)) };
        match error.0 {
            code::CUDA_ERROR_UNSUPPORTED_PTX_VERSION
            | code::CUDA_ERROR_INVALID_PTX
            | code::CUDA_ERROR_INVALID_IMAGE
            | code::CUDA_ERROR_INVALID_SOURCE
            | code::CUDA_ERROR_NO_BINARY_FOR_GPU
            | code::CUDA_ERROR_JIT_COMPILER_NOT_FOUND
            | code::CUDA_ERROR_JIT_COMPILATION_DISABLED => {
                let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
                let words = String::from_utf8_lossy(&log[..end]);
                let words: Vec<&str> = words.split_whitespace().collect();
                let colon = if words.is_empty() { "" } else { ": " };
                Err(Refusal::Program(format!("{}{colon}{}", explain(error), words.join(" "))))
            }
            _ => Err(Refusal::Failure(error.into())),
        }
    }

    /// A kernel by its name, ready to be launched.
    pub(in crate::cuda) fn kernel(
        self,
        context: Context,
        program: &Program,
        name: &CStr,
    ) -> Result<Kernel, Failure> {
        let _current = Current::enter(context)?;
        let mut kernel: sys::CUfunction = std::ptr::null_mut();
        // SAFETY: the program is loaded; the name ends with a zero.
        unsafe { sys::cuModuleGetFunction(&raw mut kernel, program.0, name.as_ptr()) }.result()?;
        if self.loads_now {
            // SAFETY: the kernel is one of a loaded program.
            unsafe { sys::cuFuncLoad(kernel) }.result()?;
        }
        Ok(Kernel(kernel))
    }

    pub(in crate::cuda) fn stream(self, context: Context) -> Result<Stream, Failure> {
        let _current = Current::enter(context)?;
        let mut stream: sys::CUstream = std::ptr::null_mut();
        let flag = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as c_uint;
        // SAFETY: writes one handle.
        unsafe { sys::cuStreamCreate(&raw mut stream, flag) }.result()?;
        Ok(Stream(stream))
    }

    /// `bytes` is not 0.
    pub(in crate::cuda) fn staging(self, context: Context, bytes: usize) -> Result<Staging, Failure> {
        let _current = Current::enter(context)?;
        let mut at: *mut c_void = std::ptr::null_mut();
        // SAFETY: writes one address. Portable, so that it is page-locked for every context of this process.
        unsafe { sys::cuMemHostAlloc(&raw mut at, bytes, sys::CU_MEMHOSTALLOC_PORTABLE) }.result()?;
        let Some(at) = NonNull::new(at.cast::<u8>()) else { return Err(Failure::OutOfMemory) };
        // SAFETY: the driver gave `bytes` bytes; from here on all of them hold something.
        unsafe { at.write_bytes(0, bytes) };
        Ok(Staging { at, bytes })
    }

    /// Issues a kernel with as many arguments as it has parameters, each of at most eight bytes; the caller has counted.
    pub(in crate::cuda) fn launch(
        self,
        context: Context,
        stream: &Stream,
        kernel: Kernel,
        (grid, threads): (u32, u32),
        arguments: &[u64],
    ) -> Result<(), Failure> {
        let _current = Current::enter(context)?;
        let mut places: Vec<*mut c_void> =
            arguments.iter().map(|argument| std::ptr::from_ref(argument).cast_mut().cast()).collect();
        let nothing = std::ptr::null_mut();
        // SAFETY: the driver copies the arguments before it returns, one for each parameter, and writes to none of them.
        let launched = unsafe {
            sys::cuLaunchKernel(
                kernel.0,
                grid,
                1,
                1,
                threads,
                1,
                1,
                0,
                stream.0,
                places.as_mut_ptr(),
                nothing,
            )
        };
        Ok(launched.result()?)
    }

    /// Issues a copy into staging memory. The caller has checked its range, and waits for the stream before it looks.
    pub(in crate::cuda) fn fetch(
        self,
        context: Context,
        stream: &Stream,
        from: u64,
        to: (&mut Staging, usize),
        bytes: usize,
    ) -> Result<(), Failure> {
        let _current = Current::enter(context)?;
        let (staging, at) = to;
        // SAFETY: the range lies inside, and the staging memory lives until its stream was waited for.
        Ok(unsafe { sys::cuMemcpyDtoHAsync_v2(staging.at.add(at).as_ptr().cast(), from, bytes, stream.0) }
            .result()?)
    }

    /// Issues a copy out of staging memory. As [`fetch`](Self::fetch).
    pub(in crate::cuda) fn send(
        self,
        context: Context,
        stream: &Stream,
        from: (&Staging, usize),
        to: u64,
        bytes: usize,
    ) -> Result<(), Failure> {
        let _current = Current::enter(context)?;
        let (staging, at) = from;
        // SAFETY: as in `fetch`.
        Ok(unsafe { sys::cuMemcpyHtoDAsync_v2(to, staging.at.add(at).as_ptr().cast(), bytes, stream.0) }
            .result()?)
    }

    /// Waits for everything issued on one stream.
    pub(in crate::cuda) fn wait(self, context: Context, stream: &Stream) -> Result<(), Failure> {
        let _current = Current::enter(context)?;
        // SAFETY: the stream is there.
        Ok(unsafe { sys::cuStreamSynchronize(stream.0) }.result()?)
    }

    /// Waits for everything that this process gave to the card.
    pub(in crate::cuda) fn wait_for_all(self, context: Context) -> Result<(), Failure> {
        let _current = Current::enter(context)?;
        // SAFETY: takes nothing and gives nothing.
        Ok(unsafe { sys::cuCtxSynchronize() }.result()?)
    }
}

/// An error in one of these means that the context is gone, and with it what was to be ended.
#[expect(clippy::needless_pass_by_value, reason = "a handle is used up where it is ended")]
impl Programs {
    pub(in crate::cuda) fn end_program(self, context: Context, program: Program) {
        let Ok(_current) = Current::enter(context) else { return };
        // SAFETY: loaded by `load`, and ended once.
        let _ = unsafe { sys::cuModuleUnload(program.0) };
    }

    pub(in crate::cuda) fn end_stream(self, context: Context, stream: Stream) {
        let Ok(_current) = Current::enter(context) else { return };
        // SAFETY: made by `stream`, and ended once.
        let _ = unsafe { sys::cuStreamDestroy_v2(stream.0) };
    }

    pub(in crate::cuda) fn end_staging(self, context: Context, staging: Staging) {
        let Ok(_current) = Current::enter(context) else { return };
        // SAFETY: made by `staging`, and ended once.
        let _ = unsafe { sys::cuMemFreeHost(staging.at.as_ptr().cast()) };
    }
}

impl Staging {
    /// The memory. Only after its stream was waited for, and while nothing is issued.
    pub(in crate::cuda) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the driver gave these bytes, all of them were written, and `&mut self` is the only way to them.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.bytes) }
    }
}
