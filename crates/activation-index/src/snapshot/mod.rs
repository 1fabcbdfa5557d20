//! A frozen index in one file, mapped and searched where it lies. It is never changed: a newer one is written beside it and
//! swapped in.
//!
//! Whatever the file holds, reading it does not panic. Small sections are checked when it is opened, exact rows whenever an
//! answer is made of them, and everything by [`Snapshot::verify`].
//!
//! - [`layout`]: what lies where.
//! - `write`: sections to a file. `contents`: what the sections hold.
//! - `table`: hash tables that are searched where they lie.

mod bytes;
pub(crate) mod contents;
mod layout;
mod table;
mod write;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytemuck::Pod;
use xxhash_rust::xxh3::xxh3_64;

use crate::column::{ExactRows, Rounded, RowNumber};
use crate::config::Metric;
use crate::entry::MemoryId;
use crate::error::IndexError;
use crate::graph::calibrate::Calibration;
use crate::graph::{BASE_LINKS, Graph, LINKS};
use crate::trace::EntryNumber;
use crate::vector;
use bytes::Bytes;
use layout::{ALIGNMENT, Header, Kind, SEALED, SECTION_BYTES, Section, Span};

/// More columns than this, no index has: one for each dimension.
const MAX_SECTIONS: u64 = 32 + 16 * vector::MAX_DIMENSION as u64;

/// A frozen index.
#[derive(Debug)]
pub(crate) struct Snapshot {
    bytes: Bytes,
    path: PathBuf,
    header: Header,
    sections: Vec<Section>,
    ids: Span<MemoryId>,
    id_table: Span<u32>,
    types: Span<u32>,
    stored_seconds: Span<i64>,
    stored_nanos: Span<u32>,
    dimensions: Span<u32>,
    rows: Span<u32>,
    type_names: Names,
    type_members: Lists,
    context_names: Names,
    context_table: Span<u32>,
    context_members: Lists,
    traces: Lists,
    columns: BTreeMap<usize, ColumnSpans>,
}

/// Lists of numbers, one after the other.
#[derive(Debug, Clone, Copy)]
struct Lists {
    at: Span<u32>,
    members: Span<u32>,
}

/// Names by number, one after the other.
#[derive(Debug, Clone, Copy)]
struct Names {
    at: Span<u32>,
    bytes: Span<u8>,
}

#[derive(Debug)]
struct ColumnSpans {
    rows: usize,
    codes: Span<u8>,
    scales: Span<f32>,
    residuals: Span<f32>,
    norms: Span<f32>,
    owners: Lists,
    keys: Span<u64>,
    exact: Span<f32>,
    graph: Option<GraphSpans>,
}

#[derive(Debug)]
struct GraphSpans {
    base: Span<u32>,
    upper_at: Span<u32>,
    upper: Span<u32>,
    strays: Span<u32>,
    entry: RowNumber,
    top: u32,
    calibration: Calibration,
}

/// One column of a snapshot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column<'s> {
    snapshot: &'s Snapshot,
    spans: &'s ColumnSpans,
    dimension: usize,
}

impl Snapshot {
    /// Maps a file and checks what can be checked quickly. The error says what is wrong with it, in words.
    pub(crate) fn open(path: &Path) -> io::Result<Result<Self, String>> {
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Ok(Err("it is empty".into()));
        }
        Ok(Self::over(Bytes::map(file)?, path.to_path_buf()))
    }

    /// A snapshot that lies in memory only.
    pub(crate) fn in_memory(bytes: &[u8]) -> io::Result<Result<Self, String>> {
        Ok(Self::over(Bytes::copy(bytes)?, PathBuf::new()))
    }

    fn over(bytes: Bytes, path: PathBuf) -> Result<Self, String> {
        let header = Header::decode(&bytes)?;
        if header.file_bytes != bytes.len() as u64 {
            return Err(format!("it has {} bytes instead of {}", bytes.len(), header.file_bytes));
        }
        let table_bytes = header.sections.min(MAX_SECTIONS) as usize * SECTION_BYTES;
        let table = usize::try_from(header.sections_at).ok().and_then(|at| bytes.get(at..));
        let Some(table) = table.filter(|table| table.len() == table_bytes) else {
            return Err("its table of sections lies outside it".into());
        };
        if xxh3_64(table) != header.sections_check {
            return Err("its table of sections fails its check sum".into());
        }
        let sections: Vec<_> = table.as_chunks().0.iter().map(Section::decode).collect();
        for section in &sections {
            let Some(content) = content(&bytes, section) else {
                return Err(format!("section {} lies outside it", section.kind));
            };
            if layout::is_checked_when_opened(section.kind) && xxh3_64(content) != section.check {
                return Err(format!("section {} fails its check sum", section.kind));
            }
        }
        let find = Find { sections: &sections };
        let memories = usize::try_from(header.memories).map_err(|_| "it counts too many memories")?;
        let dimensions: Vec<_> =
            sections.iter().filter(|s| s.kind == Kind::Facts as u32).map(|s| s.dimension as usize).collect();
        let columns = dimensions
            .into_iter()
            .map(|dimension| Ok((dimension, find.column(&bytes, dimension)?)))
            .collect::<Result<_, String>>()?;
        Ok(Self {
            ids: find.span(Kind::Ids, 0, Some(memories))?,
            id_table: find.span(Kind::IdTable, 0, None)?,
            types: find.span(Kind::Types, 0, Some(memories))?,
            stored_seconds: find.span(Kind::StoredSeconds, 0, Some(memories))?,
            stored_nanos: find.span(Kind::StoredNanos, 0, Some(memories))?,
            dimensions: find.span(Kind::Dimensions, 0, Some(memories))?,
            rows: find.span(Kind::Rows, 0, Some(memories))?,
            type_names: find.names(Kind::TypeNamesAt, Kind::TypeNames)?,
            type_members: find.lists(Kind::TypeMembersAt, Kind::TypeMembers, 0, None)?,
            context_names: find.names(Kind::ContextNamesAt, Kind::ContextNames)?,
            context_table: find.span(Kind::ContextTable, 0, None)?,
            context_members: find.lists(Kind::ContextMembersAt, Kind::ContextMembers, 0, None)?,
            traces: find.lists(Kind::TracesAt, Kind::Traces, 0, Some(memories))?,
            columns,
            bytes,
            path,
            header,
            sections,
        })
    }

    /// Reads everything and compares it with its check sums.
    pub(crate) fn verify(&self) -> Result<(), IndexError> {
        for section in &self.sections {
            let content = content(&self.bytes, section).unwrap_or_default();
            if xxh3_64(content) != section.check {
                return Err(self.damaged(format!("section {} fails its check sum", section.kind)));
            }
        }
        Ok(())
    }

    pub(crate) fn metric(&self) -> Metric {
        self.header.metric
    }

    pub(crate) fn origin(&self) -> &[u8; 32] {
        &self.header.origin
    }

    pub(crate) fn position(&self) -> u64 {
        self.header.position
    }

    /// Bytes of the whole file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.header.file_bytes
    }

    /// How many memories there are.
    pub(crate) fn memories(&self) -> usize {
        self.ids.len
    }

    /// The number of a memory.
    pub(crate) fn find(&self, id: &MemoryId) -> Option<EntryNumber> {
        let ids = self.get(self.ids);
        table::find(self.get(self.id_table), id, |number| ids.get(number as usize) == Some(id))
    }

    pub(crate) fn id(&self, memory: EntryNumber) -> Option<&MemoryId> {
        self.get(self.ids).get(memory as usize)
    }

    pub(crate) fn recallable(&self, memory: EntryNumber) -> bool {
        self.get(self.types).get(memory as usize).is_some_and(|kind| kind & SEALED == 0)
    }

    /// The number of a memory's type.
    pub(crate) fn type_of(&self, memory: EntryNumber) -> Option<u32> {
        self.get(self.types).get(memory as usize).map(|kind| kind & !SEALED)
    }

    pub(crate) fn type_name(&self, number: u32) -> &str {
        self.name(self.type_names, number)
    }

    /// The number of the type of this name. There are few types, so all are looked at.
    pub(crate) fn find_type(&self, name: &str) -> Option<u32> {
        (0..self.type_members.at.len.saturating_sub(1) as u32).find(|&number| self.type_name(number) == name)
    }

    pub(crate) fn members_of_type(&self, number: u32) -> &[EntryNumber] {
        self.list(self.type_members, number)
    }

    pub(crate) fn stored_at(&self, memory: EntryNumber) -> SystemTime {
        let seconds = self.get(self.stored_seconds).get(memory as usize).copied().unwrap_or_default();
        let nanos = self.get(self.stored_nanos).get(memory as usize).copied().unwrap_or_default();
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let time = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
        time.and_then(|time| time.checked_add(Duration::from_nanos(nanos.into()))).unwrap_or(UNIX_EPOCH)
    }

    /// The dimension and row of a memory's signature.
    pub(crate) fn place(&self, memory: EntryNumber) -> Option<(usize, RowNumber)> {
        let dimension = *self.get(self.dimensions).get(memory as usize)?;
        let row = *self.get(self.rows).get(memory as usize)?;
        (dimension != 0).then_some((dimension as usize, row))
    }

    pub(crate) fn context_name(&self, number: u32) -> &str {
        self.name(self.context_names, number)
    }

    pub(crate) fn find_context(&self, name: &str) -> Option<u32> {
        table::find(self.get(self.context_table), name.as_bytes(), |number| self.context_name(number) == name)
    }

    /// The memories in whose trace a context is, ascending.
    pub(crate) fn members_of_context(&self, number: u32) -> &[EntryNumber] {
        self.list(self.context_members, number)
    }

    /// The contexts in a memory's trace, in the order in which they were added.
    pub(crate) fn trace_of(&self, memory: EntryNumber) -> &[u32] {
        self.list(self.traces, memory)
    }

    pub(crate) fn column(&self, dimension: usize) -> Option<Column<'_>> {
        self.columns.get(&dimension).map(|spans| Column { snapshot: self, spans, dimension })
    }

    pub(crate) fn columns(&self) -> impl Iterator<Item = Column<'_>> {
        self.columns.iter().map(|(&dimension, spans)| Column { snapshot: self, spans, dimension })
    }

    fn damaged(&self, what: String) -> IndexError {
        IndexError::SnapshotDamaged { path: self.path.clone(), what }
    }

    fn get<T: Pod>(&self, span: Span<T>) -> &[T] {
        // The span was found in the file, and begins at a multiple of 64 bytes in a map that begins at a page.
        let bytes = self.bytes.get(span.at..span.at + span.len * size_of::<T>()).unwrap_or_default();
        bytemuck::try_cast_slice(bytes).unwrap_or_default()
    }

    fn list(&self, lists: Lists, number: u32) -> &[u32] {
        between(self.get(lists.at), number)
            .and_then(|range| self.get(lists.members).get(range))
            .unwrap_or_default()
    }

    fn name(&self, names: Names, number: u32) -> &str {
        let bytes = between(self.get(names.at), number).and_then(|range| self.get(names.bytes).get(range));
        bytes.and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl<'s> Column<'s> {
    pub(crate) fn dimension(&self) -> usize {
        self.dimension
    }

    pub(crate) fn rows(&self) -> usize {
        self.spans.rows
    }

    pub(crate) fn rounded(&self) -> Rounded<'s> {
        Rounded {
            stride: vector::stride(self.dimension),
            codes: self.snapshot.get(self.spans.codes),
            scales: self.snapshot.get(self.spans.scales),
            residuals: self.snapshot.get(self.spans.residuals),
            norms: self.snapshot.get(self.spans.norms),
        }
    }

    /// The memories whose signature a row is.
    pub(crate) fn owners(&self, row: RowNumber) -> &'s [EntryNumber] {
        self.snapshot.list(self.spans.owners, row)
    }

    /// How many memories have a signature here.
    pub(crate) fn signatures(&self) -> usize {
        self.spans.owners.members.len
    }

    /// The check sums of the exact rows.
    pub(crate) fn keys(&self) -> &'s [u64] {
        self.snapshot.get(self.spans.keys)
    }

    pub(crate) fn graph(&self) -> Option<(Graph<'s>, Calibration)> {
        let spans = self.spans.graph.as_ref()?;
        let graph = Graph {
            base: self.snapshot.get(spans.base),
            upper_at: self.snapshot.get(spans.upper_at),
            upper: self.snapshot.get(spans.upper),
            strays: self.snapshot.get(spans.strays),
            entry: spans.entry,
            top: spans.top,
        };
        Some((graph, spans.calibration))
    }
}

impl ExactRows for Column<'_> {
    /// Read and checked: an answer is never made of damaged bytes.
    fn exact<'b>(&'b self, row: RowNumber, buffer: &'b mut Vec<f32>) -> Result<&'b [f32], IndexError> {
        if row as usize >= self.spans.rows {
            return Err(self
                .snapshot
                .damaged(format!("row {row} is named, and there are {}", self.spans.rows)));
        }
        buffer.resize(self.dimension, 0.0);
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(buffer);
        let at = self.spans.exact.at + row as usize * bytes.len();
        self.snapshot
            .bytes
            .read_at(at, bytes)
            .map_err(|e| IndexError::io("read", &self.snapshot.path, &e))?;
        if self.keys().get(row as usize) != Some(&xxh3_64(bytes)) {
            return Err(self
                .snapshot
                .damaged(format!("row {row} of dimension {} fails its check sum", self.dimension)));
        }
        Ok(buffer)
    }
}

/// The key of an exact row: its check sum, by which equals are found.
pub(crate) fn key(row: &[f32]) -> u64 {
    xxh3_64(bytemuck::cast_slice(row))
}

fn content<'b>(bytes: &'b [u8], section: &Section) -> Option<&'b [u8]> {
    let at = usize::try_from(section.at).ok().filter(|at| at.is_multiple_of(ALIGNMENT))?;
    let len = usize::try_from(section.bytes).ok()?;
    bytes.get(at..)?.get(..len)
}

fn between(at: &[u32], number: u32) -> Option<Range<usize>> {
    let number = number as usize;
    let (from, to) = (*at.get(number)?, *at.get(number + 1)?);
    (from <= to).then_some(from as usize..to as usize)
}

/// Finds sections, and says which is missing or has the wrong size.
struct Find<'s> {
    sections: &'s [Section],
}

impl Find<'_> {
    fn span<T>(&self, kind: Kind, dimension: usize, len: Option<usize>) -> Result<Span<T>, String> {
        let same = |s: &&Section| s.kind == kind as u32 && s.dimension as usize == dimension;
        let Some(section) = self.sections.iter().find(same) else {
            return Err(format!("section {kind:?} is missing"));
        };
        let (at, bytes) = (section.at as usize, section.bytes as usize);
        if !bytes.is_multiple_of(size_of::<T>())
            || len.is_some_and(|len| Some(bytes) != len.checked_mul(size_of::<T>()))
        {
            return Err(format!("section {kind:?} has {bytes} bytes, which does not fit the rest"));
        }
        Ok(Span { at, len: bytes / size_of::<T>(), of: PhantomData })
    }

    /// Lists by number; as many as `len`, if that is known.
    fn lists(&self, at: Kind, members: Kind, dimension: usize, len: Option<usize>) -> Result<Lists, String> {
        let len = len.map(|len| len.saturating_add(1));
        Ok(Lists { at: self.span(at, dimension, len)?, members: self.span(members, dimension, None)? })
    }

    fn names(&self, at: Kind, bytes: Kind) -> Result<Names, String> {
        Ok(Names { at: self.span(at, 0, None)?, bytes: self.span(bytes, 0, None)? })
    }

    fn column(&self, bytes: &Bytes, dimension: usize) -> Result<ColumnSpans, String> {
        if !(1..=vector::MAX_DIMENSION).contains(&dimension) {
            return Err(format!("it has a column of dimension {dimension}"));
        }
        let facts = self.span::<u8>(Kind::Facts, dimension, Some(contents::FACTS_BYTES))?;
        let facts = contents::Facts::decode(&bytes[facts.at..][..facts.len]);
        let rows = facts.rows as usize;
        let elements = |each: usize| rows.checked_mul(each).ok_or("it counts too many rows");
        let by_row = Some(rows);
        let graph = match facts.graph {
            None => None,
            Some((entry, top, calibration)) => Some(GraphSpans {
                base: self.span(Kind::Base, dimension, Some(elements(BASE_LINKS)?))?,
                upper_at: self.span(Kind::UpperAt, dimension, Some(rows + 1))?,
                upper: self.span(Kind::Upper, dimension, None)?,
                strays: self.span(Kind::Strays, dimension, None)?,
                entry,
                top,
                calibration,
            }),
        };
        if graph.as_ref().is_some_and(|graph| !graph.upper.len.is_multiple_of(LINKS)) {
            return Err(format!("the graph of dimension {dimension} has a list that is cut short"));
        }
        Ok(ColumnSpans {
            rows,
            codes: self.span(Kind::Codes, dimension, Some(elements(vector::stride(dimension))?))?,
            scales: self.span(Kind::Scales, dimension, by_row)?,
            residuals: self.span(Kind::Residuals, dimension, by_row)?,
            norms: self.span(Kind::Norms, dimension, by_row)?,
            owners: self.lists(Kind::OwnersAt, Kind::Owners, dimension, by_row)?,
            keys: self.span(Kind::Keys, dimension, by_row)?,
            exact: self.span(Kind::Exact, dimension, Some(elements(dimension)?))?,
            graph,
        })
    }
}
