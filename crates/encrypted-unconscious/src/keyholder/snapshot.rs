//! What budgets were at some record of the log: a beginning for the replay, and a witness of how long the log was.
//!
//! `budget.json` is one line. One that is damaged is of no use, and nothing is lost: the log has everything.

use std::{
    collections::HashMap,
    fs::File,
    io::{Read, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{
    answer::KeyholderError,
    audit::{End, Hex},
    budget::{Bucket, Budgets},
    chain::Link,
    clock::Stand,
    state_dir::{self, failed},
};

pub(super) const FILE: &str = "budget.json";
const CONTEXT: &str = "omnimind-memory 2026 keyholder budget snapshot v1";
/// A line for each of ten million memories.
const MOST_BYTES: u64 = 1 << 30;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    seq: u64,
    head: String,
    at: u64,
    boot: String,
    up: u64,
    time: u64,
    /// What is spent in parts of a unit, and when that was.
    everyone: (u64, u64),
    callers: Vec<(u32, u64, u64)>,
    memories: Vec<(Hex, u64, u64)>,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Snapshot {
    found: Option<(Content, Link)>,
}

impl Snapshot {
    /// Reads it, if it can be used. If it is there and the log is not, the log is gone.
    pub(super) fn load(state_dir: &Path, log: &Path) -> Result<Self, KeyholderError> {
        let path = state_dir.join(FILE);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self { found: None }),
            Err(error) => return Err(failed(&path, "read")(error)),
        };
        if !log.try_exists().map_err(failed(log, "read"))? {
            let reason = format!("it tells of {:?}, which is missing", super::audit::FILE);
            return Err(KeyholderError::LedgerDamaged { path, reason });
        }
        let mut bytes = Vec::new();
        file.take(MOST_BYTES).read_to_end(&mut bytes).map_err(failed(&path, "read"))?;
        Ok(Self { found: Self::parse(&bytes) })
    }

    fn parse(bytes: &[u8]) -> Option<(Content, Link)> {
        let (object, _) = Link::first(CONTEXT).open(bytes.strip_suffix(b"\n")?)?;
        let content: Content = serde_json::from_slice(&object).ok()?;
        let head = Link::from_hex(&content.head)?;
        Some((content, head))
    }

    /// Up to which record it knows everything.
    pub(super) fn seq(&self) -> u64 {
        self.found.as_ref().map_or(0, |(content, _)| content.seq)
    }

    /// Whether it is of the log whose line this is.
    pub(super) fn check(&self, end: End) -> Result<(), String> {
        match &self.found {
            Some((content, head)) if content.seq == end.seq && *head != end.link => {
                Err(format!("{FILE:?} remembers another one here, so the log was replaced"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn check_not_ahead_of(&self, end: End, log: &Path) -> Result<(), KeyholderError> {
        if self.seq() <= end.seq {
            return Ok(());
        }
        let reason = format!(
            "it ends after record {}, and {FILE:?} remembers {}: its end is missing",
            end.seq,
            self.seq()
        );
        Err(KeyholderError::LedgerDamaged { path: log.to_owned(), reason })
    }

    /// Puts back what it remembers.
    pub(super) fn restore(&self, budgets: &mut Budgets) -> Option<Stand> {
        let (content, _) = self.found.as_ref()?;
        let bucket = |spent, time| Bucket { spent, time };
        budgets.everyone = bucket(content.everyone.0, content.everyone.1);
        budgets.callers =
            content.callers.iter().map(|&(uid, spent, time)| (uid, bucket(spent, time))).collect();
        budgets.memories =
            content.memories.iter().map(|&(memory, spent, time)| (memory.0, bucket(spent, time))).collect();
        let (boot_id, since_boot) = (content.boot.clone(), content.up);
        Some(Stand { time: content.time, wall: content.at, boot_id, since_boot })
    }

    /// The line to write.
    pub(super) fn line(end: End, stand: &Stand, budgets: &Budgets) -> Result<Vec<u8>, serde_json::Error> {
        fn listed<K: Copy, N>(buckets: &HashMap<K, Bucket>, name: impl Fn(K) -> N) -> Vec<(N, u64, u64)> {
            buckets.iter().map(|(&key, bucket)| (name(key), bucket.spent, bucket.time)).collect()
        }
        let content = Content {
            seq: end.seq,
            head: end.link.to_hex(),
            at: stand.wall,
            boot: stand.boot_id.clone(),
            up: stand.since_boot,
            time: stand.time,
            everyone: (budgets.everyone.spent, budgets.everyone.time),
            callers: listed(&budgets.callers, |uid| uid),
            memories: listed(&budgets.memories, Hex),
        };
        Ok(Link::first(CONTEXT).close(&serde_json::to_vec(&content)?).0)
    }

    /// Writes a line. The log must be durable as far as the line knows it, or a power loss would look like a cut.
    pub(super) fn write(state_dir: &Path, line: &[u8]) -> Result<(), KeyholderError> {
        state_dir::replace(&state_dir.join(FILE), |file| file.write_all(line))
    }
}
