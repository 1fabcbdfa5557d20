//! What was seen of each card, and when. Looks when it is told to; [`Sampler`](super::Sampler) tells it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::ring::Ring;
use crate::error::Result;
use crate::info::{DeviceInfo, GpuProcess, MemoryInfo};
use crate::probe::GpuProbe;

/// One look at one card.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// When, counted from when recording began.
    pub at: Duration,
    /// What was seen, or why nothing was.
    pub seen: std::result::Result<Reading, Arc<str>>,
}

impl Sample {
    /// A look that saw something.
    #[must_use]
    pub fn new(at: Duration, reading: Reading) -> Self {
        Self { at, seen: Ok(reading) }
    }

    /// A look that saw nothing, and why.
    pub fn gap(at: Duration, reason: impl Into<Arc<str>>) -> Self {
        Self { at, seen: Err(reason.into()) }
    }

    /// What was seen, unless this is a gap.
    #[must_use]
    pub fn reading(&self) -> Option<&Reading> {
        self.seen.as_ref().ok()
    }

    /// When, and the share in use, for a [`Trend`](crate::forecast::Trend); `None` for a gap.
    #[must_use]
    pub fn used_fraction(&self) -> Option<(Duration, f64)> {
        Some((self.at, self.reading()?.memory.used_fraction()))
    }
}

/// What was seen of a card. All but its memory may be as old as [`SamplerConfig::details_every`](super::SamplerConfig).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reading {
    /// How full it was.
    pub memory: MemoryInfo,
    /// Bytes that other processes held, where the driver tells.
    pub others_bytes: Option<u64>,
    /// Load in percent.
    pub utilisation_percent: Option<u32>,
    /// Temperature in degrees Celsius.
    pub temperature_celsius: Option<u32>,
    /// Power in milliwatts.
    pub power_milliwatts: Option<u32>,
    /// Sent over PCI Express, in bytes per second.
    pub pcie_sent_bytes_per_second: Option<u64>,
    /// Received over PCI Express, in bytes per second.
    pub pcie_received_bytes_per_second: Option<u64>,
}

impl Reading {
    /// A card of which only the memory is known.
    #[must_use]
    pub fn new(memory: MemoryInfo) -> Self {
        Self {
            memory,
            others_bytes: None,
            utilisation_percent: None,
            temperature_celsius: None,
            power_milliwatts: None,
            pcie_sent_bytes_per_second: None,
            pcie_received_bytes_per_second: None,
        }
    }
}

/// A process that holds more of a card than when it was first seen on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Growth {
    /// Its number.
    pub pid: u32,
    /// Its name, where it is known.
    pub name: Option<String>,
    /// Bytes that it held when it was first seen.
    pub before_bytes: u64,
    /// Bytes that it holds now.
    pub now_bytes: u64,
}

impl Growth {
    /// What it took since, in bytes.
    #[must_use]
    pub fn more_bytes(&self) -> u64 {
        self.now_bytes.saturating_sub(self.before_bytes)
    }
}

/// Samples of each card in memory that is taken once. Two kinds of look: [`sample`](Self::sample) is quick and asks for memory
/// only, [`look_closer`](Self::look_closer) asks for everything else, which may take a real card some 40 ms.
///
/// ```
/// use std::sync::Arc;
/// use gpu_probe::{Recorder, SimulatedGpu};
///
/// let gpu = Arc::new(SimulatedGpu::new(1000 << 20));
/// let recorder = Recorder::new(gpu.clone(), 100)?;
/// recorder.sample();
/// gpu.add_process(0, 4242, "python", 250 << 20)?;
/// recorder.look_closer();
/// recorder.sample();
/// let used: Vec<f64> = recorder.history(0).iter().map(|sample| sample.used_fraction().unwrap().1).collect();
/// assert_eq!(used, [0.0, 0.25]);
/// # Ok::<(), gpu_probe::Error>(())
/// ```
#[derive(Debug)]
pub struct Recorder {
    probe: Arc<dyn GpuProbe>,
    began: Instant,
    cards: Vec<Card>,
}

#[derive(Debug)]
struct Card {
    device: u32,
    samples: Mutex<Ring<Sample>>,
    details: Mutex<Details>,
}

/// What the last closer look gave.
#[derive(Debug)]
struct Details {
    info: DeviceInfo,
    /// None where the driver does not tell.
    processes: Option<Vec<GpuProcess>>,
    /// What each process of others held when it was first seen.
    first_seen: BTreeMap<u32, u64>,
}

/// A panic elsewhere leaves whole what these guard.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorder {
    /// For the cards there are now; none is fine. Keeps the last `capacity` samples of each, at least one.
    ///
    /// # Errors
    /// As [`GpuProbe::devices`].
    pub fn new(probe: Arc<dyn GpuProbe>, capacity: usize) -> Result<Self> {
        let cards = probe.devices()?.into_iter().map(|info| Card {
            device: info.index,
            samples: Mutex::new(Ring::new(capacity)),
            details: Mutex::new(Details { info, processes: None, first_seen: BTreeMap::new() }),
        });
        let cards = cards.collect();
        let recorder = Self { probe, began: Instant::now(), cards };
        recorder.look_at_processes();
        Ok(recorder)
    }

    /// Takes one sample of each card. A card that does not answer leaves a gap with the reason.
    pub fn sample(&self) {
        for card in &self.cards {
            let seen = self.probe.memory(card.device);
            let at = self.began.elapsed();
            let sample = match seen {
                Ok(memory) => Sample::new(at, lock(&card.details).reading(memory)),
                Err(error) => Sample::gap(at, card.same_reason(&error.to_string())),
            };
            lock(&card.samples).push(sample);
        }
    }

    /// Asks for load, temperature, power, PCI Express and processes; what is no longer told is forgotten.
    pub fn look_closer(&self) {
        let mut infos = self.probe.devices().unwrap_or_default();
        for card in &self.cards {
            let mut details = lock(&card.details);
            match infos.iter().position(|info| info.index == card.device) {
                Some(at) => details.info = infos.swap_remove(at),
                None => details.info = without_readings(&details.info),
            }
        }
        self.look_at_processes();
    }

    fn look_at_processes(&self) {
        for card in &self.cards {
            let processes = self.probe.processes(card.device).ok();
            lock(&card.details).take(processes);
        }
    }

    /// The cards, as the last closer look saw them.
    #[must_use]
    pub fn devices(&self) -> Vec<DeviceInfo> {
        self.cards.iter().map(|card| lock(&card.details).info.clone()).collect()
    }

    /// The samples of a card, the oldest first; none of a card that was not there when recording began.
    #[must_use]
    pub fn history(&self, device: u32) -> Vec<Sample> {
        self.card(device).map_or_else(Vec::new, |card| lock(&card.samples).to_vec())
    }

    /// Who held memory of a card when it was last looked at closer; `None` where the driver does not tell.
    #[must_use]
    pub fn processes(&self, device: u32) -> Option<Vec<GpuProcess>> {
        lock(&self.card(device)?.details).processes.clone()
    }

    /// The other processes that grew since they were first seen, the one that took most first.
    #[must_use]
    pub fn growth(&self, device: u32) -> Vec<Growth> {
        self.card(device).map_or_else(Vec::new, |card| lock(&card.details).growth())
    }

    /// How long this has been recording.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    fn card(&self, device: u32) -> Option<&Card> {
        self.cards.iter().find(|card| card.device == device)
    }
}

impl Card {
    /// The reason of the sample before, if it is the same one: a card that stays lost takes no memory for it.
    fn same_reason(&self, reason: &str) -> Arc<str> {
        match lock(&self.samples).last() {
            Some(Sample { seen: Err(before), .. }) if before.as_ref() == reason => Arc::clone(before),
            _ => reason.into(),
        }
    }
}

impl Details {
    fn reading(&self, memory: MemoryInfo) -> Reading {
        Reading {
            others_bytes: self.processes.as_ref().map(|processes| {
                let own = std::process::id();
                processes.iter().filter(|process| process.pid != own).filter_map(|one| one.used_bytes).sum()
            }),
            utilisation_percent: self.info.utilisation_percent,
            temperature_celsius: self.info.temperature_celsius,
            power_milliwatts: self.info.power_milliwatts,
            pcie_sent_bytes_per_second: self.info.pcie_sent_bytes_per_second,
            pcie_received_bytes_per_second: self.info.pcie_received_bytes_per_second,
            ..Reading::new(memory)
        }
    }

    fn take(&mut self, processes: Option<Vec<GpuProcess>>) {
        let present = processes.as_deref().unwrap_or_default();
        self.first_seen.retain(|pid, _| present.iter().any(|process| process.pid == *pid));
        for process in present.iter().filter(|process| process.pid != std::process::id()) {
            if let Some(bytes) = process.used_bytes {
                self.first_seen.entry(process.pid).or_insert(bytes);
            }
        }
        self.processes = processes;
    }

    fn growth(&self) -> Vec<Growth> {
        let grown = self.processes.iter().flatten().filter_map(|process| {
            let (before_bytes, now_bytes) = (*self.first_seen.get(&process.pid)?, process.used_bytes?);
            let growth = Growth { pid: process.pid, name: process.name.clone(), before_bytes, now_bytes };
            (growth.more_bytes() > 0).then_some(growth)
        });
        let mut grown: Vec<_> = grown.collect();
        grown.sort_by_key(|growth| (u64::MAX - growth.more_bytes(), growth.pid));
        grown
    }
}

/// What a card is, without what it does.
fn without_readings(info: &DeviceInfo) -> DeviceInfo {
    DeviceInfo {
        uuid: info.uuid.clone(),
        pci_bus_id: info.pci_bus_id.clone(),
        driver_version: info.driver_version.clone(),
        cuda_version: info.cuda_version.clone(),
        ..DeviceInfo::new(info.index, info.name.clone(), info.total_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fault, SimulatedGpu};

    const MB: u64 = 1 << 20;

    fn recorded(gpu: SimulatedGpu) -> (Arc<SimulatedGpu>, Recorder) {
        let gpu = Arc::new(gpu);
        let recorder = Recorder::new(gpu.clone(), 4).unwrap();
        (gpu, recorder)
    }

    #[test]
    fn a_card_that_is_lost_leaves_a_gap_with_the_reason_and_sampling_goes_on() {
        // R28
        let (gpu, recorder) = recorded(SimulatedGpu::new(1000 * MB));
        recorder.sample();
        gpu.inject(0, Fault::DeviceLost).unwrap();
        recorder.look_closer();
        recorder.sample();
        recorder.sample();
        gpu.clear_faults(0).unwrap();
        recorder.look_closer();
        recorder.sample();
        let history = recorder.history(0);
        let seen: Vec<bool> = history.iter().map(|sample| sample.seen.is_ok()).collect();
        assert_eq!(seen, [true, false, false, true]);
        let reasons: Vec<_> = history.iter().filter_map(|sample| sample.seen.clone().err()).collect();
        assert!(reasons[0].contains("GPU 0"), "{reasons:?}");
        assert!(Arc::ptr_eq(&reasons[0], &reasons[1]), "the same reason is kept once");
        assert!(history.is_sorted_by_key(|sample| sample.at));
    }

    #[test]
    fn sensors_are_those_of_the_last_closer_look_and_are_forgotten_with_the_card() {
        let (gpu, recorder) = recorded(SimulatedGpu::new(1000 * MB));
        gpu.set_sensors(0, Some(93), Some(71)).unwrap();
        recorder.look_closer();
        recorder.sample();
        gpu.inject(0, Fault::DeviceLost).unwrap();
        recorder.look_closer();
        let reading = *recorder.history(0)[0].reading().unwrap();
        assert_eq!((reading.utilisation_percent, reading.temperature_celsius), (Some(93), Some(71)));
        let info = &recorder.devices()[0];
        assert_eq!((info.utilisation_percent, info.uuid.as_deref()), (None, Some("SIM-0")));
    }

    #[test]
    fn who_grew_is_told_by_how_much_and_who_ended_is_forgotten() {
        // R31
        let (gpu, recorder) = recorded(SimulatedGpu::new(1000 * MB));
        gpu.add_process(0, 7, "python", 100 * MB).unwrap();
        gpu.add_process(0, 8, "ollama", 50 * MB).unwrap();
        let _own = crate::DeviceMemory::allocate(&*gpu, 0, MB).unwrap();
        recorder.look_closer();
        assert_eq!(recorder.growth(0), []);
        gpu.grow_process(0, 7, 10 * MB).unwrap();
        gpu.grow_process(0, 8, 30 * MB).unwrap();
        recorder.look_closer();
        recorder.sample();
        let growth = recorder.growth(0);
        let told: Vec<_> = growth.iter().map(|one| (one.pid, one.more_bytes() / MB)).collect();
        assert_eq!(told, [(8, 30), (7, 10)]);
        assert_eq!(recorder.history(0)[0].reading().unwrap().others_bytes, Some(190 * MB));
        gpu.remove_process(0, 8).unwrap();
        recorder.look_closer();
        gpu.add_process(0, 8, "another", 300 * MB).unwrap();
        recorder.look_closer();
        assert_eq!(recorder.growth(0).len(), 1);
    }

    #[test]
    fn no_card_has_no_history_and_is_no_error() {
        let recorder = Recorder::new(Arc::new(crate::NoGpu::new("none here")), 10).unwrap();
        recorder.sample();
        recorder.look_closer();
        assert!(recorder.devices().is_empty() && recorder.history(0).is_empty());
        assert_eq!((recorder.processes(0), recorder.growth(0)), (None, vec![]));
    }
}
