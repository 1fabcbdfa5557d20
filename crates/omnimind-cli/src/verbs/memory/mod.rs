//! `memory`: RAM and swap of services. Looking, deciding and doing are left to `systemd-policy`; this asks it, and tells.

mod alert;
mod apply;
mod budget;
mod clear;
mod daemon;
mod forecast;
mod release;
mod report;
mod state;
mod swap;

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use gpu_probe::{GpuProbe, MemoryMeter, SHARED_CARD_VARIABLE};
use systemd_policy::monitor::Source;
use systemd_policy::observe::Vram;
use systemd_policy::{Config, Error, History, Observer, Roots, Snapshot};

use crate::args::MemoryVerb;
use crate::config::GpuSource;
use crate::failure::Failure;
use crate::output::{Output, printable};
use crate::session::Session;

pub(super) use clear::clear;

/// Between two looks. One look alone never calls for anything.
const BETWEEN_LOOKS: Duration = Duration::from_millis(600);

pub(super) fn run(session: &Session, verb: &MemoryVerb) -> Result<(), Failure> {
    match verb {
        MemoryVerb::Report(machine) => report::run(session, machine.recorded.as_deref()),
        MemoryVerb::Apply(args) => apply::run(session, args),
        MemoryVerb::Swap(machine) => swap::run(session, &roots(machine.recorded.as_deref())),
        MemoryVerb::Budget(args) => budget::run(session, args),
        MemoryVerb::Forecast(args) => forecast::run(session, args),
        MemoryVerb::Daemon(args) => daemon::run(session, args),
        MemoryVerb::Release(args) => release::run(session, args),
        MemoryVerb::Alert(args) => alert::run(session, args),
    }
}

/// With the exit code that says what kind of failure it is.
pub(super) fn failure(error: Error) -> Failure {
    match error {
        Error::Refused { .. } => Failure::Refused(error.to_string()),
        Error::Gone { .. } => Failure::NotFound(error.to_string()),
        Error::Config { .. } => Failure::Usage(error.to_string()),
        other => Failure::Partial(other.to_string()),
    }
}

/// Why nothing can be set where systemd does not run.
pub(super) fn expect_systemd() -> Result<(), Failure> {
    // What `sd_booted` looks at.
    if Path::new("/run/systemd/system").exists() {
        return Ok(());
    }
    let text = "systemd does not run here, and limits are set through it; `omnimind memory report`, `swap`, `budget` and \
                `forecast` work without";
    Err(Failure::Refused(text.to_owned()))
}

/// Whether everything may be done. Whose `/proc/self` is, is who this runs as.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn roots(recorded: Option<&Path>) -> Roots {
    recorded.map_or_else(Roots::default, Roots::below)
}

/// What could not be seen, and what that means.
fn tell(output: Output, lacks: &[String]) {
    for lack in lacks {
        output.note(printable(lack));
    }
}

/// The machine, and the card of this one: a recorded machine has none.
struct Eyes {
    observer: Observer,
    card: Option<Card>,
}

impl Eyes {
    fn on(session: &Session, recorded: Option<&Path>) -> Self {
        let card = recorded.is_none().then(|| Card::of(session));
        Self { observer: Observer::new(roots(recorded)), card }
    }
}

impl Source for Eyes {
    fn observe(&mut self, config: &Config) -> systemd_policy::Result<Snapshot> {
        let vram = self.card.as_ref().and_then(Card::memory);
        Ok(Snapshot { vram, ..self.observer.observe(config)? })
    }
}

/// What is so now, and what was so a moment before.
fn look_twice(session: &Session, recorded: Option<&Path>) -> Result<(Snapshot, History), Failure> {
    let config = &session.config().memory;
    let mut eyes = Eyes::on(session, recorded);
    let mut history = History::default();
    history.record(&eyes.observe(config).map_err(failure)?);
    thread::sleep(BETWEEN_LOOKS);
    Ok((eyes.observe(config).map_err(failure)?, history))
}

/// The card that the settings name, to be looked at.
struct Card {
    eye: Eye,
    device: u32,
    /// What was found, or why there is none.
    note: String,
}

/// How cards are looked at.
enum Eye {
    /// A real one, for as little as can be.
    Meter(MemoryMeter),
    /// One that is simulated, or that NVML does not know, or none.
    Probe(Arc<dyn GpuProbe>),
}

impl Card {
    fn of(session: &Session) -> Self {
        let device = session.config().gpu.device;
        let is_simulated = session.config().gpu.source != GpuSource::Auto
            || std::env::var_os(SHARED_CARD_VARIABLE).is_some();
        if !is_simulated && let Ok(meter) = MemoryMeter::open() {
            return Self { device, note: meter.note().to_owned(), eye: Eye::Meter(meter) };
        }
        let (probe, note) = super::gpu::cards(session, false, false);
        Self { eye: Eye::Probe(probe), device, note }
    }

    /// How full it is; `None` where there is none, or it does not answer.
    fn memory(&self) -> Option<Vram> {
        let memory = match &self.eye {
            Eye::Meter(meter) => meter.memory(self.device),
            Eye::Probe(probe) => probe.memory(self.device),
        };
        let memory = memory.ok()?;
        Some(Vram { used_bytes: memory.used_bytes, total_bytes: memory.total_bytes })
    }
}
