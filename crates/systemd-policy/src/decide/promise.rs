//! How much may be promised to stay in RAM, and to whom.

use std::collections::BTreeMap;

use super::candidates;
use crate::config::Config;
use crate::observe::Snapshot;

/// What the kernel and everything that is not configured needs, at least, in bytes; and as a part of RAM, one in so many.
const SYSTEM_NEEDS_BYTES: u64 = 128 << 20;
const SYSTEM_NEEDS_PART: u64 = 10;

/// How much of so much RAM may be promised to services: all but a tenth, or all but 128 MiB if that is less. In bytes.
#[must_use]
pub fn promisable_bytes(ram_total_bytes: u64) -> u64 {
    ram_total_bytes.saturating_sub((ram_total_bytes / SYSTEM_NEEDS_PART).max(SYSTEM_NEEDS_BYTES))
}

/// What of each configured service that is there must stay in RAM, in bytes: its resident memory times its critical share. If
/// all together are more than [`promisable_bytes`], the least important ones get less.
#[must_use]
pub fn critical_bytes<'a>(now: &'a Snapshot, config: &'a Config) -> BTreeMap<&'a str, u64> {
    let mut left = promisable_bytes(now.system.ram_total_bytes);
    let services = candidates(now, config).into_iter().map(|service| {
        let wanted = part(service.seen.rss_bytes, service.policy.critical_share);
        let bytes = wanted.min(left);
        left -= bytes;
        (service.name, bytes)
    });
    services.collect()
}

/// A share of bytes. What is not a share is cut to one; NaN is none.
pub(super) fn part(bytes: u64, share: f64) -> u64 {
    (bytes as f64 * share.clamp(0.0, 1.0)) as u64
}
