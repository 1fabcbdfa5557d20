//! Two simulated cards on which others come and go, for whoever wants to see the live view, or a forecast, without a card.
//! The same at the same moment of every run.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use gpu_probe::{
    DeviceInfo, Fragmentation, GpuProbe, GpuProcess, MemoryInfo, ProcessKind, Result, SimulatedCard,
    SimulatedGpu,
};

const MB: u64 = 1 << 20;

/// Who is on the cards: when in a round of [`ROUND`] seconds somebody comes, how much is held then, and how fast that grows.
const CAST: [Actor; 5] = [
    Actor {
        device: 0,
        pid: 4242,
        comes: 0,
        begins_mb: 900,
        grows_mb: 40,
        command: "python train.py --epochs 3",
    },
    Actor { device: 0, pid: 811, comes: 0, begins_mb: 120, grows_mb: 0, command: "/usr/lib/xorg/Xorg :0" },
    Actor { device: 0, pid: 5120, comes: 20, begins_mb: 300, grows_mb: 0, command: "ollama serve" },
    Actor {
        device: 1,
        pid: 7001,
        comes: 0,
        begins_mb: 6000,
        grows_mb: 0,
        command: "jupyter-lab --no-browser",
    },
    Actor {
        device: 1,
        pid: 7350,
        comes: 30,
        begins_mb: 8000,
        grows_mb: 10,
        command: "python serve.py --model all-MiniLM-L6-v2",
    },
];
/// After so many seconds it begins anew.
const ROUND: u64 = 60;
/// It moves in steps of so many milliseconds, so that what grows does not come in crumbs.
const STEP_MS: u64 = 250;
/// Where it stands still for whoever looks only once.
const HELD: Duration = Duration::from_secs(40);

#[derive(Debug)]
struct Actor {
    device: u32,
    pid: u32,
    comes: u64,
    begins_mb: u64,
    grows_mb: u64,
    command: &'static str,
}

impl Actor {
    fn name(&self) -> &'static str {
        let program = self.command.split(' ').next().unwrap_or_default();
        program.rsplit('/').next().unwrap_or_default()
    }

    /// What it holds so many milliseconds into a round; nothing before it comes.
    fn bytes_at(&self, milliseconds: u64) -> u64 {
        let Some(there) = milliseconds.checked_sub(1000 * self.comes) else { return 0 };
        (self.begins_mb + self.grows_mb * there / 1000) * MB
    }
}

/// The two cards.
#[derive(Debug)]
pub(crate) struct Rehearsal {
    gpu: SimulatedGpu,
    /// None if time stands still.
    began: Option<Instant>,
    /// What each of the cast holds on its card now.
    held: Mutex<[u64; CAST.len()]>,
}

impl Rehearsal {
    /// Begins now.
    pub(crate) fn from_now() -> Self {
        Self::new(Some(Instant::now()))
    }

    /// Stands still somewhere in the middle.
    pub(crate) fn held() -> Self {
        Self::new(None)
    }

    fn new(began: Option<Instant>) -> Self {
        let gpu = SimulatedGpu::with_cards([
            SimulatedCard::default(),
            SimulatedCard {
                name: "Simulated GPU, large".to_owned(),
                capacity_bytes: 24 << 30,
                ..SimulatedCard::default()
            },
        ]);
        Self { gpu, began, held: Mutex::new([0; CAST.len()]) }
    }

    /// Brings the cards to the present moment.
    fn advance(&self) -> Result<()> {
        let now = self.began.map_or(HELD, |began| began.elapsed()).as_millis() as u64 % (1000 * ROUND);
        let now = now - now % STEP_MS;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // Who leaves makes room before others take it.
        for (actor, held) in CAST.iter().zip(held.iter_mut()) {
            if actor.bytes_at(now) < *held {
                self.gpu.remove_process(actor.device, actor.pid)?;
                *held = 0;
            }
        }
        for (actor, held) in CAST.iter().zip(held.iter_mut()) {
            let wanted = actor.bytes_at(now);
            match wanted - *held {
                0 => continue,
                bytes if *held == 0 => self.gpu.add_process(actor.device, actor.pid, actor.name(), bytes)?,
                bytes => self.gpu.grow_process(actor.device, actor.pid, bytes)?,
            }
            *held = wanted;
        }
        drop(held);
        for (device, watts) in [(0, 75), (1, 300)] {
            let load = load_at(now / 1000, device);
            self.gpu.set_sensors(device, Some(load), Some(38 + load / 3))?;
            self.gpu.set_power(device, Some(watts * (150 + 8 * load)), Some(watts * 1000))?;
            let traffic = u64::from(load) * 12 * MB;
            self.gpu.set_pcie(device, Some(traffic / 3), Some(traffic))?;
            self.gpu.set_pcie_link(device, Some(4), Some(16))?;
        }
        Ok(())
    }
}

/// A load that looks like work: a slow rise and a quick wave on it.
fn load_at(second: u64, device: u32) -> u32 {
    let wave = [0, 9, 15, 6, -4, -12, -7, 3][(second as usize + 3 * device as usize) % 8];
    (35 + second as i32 * 4 / 5 + wave).clamp(0, 100) as u32
}

impl GpuProbe for Rehearsal {
    fn devices(&self) -> Result<Vec<DeviceInfo>> {
        self.advance()?;
        self.gpu.devices()
    }

    fn memory(&self, device: u32) -> Result<MemoryInfo> {
        self.advance()?;
        self.gpu.memory(device)
    }

    fn processes(&self, device: u32) -> Result<Vec<GpuProcess>> {
        self.advance()?;
        let mut processes = self.gpu.processes(device)?;
        for process in &mut processes {
            if let Some(actor) = CAST.iter().find(|actor| actor.pid == process.pid) {
                process.command_line = Some(actor.command.to_owned());
                let draws = actor.name() == "Xorg";
                process.kind = Some(if draws { ProcessKind::Graphics } else { ProcessKind::Compute });
            }
        }
        Ok(processes)
    }

    fn fragmentation(&self, device: u32) -> Result<Fragmentation> {
        self.advance()?;
        self.gpu.fragmentation(device)
    }

    fn source(&self) -> &'static str {
        self.gpu.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_they_hold_always_fits_on_their_cards() {
        for second in 0..ROUND {
            for (device, capacity) in [(0, 4_090_955_776), (1, 24 << 30)] {
                let held = CAST.iter().filter(|actor| actor.device == device);
                let held: u64 = held.map(|actor| actor.bytes_at(1000 * second + 999)).sum();
                assert!(held <= capacity, "{device} at {second}: {held}");
            }
        }
    }

    #[test]
    fn who_looks_once_sees_the_same_each_time() {
        let look = || {
            let gpu = Rehearsal::held();
            (gpu.devices().unwrap(), gpu.memory(0).unwrap(), gpu.processes(0).unwrap())
        };
        assert_eq!(look(), look());
        assert_eq!(look().2.len(), 3);
    }
}
