//! What the driver knows about an address that somebody else in this process got from it.

use cudarc::driver::result::DriverError;
use cudarc::driver::sys::{self, CUpointer_attribute as attribute};

use super::{Context, Current, Driver, Failure, explain, missing};

/// Mapped memory comes in pieces that begin and end at a multiple of this, and one buffer may span several.
const PAGE_BYTES: u64 = 2 << 20;

/// A driver that can be asked.
#[derive(Debug, Clone, Copy)]
pub(in crate::cuda) struct Addresses {
    _asked: (),
}

/// Why an address is not what it was said to be.
#[derive(Debug)]
pub(in crate::cuda) enum Elsewhere {
    Failure(Failure),
    /// In words, which go on from "GPU 0 cannot adopt foreign memory: ".
    Reason(String),
}

impl From<DriverError> for Elsewhere {
    fn from(error: DriverError) -> Self {
        match Failure::from(error) {
            Failure::Other(error) => Self::Reason(format!("the driver does not know it: {}", explain(error))),
            failure => Self::Failure(failure),
        }
    }
}

impl From<Failure> for Elsewhere {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Driver {
    pub(in crate::cuda) fn addresses(self) -> Option<Addresses> {
        missing(&["cuPointerGetAttribute"]).is_none().then_some(Addresses { _asked: () })
    }
}

impl Addresses {
    /// Whether the range is memory of the card with this number, within one allocation, or within mappings side by side.
    /// `bytes` is not 0, and no more than the card has.
    pub(in crate::cuda) fn check(
        self,
        context: Context,
        ordinal: u32,
        address: u64,
        bytes: u64,
    ) -> Result<(), Elsewhere> {
        let _current = Current::enter(context).map_err(Failure::from)?;
        let Some(end) = address.checked_add(bytes) else {
            return Err(Elsewhere::Reason(format!("{bytes} bytes at {address:#x} go past the last address")));
        };
        let mut at = address;
        loop {
            let kind = ask(attribute::CU_POINTER_ATTRIBUTE_MEMORY_TYPE, at)?;
            if kind as u32 != sys::CUmemorytype::CU_MEMORYTYPE_DEVICE as u32 {
                return Err(Elsewhere::Reason(format!("{at:#x} is not memory of a card")));
            }
            let card = ask(attribute::CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, at)? as u32;
            if card != ordinal {
                return Err(Elsewhere::Reason(format!("{at:#x} is memory of GPU {card}")));
            }
            if ask(attribute::CU_POINTER_ATTRIBUTE_MAPPED, at) == Ok(0) {
                return Err(Elsewhere::Reason(format!("there is no memory under {at:#x} now")));
            }
            let (Ok(start), Ok(len)) = (
                ask(attribute::CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, at),
                ask(attribute::CU_POINTER_ATTRIBUTE_RANGE_SIZE, at),
            ) else {
                return Ok(()); // this driver does not tell how far it goes
            };
            let there = start.saturating_add(len);
            if end <= there {
                return Ok(());
            }
            if there <= at || there % PAGE_BYTES != 0 {
                return Err(Elsewhere::Reason(format!(
                    "{bytes} bytes at {address:#x} go past the end of their allocation, which is {there:#x}"
                )));
            }
            at = there;
        }
    }
}

/// The driver's answer, of at most eight bytes; every host that CUDA runs on is little-endian, so that shorter ones are the
/// lower part.
fn ask(attribute: attribute, address: u64) -> Result<u64, DriverError> {
    let mut answer = 0_u64;
    // SAFETY: these attributes have at most eight bytes; the address is looked up, not followed.
    unsafe { sys::cuPointerGetAttribute((&raw mut answer).cast(), attribute, address) }.result()?;
    Ok(answer)
}
