//! A signal that ends the process is first noticed, so that the terminal is given back, and then followed.

use std::io;
#[cfg(unix)]
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Which signal came, if one did.
#[derive(Debug, Default)]
pub(super) struct Ending {
    #[cfg(unix)]
    signal: Arc<AtomicUsize>,
}

#[cfg(unix)]
impl Ending {
    /// From now on.
    pub(super) fn expect() -> io::Result<Self> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
        let ending = Self::default();
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            signal_hook::flag::register_usize(signal, Arc::clone(&ending.signal), signal as usize)?;
        }
        Ok(ending)
    }

    pub(super) fn is_asked_for(&self) -> bool {
        self.signal.load(Ordering::Relaxed) != 0
    }

    /// Ends the process as the signal would have done; returns if none came.
    pub(super) fn follow(&self) {
        let signal = self.signal.load(Ordering::Relaxed);
        if signal != 0 {
            drop(signal_hook::low_level::emulate_default_handler(signal as i32));
        }
    }
}

#[cfg(not(unix))]
#[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "as where there are signals")]
impl Ending {
    pub(super) fn expect() -> io::Result<Self> {
        Ok(Self::default())
    }

    pub(super) fn is_asked_for(&self) -> bool {
        false
    }

    pub(super) fn follow(&self) {}
}
