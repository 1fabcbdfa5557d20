//! Looks at all cards again and again, and remembers what it saw: the history that a forecast and a live view are made of.
//!
//! [`Recorder`] looks when it is told to; [`Sampler`] tells it, from two threads: one for memory, which is quick, and one for
//! everything else, which a real card may answer slowly. Memory is taken when it begins, and not with each sample.

mod recorder;
mod ring;

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub use recorder::{Growth, Reading, Recorder, Sample};

use crate::error::Result;
use crate::probe::GpuProbe;

/// Nobody needs to know more often.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
/// Nobody needs to know more, and it must fit into memory: some 14 MB per card.
const MOST_SAMPLES: usize = 100_000;

/// How often to look, and how much to remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SamplerConfig {
    /// Time between two samples; less than 10 ms counts as 10 ms.
    pub every: Duration,
    /// Time between two closer looks (load, temperature, power, PCI Express, processes); less than `every` counts as `every`.
    pub details_every: Duration,
    /// How many samples of each card are kept, 1 to 100,000.
    pub capacity: usize,
}

impl Default for SamplerConfig {
    /// Once a second, for ten minutes.
    fn default() -> Self {
        Self { every: Duration::from_secs(1), details_every: Duration::from_secs(1), capacity: 600 }
    }
}

/// Samples until it is dropped.
#[derive(Debug)]
pub struct Sampler {
    recorder: Arc<Recorder>,
    stop: Arc<Stop>,
    threads: Vec<JoinHandle<()>>,
}

impl Sampler {
    /// Takes the first sample of the cards there are, and goes on in the background. No card is fine.
    ///
    /// # Errors
    /// As [`GpuProbe::devices`]: where a card was there before and does not answer now. One that is lost later leaves gaps.
    pub fn start(probe: Arc<dyn GpuProbe>, config: SamplerConfig) -> Result<Self> {
        let recorder = Arc::new(Recorder::new(probe, config.capacity.clamp(1, MOST_SAMPLES))?);
        recorder.sample();
        let every = config.every.max(SHORTEST_INTERVAL);
        let mut sampler = Self { recorder, stop: Arc::default(), threads: Vec::new() };
        if !sampler.recorder.devices().is_empty() {
            sampler.repeat("gpu-samples", every, Recorder::sample);
            sampler.repeat("gpu-details", config.details_every.max(every), Recorder::look_closer);
        }
        Ok(sampler)
    }

    /// What was seen so far.
    #[must_use]
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// The samples of a card so far, the oldest first.
    #[must_use]
    pub fn history(&self, device: u32) -> Vec<Sample> {
        self.recorder.history(device)
    }

    /// Where the system gives no thread, nothing is repeated: the history then stays as short as it is.
    fn repeat(&mut self, name: &str, every: Duration, look: fn(&Recorder)) {
        let (recorder, stop) = (Arc::clone(&self.recorder), Arc::clone(&self.stop));
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            let mut due = Instant::now();
            loop {
                due += every;
                if stop.comes_before(due) {
                    return;
                }
                look(&recorder);
                // What was missed is not made up for.
                due = due.max(Instant::now().checked_sub(every).unwrap_or(due));
            }
        });
        self.threads.extend(thread);
    }
}

impl Drop for Sampler {
    /// Waits for a look in progress, not for the next one.
    fn drop(&mut self) {
        self.stop.now();
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

/// Wakes those who wait for their next look when there will be none.
#[derive(Debug, Default)]
struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    fn now(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits until `due`, or less if it comes to an end.
    fn comes_before(&self, due: Instant) -> bool {
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if *stopped || left.is_zero() {
                return *stopped;
            }
            (stopped, _) = self.changed.wait_timeout(stopped, left).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fault, NoGpu, SimulatedGpu};

    fn until(mut seen: impl FnMut() -> bool) {
        while !seen() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn it_samples_by_itself_through_the_loss_of_a_card_until_it_is_dropped() {
        // R28
        let gpu = Arc::new(SimulatedGpu::default());
        let config = SamplerConfig { every: Duration::ZERO, details_every: Duration::ZERO, capacity: 10_000 };
        let sampler = Sampler::start(gpu.clone(), config).unwrap();
        until(|| sampler.history(0).len() > 2);
        gpu.inject(0, Fault::DeviceLost).unwrap();
        until(|| sampler.history(0).iter().any(|sample| sample.seen.is_err()));
        gpu.clear_faults(0).unwrap();
        gpu.set_sensors(0, Some(77), None).unwrap();
        until(|| {
            let last = sampler.history(0).pop().unwrap();
            last.reading().is_some_and(|reading| reading.utilisation_percent == Some(77))
        });
        drop(sampler);
        assert_eq!(Arc::strong_count(&gpu), 1, "its threads are gone");
    }

    #[test]
    fn it_ends_at_once_however_long_the_interval_is() {
        let hour = Duration::from_hours(1);
        let config = SamplerConfig { every: hour, details_every: hour, capacity: 5 };
        let sampler = Sampler::start(Arc::new(SimulatedGpu::default()), config).unwrap();
        assert_eq!(sampler.history(0).len(), 1);
        drop(sampler);
    }

    #[test]
    fn without_a_card_it_does_nothing() {
        let sampler = Sampler::start(Arc::new(NoGpu::new("none")), SamplerConfig::default()).unwrap();
        assert!(sampler.threads.is_empty());
    }
}
