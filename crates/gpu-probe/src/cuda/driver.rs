//! The CUDA driver: the only place in this crate with `unsafe`. Every function here is one or two driver
//! calls.
//!
//! `cudarc` looks each symbol up when it is first called and panics where it is missing. So [`Driver::load`]
//! looks up the library and every symbol that this module calls before the first call, and a [`Driver`]
//! exists only where all are there.
#![allow(unsafe_code)] // calls into a C library
#![allow(clippy::unused_self)] // `&self` is the proof that the library is loaded, complete and initialised

use std::ffi::{CStr, c_char, c_int};

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;

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
    Lost,
    Other(DriverError),
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        use sys::cudaError_enum as code;
        match error.0 {
            code::CUDA_ERROR_OUT_OF_MEMORY => Self::OutOfMemory,
            code::CUDA_ERROR_DEVICE_UNAVAILABLE | code::CUDA_ERROR_ECC_UNCORRECTABLE => Self::Lost,
            _ => Self::Other(error),
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

/// A driver that is loaded, complete and initialised.
#[derive(Debug)]
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
        // SAFETY: the library is there, so this does not panic; it stays loaded until the process ends.
        let library = unsafe { sys::culib() };
        for symbol in SYMBOLS {
            // SAFETY: the address is only looked up, never called through this type.
            if unsafe { library.get::<unsafe extern "C" fn()>(symbol.as_bytes()) }.is_err() {
                return Err(format!(
                    "the CUDA driver is too old or not NVIDIA's: it has no {symbol}; install driver 470 or newer"
                ));
            }
        }
        result::init().map_err(|error| format!("the CUDA driver does not start: {}", explain(error)))?;
        Ok(Self { _loaded: () })
    }

    /// The newest CUDA version that the driver runs, such as `12.8`.
    pub(super) fn version(&self) -> Option<String> {
        let mut version: c_int = 0;
        // SAFETY: writes one integer.
        unsafe { sys::cuDriverGetVersion(&raw mut version) }.result().ok()?;
        Some(format!("{}.{}", version / 1000, version % 1000 / 10))
    }

    pub(super) fn devices(&self) -> Result<Vec<Device>, DriverError> {
        (0..result::device::get_count()?).map(|ordinal| result::device::get(ordinal).map(Device)).collect()
    }

    pub(super) fn name(&self, device: Device) -> Result<String, DriverError> {
        self.text(|buffer, len| {
            // SAFETY: the driver writes at most `len` bytes, the closing zero included.
            unsafe { sys::cuDeviceGetName(buffer, len, device.0) }
        })
    }

    /// Such as `0000:01:00.0`.
    pub(super) fn pci_bus_id(&self, device: Device) -> Result<String, DriverError> {
        self.text(|buffer, len| {
            // SAFETY: as in `name`.
            unsafe { sys::cuDeviceGetPCIBusId(buffer, len, device.0) }
        })
    }

    pub(super) fn total_bytes(&self, device: Device) -> Result<u64, DriverError> {
        // SAFETY: the device comes from the driver.
        Ok(unsafe { result::device::total_mem(device.0) }? as u64)
    }

    /// Takes a share in the primary context, which is made if nobody has one. Takes some of the card's
    /// memory then.
    pub(super) fn retain(&self, device: Device) -> Result<Context, Failure> {
        // SAFETY: the device comes from the driver.
        Ok(unsafe { result::primary_ctx::retain(device.0) }.map(Context)?)
    }

    /// Gives the share back. An error means that the driver is already shutting down, and nothing is left to
    /// give.
    pub(super) fn release(&self, device: Device) {
        // SAFETY: called once for each `retain`, by the owner of its context.
        let _ = unsafe { result::primary_ctx::release(device.0) };
    }

    /// (free, total) bytes as this process sees them.
    pub(super) fn memory(&self, context: Context) -> Result<(u64, u64), Failure> {
        let _current = Current::enter(context)?;
        let (free, total) = result::mem_get_info()?;
        Ok((free as u64, total as u64))
    }

    /// Memory on the card; `bytes` is not 0.
    pub(super) fn allocate(&self, context: Context, bytes: usize) -> Result<u64, Failure> {
        let _current = Current::enter(context)?;
        // SAFETY: the address is kept until `free`, and only used within its `bytes`.
        Ok(unsafe { result::malloc_sync(bytes) }?)
    }

    pub(super) fn free(&self, context: Context, address: u64) -> Result<(), Failure> {
        let _current = Current::enter(context)?;
        // SAFETY: the caller owns the allocation at this address and ends it here.
        Ok(unsafe { result::free_sync(address) }?)
    }

    /// The caller has checked that the bytes lie inside an allocation of its own.
    pub(super) fn copy_to(&self, context: Context, address: u64, data: &[u8]) -> Result<(), Failure> {
        let _current = Current::enter(context)?;
        // SAFETY: the range is checked by the caller; pageable memory is read before the call returns.
        Ok(unsafe { result::memcpy_htod_sync(address, data) }?)
    }

    /// The caller has checked that the bytes lie inside an allocation of its own.
    pub(super) fn copy_from(&self, context: Context, address: u64, out: &mut [u8]) -> Result<(), Failure> {
        let _current = Current::enter(context)?;
        // SAFETY: the range is checked by the caller; `out` is filled before the call returns.
        Ok(unsafe { result::memcpy_dtoh_sync(out, address) }?)
    }

    fn text(&self, ask: impl FnOnce(*mut c_char, c_int) -> sys::CUresult) -> Result<String, DriverError> {
        let mut buffer = [0u8; 256];
        // The last byte stays zero whatever the driver writes.
        ask(buffer.as_mut_ptr().cast(), buffer.len() as c_int - 1).result()?;
        let end = buffer.iter().position(|&byte| byte == 0).unwrap_or(buffer.len());
        Ok(String::from_utf8_lossy(&buffer[..end]).into_owned())
    }
}

/// Makes a context current on this thread, and puts back what was current before when it is dropped.
struct Current;

impl Current {
    fn enter(context: Context) -> Result<Self, DriverError> {
        // SAFETY: the context is retained for as long as its `CudaGpu` lives.
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
