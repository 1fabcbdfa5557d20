//! A signal that ends the process is first noticed, so that the terminal is given back, and then followed. Also where the view
//! cannot notice: with a terminal that is gone, waiting for a key never ends.

use std::io;
#[cfg(unix)]
use std::sync::{
    Arc,
    atomic::{AtomicI32, Ordering},
};
#[cfg(unix)]
use std::{thread, time::Duration};

#[cfg(unix)]
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    iterator::{Handle, Signals},
    low_level::emulate_default_handler,
};

/// After this the view is not waited for any longer.
#[cfg(unix)]
const GRACE: Duration = Duration::from_millis(500);

/// Which signal came, if one did.
#[derive(Debug)]
pub(super) struct Ending {
    #[cfg(unix)]
    signal: Arc<AtomicI32>,
    #[cfg(unix)]
    signals: Handle,
}

#[cfg(unix)]
impl Ending {
    /// From now on.
    pub(super) fn expect() -> io::Result<Self> {
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
        let ending = Self { signal: Arc::default(), signals: signals.handle() };
        let came = Arc::clone(&ending.signal);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in &mut signals {
                came.store(signal, Ordering::Relaxed);
                thread::sleep(GRACE);
                drop(ratatui::try_restore());
                drop(emulate_default_handler(signal));
            }
        })?;
        Ok(ending)
    }

    pub(super) fn is_asked_for(&self) -> bool {
        self.signal.load(Ordering::Relaxed) != 0
    }

    /// Ends the process as the signal would have done; returns if none came.
    pub(super) fn follow(&self) {
        if self.is_asked_for() {
            drop(emulate_default_handler(self.signal.load(Ordering::Relaxed)));
        }
    }
}

#[cfg(unix)]
impl Drop for Ending {
    fn drop(&mut self) {
        self.signals.close();
    }
}

#[cfg(not(unix))]
#[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "as where there are signals")]
impl Ending {
    pub(super) fn expect() -> io::Result<Self> {
        Ok(Self {})
    }

    pub(super) fn is_asked_for(&self) -> bool {
        false
    }

    pub(super) fn follow(&self) {}
}
