//! How much goes over PCI Express. NVML counts for 20 ms in each direction while the caller waits; here that is done aside, so that
//! whoever looks often waits only the first time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::PcieUtilCounter;

/// What was measured is good for so long.
const FRESH: Duration = Duration::from_secs(1);
/// And is still told for so long, while it is measured anew.
const TOLERABLE: Duration = Duration::from_secs(3);

/// Bytes per second in each direction; `None` where the card does not count.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rates {
    pub(super) sent: Option<u64>,
    pub(super) received: Option<u64>,
}

/// The last rates of each card, by its bus id.
#[derive(Debug, Default)]
pub(super) struct PcieMeter {
    cards: Mutex<HashMap<String, Card>>,
}

#[derive(Debug, Default)]
struct Card {
    rates: Rates,
    at: Option<Instant>,
    measuring: Option<JoinHandle<Rates>>,
    /// It does not count, and is not asked again.
    silent: bool,
}

impl PcieMeter {
    /// The rates of a card, a few seconds old at most. Waits some 40 ms if nobody asked lately.
    pub(super) fn rates(&self, nvml: &Arc<Nvml>, bus_id: &str) -> Rates {
        let mut cards = self.cards.lock().unwrap_or_else(PoisonError::into_inner);
        let card = cards.entry(bus_id.to_owned()).or_default();
        card.collect(false);
        let age = card.at.map(|at| at.elapsed());
        if !card.silent && age.is_none_or(|age| age > FRESH) {
            card.begin(nvml, bus_id);
            card.collect(age.is_none_or(|age| age > TOLERABLE));
        }
        card.rates
    }
}

impl Card {
    fn begin(&mut self, nvml: &Arc<Nvml>, bus_id: &str) {
        if self.measuring.is_none() {
            let (nvml, bus_id) = (Arc::clone(nvml), bus_id.to_owned());
            let thread = thread::Builder::new().name("pcie-rates".to_owned());
            self.measuring = thread.spawn(move || measure(&nvml, &bus_id)).ok();
        }
    }

    /// Takes what was measured, if it is there or if it is to be waited for.
    fn collect(&mut self, wait: bool) {
        let Some(thread) = self.measuring.take_if(|thread| wait || thread.is_finished()) else { return };
        self.rates = thread.join().unwrap_or_default();
        self.at = Some(Instant::now());
        self.silent = self.rates.sent.is_none() && self.rates.received.is_none();
    }
}

impl Drop for PcieMeter {
    /// NVML must not be in use when the process ends.
    fn drop(&mut self) {
        let cards = self.cards.get_mut().unwrap_or_else(PoisonError::into_inner);
        for card in cards.values_mut() {
            card.collect(true);
        }
    }
}

fn measure(nvml: &Nvml, bus_id: &str) -> Rates {
    let Ok(device) = nvml.device_by_pci_bus_id(bus_id) else { return Rates::default() };
    // NVML answers in kilobytes.
    let rate = |counter| device.pcie_throughput(counter).ok().map(|kilobytes| u64::from(kilobytes) * 1000);
    Rates { sent: rate(PcieUtilCounter::Send), received: rate(PcieUtilCounter::Receive) }
}
