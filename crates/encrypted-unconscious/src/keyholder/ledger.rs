//! Budgets and the log that they are a fold over, kept in step: what is answered was written down before.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs::File,
    io,
    path::{Path, PathBuf},
};

use super::{
    answer::KeyholderError,
    audit::{AuditLog, Kind, Record, Torn},
    budget::{BudgetConfig, Budgets},
    clock::{Clock, Stand},
    snapshot::Snapshot,
    state_dir::failed,
};

/// A snapshot is written when the log has grown by so many records, and by more bytes than the snapshot has.
const RECORDS_UNTIL_SNAPSHOT: u64 = 256;
/// Records that cost nothing are written once in that many milliseconds for each caller and kind.
const MILLIS_BETWEEN_FREE_RECORDS: u64 = 1000;

#[derive(Debug)]
pub(super) struct Ledger {
    state_dir: PathBuf,
    log: AuditLog,
    budgets: Budgets,
    stand: Stand,
    clock: Box<dyn Clock>,
    /// When the last record that cost nothing was written, and how many were left out since.
    free: HashMap<(u32, Kind), (u64, u64)>,
    unsynced: bool,
    sync_failed: Option<String>,
    snapshot_seq: u64,
    snapshot_at_bytes: u64,
    snapshot_bytes: u64,
}

/// What is to be made durable. It can be done while others ask.
#[derive(Debug)]
pub(super) struct Settlement {
    state_dir: PathBuf,
    path: PathBuf,
    log: File,
    snapshot: Option<Vec<u8>>,
}

impl Settlement {
    pub(super) fn carry_out(&self) -> Result<(), KeyholderError> {
        self.log.sync_data().map_err(failed(&self.path, "written"))?;
        self.snapshot.as_ref().map_or(Ok(()), |line| Snapshot::write(&self.state_dir, line))
    }
}

impl Ledger {
    /// Replays the log.
    ///
    /// # Errors
    /// [`KeyholderError::LedgerDamaged`], [`KeyholderError::File`].
    pub(super) fn open(
        state_dir: &Path,
        config: BudgetConfig,
        clock: Box<dyn Clock>,
    ) -> Result<Self, KeyholderError> {
        let snapshot = Snapshot::load(state_dir, &state_dir.join(super::audit::FILE))?;
        let mut log = AuditLog::open(state_dir)?;
        let mut budgets = Budgets::new(config);
        let mut stand = snapshot.restore(&mut budgets);
        log.locked(|log| {
            log.read_on(Torn::Repair, &mut |seen| {
                snapshot.check(seen.end)?;
                if seen.end.seq > snapshot.seq() {
                    take_over(&seen.record()?, &mut budgets, &mut stand);
                }
                Ok(())
            })?;
            snapshot.check_not_ahead_of(log.end(), log.path())
        })?;
        let now = clock.now();
        Ok(Self {
            state_dir: state_dir.to_owned(),
            snapshot_seq: snapshot.seq(),
            snapshot_at_bytes: log.end().bytes,
            snapshot_bytes: 0,
            log,
            budgets,
            stand: stand.unwrap_or_else(|| Stand::beginning(&now)),
            clock,
            free: HashMap::new(),
            unsynced: false,
            sync_failed: None,
        })
    }

    /// Decides what to charge by what is left, and writes it down. Nothing is charged if that fails.
    pub(super) fn transact<T>(
        &mut self,
        decide: impl FnOnce(&Budgets, &Stand) -> Result<(Record, T), KeyholderError>,
    ) -> Result<T, KeyholderError> {
        if let Some(reason) = &self.sync_failed {
            return Err(failed(self.log.path(), "written")(io::Error::other(reason.clone())));
        }
        let Self { log, budgets, stand, clock, free, unsynced, .. } = self;
        log.locked(|log| {
            let mut known = Some(stand.clone());
            log.read_on(Torn::Repair, &mut |seen| {
                take_over(&seen.record()?, budgets, &mut known);
                Ok(())
            })?;
            *stand = known.unwrap_or_else(|| stand.clone());
            stand.advance(&clock.now());
            let (mut record, result) = decide(budgets, stand)?;
            if left_out(free, &mut record, stand.time) {
                return Ok(result);
            }
            let record = log.append(record, stand)?;
            budgets.apply(&record);
            *unsynced = true;
            Ok(result)
        })
    }

    /// Writes down what costs nothing.
    pub(super) fn note(&mut self, record: Record) -> Result<(), KeyholderError> {
        self.transact(|_, _| Ok((record, ())))
    }

    /// What to make durable, if anything. `all`: a snapshot, too, if it is not the newest.
    pub(super) fn settle(&mut self, all: bool) -> Result<Option<Settlement>, KeyholderError> {
        let end = self.log.end();
        let records = end.seq.saturating_sub(self.snapshot_seq);
        let grown = end.bytes.saturating_sub(self.snapshot_at_bytes);
        let due = records > 0 && all || records >= RECORDS_UNTIL_SNAPSHOT && grown >= self.snapshot_bytes;
        if !self.unsynced && !due {
            return Ok(None);
        }
        let path = self.log.path().to_owned();
        let log = self.log.handle()?;
        let mut snapshot = None;
        if due {
            let line = Snapshot::line(end, &self.stand, &self.budgets);
            let line = line.map_err(|error| failed(&self.state_dir, "written")(error.into()))?;
            (self.snapshot_seq, self.snapshot_at_bytes) = (end.seq, end.bytes);
            self.snapshot_bytes = line.len() as u64;
            snapshot = Some(line);
        }
        self.unsynced = false;
        Ok(Some(Settlement { state_dir: self.state_dir.clone(), path, log, snapshot }))
    }

    /// What was written cannot be made durable, so nothing more is answered.
    pub(super) fn stop_because(&mut self, error: &KeyholderError) {
        self.sync_failed = Some(error.to_string());
    }

    pub(super) fn records(&self) -> u64 {
        self.log.end().seq
    }

    pub(super) fn head(&self) -> String {
        self.log.end().link.to_hex()
    }

    pub(super) fn budgets(&self) -> &Budgets {
        &self.budgets
    }

    /// As of now; nothing is written.
    pub(super) fn stand_now(&self) -> Stand {
        let mut stand = self.stand.clone();
        stand.advance(&self.clock.now());
        stand
    }
}

/// A record that this process has not written.
fn take_over(record: &Record, budgets: &mut Budgets, stand: &mut Option<Stand>) {
    budgets.apply(record);
    if stand.as_ref().is_none_or(|stand| record.time >= stand.time) {
        *stand = Some(record.stand());
    }
}

/// Whether a record may be left out. One that is not says how many were.
fn left_out(free: &mut HashMap<(u32, Kind), (u64, u64)>, record: &mut Record, time: u64) -> bool {
    if record.is_charged() || !record.deed.may_be_frequent() {
        return false;
    }
    match free.entry((record.uid, record.deed)) {
        Entry::Vacant(vacant) => {
            vacant.insert((time, 0));
            false
        }
        Entry::Occupied(mut occupied) => {
            let (last, count) = occupied.get_mut();
            if time < last.saturating_add(MILLIS_BETWEEN_FREE_RECORDS) {
                *count += 1;
                return true;
            }
            record.unlogged = std::mem::take(count);
            *last = time;
            false
        }
    }
}
