//! What the kernel does when memory is short. A model, simpler than what it is of in ways that make the claims harder to keep:
//! what is pushed in is never swapped itself, so that all of it falls on services; protection counts only as far as the slice
//! grants it; nothing comes back from swap by itself.
//!
//! Anonymous memory alone can be swapped; the pages of programs are left out of it.

use std::path::PathBuf;
use std::time::Duration;

use super::files::{self, PAGE_BYTES};
use super::{MIB, Machine};

/// The kernel begins to swap when less is available than one part in so many: below it, it takes from its last reserves.
const RESERVE_PART: u64 = 32;
/// What it takes to write out one MiB, at 250 MiB/s.
const STALL_PER_MIB: Duration = Duration::from_millis(4);

/// What of a unit may be swapped.
struct Victim {
    unit: String,
    /// Anonymous and resident, in bytes, as far as swap is open to it.
    swappable: u64,
    /// Resident and not protected, in bytes.
    open: u64,
}

impl Machine {
    /// Somebody fills so much more memory. What does not fit although all is swapped that may be is not filled: who fills it is
    /// the first to be killed.
    pub(crate) fn press(&self, mib: u64) {
        let bytes = mib * MIB;
        if self.make_room(bytes) {
            self.move_available(-bytes.cast_signed());
            self.0.pushed_bytes.set(self.0.pushed_bytes.get() + bytes);
        } else {
            self.0.oom_kills.set(self.0.oom_kills.get() + 1);
        }
    }

    /// Gives back what was pushed in.
    pub(crate) fn ease(&self) {
        self.move_available(self.0.pushed_bytes.take().cast_signed());
    }

    /// Time passes: the averages of pressure follow what was waited meanwhile.
    pub(crate) fn pass(&self, time: Duration) {
        let path = self.roots().proc.join("uptime");
        let text = files::read(&path);
        let (up, idle) = text.split_once(' ').unwrap();
        let up: f64 = up.parse().unwrap();
        files::write(&path, &format!("{:.2} {idle}", up + time.as_secs_f64()));

        let stalled = self.0.stalled.take().min(time);
        let percent = stalled.as_secs_f64() / time.as_secs_f64() * 1e2;
        let path = self.roots().proc.join("pressure/memory");
        let lines =
            files::read(&path).lines().map(|line| settled(line, percent, time, stalled)).collect::<String>();
        files::write(&path, &lines);
    }

    /// Has so much available beyond the reserve, by swapping; whether it could.
    pub(super) fn make_room(&self, bytes: u64) -> bool {
        let meminfo = self.meminfo();
        let reserve = files::kib_line(&meminfo, "MemTotal") / RESERVE_PART;
        let need = || (bytes + reserve).saturating_sub(files::kib_line(&meminfo, "MemAvailable"));
        // First what nothing protects, then the rest.
        for of in [|victim: &Victim| victim.swappable.min(victim.open), |victim: &Victim| victim.swappable] {
            // Each is scanned by its size; what is rounded away is found in the next passes.
            while need() > 0 {
                let victims = self.victims();
                let all: u64 = victims.iter().map(of).sum();
                if all == 0 || self.swap_free() == 0 {
                    break;
                }
                let wanted = need();
                for victim in &victims {
                    let share = u128::from(wanted) * u128::from(of(victim)) / u128::from(all);
                    let share = u64::try_from(share).unwrap().next_multiple_of(PAGE_BYTES);
                    self.swap_out(
                        &victim.unit,
                        share.min(of(victim)).min(need().next_multiple_of(PAGE_BYTES)),
                    );
                }
            }
        }
        need() == 0
    }

    /// Swaps so much of a unit out, the largest processes first, as far as its limit and swap have room. How much it was.
    pub(super) fn swap_out(&self, unit: &str, bytes: u64) -> u64 {
        let mut pids = self.pids(unit);
        let rss = |pid: &u32| files::kib_line(&self.status(*pid), "RssAnon");
        pids.sort_by_key(|pid| std::cmp::Reverse(rss(pid)));
        let mut left = bytes.min(self.swap_room(unit)).min(self.swap_free());
        let before = left;
        for pid in pids {
            let moved = left.min(rss(&pid)) / PAGE_BYTES * PAGE_BYTES;
            self.move_pages(unit, pid, moved.cast_signed());
            left -= moved;
        }
        let swapped = before - left;
        let stalled = STALL_PER_MIB.mul_f64(swapped as f64 / MIB as f64);
        self.0.stalled.set(self.0.stalled.get() + stalled);
        swapped
    }

    /// Reads so much of a unit back from swap, making room for each piece by swapping others, or the same, as the kernel does.
    pub(super) fn swap_in(&self, unit: &str, bytes: u64) {
        let mut left = bytes;
        for pid in self.pids(unit) {
            let mut swapped =
                files::kib_line(&self.status(pid), "VmSwap").min(left) / PAGE_BYTES * PAGE_BYTES;
            while swapped > 0 && self.make_room(swapped.min(MIB)) {
                let piece = swapped.min(MIB);
                self.move_pages(unit, pid, -piece.cast_signed());
                swapped -= piece;
                left -= piece;
            }
        }
    }

    pub(super) fn move_available(&self, by: i64) {
        for key in ["MemAvailable", "MemFree"] {
            let now = files::kib_line(&self.meminfo(), key);
            // Free memory is less than what is available, and the rest of that is caches.
            files::set_kib_line(&self.meminfo(), key, now.saturating_add_signed(by));
        }
    }

    pub(super) fn move_swap_free(&self, by: i64) {
        files::move_kib_line(&self.meminfo(), "SwapFree", by);
    }

    fn meminfo(&self) -> PathBuf {
        self.roots().proc.join("meminfo")
    }

    fn swap_free(&self) -> u64 {
        files::kib_line(&self.meminfo(), "SwapFree")
    }

    /// Moves so many bytes of a process out of RAM, or into it if they are negative.
    fn move_pages(&self, unit: &str, pid: u32, out: i64) {
        let status = self.status(pid);
        files::move_kib_line(&status, "VmRSS", -out);
        files::move_kib_line(&status, "RssAnon", -out);
        files::move_kib_line(&status, "VmSwap", out);
        let current = self.group(unit).unwrap().join("memory.current");
        let now = files::amount(&current).unwrap();
        files::set_amount(&current, Some(now.checked_add_signed(-out).unwrap()));
        self.move_available(out);
        self.move_swap_free(-out);
    }

    /// How much more of a unit its limit lets into swap.
    fn swap_room(&self, unit: &str) -> u64 {
        let Some(group) = self.group(unit) else { return 0 };
        let most = files::amount(&group.join("memory.swap.max")).unwrap_or(u64::MAX);
        most.saturating_sub(self.swapped(unit))
    }

    fn victims(&self) -> Vec<Victim> {
        let granted = files::amount(&self.slice().join("memory.low")).unwrap_or(u64::MAX);
        let units = self.units().into_iter();
        let victims = units.map(|unit| {
            let group = self.group(&unit).unwrap();
            let low = files::amount(&group.join("memory.low")).unwrap_or(u64::MAX).min(granted);
            let current = files::amount(&group.join("memory.current")).unwrap();
            let swappable = self.sum(&unit, "RssAnon").min(self.swap_room(&unit));
            Victim { swappable, open: current.saturating_sub(low), unit }
        });
        victims.collect()
    }
}

/// A line of PSI after so much time, of which so much was waited.
fn settled(line: &str, percent: f64, time: Duration, stalled: Duration) -> String {
    let words = line.split(' ').map(|word| {
        let Some((key, value)) = word.split_once('=') else { return word.to_owned() };
        if key == "total" {
            return format!("total={}", value.parse::<u128>().unwrap() + stalled.as_micros());
        }
        let period: f64 = key.strip_prefix("avg").unwrap().parse().unwrap();
        let kept = (-time.as_secs_f64() / period).exp();
        format!("{key}={:.2}", percent + (value.parse::<f64>().unwrap() - percent) * kept)
    });
    words.collect::<Vec<_>>().join(" ") + "\n"
}
