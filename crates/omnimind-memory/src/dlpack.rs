//! Tensors that come as `DLPack`: what `PyTorch`, `CuPy`, JAX, `NumPy` and others hand over without a copy. The structs of its C
//! header, and their way into an item. Whether strides and sizes make sense is decided in `layout`.
#![expect(unsafe_code, reason = "DLPack hands over C structs by pointer")]
#![expect(missing_docs, reason = "the fields are those of dlpack.h, and documented there")]

use std::{ffi::c_void, ptr::NonNull};

use softhair_compress::{DType, MAX_RANK};

use crate::{
    Error, NamedTensor, Result,
    layout::{Dense, Strides},
};

/// Where a tensor is, in the words of `DLPack`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DLDevice {
    pub device_type: i32,
    pub device_id: i32,
}

/// An element type, in the words of `DLPack`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DLDataType {
    pub code: u8,
    pub bits: u8,
    pub lanes: u16,
}

/// A tensor, in the words of `DLPack`. Strides count elements.
#[repr(C)]
#[derive(Debug)]
pub struct DLTensor {
    pub data: *mut c_void,
    pub device: DLDevice,
    pub ndim: i32,
    pub dtype: DLDataType,
    pub shape: *mut i64,
    pub strides: *mut i64,
    pub byte_offset: u64,
}

/// A tensor with what frees it: the content of a capsule named `dltensor`.
#[repr(C)]
#[derive(Debug)]
pub struct DLManagedTensor {
    pub dl_tensor: DLTensor,
    pub manager_ctx: *mut c_void,
    pub deleter: Option<unsafe extern "C" fn(*mut DLManagedTensor)>,
}

/// A version of `DLPack`. Another major version has another layout.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DLPackVersion {
    pub major: u32,
    pub minor: u32,
}

/// A tensor with what frees it, of `DLPack` 1.0 and later: the content of a capsule named `dltensor_versioned`.
#[repr(C)]
#[derive(Debug)]
pub struct DLManagedTensorVersioned {
    pub version: DLPackVersion,
    pub manager_ctx: *mut c_void,
    pub deleter: Option<unsafe extern "C" fn(*mut DLManagedTensorVersioned)>,
    pub flags: u64,
    pub dl_tensor: DLTensor,
}

/// The major version whose layout this module knows.
const MAJOR_VERSION: u32 = 1;

mod device_type {
    pub(super) const CPU: i32 = 1;
    pub(super) const CUDA: i32 = 2;
    pub(super) const CUDA_HOST: i32 = 3;
    pub(super) const CUDA_MANAGED: i32 = 13;
}

impl NamedTensor<'static> {
    /// A tensor that a framework exported with `__dlpack__()`, read where it is: on a card, in host memory, or in page-locked host
    /// memory. Takes over the struct: its deleter is called exactly once, on any thread: when the memory is durable, when the
    /// tensor is dropped, or at once if this returns an error.
    ///
    /// # Safety
    /// `tensor` is null or points to a valid struct that nobody else consumes (a capsule is renamed `used_dltensor`). Until its
    /// deleter is called, nobody writes to the tensor's memory; whatever was still being written to it is done, as it is after
    /// `__dlpack__(stream=1)` and a synchronisation of that stream. The deleter may be called on any thread.
    ///
    /// # Errors
    /// [`Error::Foreign`] for a tensor that is not dense and row-major, of a type or on a device that is not supported, or
    /// whose numbers make no sense.
    pub unsafe fn from_dlpack(name: impl Into<String>, tensor: *mut DLManagedTensor) -> Result<Self> {
        let name = name.into();
        let Some(managed) = NonNull::new(tensor) else { return Err(refused(&name, "it is null")) };
        let owner = Managed::Plain(managed);
        // SAFETY: the caller promised a valid struct, and `owner` keeps it so.
        let described = unsafe { Described::of(&(*managed.as_ptr()).dl_tensor) };
        take(name, described, owner)
    }

    /// As [`Self::from_dlpack`], for the struct of `DLPack` 1.0 and later. Tensors that are marked read-only are fine: they
    /// are only read.
    ///
    /// # Safety
    /// As [`Self::from_dlpack`].
    ///
    /// # Errors
    /// As [`Self::from_dlpack`], and for another major version than 1.
    pub unsafe fn from_dlpack_versioned(
        name: impl Into<String>,
        tensor: *mut DLManagedTensorVersioned,
    ) -> Result<Self> {
        let name = name.into();
        let Some(managed) = NonNull::new(tensor) else { return Err(refused(&name, "it is null")) };
        let owner = Managed::Versioned(managed);
        // SAFETY: the caller promised a valid struct; where the version is does not change with the version.
        let version = unsafe { (*managed.as_ptr()).version };
        if version.major != MAJOR_VERSION {
            let reason = format!(
                "it is of DLPack {}.{}, and only {MAJOR_VERSION}.x is known; ask for `max_version=({MAJOR_VERSION}, 0)`",
                version.major, version.minor
            );
            return Err(refused(&name, reason));
        }
        // SAFETY: as above, and of this version the layout is known.
        let described = unsafe { Described::of(&(*managed.as_ptr()).dl_tensor) };
        take(name, described, owner)
    }
}

fn take(name: String, described: Result<Described, String>, owner: Managed) -> Result<NamedTensor<'static>> {
    match described.and_then(|described| described.check()) {
        Ok((dense, device)) => Ok(NamedTensor::foreign(name, dense, device, owner)),
        Err(reason) => Err(refused(&name, reason)),
    }
}

fn refused(tensor: &str, reason: impl Into<String>) -> Error {
    Error::Foreign { tensor: tensor.to_owned(), reason: reason.into() }
}

/// What frees the tensor of a framework: dropping it calls the deleter, once.
enum Managed {
    Plain(NonNull<DLManagedTensor>),
    Versioned(NonNull<DLManagedTensorVersioned>),
}

// SAFETY: nothing of the struct is touched but by dropping, and whoever handed it over allowed that on any thread.
unsafe impl Send for Managed {}

impl Drop for Managed {
    fn drop(&mut self) {
        // SAFETY: the struct is valid until its deleter is called, which only happens here; one without a deleter is static.
        unsafe {
            match *self {
                Self::Plain(managed) => {
                    if let Some(deleter) = (*managed.as_ptr()).deleter {
                        deleter(managed.as_ptr());
                    }
                }
                Self::Versioned(managed) => {
                    if let Some(deleter) = (*managed.as_ptr()).deleter {
                        deleter(managed.as_ptr());
                    }
                }
            }
        }
    }
}

/// What a struct says, copied out of it.
#[derive(Debug, Clone)]
struct Described {
    address: u64,
    device: DLDevice,
    dtype: DLDataType,
    shape: Vec<i64>,
    strides: Option<Vec<i64>>,
    byte_offset: u64,
}

impl Described {
    /// Reads shape and strides, of at most [`MAX_RANK`] dimensions.
    ///
    /// # Safety
    /// Where `shape` and `strides` are not null they point to `ndim` numbers.
    unsafe fn of(tensor: &DLTensor) -> Result<Self, String> {
        let rank = usize::try_from(tensor.ndim).ok().filter(|&rank| rank <= MAX_RANK);
        let Some(rank) = rank else {
            return Err(format!("it has {} dimensions; 0 to {MAX_RANK} are supported", tensor.ndim));
        };
        // SAFETY: promised by the caller.
        let (shape, strides) = unsafe { (numbers(tensor.shape, rank), numbers(tensor.strides, rank)) };
        Ok(Self {
            address: tensor.data as u64,
            device: tensor.device,
            dtype: tensor.dtype,
            shape: shape.ok_or("its shape is null")?,
            strides,
            byte_offset: tensor.byte_offset,
        })
    }

    /// The tensor, and the card it is on.
    fn check(&self) -> Result<(Dense, Option<u32>), String> {
        let dtype = self.dtype.dtype()?;
        let device = self.device.card()?;
        let strides = self.strides.as_deref().map(|steps| Strides { steps, unit_bytes: dtype.size_bytes() });
        Ok((Dense::check(dtype, &self.shape, strides, self.address, self.byte_offset)?, device))
    }
}

/// # Safety
/// `from` is null or points to `count` numbers.
unsafe fn numbers(from: *const i64, count: usize) -> Option<Vec<i64>> {
    if count == 0 {
        return Some(Vec::new());
    }
    // SAFETY: promised by the caller; `count` is a rank, and small.
    NonNull::new(from.cast_mut())
        .map(|from| unsafe { std::slice::from_raw_parts(from.as_ptr(), count) }.to_vec())
}

impl DLDataType {
    fn dtype(self) -> Result<DType, String> {
        let Self { code, bits, lanes } = self;
        if lanes != 1 {
            return Err(format!(
                "its elements are vectors of {lanes} lanes; give them a dimension of their own"
            ));
        }
        // Codes of DLPack: 0 signed, 1 unsigned, 2 float, 4 bfloat, 6 boolean.
        Ok(match (code, bits) {
            (0, 8) => DType::I8,
            (0, 16) => DType::I16,
            (0, 32) => DType::I32,
            (0, 64) => DType::I64,
            (1, 8) => DType::U8,
            (1, 16) => DType::U16,
            (1, 32) => DType::U32,
            (1, 64) => DType::U64,
            (2, 16) => DType::F16,
            (2, 32) => DType::F32,
            (2, 64) => DType::F64,
            (4, 16) => DType::BF16,
            (6, 8) => DType::Bool,
            (5, bits) => {
                return Err(format!(
                    "complex elements of {bits} bits are not supported; view them as real with one more dimension"
                ));
            }
            (code, bits) => {
                return Err(format!(
                    "elements of DLPack type {code} with {bits} bits are not supported; view them as integers of that width, \
                     or convert them"
                ));
            }
        })
    }
}

impl DLDevice {
    /// The index of the card; none for memory that the host can read.
    fn card(self) -> Result<Option<u32>, String> {
        match self.device_type {
            device_type::CPU | device_type::CUDA_HOST => Ok(None),
            device_type::CUDA => match u32::try_from(self.device_id) {
                Ok(device) => Ok(Some(device)),
                Err(_) => Err(format!("there is no card number {}", self.device_id)),
            },
            // The driver moves its pages between card and host by itself: they may hold no memory of the card at all.
            device_type::CUDA_MANAGED => {
                Err("it is in managed memory, which leaves the card by itself; copy it to the card or to the host".to_owned())
            }
            other => Err(format!(
                "it is on a device of DLPack type {other}, and only CUDA (2) and the host (1, 3) are supported; copy it to the host"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::{prelude::*, sample::select};

    use super::*;
    use crate::TensorData;

    /// A struct whose deleter counts into it. Leaked: it stays readable after its deleter was called.
    struct Export {
        managed: DLManagedTensor,
        shape: Vec<i64>,
        strides: Vec<i64>,
        deleted: AtomicUsize,
    }

    unsafe extern "C" fn count(tensor: *mut DLManagedTensor) {
        // SAFETY: `export` points `manager_ctx` to an export that lives for ever.
        let export = unsafe { &*(*tensor).manager_ctx.cast::<Export>() };
        export.deleted.fetch_add(1, Ordering::SeqCst);
    }

    fn export(device: (i32, i32), dtype: (u8, u8, u16), ndim: i32, data: *mut c_void) -> &'static mut Export {
        let (device_type, device_id) = device;
        let (code, bits, lanes) = dtype;
        let dl_tensor = DLTensor {
            data,
            device: DLDevice { device_type, device_id },
            ndim,
            dtype: DLDataType { code, bits, lanes },
            shape: std::ptr::null_mut(),
            strides: std::ptr::null_mut(),
            byte_offset: 0,
        };
        let managed = DLManagedTensor { dl_tensor, manager_ctx: std::ptr::null_mut(), deleter: Some(count) };
        let export = Box::leak(Box::new(Export {
            managed,
            shape: vec![2; 64],
            strides: vec![],
            deleted: AtomicUsize::new(0),
        }));
        export.managed.dl_tensor.shape = export.shape.as_mut_ptr();
        export.managed.manager_ctx = std::ptr::from_mut(export).cast();
        export
    }

    fn deleted(export: &Export) -> usize {
        export.deleted.load(Ordering::SeqCst)
    }

    #[test]
    fn host_memory_is_read_where_it_is_and_its_deleter_called_once() {
        let mut values = [1.5_f32, -2.0, 3.25, 0.0];
        let export = export((1, 0), (2, 32, 1), 2, values.as_mut_ptr().cast());
        // SAFETY: a valid struct over memory that outlives the tensor.
        let tensor = unsafe { NamedTensor::from_dlpack("w", &raw mut export.managed) }.unwrap();
        assert_eq!((tensor.dtype, tensor.shape.as_slice()), (DType::F32, &[2, 2][..]));
        let TensorData::Borrowed(borrowed) = &tensor.data else { panic!("{tensor:?}") };
        let expected: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(borrowed.host_bytes(), Some(expected.as_slice()));
        assert_eq!(deleted(export), 0);
        drop(tensor);
        assert_eq!(deleted(export), 1);
    }

    #[test]
    fn a_refused_struct_is_deleted_at_once_and_says_why() {
        let mut byte = 0_u8;
        for (device, dtype, ndim, reason) in [
            ((1, 0), (2, 32, 4), 1, "lanes"),
            ((1, 0), (5, 64, 1), 1, "complex"),
            ((1, 0), (7, 8, 1), 1, "type 7 with 8 bits"),
            ((1, 0), (2, 32, 1), -1, "-1 dimensions"),
            ((1, 0), (2, 32, 1), 33, "33 dimensions"),
            ((2, -1), (2, 32, 1), 1, "number -1"),
            ((13, 0), (2, 32, 1), 1, "managed"),
            ((10, 0), (2, 32, 1), 1, "type 10"),
        ] {
            let export = export(device, dtype, ndim, (&raw mut byte).cast());
            // SAFETY: a valid struct; it is refused before its data is read.
            let error = unsafe { NamedTensor::from_dlpack("w", &raw mut export.managed) }.unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
            assert_eq!(deleted(export), 1, "{reason}");
        }
    }

    #[test]
    fn strides_that_are_not_row_major_are_refused_and_those_of_nobody_are_not() {
        let mut values = [0_u16; 8];
        for (shape, strides, good) in [
            (vec![2, 3], vec![3, 1], true),
            (vec![2, 3], vec![1, 2], false),
            (vec![2, 1], vec![1, 77], true),
            (vec![0, 3], vec![9, 9], true),
            (vec![3], vec![0], false),
        ] {
            let export = export((2, 3), (4, 16, 1), shape.len() as i32, values.as_mut_ptr().cast());
            (export.shape, export.strides) = (shape, strides);
            export.managed.dl_tensor.shape = export.shape.as_mut_ptr();
            export.managed.dl_tensor.strides = export.strides.as_mut_ptr();
            // SAFETY: a valid struct; nobody reads the card.
            let tensor = unsafe { NamedTensor::from_dlpack("w", &raw mut export.managed) };
            assert_eq!(tensor.is_ok(), good, "{:?} {:?}", export.shape, export.strides);
            if let Ok(NamedTensor { data: TensorData::Borrowed(borrowed), .. }) = &tensor {
                assert_eq!(borrowed.device(), Some(3));
            }
            drop(tensor);
            assert_eq!(deleted(export), 1);
        }
    }

    #[test]
    fn another_major_version_is_refused_without_a_look_at_what_it_says() {
        static DELETED: AtomicUsize = AtomicUsize::new(0);
        unsafe extern "C" fn count(_: *mut DLManagedTensorVersioned) {
            DELETED.fetch_add(1, Ordering::SeqCst);
        }
        let mut extent = 4_i64;
        let mut bytes = [1_u8, 2, 3, 4];
        let mut versioned = DLManagedTensorVersioned {
            version: DLPackVersion { major: 2, minor: 0 },
            manager_ctx: std::ptr::null_mut(),
            deleter: Some(count),
            flags: 1,
            dl_tensor: DLTensor {
                data: bytes.as_mut_ptr().cast(),
                device: DLDevice { device_type: 1, device_id: 0 },
                ndim: 1,
                dtype: DLDataType { code: 1, bits: 8, lanes: 1 },
                shape: &raw mut extent,
                strides: std::ptr::null_mut(),
                byte_offset: 0,
            },
        };
        // SAFETY: a struct that outlives the tensor.
        let error = unsafe { NamedTensor::from_dlpack_versioned("w", &raw mut versioned) }.unwrap_err();
        assert!(error.to_string().contains("DLPack 2.0"), "{error}");
        assert_eq!(DELETED.load(Ordering::SeqCst), 1);

        versioned.version = DLPackVersion { major: 1, minor: 1 };
        // SAFETY: as above; the deleter does nothing to it.
        let tensor = unsafe { NamedTensor::from_dlpack_versioned("w", &raw mut versioned) }.unwrap();
        let TensorData::Borrowed(borrowed) = tensor.data else { panic!("not borrowed") };
        assert_eq!(borrowed.host_bytes(), Some(&bytes[..]));
        drop(borrowed.into_owner());
        assert_eq!(DELETED.load(Ordering::SeqCst), 2);
        // SAFETY: null is refused.
        assert!(unsafe { NamedTensor::from_dlpack("w", std::ptr::null_mut()) }.is_err());
    }

    proptest! {
        #[test]
        fn whatever_a_struct_says_is_taken_or_refused(
            address in any::<u64>(),
            (device_type, device_id) in (select(vec![1, 2, 3, 13, 99]), any::<i32>()),
            (code, bits, lanes) in (0..9_u8, select(vec![0_u8, 4, 8, 16, 32, 64]), 0..3_u16),
            shape in prop::collection::vec(prop_oneof![any::<i64>(), 0..9_i64], 0..6),
            strides in prop::option::of(prop::collection::vec(any::<i64>(), 0..6)),
            byte_offset in any::<u64>(),
        ) {
            let described = Described {
                address,
                device: DLDevice { device_type, device_id },
                dtype: DLDataType { code, bits, lanes },
                shape,
                strides,
                byte_offset,
            };
            match described.check() {
                Ok((dense, _)) => prop_assert!(dense.bytes == 0 || dense.address >= described.address),
                Err(reason) => prop_assert!(!reason.is_empty()),
            }
        }
    }
}
