//! The CUDA driver: with the modules below it the only place in this crate that calls into it. Every function
//! here is one or two driver calls.
//!
//! `cudarc` looks each symbol up when it is first called and panics where it is missing. So [`Driver::load`]
//! looks up the library and every symbol that this module calls before the first call, and a [`Driver`]
//! exists only where all are there. What not every driver has is a group of symbols of its own, asked for by
//! [`Driver::anchors`], [`Driver::addresses`] and [`Driver::programs`].
#![allow(unsafe_code)] // calls into a C library
#![allow(clippy::unused_self)] // `self` is the proof that the library is loaded, complete and initialised

mod addresses;
mod anchors;
mod programs;

use std::ffi::{CStr, c_char, c_int};

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;

pub(super) use self::addresses::Elsewhere;
pub(super) use self::anchors::Anchors;
pub(super) use self::programs::{Kernel, Program, Programs, Refusal, Staging, Stream};
use crate::error::Error;

/// Every symbol that this module calls, those that explain an error included.
const SYMBOLS: [&str; 18] = [
    "cuInit",
    "cuDriverGetVersion",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceTotalMem_v2",
    "cuDeviceGetPCIBusId",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxRelease_v2",
    "cuCtxPushCurrent_v2",
    "cuCtxPopCurrent_v2",
    "cuMemGetInfo_v2",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemcpyHtoD_v2",
    "cuMemcpyDtoH_v2",
];

/// Why a driver call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    OutOfMemory,
    /// The card does not answer.
    Lost,
    /// What the card holds is not to be trusted.
    Uncorrectable,
    /// A program broke the context: every later call in this process fails.
    Broken(DriverError),
    Other(DriverError),
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        use sys::cudaError_enum as code;
        match error.0 {
            code::CUDA_ERROR_OUT_OF_MEMORY => Self::OutOfMemory,
            code::CUDA_ERROR_DEVICE_UNAVAILABLE => Self::Lost,
            code::CUDA_ERROR_ECC_UNCORRECTABLE => Self::Uncorrectable,
            code::CUDA_ERROR_CONTAINED
            | code::CUDA_ERROR_ILLEGAL_ADDRESS
            | code::CUDA_ERROR_LAUNCH_TIMEOUT
            | code::CUDA_ERROR_CONTEXT_IS_DESTROYED
            | code::CUDA_ERROR_ASSERT
            | code::CUDA_ERROR_HARDWARE_STACK_ERROR
            | code::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | code::CUDA_ERROR_MISALIGNED_ADDRESS
            | code::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | code::CUDA_ERROR_INVALID_PC
            | code::CUDA_ERROR_LAUNCH_FAILED
            | code::CUDA_ERROR_TENSOR_MEMORY_LEAK
            | code::CUDA_ERROR_EXTERNAL_DEVICE => Self::Broken(error),
            _ => Self::Other(error),
        }
    }
}

impl Failure {
    pub(super) fn into_error(self, device: u32, operation: String) -> Error {
        match self {
            Self::Lost => Error::DeviceLost { device },
            Self::Uncorrectable => Error::Uncorrectable { device },
            Self::Broken(error) => Error::Broken { device, operation, reason: explain(error) },
            Self::OutOfMemory => {
                Error::Driver { device, operation, reason: "the driver has no memory left for it".into() }
            }
            Self::Other(error) => Error::Driver { device, operation, reason: explain(error) },
        }
    }
}

/// The driver's own words for an error: `CUDA_ERROR_NO_DEVICE (no CUDA-capable device is detected)`.
pub(super) fn explain(error: DriverError) -> String {
    let owned = |text: Result<&CStr, DriverError>| text.ok().map(|text| text.to_string_lossy().into_owned());
    match (owned(error.error_name()), owned(error.error_string())) {
        (Some(name), Some(words)) => format!("{name} ({words})"),
        (Some(name), None) => name,
        _ => format!("an error this driver does not explain ({:?})", error.0),
    }
}

/// A driver that is loaded, complete and initialised. It stays loaded until the process ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Driver {
    _loaded: (),
}

/// One card, as the driver names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Device(sys::CUdevice);

/// The primary context of a card: the one that `PyTorch` and every other user of the runtime API in this
/// process shares.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context(sys::CUcontext);

// SAFETY: a context may be current on any number of threads; the driver locks it.
unsafe impl Send for Context {}
// SAFETY: as above; the handle is an opaque address that is never written through.
unsafe impl Sync for Context {}

impl Driver {
    /// Loads the library, checks that it is complete, and initialises it.
    pub(super) fn load() -> Result<Self, String> {
        // SAFETY: runs the initialisers of NVIDIA's library, as every user of it does.
        if !unsafe { sys::is_culib_present() } {
            let name = if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so.1" };
            return Err(format!("the CUDA driver ({name}) is not installed"));
        }
        if let Some(symbol) = missing(&SYMBOLS) {
            return Err(format!(
                "the CUDA driver is too old or not NVIDIA's: it has no {symbol}; install driver 470 or newer"
            ));
        }
        result::init().map_err(|error| format!("the CUDA driver does not start: {}", explain(error)))?;
        Ok(Self { _loaded: () })
    }

    /// The newest CUDA version that the driver runs, such as `12.8`.
    pub(super) fn version(self) -> Option<String> {
        let mut version: c_int = 0;
        // SAFETY: writes one integer.
        unsafe { sys::cuDriverGetVersion(&raw mut version) }.result().ok()?;
        Some(format!("{}.{}", version / 1000, version % 1000 / 10))
    }

    pub(super) fn devices(self) -> Result<Vec<Device>, DriverError> {
        (0..result::device::get_count()?).map(|ordinal| result::device::get(ordinal).map(Device)).collect()
    }

    pub(super) fn name(self, device: Device) -> Result<String, DriverError> {
        self.text(|buffer, len| {
            // SAFETY: the driver writes at most `len` bytes, the closing zero included.
            unsafe { sys::cuDeviceGetName(buffer, len, device.0) }
        })
    }

    /// Such as `0000:01:00.0`.
    pub(super) fn pci_bus_id(self, device: Device) -> Result<String, DriverError> {
        self.text(|buffer, len| {
            // SAFETY: as in `name`.
            unsafe { sys::cuDeviceGetPCIBusId(buffer, len, device.0) }
        })
    }

    pub(super) fn total_bytes(self, device: Device) -> Result<u64, DriverError> {
        // SAFETY: the device comes from the driver.
        Ok(unsafe { result::device::total_mem(device.0) }? as u64)
    }

    /// Takes a share in the primary context, which is made if nobody has one. Takes some of the card's
    /// memory then.
    pub(super) fn retain(self, device: Device) -> Result<Context, Failure> {
        // SAFETY: the device comes from the driver.
        Ok(unsafe { result::primary_ctx::retain(device.0) }.map(Context)?)
    }

    /// Gives the share back. An error means that the driver is already shutting down, and nothing is left to
    /// give.
    pub(super) fn release(self, device: Device) {
        // SAFETY: called once for each `retain`, by the owner of its context.
        let _ = unsafe { result::primary_ctx::release(device.0) };
    }

    /// (free, total) bytes as this process sees them.
    pub(super) fn memory(self, context: Context) -> Result<(u64, u64), Failure> {
        let _current = Current::enter(context)?;
        let (free, total) = result::mem_get_info()?;
        Ok((free as u64, total as u64))
    }

    /// Memory on the card; `bytes` is not 0.
    pub(super) fn allocate(self, context: Context, bytes: usize) -> Result<u64, Failure> {
        let _current = Current::enter(context)?;
        // SAFETY: the address is kept until `free`, and only used within its `bytes`.
        Ok(unsafe { result::malloc_sync(bytes) }?)
    }

    pub(super) fn free(self, context: Context, address: u64) -> Result<(), Failure> {
        let _current = Current::enter(context)?;
        // SAFETY: the caller owns the allocation at this address and ends it here.
        Ok(unsafe { result::free_sync(address) }?)
    }

    /// The caller has checked that the bytes lie inside an allocation of its own.
    pub(super) fn copy_to(self, context: Context, address: u64, data: &[u8]) -> Result<(), Failure> {
        let _current = Current::enter(context)?;
        // SAFETY: the range is checked by the caller; pageable memory is read before the call returns.
        Ok(unsafe { result::memcpy_htod_sync(address, data) }?)
    }

    /// The caller has checked that the bytes lie inside an allocation of its own.
    pub(super) fn copy_from(self, context: Context, address: u64, out: &mut [u8]) -> Result<(), Failure> {
        let _current = Current::enter(context)?;
        // SAFETY: the range is checked by the caller; `out` is filled before the call returns.
        Ok(unsafe { result::memcpy_dtoh_sync(out, address) }?)
    }

    fn text(self, ask: impl FnOnce(*mut c_char, c_int) -> sys::CUresult) -> Result<String, DriverError> {
        let mut buffer = [0u8; 256];
        // The last byte stays zero whatever the driver writes.
        ask(buffer.as_mut_ptr().cast(), buffer.len() as c_int - 1).result()?;
        let end = buffer.iter().position(|&byte| byte == 0).unwrap_or(buffer.len());
        Ok(String::from_utf8_lossy(&buffer[..end]).into_owned())
    }
}

/// The first of these symbols that the library lacks. Only for a library that is there.
fn missing<'a>(symbols: &[&'a str]) -> Option<&'a str> {
    // SAFETY: the library is there, so this does not panic; it stays loaded until the process ends.
    let library = unsafe { sys::culib() };
    // SAFETY: the address is only looked up, never called through this type.
    let there = |symbol: &str| unsafe { library.get::<unsafe extern "C" fn()>(symbol.as_bytes()) }.is_ok();
    symbols.iter().copied().find(|symbol| !there(symbol))
}

/// Makes a context current on this thread, and puts back what was current before when it is dropped.
struct Current;

impl Current {
    fn enter(context: Context) -> Result<Self, DriverError> {
        // SAFETY: the context is retained for as long as the `CudaGpu` or the queue lives that has it.
        unsafe { sys::cuCtxPushCurrent_v2(context.0) }.result()?;
        Ok(Self)
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        let mut popped: sys::CUcontext = std::ptr::null_mut();
        // SAFETY: pops what `enter` pushed on this thread. There is nobody to tell of an error.
        let _ = unsafe { sys::cuCtxPopCurrent_v2(&raw mut popped) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_decides_what_can_still_be_trusted() {
        use sys::cudaError_enum as code;
        let error = |code| Failure::from(DriverError(code));
        assert_eq!(error(code::CUDA_ERROR_OUT_OF_MEMORY), Failure::OutOfMemory);
        assert_eq!(error(code::CUDA_ERROR_DEVICE_UNAVAILABLE), Failure::Lost);
        assert_eq!(error(code::CUDA_ERROR_ECC_UNCORRECTABLE), Failure::Uncorrectable);
        assert!(matches!(error(code::CUDA_ERROR_LAUNCH_FAILED), Failure::Broken(_)));
        assert!(matches!(error(code::CUDA_ERROR_ILLEGAL_ADDRESS), Failure::Broken(_)));
        assert!(matches!(error(code::CUDA_ERROR_INVALID_VALUE), Failure::Other(_)));
    }
}
