//! What was seen of a group: of each test that runs, and of the card over time.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use super::thin::Thinned;
use super::whose::{Whose, whose};
use crate::report::{Sample, TestVram, VramOf};
use crate::vram::Look;

/// What looks at one group are written on.
#[derive(Debug)]
pub(crate) struct Board {
    device: u32,
    run: String,
    group: String,
    began: Instant,
    running: BTreeMap<usize, Running>,
    samples: Thinned,
    card_bytes: Option<u64>,
    before_bytes: Option<u64>,
    most_holding: u64,
    others_bytes: Option<u64>,
    looks: u64,
    gaps: u64,
    last_gap: Option<String>,
    hidden_amounts: bool,
}

/// What was seen of one test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) vram: Option<TestVram>,
}

#[derive(Debug, Default)]
struct Running {
    process: Option<u32>,
    /// Of its processes; `None` as soon as one look did not tell.
    own: Line,
    card: Line,
    own_is_told: bool,
    looks: u64,
}

/// What was held over time.
#[derive(Debug, Default, Clone, Copy)]
struct Line {
    first: Option<u64>,
    last: u64,
    most: u64,
}

impl Line {
    fn push(&mut self, bytes: u64) {
        self.first.get_or_insert(bytes);
        self.last = bytes;
        self.most = self.most.max(bytes);
    }

    fn vram(&self, of: VramOf) -> Option<TestVram> {
        let before_bytes = self.first?;
        Some(TestVram { before_bytes, after_bytes: self.last, peak_bytes: self.most, of })
    }
}

impl Board {
    pub(crate) fn new(device: u32, run: &str, group: &str, began: Instant) -> Self {
        Self {
            device,
            run: run.to_owned(),
            group: group.to_owned(),
            began,
            running: BTreeMap::new(),
            samples: Thinned::default(),
            card_bytes: None,
            before_bytes: None,
            most_holding: 0,
            others_bytes: None,
            looks: 0,
            gaps: 0,
            last_gap: None,
            hidden_amounts: false,
        }
    }

    pub(super) fn device(&self) -> u32 {
        self.device
    }

    pub(super) fn begin(&mut self, test: usize, process: Option<u32>) {
        self.running.insert(test, Running { process, own_is_told: true, ..Running::default() });
    }

    pub(super) fn is_process(&mut self, test: usize, process: u32) {
        if let Some(running) = self.running.get_mut(&test) {
            running.process = Some(process);
        }
    }

    pub(super) fn end(&mut self, test: usize) -> Option<Seen> {
        let running = self.running.remove(&test)?;
        let vram = if running.own_is_told {
            running.own.vram(VramOf::Processes)
        } else {
            running.card.vram(VramOf::Card)
        };
        Some(Seen { vram })
    }

    /// The card was looked at.
    pub(super) fn looked(&mut self, look: Result<Look, String>) {
        let look = match look {
            Ok(look) => look,
            Err(reason) => {
                self.gaps += 1;
                self.last_gap = Some(reason);
                return;
            }
        };
        self.looks += 1;
        self.card_bytes = Some(look.total_bytes);
        self.before_bytes.get_or_insert(look.used_bytes);
        let held = look.holders.as_ref().and_then(|_| self.held(&look));
        let of_test =
            |test: &usize| held.as_ref().map(|held| held.get(&Whose::Test(*test)).copied().unwrap_or(0));
        for (test, running) in &mut self.running {
            running.card.push(look.used_bytes);
            running.looks += 1;
            match of_test(test) {
                Some(bytes) => running.own.push(bytes),
                None => running.own_is_told = false,
            }
        }
        let tests = |whose: &Whose| matches!(whose, Whose::Test(_));
        if let Some(held) = &held {
            let of_tests: u64 = held
                .iter()
                .filter(|(whose, _)| tests(whose))
                .map(|(_, bytes)| *bytes)
                .fold(0, u64::saturating_add);
            self.others_bytes = Some(look.used_bytes.saturating_sub(of_tests));
        }
        let group_bytes = held.map(|held| {
            held.iter()
                .filter(|(of, _)| **of != Whose::Other)
                .map(|(_, bytes)| *bytes)
                .fold(0, u64::saturating_add)
        });
        self.samples.push(Sample {
            at_ms: self.began.elapsed().as_millis() as u64,
            used_bytes: look.used_bytes,
            group_bytes,
            running: self.running.len() as u32,
        });
    }

    /// Who holds how much; `None` if the driver does not say how much.
    fn held(&mut self, look: &Look) -> Option<HashMap<Whose, u64>> {
        let roots = self.roots();
        let mut held: HashMap<Whose, u64> = HashMap::new();
        let (mut told, mut holding) = (true, 0);
        for holder in look.holders.iter().flatten() {
            let of = whose(holder.pid, &roots, &self.run, &self.group);
            told &= of == Whose::Other || holder.used_bytes.is_some();
            holding += u64::from(matches!(of, Whose::Test(_)));
            let bytes = held.entry(of).or_default();
            *bytes = bytes.saturating_add(holder.used_bytes.unwrap_or(0));
        }
        self.most_holding = self.most_holding.max(holding);
        self.hidden_amounts |= !told;
        told.then_some(held)
    }

    /// The size of the card in bytes, if it was seen.
    pub(crate) fn card_bytes(&self) -> Option<u64> {
        self.card_bytes
    }

    /// What was in use before the group, in bytes.
    pub(crate) fn before_bytes(&self) -> Option<u64> {
        self.before_bytes
    }

    /// What whoever is no test that runs holds now, in bytes; where nobody tells, what was in use before the group.
    pub(crate) fn others_bytes(&self) -> Option<u64> {
        self.others_bytes.or(self.before_bytes)
    }

    /// The most that each test that runs was seen to hold, in bytes, where that is told.
    pub(crate) fn held_by_tests(&self) -> Vec<(usize, u64)> {
        let told = self.running.iter().filter(|(_, running)| running.own_is_told);
        told.map(|(test, running)| (*test, running.own.most)).collect()
    }

    /// The test that a process belongs to, if that runs.
    pub(crate) fn test_of(&self, pid: u32) -> Option<usize> {
        match whose(pid, &self.roots(), &self.run, &self.group) {
            Whose::Test(test) => Some(test),
            Whose::Group | Whose::Other => None,
        }
    }

    /// The processes that tests which run were started as.
    fn roots(&self) -> HashMap<u32, usize> {
        self.running.iter().filter_map(|(test, running)| Some((running.process?, *test))).collect()
    }

    /// Processes of tests that held memory in the same look, at most.
    pub(crate) fn most_holding(&self) -> u64 {
        self.most_holding
    }

    /// The last look.
    pub(crate) fn last_sample(&self) -> Option<Sample> {
        self.samples.last()
    }

    /// What was not seen, in words.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(reason) = &self.last_gap {
            let of = self.looks + self.gaps;
            notes.push(format!("{} of {of} looks at card {} failed: {reason}", self.gaps, self.device));
        }
        if self.hidden_amounts {
            notes.push(
                "the driver does not say how much each process holds; counts are those of the whole card"
                    .to_owned(),
            );
        }
        notes
    }

    /// What was in use over time.
    pub(crate) fn into_samples(self) -> Vec<Sample> {
        self.samples.into_samples()
    }
}
