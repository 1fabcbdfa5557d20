//! `gpu`: what the GPU has, and who holds it: once, as lines, or as a live view. No GPU is a normal answer.

mod card;
mod lines;
mod rehearsal;
mod report;
mod watch;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use gpu_probe::{GpuProbe, Recorder, Sampler, SamplerConfig, detect_to_look};

use crate::args;
use crate::config::GpuSource;
use crate::failure::Failure;
use crate::session::Session;

pub(super) use self::card::AHEAD;
use self::card::Card;
use self::rehearsal::Rehearsal;

const USUAL_INTERVAL: Duration = Duration::from_secs(1);
/// As much history as the widest terminal shows.
const KEPT_SAMPLES: usize = 600;

pub(super) fn run(session: &Session, args: &args::Gpu) -> Result<(), Failure> {
    let every = args.interval.unwrap_or(USUAL_INTERVAL);
    if !args.watch {
        let (gpu, note) = cards(session, args.simulated, false);
        let recorder = Recorder::new(Arc::clone(&gpu), 1).map_err(Failure::from_gpu)?;
        recorder.sample();
        return report::write(
            session,
            gpu.source(),
            &note,
            &Card::all(&recorder, &*gpu, session.config().gpu.enter),
        );
    }
    if session.output.json {
        let (gpu, _) = cards(session, args.simulated, true);
        return lines::write(&gpu, session.config().gpu.enter, every, args.count);
    }
    if args.count.is_some() {
        return Err(Failure::Usage("--count is for --json; the live view ends with q".to_owned()));
    }
    if !io::stdout().is_terminal() {
        return Err(Failure::Usage(
            "a live view needs a terminal, and stdout is none; add --json for one line of JSON per look, or leave out \
             --watch to look once"
                .to_owned(),
        ));
    }
    let (gpu, note) = cards(session, args.simulated, true);
    let config = SamplerConfig { every, details_every: every.max(USUAL_INTERVAL), capacity: KEPT_SAMPLES };
    let sampler = Sampler::start(Arc::clone(&gpu), config).map_err(Failure::from_gpu)?;
    if sampler.recorder().devices().is_empty() {
        return Err(Failure::NotFound(format!(
            "there is no GPU to watch ({note}); --simulated watches a simulated one"
        )));
    }
    watch::run(&sampler, &gpu, session.config().gpu.enter, every)
}

/// The cards to look at, and a line about them.
pub(super) fn cards(session: &Session, simulated: bool, moving: bool) -> (Arc<dyn GpuProbe>, String) {
    if simulated {
        let rehearsal = if moving { Rehearsal::from_now() } else { Rehearsal::held() };
        return (Arc::new(rehearsal), "simulated, because of --simulated".to_owned());
    }
    // Looking takes nothing of a card.
    if session.config().gpu.source == GpuSource::Auto {
        let found = detect_to_look();
        return (found.probe, found.note);
    }
    let (gpu, note) = session.gpu();
    (gpu, note)
}
