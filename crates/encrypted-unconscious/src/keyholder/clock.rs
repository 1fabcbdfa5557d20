//! The time that budgets are refilled by. Setting the clock of the machine gains nothing, or next to nothing.

use std::{
    fmt,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Most that one reboot counts for, however long the machine was off.
const MOST_ACROSS_A_REBOOT: Duration = Duration::from_hours(24);

/// A reading of the clocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// What the machine believes the time is. Anybody who administers it can set it.
    pub wall: SystemTime,
    /// Which start of the machine this is.
    pub boot_id: String,
    /// Since that start, suspended or not.
    pub since_boot: Duration,
}

/// Where moments come from.
pub trait Clock: fmt::Debug + Send + Sync {
    /// This moment.
    fn now(&self) -> Moment;
}

/// The clocks of the machine.
///
/// Where a start of the machine has no name (elsewhere than on Linux, or where `/proc` is missing), a start of the process
/// counts as one.
#[derive(Debug)]
pub struct SystemClock {
    boot_id: Option<String>,
    process: String,
    started: Instant,
}

impl SystemClock {
    /// Finds out which start of the machine this is.
    #[must_use]
    pub fn new() -> Self {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        let boot_id = boot_id.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty() && id.len() <= 64);
        let process = format!("process {} of {}", std::process::id(), millis(SystemTime::now()));
        Self { boot_id, process, started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        let wall = SystemTime::now();
        match (&self.boot_id, since_boot()) {
            (Some(boot_id), Some(since_boot)) => Moment { wall, boot_id: boot_id.clone(), since_boot },
            _ => Moment { wall, boot_id: self.process.clone(), since_boot: self.started.elapsed() },
        }
    }
}

#[cfg(target_os = "linux")]
fn since_boot() -> Option<Duration> {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).ok().map(Duration::from)
}

#[cfg(not(target_os = "linux"))]
fn since_boot() -> Option<Duration> {
    None
}

/// Since 1970; 0 for what was before.
pub(super) fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, in_millis)
}

fn in_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How far the ledger's own time has come, and by which reading. It never goes backwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stand {
    /// The ledger's own time, in milliseconds since it was begun.
    pub(super) time: u64,
    /// The wall clock, in milliseconds since 1970.
    pub(super) wall: u64,
    pub(super) boot_id: String,
    /// Milliseconds since boot.
    pub(super) since_boot: u64,
}

impl Stand {
    /// Of a ledger that begins now.
    pub(super) fn beginning(now: &Moment) -> Self {
        Self {
            time: 0,
            wall: millis(now.wall),
            boot_id: now.boot_id.clone(),
            since_boot: in_millis(now.since_boot),
        }
    }

    /// As far as it is now.
    ///
    /// Within one start of the machine, only the time since boot counts. Across a reboot it is the wall clock, but at most
    /// a day: who sets the clock and reboots gains a day for each reboot, and no more.
    pub(super) fn advance(&mut self, now: &Moment) {
        let mut next = Self::beginning(now);
        let elapsed = if next.boot_id == self.boot_id {
            // A clock that went back must first come to where it was.
            next.since_boot = next.since_boot.max(self.since_boot);
            next.since_boot - self.since_boot
        } else {
            next.wall.saturating_sub(self.wall).min(in_millis(MOST_ACROSS_A_REBOOT))
        };
        next.time = self.time.saturating_add(elapsed);
        *self = next;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A clock that tests set.
    #[derive(Debug, Clone)]
    pub(in super::super) struct SetClock(pub(in super::super) Arc<Mutex<Moment>>);

    impl SetClock {
        pub(in super::super) fn new() -> Self {
            Self(Arc::new(Mutex::new(moment(1_000_000_000, "first", 1000))))
        }

        pub(in super::super) fn change(&self, change: impl FnOnce(&mut Moment)) {
            change(&mut self.0.lock().unwrap());
        }

        pub(in super::super) fn pass(&self, time: Duration) {
            self.change(|now| {
                now.wall += time;
                now.since_boot += time;
            });
        }
    }

    impl Clock for SetClock {
        fn now(&self) -> Moment {
            self.0.lock().unwrap().clone()
        }
    }

    fn moment(wall: u64, boot_id: &str, since_boot: u64) -> Moment {
        Moment {
            wall: UNIX_EPOCH + Duration::from_millis(wall),
            boot_id: boot_id.to_owned(),
            since_boot: Duration::from_millis(since_boot),
        }
    }

    #[test]
    fn the_wall_clock_counts_only_across_a_reboot_and_for_a_day_at_most() {
        let day = 24 * 60 * 60 * 1000;
        let mut stand = Stand::beginning(&moment(50, "a", 1000));
        for (now, time) in [
            (moment(900 * day, "a", 1500), 500),
            (moment(0, "a", 1700), 700),
            (moment(10, "a", 1200), 700),
            (moment(20, "a", 1700), 700),
            (moment(20, "a", 1701), 701),
            (moment(320, "b", 5), 1001),
            (moment(300, "c", 7), 1001),
            (moment(400 * day, "d", 0), 1001 + day),
            (moment(0, "e", 0), 1001 + day),
        ] {
            stand.advance(&now);
            assert_eq!(stand.time, time, "{now:?}");
        }
    }

    #[test]
    fn the_clock_of_the_machine_goes_on() {
        let clock = SystemClock::new();
        let (before, after) = (clock.now(), clock.now());
        assert_eq!(before.boot_id, after.boot_id);
        assert!(before.since_boot <= after.since_boot);
    }
}
