//! What lies where in a snapshot: `docs/src/index-format.md` says it in prose.

use std::marker::PhantomData;

use xxhash_rust::xxh3::xxh3_64;

use crate::config::Metric;

#[cfg(target_endian = "big")]
compile_error!("snapshots are mapped as they are, in little-endian: this machine would misread them");

pub(super) const MAGIC: [u8; 8] = *b"OMNIIDX\n";

/// Raised whenever an older reader would misread a snapshot. Older ones are not read: they are made again.
pub(super) const VERSION: u32 = 1;

pub(super) const HEADER_BYTES: usize = 128;
pub(super) const SECTION_BYTES: usize = 32;

/// Sections begin at multiples of this: a cache line.
pub(super) const ALIGNMENT: usize = 64;

/// What is in a section. The numbers are part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub(super) enum Kind {
    /// By memory: 32 bytes.
    Ids = 1,
    /// The hash table of ids.
    IdTable = 2,
    /// By memory: the number of its type, and [`SEALED`].
    Types = 3,
    /// By memory: when it was stored, seconds since 1970 (i64) and nanoseconds.
    StoredSeconds = 4,
    StoredNanos = 5,
    /// By memory: the dimension of its signature, 0 if it has none, and its row there.
    Dimensions = 6,
    Rows = 7,
    /// Types by number: where each name begins, the names, and the memories of each.
    TypeNamesAt = 8,
    TypeNames = 9,
    TypeMembersAt = 10,
    TypeMembers = 11,
    /// Contexts by number: the same, and the hash table of their names.
    ContextNamesAt = 12,
    ContextNames = 13,
    ContextTable = 14,
    ContextMembersAt = 15,
    ContextMembers = 16,
    /// By memory: the numbers of the contexts in its trace.
    TracesAt = 17,
    Traces = 18,
    /// A column: [`super::Facts`].
    Facts = 32,
    /// By row: its codes, and what belongs to them.
    Codes = 33,
    Scales = 34,
    Residuals = 35,
    Norms = 36,
    /// By row: the memories whose signature it is.
    OwnersAt = 37,
    Owners = 38,
    /// By row: the check sum of its exact elements.
    Keys = 39,
    /// By row: its elements in full precision.
    Exact = 40,
    /// The graph.
    Base = 41,
    UpperAt = 42,
    Upper = 43,
    Strays = 44,
}

/// In [`Kind::Types`]: the memory may not be recalled.
pub(super) const SEALED: u32 = 1 << 31;

/// Sections that are checked when a snapshot is opened: all but those whose size would make that slow. What the others hold is
/// checked where it is used, and by `verify`.
pub(super) fn is_checked_when_opened(kind: u32) -> bool {
    ![Kind::Codes, Kind::Exact, Kind::Base, Kind::Keys].into_iter().any(|large| large as u32 == kind)
}

/// The first bytes of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) metric: Metric,
    pub(super) origin: [u8; 32],
    pub(super) position: u64,
    pub(super) memories: u64,
    pub(super) sections_at: u64,
    pub(super) sections: u64,
    pub(super) file_bytes: u64,
    pub(super) sections_check: u64,
}

/// One line of the table of sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) kind: u32,
    pub(super) dimension: u32,
    pub(super) at: u64,
    pub(super) bytes: u64,
    pub(super) check: u64,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let metric: u32 = match self.metric {
            Metric::Cosine => 0,
            Metric::InnerProduct => 1,
        };
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&metric.to_le_bytes());
        bytes[16..48].copy_from_slice(&self.origin);
        let numbers = [
            self.position,
            self.memories,
            self.sections_at,
            self.sections,
            self.file_bytes,
            self.sections_check,
        ];
        for (place, number) in bytes[48..].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let check = xxh3_64(&bytes[..HEADER_BYTES - 8]);
        bytes[HEADER_BYTES - 8..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// Reads a header, or says what is wrong with it.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(format!("it has {} bytes, fewer than a header", bytes.len()));
        };
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let half = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        if bytes[..8] != MAGIC {
            return Err("it is not a snapshot of an index".into());
        }
        if half(8) != VERSION {
            return Err(format!("it has format {}, and this version reads {VERSION}", half(8)));
        }
        if number(HEADER_BYTES - 8) != xxh3_64(&bytes[..HEADER_BYTES - 8]) {
            return Err("its header fails its check sum".into());
        }
        let metric = match half(12) {
            0 => Metric::Cosine,
            1 => Metric::InnerProduct,
            other => return Err(format!("it measures similarity in an unknown way, {other}")),
        };
        Ok(Self {
            metric,
            origin: std::array::from_fn(|i| bytes[16 + i]),
            position: number(48),
            memories: number(56),
            sections_at: number(64),
            sections: number(72),
            file_bytes: number(80),
            sections_check: number(88),
        })
    }
}

impl Section {
    pub(super) fn encode(&self) -> [u8; SECTION_BYTES] {
        let mut bytes = [0; SECTION_BYTES];
        bytes[..4].copy_from_slice(&self.kind.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.dimension.to_le_bytes());
        for (place, number) in bytes[8..].chunks_exact_mut(8).zip([self.at, self.bytes, self.check]) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8; SECTION_BYTES]) -> Self {
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let half = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        Self { kind: half(0), dimension: half(4), at: number(8), bytes: number(16), check: number(24) }
    }
}

/// Where the elements of a section lie.
#[derive(Debug)]
pub(super) struct Span<T> {
    /// In bytes, from the start of the file.
    pub(super) at: usize,
    /// In elements.
    pub(super) len: usize,
    pub(super) of: PhantomData<T>,
}

impl<T> Clone for Span<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Span<T> {}
