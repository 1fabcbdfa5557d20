//! What a snapshot is made of, and how that becomes sections.

use std::collections::HashMap;
use std::io::{Seek, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use super::layout::{Header, Kind, SEALED};
use super::table;
use super::write::Writer;
use crate::column::RowNumber;
use crate::config::Metric;
use crate::entry::MemoryId;
use crate::error::IndexError;
use crate::graph::build::Arrays;
use crate::graph::calibrate::Calibration;
use crate::trace::EntryNumber;

/// Everything that goes into a snapshot.
pub(crate) struct Contents<'c> {
    pub(crate) metric: Metric,
    pub(crate) origin: [u8; 32],
    pub(crate) position: u64,
    pub(crate) memories: Vec<Memory<'c>>,
    pub(crate) columns: Vec<ColumnContents<'c>>,
}

/// One memory.
#[derive(Debug)]
pub(crate) struct Memory<'c> {
    pub(crate) id: MemoryId,
    pub(crate) kind: &'c str,
    pub(crate) recallable: bool,
    pub(crate) stored_at: SystemTime,
    pub(crate) contexts: Vec<&'c str>,
    /// Dimension and row.
    pub(crate) place: Option<(usize, RowNumber)>,
}

/// One column; see [`Kind`] for its parts.
pub(crate) struct ColumnContents<'c> {
    pub(crate) dimension: usize,
    pub(crate) codes: Vec<u8>,
    pub(crate) scales: Vec<f32>,
    pub(crate) residuals: Vec<f32>,
    pub(crate) norms: Vec<f32>,
    pub(crate) owners_at: Vec<u32>,
    pub(crate) owners: Vec<EntryNumber>,
    pub(crate) keys: Vec<u64>,
    /// Hands over the exact rows, in order.
    pub(crate) exact: ExactSource<'c>,
    pub(crate) graph: Option<(Arrays, Calibration)>,
}

/// Calls what it is given with one exact row after the other.
pub(crate) type ExactSource<'c> =
    Box<dyn Fn(&mut dyn FnMut(&[f32]) -> Result<(), IndexError>) -> Result<(), IndexError> + 'c>;

/// Bytes of [`Facts`] in a snapshot.
pub(super) const FACTS_BYTES: usize = 64;

/// What else there is to say of a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Facts {
    pub(super) rows: u32,
    /// Entry, top, and what was measured.
    pub(super) graph: Option<(RowNumber, u32, Calibration)>,
}

impl Facts {
    pub(super) fn decode(bytes: &[u8]) -> Self {
        let word = |i: usize| {
            u32::from_le_bytes(std::array::from_fn(|j| bytes.get(i * 4 + j).copied().unwrap_or(0)))
        };
        let float = |i: usize| f32::from_bits(word(i));
        let calibration = Calibration {
            width: word(4),
            compared: float(5),
            scan_ns: float(6),
            walk_ns: float(7),
            recall: float(8),
        };
        Self { rows: word(0), graph: (word(1) == 1).then(|| (word(2), word(3), calibration.made_sane())) }
    }

    fn encode(&self) -> [u32; FACTS_BYTES / 4] {
        let mut words = [0; FACTS_BYTES / 4];
        words[0] = self.rows;
        if let Some((entry, top, Calibration { width, compared, scan_ns, walk_ns, recall })) = self.graph {
            let measured = [compared, scan_ns, walk_ns, recall].map(f32::to_bits);
            words[1..5].copy_from_slice(&[1, entry, top, width]);
            words[5..9].copy_from_slice(&measured);
        }
        words
    }
}

impl Contents<'_> {
    /// Writes a whole snapshot.
    pub(crate) fn write<W: Write + Seek>(&self, out: W) -> Result<W, IndexError> {
        let mut writer = Writer::new(out)?;
        self.write_memories(&mut writer)?;
        self.write_traces(&mut writer)?;
        for column in &self.columns {
            column.write(&mut writer)?;
        }
        let header = Header {
            metric: self.metric,
            origin: self.origin,
            position: self.position,
            memories: self.memories.len() as u64,
            sections_at: 0,
            sections: 0,
            file_bytes: 0,
            sections_check: 0,
        };
        writer.finish(header)
    }

    fn write_memories<W: Write + Seek>(&self, writer: &mut Writer<W>) -> Result<(), IndexError> {
        let memories = &self.memories;
        let ids: Vec<MemoryId> = memories.iter().map(|memory| memory.id).collect();
        writer.section(Kind::Ids, 0, &ids)?;
        writer.section(Kind::IdTable, 0, &table::build(ids.iter().map(<[u8; 32]>::as_slice)))?;

        let mut names = Numbered::default();
        let types: Vec<u32> = memories.iter().map(|memory| names.number(memory.kind)).collect();
        let tagged: Vec<u32> = types
            .iter()
            .zip(memories)
            .map(|(&kind, memory)| if memory.recallable { kind } else { kind | SEALED })
            .collect();
        writer.section(Kind::Types, 0, &tagged)?;
        let (seconds, nanos): (Vec<i64>, Vec<u32>) =
            memories.iter().map(|m| since_epoch(m.stored_at)).unzip();
        writer.section(Kind::StoredSeconds, 0, &seconds)?;
        writer.section(Kind::StoredNanos, 0, &nanos)?;
        let (dimensions, rows): (Vec<u32>, Vec<u32>) = memories
            .iter()
            .map(|m| m.place.map_or((0, 0), |(dimension, row)| (dimension as u32, row)))
            .unzip();
        writer.section(Kind::Dimensions, 0, &dimensions)?;
        writer.section(Kind::Rows, 0, &rows)?;

        let lists = Lists::invert(names.names.len(), types.iter().map(|kind| [*kind]));
        names.write(writer, Kind::TypeNamesAt, Kind::TypeNames)?;
        lists.write(writer, Kind::TypeMembersAt, Kind::TypeMembers)
    }

    fn write_traces<W: Write + Seek>(&self, writer: &mut Writer<W>) -> Result<(), IndexError> {
        let total: usize = self.memories.iter().map(|memory| memory.contexts.len()).sum();
        u32::try_from(total).map_err(|_| IndexError::Full { what: "traces" })?;
        let mut names = Numbered::default();
        let mut traces = Lists::default();
        for memory in &self.memories {
            traces.push(memory.contexts.iter().map(|context| names.number(context)));
        }
        let members =
            Lists::invert(names.names.len(), (0..self.memories.len()).map(|i| traces.list(i).to_vec()));
        names.write(writer, Kind::ContextNamesAt, Kind::ContextNames)?;
        writer.section(
            Kind::ContextTable,
            0,
            &table::build(names.names.iter().map(|name| name.as_bytes())),
        )?;
        members.write(writer, Kind::ContextMembersAt, Kind::ContextMembers)?;
        traces.write(writer, Kind::TracesAt, Kind::Traces)
    }
}

impl ColumnContents<'_> {
    fn write<W: Write + Seek>(&self, writer: &mut Writer<W>) -> Result<(), IndexError> {
        let dimension = self.dimension;
        let graph = self.graph.as_ref().map(|(graph, calibration)| (graph.entry, graph.top, *calibration));
        let facts = Facts { rows: self.scales.len() as u32, graph };
        writer.section(Kind::Facts, dimension, &facts.encode())?;
        writer.section(Kind::Scales, dimension, &self.scales)?;
        writer.section(Kind::Residuals, dimension, &self.residuals)?;
        writer.section(Kind::Norms, dimension, &self.norms)?;
        writer.section(Kind::OwnersAt, dimension, &self.owners_at)?;
        writer.section(Kind::Owners, dimension, &self.owners)?;
        writer.section(Kind::Keys, dimension, &self.keys)?;
        writer.section(Kind::Codes, dimension, &self.codes)?;
        if let Some((graph, _)) = &self.graph {
            writer.section(Kind::Base, dimension, &graph.base)?;
            writer.section(Kind::UpperAt, dimension, &graph.upper_at)?;
            writer.section(Kind::Upper, dimension, &graph.upper)?;
            writer.section(Kind::Strays, dimension, &graph.strays)?;
        }
        writer
            .stream(Kind::Exact, dimension, |write| (self.exact)(&mut |row| write(bytemuck::cast_slice(row))))
    }
}

/// Whole seconds since 1970, downwards, and nanoseconds.
fn since_epoch(time: SystemTime) -> (i64, u32) {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (after.as_secs().min(i64::MAX as u64) as i64, after.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            let seconds = -(before.as_secs().min(i64::MAX as u64) as i64);
            match before.subsec_nanos() {
                0 => (seconds, 0),
                nanos => (seconds.saturating_sub(1), 1_000_000_000 - nanos),
            }
        }
    }
}

/// Names, numbered in the order in which they come.
#[derive(Default)]
struct Numbered<'n> {
    numbers: HashMap<&'n str, u32>,
    names: Vec<&'n str>,
}

impl<'n> Numbered<'n> {
    fn number(&mut self, name: &'n str) -> u32 {
        let next = self.names.len() as u32;
        let number = *self.numbers.entry(name).or_insert(next);
        if number == next {
            self.names.push(name);
        }
        number
    }

    fn write<W: Write + Seek>(
        &self,
        writer: &mut Writer<W>,
        at: Kind,
        bytes: Kind,
    ) -> Result<(), IndexError> {
        let mut lists = Lists::<u8>::default();
        for name in &self.names {
            lists.push(name.bytes());
        }
        lists.write(writer, at, bytes)
    }
}

/// Lists, one after the other.
struct Lists<T = u32> {
    at: Vec<u32>,
    members: Vec<T>,
}

impl<T> Default for Lists<T> {
    fn default() -> Self {
        Self { at: vec![0], members: Vec::new() }
    }
}

impl<T: bytemuck::Pod> Lists<T> {
    fn push(&mut self, list: impl Iterator<Item = T>) {
        self.members.extend(list);
        self.at.push(self.members.len() as u32);
    }

    fn list(&self, number: usize) -> &[T] {
        &self.members[self.at[number] as usize..self.at[number + 1] as usize]
    }

    fn write<W: Write + Seek>(
        &self,
        writer: &mut Writer<W>,
        at: Kind,
        members: Kind,
    ) -> Result<(), IndexError> {
        writer.section(at, 0, &self.at)?;
        writer.section(members, 0, &self.members)
    }
}

impl Lists {
    /// For each of `groups`, the numbers of the items that name it, ascending.
    fn invert<G: AsRef<[u32]>>(groups: usize, items: impl Iterator<Item = G> + Clone) -> Self {
        let mut at = vec![0_u32; groups + 1];
        for group in items.clone().flat_map(|item| item.as_ref().to_vec()) {
            at[group as usize + 1] += 1;
        }
        for group in 0..groups {
            at[group + 1] += at[group];
        }
        let mut next = at.clone();
        let mut members = vec![0; at[groups] as usize];
        for (number, item) in items.enumerate() {
            for &group in item.as_ref() {
                members[next[group as usize] as usize] = number as u32;
                next[group as usize] += 1;
            }
        }
        Self { at, members }
    }
}
