//! Memory of this process that never leaves RAM.
//!
//! Whole pages are locked, from when they are first touched (`mlock2` with `MLOCK_ONFAULT`; on kernels that lack it at once).
//! A page that several regions share stays locked until the last of them goes. What the limit on locked memory
//! (`RLIMIT_MEMLOCK`, `LimitMEMLOCK=`) does not leave room for is not protected, and said: see [`CriticalRegion::statement`].
//!
//! Locks that other code of the process makes with `mlock` on the same pages go with the last region. A child of `fork` has none.

mod counts;
#[expect(unsafe_code, reason = "system calls, each in a function of its own")]
mod locks;

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::sync::{Mutex, PoisonError};

use nix::sys::resource::{Resource, getrlimit};

use counts::Counts;
use locks::{mlock, mlock_on_fault, munlock};

/// How many regions hold each page, in the whole process.
static HELD: Mutex<Counts> = Mutex::new(Counts::new());

/// A buffer that stays in RAM as long as this guard lives, or as much of it as could be locked.
#[derive(Debug)]
pub struct CriticalRegion<'a> {
    held: Held,
    buffer: PhantomData<&'a [u8]>,
}

impl<'a> CriticalRegion<'a> {
    /// Locks the pages that the buffer lies in, from its start as far as can be. Never fails: what is not protected is said by
    /// [`statement`](Self::statement).
    #[must_use]
    pub fn lock(buffer: &'a [u8]) -> Self {
        Self { held: Held::lock(buffer), buffer: PhantomData }
    }

    /// How much of the buffer is protected, in bytes.
    #[must_use]
    pub fn protected_bytes(&self) -> usize {
        self.held.protected_bytes()
    }

    /// How much of the buffer is not, in bytes.
    #[must_use]
    pub fn unprotected_bytes(&self) -> usize {
        self.held.unprotected_bytes()
    }

    /// What is protected, and if that is not all, why, and what to set.
    #[must_use]
    pub fn statement(&self) -> String {
        self.held.to_string()
    }
}

/// A buffer with its own lock, for those who keep both together.
///
/// Its bytes must stay where they are when it is moved, as those of `Vec<u8>`, `Box<[u8]>` and `Arc<[u8]>` do; other pages would
/// be locked otherwise.
#[derive(Debug)]
pub struct CriticalBuffer<B: AsRef<[u8]>> {
    // Before the buffer, so that it is unlocked before it is freed.
    held: Held,
    buffer: B,
}

impl<B: AsRef<[u8]>> CriticalBuffer<B> {
    /// Locks it, as [`CriticalRegion::lock`] does.
    #[must_use]
    pub fn lock(buffer: B) -> Self {
        Self { held: Held::lock(buffer.as_ref()), buffer }
    }

    /// How much of it is protected, in bytes.
    #[must_use]
    pub fn protected_bytes(&self) -> usize {
        self.held.protected_bytes()
    }

    /// How much of it is not, in bytes.
    #[must_use]
    pub fn unprotected_bytes(&self) -> usize {
        self.held.unprotected_bytes()
    }

    /// What is protected, and if that is not all, why, and what to set.
    #[must_use]
    pub fn statement(&self) -> String {
        self.held.to_string()
    }

    /// The buffer, which may leave RAM again.
    #[must_use]
    pub fn into_inner(self) -> B {
        self.buffer
    }
}

impl<B: AsRef<[u8]>> Deref for CriticalBuffer<B> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.buffer
    }
}

/// Pages that are held.
#[derive(Debug)]
struct Held {
    pages: Range<usize>,
    bytes: Range<usize>,
    /// Why the rest is not protected.
    why: Option<String>,
    /// Whether all pages were brought into RAM at once.
    at_once: bool,
}

impl Held {
    fn lock(buffer: &[u8]) -> Self {
        let start = buffer.as_ptr().addr();
        let bytes = start..start + buffer.len();
        let page = super::page_bytes() as usize;
        let wanted = if buffer.is_empty() {
            start..start
        } else {
            start / page * page..bytes.end.div_ceil(page).saturating_mul(page)
        };
        let mut held = Self { pages: wanted.start..wanted.start, bytes, why: None, at_once: false };
        let mut counts = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        for (range, count) in counts.within(&wanted) {
            if count == 0 && !held.extend(&range, page) {
                break;
            }
            held.pages.end = range.end;
        }
        counts.hold(&held.pages);
        held
    }

    /// Locks a range that nobody holds yet, or the first part of it that there is room for. Whether it is locked whole.
    fn extend(&mut self, range: &Range<usize>, page: usize) -> bool {
        let room = room_bytes().map_or(usize::MAX, |room| room as usize / page * page);
        let fits = range.start..range.end.min(range.start.saturating_add(room));
        if fits.end < range.end {
            let needed = self.bytes.len();
            self.why = Some(format!(
                "the limit on locked memory (RLIMIT_MEMLOCK) has no room for more: set LimitMEMLOCK= of the service, or \
                 `ulimit -l`, to {needed} bytes more, or to infinity"
            ));
        }
        if fits.is_empty() {
            return false;
        }
        let locked = mlock_on_fault(&fits).or_else(|error| match error.raw_os_error() {
            // Kernels before 4.4, and sandboxes that do not know the call.
            Some(libc::ENOSYS | libc::EINVAL) => {
                self.at_once = true;
                mlock(&fits)
            }
            _ => Err(error),
        });
        match locked {
            Ok(()) => self.pages.end = fits.end,
            Err(error) => {
                let limit = "set LimitMEMLOCK= of the service, or `ulimit -l`, higher";
                self.why = Some(format!("the kernel refuses to lock it: {error}; {limit}"));
                return false;
            }
        }
        fits.end == range.end
    }

    fn protected_bytes(&self) -> usize {
        self.pages.end.min(self.bytes.end).saturating_sub(self.bytes.start)
    }

    fn unprotected_bytes(&self) -> usize {
        self.bytes.len() - self.protected_bytes()
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (protected, all) = (self.protected_bytes(), self.bytes.len());
        if let Some(why) = &self.why {
            return write!(
                f,
                "{protected} of {all} bytes stay in RAM; {} may be swapped: {why}",
                all - protected
            );
        }
        let when = if self.at_once { "" } else { ", each page from when it is first touched" };
        write!(f, "all {all} bytes stay in RAM{when}")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut counts = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        for range in counts.release(&self.pages) {
            // Pages that are not there any more are not locked any more either.
            let _ = munlock(&range);
        }
    }
}

/// How much more may be locked, in bytes; `None` if there is no limit.
fn room_bytes() -> Option<u64> {
    /// From `linux/capability.h`; who has it is not limited.
    const CAP_IPC_LOCK: u64 = 1 << 14;
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let value = |key| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let effective = value("CapEff:").and_then(|bits| u64::from_str_radix(bits, 16).ok()).unwrap_or(0);
    if effective & CAP_IPC_LOCK != 0 {
        return None;
    }
    let (limit, _) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    let locked =
        value("VmLck:").and_then(|line| line.strip_suffix("kB")?.trim().parse::<u64>().ok()).unwrap_or(0);
    (limit != nix::sys::resource::RLIM_INFINITY).then(|| limit.saturating_sub(locked * 1024))
}

#[cfg(test)]
mod tests;
