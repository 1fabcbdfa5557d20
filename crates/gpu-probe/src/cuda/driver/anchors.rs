//! Addresses apart from the memory under them: CUDA's virtual memory management, which drivers have since CUDA 10.2 and
//! which not every card supports.

use cudarc::driver::sys;

use super::{Context, Current, Device, Driver, Failure, missing};

const SYMBOLS: [&str; 10] = [
    "cuDeviceGetAttribute",
    "cuCtxSynchronize",
    "cuMemGetAllocationGranularity",
    "cuMemAddressReserve",
    "cuMemAddressFree",
    "cuMemCreate",
    "cuMemRelease",
    "cuMemMap",
    "cuMemUnmap",
    "cuMemSetAccess",
];

/// A driver and a card that can do it.
#[derive(Debug, Clone, Copy)]
pub(in crate::cuda) struct Anchors {
    device: Device,
}

impl Driver {
    /// Whether addresses can be kept without memory, or why not.
    pub(in crate::cuda) fn anchors(self, device: Device) -> Result<Anchors, String> {
        if let Some(symbol) = missing(&SYMBOLS) {
            return Err(format!("this CUDA driver has no {symbol}; update it, or allocate ordinary memory"));
        }
        let attribute = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED;
        let mut supported = 0;
        // SAFETY: writes one integer; the device comes from the driver.
        let asked = unsafe { sys::cuDeviceGetAttribute(&raw mut supported, attribute, device.0) };
        if asked.result().is_ok() && supported != 0 {
            Ok(Anchors { device })
        } else {
            Err("the card, or the mode it runs in, has no virtual memory management; allocate ordinary memory".into())
        }
    }
}

impl Anchors {
    /// The pages that memory is taken in, in bytes.
    pub(in crate::cuda) fn page_bytes(self, context: Context) -> Result<usize, Failure> {
        let _current = Current::enter(context)?;
        let option = sys::CUmemAllocationGranularity_flags::CU_MEM_ALLOC_GRANULARITY_RECOMMENDED;
        let (properties, mut bytes) = (self.properties(), 0);
        // SAFETY: reads the properties, and writes one integer.
        unsafe { sys::cuMemGetAllocationGranularity(&raw mut bytes, &raw const properties, option) }
            .result()?;
        Ok(bytes.max(1))
    }

    /// An address for `bytes` bytes, whole pages, that nobody else gets; without memory.
    pub(in crate::cuda) fn reserve(self, context: Context, bytes: usize) -> Result<u64, Failure> {
        let _current = Current::enter(context)?;
        let mut address = 0;
        // SAFETY: writes one address. Alignment and wish are the driver's to choose.
        unsafe { sys::cuMemAddressReserve(&raw mut address, bytes, 0, 0, 0) }.result()?;
        Ok(address)
    }

    /// Gives the address up. There is no memory under it.
    pub(in crate::cuda) fn give_up(
        self,
        context: Context,
        address: u64,
        bytes: usize,
    ) -> Result<(), Failure> {
        let _current = Current::enter(context)?;
        // SAFETY: exactly what `reserve` gave, and the caller uses it no more.
        Ok(unsafe { sys::cuMemAddressFree(address, bytes) }.result()?)
    }

    /// Puts memory under a reserved address. What was taken before a step that fails is given back.
    ///
    /// The handle of the memory is released at once: from then on the mapping alone keeps the memory, so that unmapping is
    /// one step, which either happened or did not.
    pub(in crate::cuda) fn occupy(self, context: Context, address: u64, bytes: usize) -> Result<(), Failure> {
        let _current = Current::enter(context)?;
        let (properties, mut handle) = (self.properties(), 0);
        // SAFETY: reads the properties, and writes one handle.
        unsafe { sys::cuMemCreate(&raw mut handle, bytes, &raw const properties, 0) }.result()?;
        // SAFETY: address and size are a whole reservation that is vacant; the handle is of that size.
        let mapped = unsafe { sys::cuMemMap(address, bytes, 0, handle, 0) }.result();
        // SAFETY: the handle is used no more.
        let released = unsafe { sys::cuMemRelease(handle) }.result();
        mapped?;
        let access = sys::CUmemAccessDesc {
            location: self.location(),
            flags: sys::CUmemAccess_flags::CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
        };
        let opened = released.and_then(|()| {
            // SAFETY: the range was mapped above; one description is read.
            unsafe { sys::cuMemSetAccess(address, bytes, &raw const access, 1) }.result()
        });
        if let Err(error) = opened {
            // SAFETY: exactly what was mapped above. There is nobody to tell of a second error.
            let _ = unsafe { sys::cuMemUnmap(address, bytes) };
            return Err(error.into());
        }
        Ok(())
    }

    /// Waits for everything on the card that may still use the memory, and gives it back; the address stays.
    pub(in crate::cuda) fn vacate(self, context: Context, address: u64, bytes: usize) -> Result<(), Failure> {
        let _current = Current::enter(context)?;
        // SAFETY: takes nothing and gives nothing.
        unsafe { sys::cuCtxSynchronize() }.result()?;
        // SAFETY: exactly what `occupy` mapped; the caller lets nobody copy meanwhile.
        Ok(unsafe { sys::cuMemUnmap(address, bytes) }.result()?)
    }

    fn location(self) -> sys::CUmemLocation {
        sys::CUmemLocation {
            type_: sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE,
            __bindgen_anon_1: sys::CUmemLocation_st__bindgen_ty_1 { id: self.device.0 },
        }
    }

    /// Memory of the card, to be used by this process alone.
    fn properties(self) -> sys::CUmemAllocationProp {
        sys::CUmemAllocationProp {
            type_: sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED,
            requestedHandleTypes: sys::CUmemAllocationHandleType::CU_MEM_HANDLE_TYPE_NONE,
            location: self.location(),
            win32HandleMetaData: std::ptr::null_mut(),
            allocFlags: sys::CUmemAllocationProp_st__bindgen_ty_1 {
                compressionType: 0,
                gpuDirectRDMACapable: 0,
                usage: 0,
                reserved: [0; 4],
            },
        }
    }
}
