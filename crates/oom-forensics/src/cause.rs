//! Why memory ran out: a pure function of one message's numbers, of how memory grew over the run, and of thresholds.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::growth::Growth;
use crate::oom::{Message, Numbers};
use crate::size::human;

/// The root cause of one out-of-memory error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// Main memory ran out, not that of the card.
    HostMemory,
    /// One allocation is too large for the card, even for an empty one.
    OneAllocationTooLarge,
    /// Enough is there, in pieces.
    Fragmentation,
    /// Others hold the card; without them it would have fitted.
    CompetingProcesses,
    /// What is allocated grows from test to test.
    Accumulation,
    /// Everything that is allocated is needed, and nobody else is there.
    CardTooSmall,
    /// The message does not say enough.
    Unknown,
}

impl Cause {
    /// For people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::HostMemory => "main memory",
            Self::OneAllocationTooLarge => "one allocation too large",
            Self::Fragmentation => "fragmentation",
            Self::CompetingProcesses => "competing processes",
            Self::Accumulation => "accumulation",
            Self::CardTooSmall => "card too small",
            Self::Unknown => "unknown",
        }
    }
}

/// From where on something is a cause. Shares are of the card's capacity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Thresholds {
    /// One allocation of so much is too large, because a fresh card has less: its context takes the rest.
    pub large_share: f64,
    /// Others compete if they hold so much.
    pub others_share: f64,
    /// What a process takes for its context, in bytes. Where a message does not name others, that much of what is missing is
    /// taken for its own.
    pub context_bytes: u64,
    /// Growth over the run is accumulation if it is so much.
    pub growth_share: f64,
    /// And if so many of all pairs of errors grew.
    pub growth_steadiness: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            large_share: 0.9,
            others_share: 0.3,
            context_bytes: 512 << 20,
            growth_share: 0.25,
            growth_steadiness: 0.75,
        }
    }
}

impl Thresholds {
    /// # Errors
    ///
    /// If a share is not above 0 and at most 1.
    pub fn validated(self) -> Result<Self> {
        for (name, value) in [
            ("thresholds: large_share", self.large_share),
            ("thresholds: others_share", self.others_share),
            ("thresholds: growth_share", self.growth_share),
            ("thresholds: growth_steadiness", self.growth_steadiness),
        ] {
            if !(value > 0.0 && value <= 1.0) {
                return Err(Error::OutOfRange { name, value, wanted: "a share is above 0 and at most 1" });
            }
        }
        Ok(self)
    }
}

/// A cause with the numbers that it was concluded from, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// What it is.
    pub cause: Cause,
    /// Why: `1.20 GiB of 3.81 GiB were held by others, and 20.00 MiB were asked for`.
    pub reason: String,
}

/// Why this one ran out of memory.
///
/// The first that holds, in this order: main memory; one allocation too large (asked for more than
/// [`large_share`](Thresholds::large_share) of the card); fragmentation (free, or reserved but unallocated, is as much as
/// was asked for, or the message says so); competing processes (they hold [`others_share`](Thresholds::others_share), and
/// without them it would have fitted); accumulation (see [`Growth`]); card too small (allocated and asked for are together
/// more than there is). What is not in the message decides nothing.
///
/// ```
/// use oom_forensics::{Cause, Thresholds, diagnose, oom::recognise};
///
/// let line = "CUDA out of memory. Tried to allocate 6.00 GiB (GPU 0; 3.81 GiB total capacity; 0 bytes already allocated; \
///             3.50 GiB free; 0 bytes reserved in total by PyTorch)";
/// let diagnosis = diagnose(&recognise(line).unwrap(), None, &Thresholds::default());
/// assert_eq!(diagnosis.cause, Cause::OneAllocationTooLarge);
/// assert_eq!(diagnosis.reason, "6.00 GiB were asked for at once, of a card of 3.81 GiB");
/// ```
#[must_use]
pub fn diagnose(message: &Message, growth: Option<&Growth>, thresholds: &Thresholds) -> Diagnosis {
    let numbers = &message.numbers;
    let found = host(message)
        .or_else(|| too_large(numbers, thresholds))
        .or_else(|| fragmented(message))
        .or_else(|| competing(numbers, thresholds))
        .or_else(|| accumulated(numbers, growth, thresholds))
        .or_else(|| too_small(numbers));
    let (cause, reason) = found.unwrap_or_else(|| {
        let reason = if numbers.tell_the_state() {
            "the numbers of the message point to nothing in particular"
        } else {
            "the message does not say what was free or who held it"
        };
        (Cause::Unknown, reason.to_owned())
    });
    Diagnosis { cause, reason }
}

type Found = Option<(Cause, String)>;

fn host(message: &Message) -> Found {
    message.source.is_host().then(|| {
        let reason = match message.numbers.others.first() {
            Some(victim) => format!("the kernel killed process {}", victim.pid),
            None => "an allocator of main memory was refused".to_owned(),
        };
        (Cause::HostMemory, reason)
    })
}

fn share(bytes: u64, share: f64) -> u64 {
    (bytes as f64 * share) as u64
}

fn too_large(numbers: &Numbers, thresholds: &Thresholds) -> Found {
    let (requested, total) = numbers.requested_bytes.zip(numbers.total_bytes)?;
    (total > 0 && requested >= share(total, thresholds.large_share)).then(|| {
        let reason = format!("{} were asked for at once, of a card of {}", human(requested), human(total));
        (Cause::OneAllocationTooLarge, reason)
    })
}

fn fragmented(message: &Message) -> Found {
    let numbers = &message.numbers;
    let pieces =
        [(numbers.free_bytes, "free"), (numbers.reserved_unallocated_bytes, "reserved and not allocated")];
    let enough = numbers.requested_bytes.and_then(|requested| {
        let enough = |(bytes, what): (Option<u64>, &'static str)| {
            bytes.filter(|bytes| *bytes > 0 && *bytes >= requested).map(|bytes| (bytes, requested, what))
        };
        pieces.into_iter().find_map(enough)
    });
    let reason = match enough {
        Some((bytes, requested, what)) => {
            format!("{} were {what}, and {} were asked for", human(bytes), human(requested))
        }
        None if message.says_fragmented => "the message says so".to_owned(),
        None => return None,
    };
    Some((Cause::Fragmentation, reason))
}

/// What others hold: those that are named, or else what neither is free nor belongs to this process.
fn others_bytes(numbers: &Numbers, thresholds: &Thresholds) -> Option<u64> {
    let named = numbers.others.iter().filter_map(|process| process.bytes).fold(0, u64::saturating_add);
    if named > 0 {
        return Some(named);
    }
    let rest = numbers.total_bytes?.saturating_sub(numbers.free_bytes?);
    Some(match (numbers.this_process_bytes, numbers.reserved_bytes.or(numbers.allocated_bytes)) {
        (Some(this), _) => rest.saturating_sub(this),
        (None, Some(mine)) => rest.saturating_sub(mine).saturating_sub(thresholds.context_bytes),
        (None, None) => return None,
    })
}

fn competing(numbers: &Numbers, thresholds: &Thresholds) -> Found {
    let others = others_bytes(numbers, thresholds)?;
    let total = numbers.total_bytes?;
    let free = numbers.free_bytes.unwrap_or_default();
    let would_fit = numbers.requested_bytes.is_none_or(|requested| others.saturating_add(free) >= requested);
    (others > 0 && would_fit && others >= share(total, thresholds.others_share)).then(|| {
        let reason = match numbers.requested_bytes {
            Some(requested) => format!(
                "{} of {} were held by others, and {} were asked for",
                human(others),
                human(total),
                human(requested)
            ),
            None => format!("{} of {} were held by others", human(others), human(total)),
        };
        (Cause::CompetingProcesses, reason)
    })
}

fn accumulated(numbers: &Numbers, growth: Option<&Growth>, thresholds: &Thresholds) -> Found {
    let (growth, allocated) = growth.zip(numbers.allocated_bytes)?;
    let capacity = numbers.total_bytes.unwrap_or(growth.last_bytes).max(1);
    // One that failed when little was allocated did not fail because of what had gathered.
    let gathered = allocated >= share(growth.last_bytes, 0.5);
    let grows = growth.bytes >= share(capacity, thresholds.growth_share)
        && growth.steadiness >= thresholds.growth_steadiness;
    (gathered && grows).then(|| {
        let reason = format!(
            "{} were allocated, after {} more over {} tests",
            human(allocated),
            human(growth.bytes),
            growth.tests
        );
        (Cause::Accumulation, reason)
    })
}

fn too_small(numbers: &Numbers) -> Found {
    let total = numbers.total_bytes?;
    let (requested, allocated) = numbers.requested_bytes.zip(numbers.allocated_bytes)?;
    let used = numbers.total_bytes?.saturating_sub(numbers.free_bytes.unwrap_or_default());
    let mine = numbers.this_process_bytes.or(numbers.reserved_bytes).unwrap_or(allocated);
    // Either the sum does not fit, or nearly everything in use is its own.
    let sum = mine.max(allocated).saturating_add(requested);
    let own = numbers.free_bytes.is_some() && mine >= share(used, 0.7);
    (sum > total || own).then(|| {
        let reason = format!(
            "{} were in use by the process itself, and {} more were asked for, of {}",
            human(mine.max(allocated)),
            human(requested),
            human(total)
        );
        (Cause::CardTooSmall, reason)
    })
}

#[cfg(test)]
mod tests;
