//! The daemon: looks, decides, acts and tells, round after round.
//!
//! No error of one round ends it: what fails is said once, and tried again in the next round, with a new connection where one
//! broke. What it remembers is bounded by the configuration, however long it runs. When it ends, its measures are taken back
//! unless `lift_at_end = false`.

mod watch;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::act::{Applied, CouldNot, Hands, Limit, Measures, apply, lift_all};
use crate::alerts::{Alert, Alerts, Kind, send};
use crate::config::Config;
use crate::decide::{Action, Recommendation, Standing, decide, remember};
use crate::error::Result;
use crate::history::History;
use crate::notify::Notifier;
use crate::observe::{Observer, Snapshot};

/// How often is looked whether it is to stop.
const PAUSE: Duration = Duration::from_millis(200);

/// Where rounds get what is so. One that can read the card adds its memory ([`Snapshot::vram`]) to what an [`Observer`] sees.
pub trait Source {
    /// What is so now.
    ///
    /// # Errors
    ///
    /// What [`Observer::observe`] gives.
    fn observe(&mut self, config: &Config) -> Result<Snapshot>;
}

impl Source for Observer {
    fn observe(&mut self, config: &Config) -> Result<Snapshot> {
        Self::observe(self, config)
    }
}

/// What one round came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Round {
    /// What was so.
    pub snapshot: Snapshot,
    /// What was to be done about it.
    pub recommendations: Vec<Recommendation>,
    /// What became of that.
    pub applied: Applied,
    /// What was told.
    pub alerts: Vec<Alert>,
}

/// Where measures are written down.
#[derive(Debug)]
enum Kept {
    InMemory(Measures),
    At(PathBuf),
}

/// The daemon.
pub struct Monitor<S, H> {
    config: Config,
    source: S,
    hands: H,
    kept: Kept,
    log: Box<dyn Write + Send>,
    history: History,
    standing: Vec<Standing>,
    alerts: Alerts,
    /// What failed in the last round, and so was said already.
    said: BTreeSet<String>,
    begun: bool,
}

impl<S: Source, H: Hands> Monitor<S, H> {
    /// It looks with `source` and acts with `hands`. What stands is kept in memory: see [`keep_at`](Self::keep_at).
    #[must_use]
    pub fn new(config: Config, source: S, hands: H) -> Self {
        Self {
            config,
            source,
            hands,
            kept: Kept::InMemory(Measures::in_memory()),
            log: Box::new(std::io::stderr()),
            history: History::default(),
            standing: Vec::new(),
            alerts: Alerts::default(),
            said: BTreeSet::new(),
            begun: false,
        }
    }

    /// Writes down what stands in this file (`/run/omnimind/measures.json`), and takes over what an earlier daemon left there.
    #[must_use]
    pub fn keep_at(mut self, path: PathBuf) -> Self {
        self.kept = Kept::At(path);
        self
    }

    /// Logs here instead of to the standard error.
    #[must_use]
    pub fn log_to(mut self, log: Box<dyn Write + Send>) -> Self {
        self.log = log;
        self
    }

    /// Rounds, one each `interval_s` (or twice as often as the watchdog asks, if that is more often), until it is to stop. `each`
    /// sees every round that did not fail. Returns what became of the measures at the end.
    pub fn run(&mut self, stop: &AtomicBool, notifier: &Notifier, mut each: impl FnMut(&Round)) -> Applied {
        let interval = Duration::from_secs(self.config.interval_s);
        let interval = notifier.watchdog().map_or(interval, |watchdog| interval.min(watchdog / 2)).max(PAUSE);
        let mut first = true;
        while !stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            if let Ok(round) = self.round() {
                notifier.status(&watch::status(&round));
                each(&round);
            }
            // Said only now: who hangs in a round does not live.
            notifier.alive();
            if std::mem::take(&mut first) {
                notifier.ready();
            }
            while !stop.load(Ordering::Relaxed) && began.elapsed() < interval {
                std::thread::sleep(PAUSE.min(interval.saturating_sub(began.elapsed())));
            }
        }
        notifier.stopping();
        self.end()
    }

    /// One round.
    ///
    /// # Errors
    ///
    /// That of the source, which is told too. What could not be done is no error, but in [`Round::applied`].
    pub fn round(&mut self) -> Result<Round> {
        let mut told = Vec::new();
        let round = self.look_and_act(&mut told);
        // Only now: what is done about it does not wait for those who are told.
        for failed in send(&told, &self.config.alerts, &mut self.log) {
            self.line(4, &format!("alerts could not go by {}: {}", failed.way, failed.reason));
        }
        Ok(Round { alerts: told, ..round? })
    }

    fn look_and_act(&mut self, told: &mut Vec<Alert>) -> Result<Round> {
        let snapshot = self.source.observe(&self.config);
        let now = snapshot.as_ref().map_or_else(|_| self.last_look(), |snapshot| snapshot.at);
        let failed = snapshot.as_ref().err().map(|error| format!("a round failed: {error}"));
        self.tell(Kind::Round, failed.as_deref(), "rounds go well again", now, told);
        let snapshot = snapshot?;
        if !std::mem::replace(&mut self.begun, true) {
            self.take_over(now);
        }
        let recommendations = decide(&snapshot, &self.history, &self.standing, &self.config);
        self.history.record(&snapshot);
        let applied = self.act(&recommendations, now);
        for (kind, wrong, well) in watch::look(&self.history, &self.config, &self.alerts) {
            self.tell(kind, wrong.as_deref(), &well, now, told);
        }
        let wrong = applied.could_not.first().map(|first| format!("{}: {}", first.what, first.reason));
        self.tell(Kind::Measure, wrong.as_deref(), "measures take effect again", now, told);
        Ok(Round { snapshot, recommendations, applied, alerts: Vec::new() })
    }

    /// Takes the measures back, unless they are to stay.
    pub fn end(&mut self) -> Applied {
        if !self.config.lift_at_end {
            return Applied::default();
        }
        let Self { kept, hands, .. } = self;
        let lifted = with(kept, |measures| lift_all(hands, measures));
        for could_not in &lifted.could_not {
            self.line(4, &format!("{}: {}", could_not.what, could_not.reason));
        }
        lifted
    }

    /// How much is remembered: the number of entries of all collections. Bounded, however long it runs.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.history.samples().len() + self.standing.len() + self.alerts.remembered() + self.said.len()
    }

    fn last_look(&self) -> Duration {
        self.history.samples().next_back().map_or(Duration::ZERO, |sample| sample.at)
    }

    /// What an earlier daemon left counts as done now; what is left of units that are not configured any more is taken back.
    fn take_over(&mut self, now: Duration) {
        let left = match &self.kept {
            Kept::InMemory(measures) => Ok(measures.standing().to_vec()),
            Kept::At(path) => Measures::read(path),
        };
        let left = left.unwrap_or_default();
        let mut lifts = Vec::new();
        for measure in left {
            let action = match measure.limit {
                Limit::MemoryLow => Action::Protect,
                Limit::MemorySwapMax => Action::KeepOutOfSwap,
                Limit::MemoryHigh | Limit::MemoryMax => Action::Limit,
            };
            let (service, bytes) = (measure.unit, measure.now.unwrap_or(u64::MAX));
            if self.config.services.contains_key(&service) {
                let done = Recommendation { service, action, bytes, reason: measure.reason };
                remember(&mut self.standing, &done, now);
            } else {
                let reason = "it is not configured any more".to_owned();
                lifts.push(Recommendation { service, action: Action::Lift, bytes: 0, reason });
            }
        }
        self.act(&lifts, now);
    }

    /// Does it, service by service: one that fails does not keep the others from theirs.
    fn act(&mut self, recommendations: &[Recommendation], now: Duration) -> Applied {
        let mut all = Applied::default();
        let mut failed = BTreeSet::new();
        let mut services: Vec<&str> = Vec::new();
        for recommendation in recommendations {
            if !services.contains(&recommendation.service.as_str()) {
                services.push(&recommendation.service);
            }
        }
        for service in services {
            let of_it: Vec<_> =
                recommendations.iter().filter(|other| other.service == service).cloned().collect();
            let Self { kept, hands, config, .. } = self;
            let applied = with(kept, |measures| apply(&of_it, hands, config, measures));
            for done in &applied.done {
                remember(&mut self.standing, &done.recommendation, now);
                let note = if done.note.is_empty() { String::new() } else { format!(": {}", done.note) };
                self.line(5, &format!("{}{note}", done.what));
            }
            for could_not in &applied.could_not {
                // Without its reason, whose numbers change from round to round.
                let actions =
                    of_it.iter().map(|one| format!("{:?}", one.action)).collect::<Vec<_>>().join(" ");
                let key = format!("{service} {actions} {:?}", could_not.left);
                if !self.said.contains(&key) {
                    self.line(4, &format!("{}: {}", could_not.what, could_not.reason));
                }
                failed.insert(key);
            }
            all.extend(applied);
        }
        self.said.retain(|said| failed.contains(said));
        self.said.extend(failed);
        all
    }

    fn tell(&mut self, kind: Kind, wrong: Option<&str>, well: &str, now: Duration, told: &mut Vec<Alert>) {
        told.extend(self.alerts.look(kind, wrong, well, now, &self.config.alerts));
    }

    /// A line of the log, with the priority that the journal reads.
    fn line(&mut self, priority: u8, text: &str) {
        // A log that cannot be written to leaves nobody to tell.
        let _ = writeln!(self.log, "<{priority}>{}", text.replace('\n', " "));
    }
}

/// Works with what stands, which is open only for so long; if it cannot be opened, nothing is done.
fn with(kept: &mut Kept, work: impl FnOnce(&mut Measures) -> Applied) -> Applied {
    match kept {
        Kept::InMemory(measures) => work(measures),
        Kept::At(path) => match Measures::open(path) {
            Ok(mut measures) => work(&mut measures),
            Err(error) => {
                let what = "opening the file of measures".to_owned();
                let could_not = vec![CouldNot { what, reason: error.to_string(), left: None }];
                Applied { could_not, ..Applied::default() }
            }
        },
    }
}

#[cfg(test)]
mod tests;
