//! The audit log: who asked about what, and what it cost. It is the ledger too: budgets are a fold over it.
//!
//! `audit.jsonl` holds one JSON object in each line. Nothing of a query is in it, and no level or score.
//!
//! | field | meaning |
//! |---|---|
//! | `seq` | number of the record, from 1 |
//! | `at` | wall clock, milliseconds since 1970 |
//! | `boot`, `up` | start of the machine, and milliseconds since |
//! | `time` | the ledger's own time in milliseconds, by which budgets are refilled |
//! | `uid`, `pid` | who asked |
//! | `deed` | `serve`, `stop`, `answer`, `sum`, `total`, `follow`, `refuse`, `disclose` or `rotate` |
//! | `memories`, `units` | content hashes of the memories that were charged, and how much each |
//! | `caller`, `everyone` | units charged to the caller, and to sums over everything |
//! | `remembered`, `refused`, `admitted` | memories that cost nothing because the same had been asked, that nothing was said about, that were taken into sums |
//! | `unlogged` | questions of the kind since its last record that cost nothing: only one in a second has a record |
//! | `about` | the store, the reason or the key |
//! | `chain` | BLAKE3 of the line before this field, keyed with the `chain` of the line before |
//!
//! **Who reads it sees** which questions reached a level, because they cost more: the log is as confidential as answers are,
//! and only the keyholder's owner may read it.
//!
//! **What damage is noticed.** A changed byte, a line that is missing, added or moved: then nothing is answered any more. A last
//! line without an end is what is left of a process that was killed while it wrote, before it answered: it is removed.
//! Lines that are missing at the end show by `budget.json`, which knows how long the log was at least. Whoever can write
//! both files can make the keyholder forget.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    answer::KeyholderError,
    chain::{self, Link},
    clock::{Clock, Stand, SystemClock},
    snapshot::Snapshot,
    state_dir::{self, failed},
};

pub(super) const FILE: &str = "audit.jsonl";
const CONTEXT: &str = "omnimind-memory 2026 keyholder audit log v1";
/// Far more than a record of the most memories in one question needs.
const MOST_LINE_BYTES: usize = 16 * 1024 * 1024;
const MOST_ABOUT_CHARS: usize = 1000;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// User id; 0 where there are none.
    pub uid: u32,
    /// Process id.
    pub pid: u32,
}

impl Caller {
    /// This process.
    #[must_use]
    pub fn this_process() -> Self {
        #[cfg(unix)]
        let uid = nix::unistd::getuid().as_raw();
        #[cfg(not(unix))]
        let uid = 0;
        Self { uid, pid: std::process::id() }
    }
}

/// What belongs into the log and is no question.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Deed {
    /// A process began to answer.
    Served,
    /// It ended.
    Stopped,
    /// Somebody was turned away.
    Refused {
        /// Why.
        reason: String,
    },
    /// The owner opened a memory.
    Disclosed {
        /// Its content hash.
        memory: [u8; 32],
    },
    /// The owner exchanged the key.
    Rotated {
        /// The new one (`age1…`).
        public_key: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Serve,
    Stop,
    Answer,
    Sum,
    Total,
    Follow,
    #[default]
    Refuse,
    Disclose,
    Rotate,
}

impl Kind {
    /// Whether records of it that cost nothing may be left out, so that nobody fills the disk for free.
    pub(super) fn may_be_frequent(self) -> bool {
        matches!(self, Self::Answer | Self::Sum | Self::Total | Self::Follow | Self::Refuse)
    }
}

/// A content hash, written as 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hex(pub(super) [u8; 32]);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        blake3::Hash::from_hex(text.as_bytes())
            .map(|hash| Self(*hash.as_bytes()))
            .map_err(serde::de::Error::custom)
    }
}

/// One line. `seq` and what belongs to time are filled in when it is written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) seq: u64,
    pub(super) at: u64,
    pub(super) boot: String,
    pub(super) up: u64,
    pub(super) time: u64,
    pub(super) uid: u32,
    pub(super) pid: u32,
    pub(super) deed: Kind,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) memories: Vec<Hex>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) units: Vec<u64>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) caller: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) everyone: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) remembered: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) refused: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) admitted: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) unlogged: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) about: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Record {
    pub(super) fn new(caller: Caller, deed: Kind) -> Self {
        Self { uid: caller.uid, pid: caller.pid, deed, ..Self::default() }
    }

    pub(super) fn of(caller: Caller, deed: Deed) -> Self {
        let with = |kind, about: &str| Self {
            about: Some(about.chars().take(MOST_ABOUT_CHARS).collect()),
            ..Self::new(caller, kind)
        };
        match deed {
            Deed::Served => Self::new(caller, Kind::Serve),
            Deed::Stopped => Self::new(caller, Kind::Stop),
            Deed::Refused { reason } => with(Kind::Refuse, &reason),
            Deed::Rotated { public_key } => with(Kind::Rotate, &public_key),
            Deed::Disclosed { memory } => with(Kind::Disclose, &blake3::Hash::from_bytes(memory).to_hex()),
        }
    }

    pub(super) fn is_charged(&self) -> bool {
        !self.memories.is_empty() || self.caller > 0 || self.everyone > 0
    }

    /// Adds a memory and its price, which the caller pays too.
    pub(super) fn charge(&mut self, memory: [u8; 32], units: u64) {
        self.memories.push(Hex(memory));
        self.units.push(units);
        self.caller = self.caller.saturating_add(units);
    }

    pub(super) fn stand(&self) -> Stand {
        Stand { time: self.time, wall: self.at, boot_id: self.boot.clone(), since_boot: self.up }
    }

    fn at(&self) -> SystemTime {
        UNIX_EPOCH.checked_add(Duration::from_millis(self.at)).unwrap_or(UNIX_EPOCH)
    }
}

/// Where a log ends, as far as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) seq: u64,
    pub(super) bytes: u64,
    pub(super) link: Link,
}

/// A line that hangs on those before it.
pub(super) struct Seen<'l> {
    pub(super) end: End,
    object: &'l [u8],
}

impl Seen<'_> {
    pub(super) fn record(&self) -> Result<Record, String> {
        let record: Record = serde_json::from_slice(self.object).map_err(|error| error.to_string())?;
        if record.seq != self.end.seq || record.memories.len() != record.units.len() {
            return Err("its numbers do not fit together".to_owned());
        }
        Ok(record)
    }
}

/// The log as a file. Processes take turns in it with a lock on it.
#[derive(Debug)]
pub struct AuditLog {
    path: PathBuf,
    file: File,
    end: End,
}

impl AuditLog {
    /// Opens the file, or makes it. Nothing of it is read yet.
    pub(super) fn open(state_dir: &Path) -> Result<Self, KeyholderError> {
        let path = state_dir.join(FILE);
        let file = state_dir::open(&path)?;
        Ok(Self::of(path, file))
    }

    fn of(path: PathBuf, file: File) -> Self {
        Self { path, file, end: End { seq: 0, bytes: 0, link: Link::first(CONTEXT) } }
    }

    /// Writes down a deed that is not the serving process's: for other programs of the keyholder's owner, while it is served
    /// or not. The whole log is verified before.
    ///
    /// # Errors
    /// [`KeyholderError::LedgerDamaged`], [`KeyholderError::File`].
    pub fn append_deed(state_dir: &Path, caller: Caller, deed: Deed) -> Result<(), KeyholderError> {
        state_dir::prepare(state_dir)?;
        // First, so that it is not newer than the log.
        let snapshot = Snapshot::load(state_dir, &state_dir.join(FILE))?;
        let mut log = Self::open(state_dir)?;
        let mut last = None;
        // Most of it while others can still write.
        log.read_on(Torn::Leave, &mut |seen| keep_last(seen, &snapshot, &mut last))?;
        log.locked(|log| {
            log.read_on(Torn::Repair, &mut |seen| keep_last(seen, &snapshot, &mut last))?;
            snapshot.check_not_ahead_of(log.end, &log.path)?;
            let now = SystemClock::new().now();
            let mut stand = last.take().unwrap_or_else(|| Stand::beginning(&now));
            stand.advance(&now);
            log.append(Record::of(caller, deed), &stand)?;
            log.file.sync_data().map_err(failed(&log.path, "written"))
        })
    }

    pub(super) fn end(&self) -> End {
        self.end
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Another handle, to make what was written durable without holding up others.
    pub(super) fn handle(&self) -> Result<File, KeyholderError> {
        self.file.try_clone().map_err(failed(&self.path, "written"))
    }

    /// Keeps other processes out of it meanwhile.
    pub(super) fn locked<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<T, KeyholderError>,
    ) -> Result<T, KeyholderError> {
        self.file.lock().map_err(failed(&self.path, "locked"))?;
        let result = act(self);
        self.file.unlock().map_err(failed(&self.path, "unlocked"))?;
        result
    }

    /// Writes one record at the end, in one piece. The log must be locked and read to its end. Returns the record.
    pub(super) fn append(&mut self, mut record: Record, stand: &Stand) -> Result<Record, KeyholderError> {
        record.seq = self.end.seq + 1;
        (record.at, record.boot, record.up) = (stand.wall, stand.boot_id.clone(), stand.since_boot);
        record.time = stand.time;
        let failed = |source| KeyholderError::File { path: self.path.clone(), action: "written", source };
        let object = serde_json::to_vec(&record).map_err(|error| failed(error.into()))?;
        let (bytes, link) = self.end.link.close(&object);
        let mut file = &self.file;
        // If only a part of it is written, that is removed as unfinished next time.
        file.seek(SeekFrom::Start(self.end.bytes)).and_then(|_| file.write_all(&bytes)).map_err(failed)?;
        self.end = End { seq: record.seq, bytes: self.end.bytes + bytes.len() as u64, link };
        Ok(record)
    }

    /// Reads what was added since, line by line. Returns the bytes of an unfinished line at the end.
    pub(super) fn read_on(
        &mut self,
        torn: Torn,
        each: &mut dyn FnMut(&Seen<'_>) -> Result<(), String>,
    ) -> Result<u64, KeyholderError> {
        let failed = |action| failed(&self.path, action);
        let damaged = |end: End, reason: &str| KeyholderError::LedgerDamaged {
            path: self.path.clone(),
            reason: format!("record {}: {reason}", end.seq + 1),
        };
        let bytes = self.file.metadata().map_err(failed("read"))?.len();
        if bytes == self.end.bytes {
            return Ok(0);
        }
        if bytes < self.end.bytes {
            return Err(damaged(self.end, "the file became shorter"));
        }
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.end.bytes)).map_err(failed("read"))?;
        let mut reader = BufReader::with_capacity(64 * 1024, file.take(bytes - self.end.bytes));
        let mut text = Vec::new();
        loop {
            text.clear();
            let most = MOST_LINE_BYTES as u64 + 1;
            (&mut reader).take(most).read_until(b'\n', &mut text).map_err(failed("read"))?;
            if text.is_empty() {
                return Ok(0);
            }
            if text.len() > MOST_LINE_BYTES {
                return Err(damaged(self.end, "it is longer than any record"));
            }
            let whole = text.pop_if(|last| *last == b'\n').is_some();
            if !whole && chain::is_unfinished(&text) {
                if torn == Torn::Repair {
                    self.file.set_len(self.end.bytes).map_err(failed("written"))?;
                }
                return Ok(text.len() as u64);
            }
            let Some((object, link)) = self.end.link.open(&text) else {
                return Err(damaged(self.end, "it is not what was written after the one before"));
            };
            let next = End { seq: self.end.seq + 1, bytes: self.end.bytes + text.len() as u64 + 1, link };
            if !whole {
                // Only the newline is missing.
                if torn == Torn::Leave {
                    return Ok(text.len() as u64);
                }
                let mut file = &self.file;
                let end = file.seek(SeekFrom::End(0)).and_then(|_| file.write_all(b"\n"));
                end.map_err(failed("written"))?;
            }
            each(&Seen { end: next, object: &object }).map_err(|reason| damaged(self.end, &reason))?;
            self.end = next;
        }
    }
}

fn keep_last(seen: &Seen<'_>, snapshot: &Snapshot, last: &mut Option<Stand>) -> Result<(), String> {
    snapshot.check(seen.end)?;
    *last = Some(seen.record()?.stand());
    Ok(())
}

/// What to do with a line that has no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Torn {
    /// It may still be being written.
    Leave,
    /// The log is locked, so whoever wrote it is gone, before anything was answered.
    Repair,
}

/// What a log that is whole says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditReport {
    /// How many records there are.
    pub records: u64,
    /// The last link of the chain, in hexadecimal digits. Kept elsewhere, it proves later that nothing was removed.
    pub head: String,
    /// When the first was written, by the wall clock.
    pub first: Option<SystemTime>,
    /// When the last was.
    pub last: Option<SystemTime>,
    /// Bytes at the end that a process left unfinished; they are no record.
    pub unfinished_bytes: u64,
}

/// Reads the whole log, and changes nothing.
///
/// # Errors
/// [`KeyholderError::LedgerDamaged`] with the first record that does not fit; [`KeyholderError::File`].
pub fn verify(state_dir: &Path) -> Result<AuditReport, KeyholderError> {
    let path = state_dir.join(FILE);
    let snapshot = Snapshot::load(state_dir, &path)?;
    let file = File::open(&path).map_err(failed(&path, "read"))?;
    let mut log = AuditLog::of(path, file);
    let (mut first, mut last) = (None, None);
    // While nobody writes, so that the end is a line's end.
    log.file.lock_shared().map_err(failed(&log.path, "locked"))?;
    let unfinished_bytes = log.read_on(Torn::Leave, &mut |seen| {
        snapshot.check(seen.end)?;
        let at = seen.record()?.at();
        first.get_or_insert(at);
        last = Some(at);
        Ok(())
    })?;
    snapshot.check_not_ahead_of(log.end, &log.path)?;
    Ok(AuditReport { records: log.end.seq, head: log.end.link.to_hex(), first, last, unfinished_bytes })
}
