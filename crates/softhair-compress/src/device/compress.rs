//! Compressing at a relative bound: windows of chunks go through the lanes, so that one computes while another copies and the
//! processor hashes and writes a third.

use std::{
    collections::VecDeque,
    io::{Seek, Write},
};

use super::{
    Card, failed, kernel_suffix,
    window::{CHUNK_RECORD_BYTES, CHUNK_SEGMENTS, Compressing, RAW_CHUNKS, threads},
};
use crate::{
    Result, chunk,
    codec::Writer,
    frame::CHUNK_HEADER_BYTES,
    grain::{CardShape, ROUNDING},
    measure::Errors,
    plan::GRAIN_CHUNK_ELEMENTS,
};

const DOING: &str = "compressing on the card";

/// Codes all chunks of the tensor at `address` into `writer`, which has chosen grain at this bound.
pub(super) fn compress<C: Card, W: Write + Seek>(
    card: &mut C,
    writer: &mut Writer<'_, W>,
    address: u64,
    bound: f64,
) -> Result<()> {
    let step = chunk::first_step(bound);
    let shape = CardShape::for_step(step);
    let window = Compressing::new(card, writer.header.dtype, shape);
    let mut pipeline =
        Pipeline { elements: writer.header.elements(), card, writer, address, bound, step, shape, window };
    let chunks = pipeline.elements.div_ceil(GRAIN_CHUNK_ELEMENTS);
    let mut flights = VecDeque::new();
    for (index, first) in (0..chunks).step_by(window.chunks).enumerate() {
        let lanes = pipeline.card.lanes();
        if flights.len() == lanes {
            pipeline.land(&mut flights)?;
        }
        let flight = pipeline.launch(index % lanes, first, window.chunks.min(chunks - first));
        flights.push_back(flight.map_err(failed(DOING))?);
        // While these kernels run, what the ones before made begins to cross the bus.
        if let Some(before) = flights.len().checked_sub(2) {
            pipeline.collect(&mut flights[before])?;
        }
    }
    while !flights.is_empty() {
        pipeline.land(&mut flights)?;
    }
    Ok(())
}

struct Pipeline<'a, 'w, C, W> {
    card: &'a mut C,
    writer: &'a mut Writer<'w, W>,
    address: u64,
    elements: usize,
    bound: f64,
    step: f64,
    shape: CardShape,
    window: Compressing,
}

/// A window on its way.
struct Flight {
    lane: usize,
    first_chunk: usize,
    chunks: usize,
    /// What became of each chunk, once that is known.
    coded: Option<Vec<Coded>>,
}

/// A chunk that the kernels have coded.
#[derive(Debug, Clone, Copy)]
struct Coded {
    /// With the header; 0 if there is nothing.
    bytes: usize,
    /// `None` if the processor has to code it, whatever there is.
    errors: Option<Errors>,
}

impl<C: Card, W: Write + Seek> Pipeline<'_, '_, C, W> {
    /// Issues the kernels for a window, and the copy of what becomes of its chunks.
    fn launch(&mut self, lane: usize, first_chunk: usize, chunks: usize) -> Result<Flight, C::Error> {
        let dtype = self.writer.header.dtype;
        let suffix = kernel_suffix(dtype).unwrap_or_default();
        let at = first_chunk * GRAIN_CHUNK_ELEMENTS;
        let elements = (self.elements - at).min(chunks * GRAIN_CHUNK_ELEMENTS) as u64;
        let values = self.address + (at * dtype.size_bytes()) as u64;
        let (scratch, _) = self.card.scratch(lane);
        let Compressing { slot_bytes, scales, records, chunk_records, slots, packed, .. } = self.window;
        let [scales, records, chunk_records, slots, packed] =
            [scales, records, chunk_records, slots, packed].map(|offset| scratch + offset);
        let (step, shape, slot_bytes) =
            (self.step.to_bits(), u64::from(self.shape.packed), slot_bytes as u64);
        let (grid, segments) = (chunks as u32, (chunks * CHUNK_SEGMENTS) as u32);

        self.card.launch(
            lane,
            &format!("grain_survey_{suffix}"),
            grid,
            threads::SURVEY,
            &[values, elements, step, scales],
        )?;
        let arguments = [values, elements, scales, shape, slots, slot_bytes, records];
        self.card.launch(lane, &format!("grain_encode_{suffix}"), segments, threads::ENCODE, &arguments)?;
        self.card.launch(lane, "grain_total", grid, threads::TOTAL, &[elements, records, chunk_records])?;
        let arguments = [elements, scales, shape, slots, slot_bytes, records, chunk_records, packed];
        self.card.launch(lane, "grain_gather", segments, threads::GATHER, &arguments)?;
        self.card.fetch(lane, chunk_records, 0, chunks * CHUNK_RECORD_BYTES)?;
        Ok(Flight { lane, first_chunk, chunks, coded: None })
    }

    /// Waits for the kernels of a window, and issues the copy of what they made.
    fn collect(&mut self, flight: &mut Flight) -> Result<()> {
        if flight.coded.is_some() {
            return Ok(());
        }
        let staging = self.card.staging(flight.lane).map_err(failed(DOING))?;
        let records =
            staging[..flight.chunks * CHUNK_RECORD_BYTES].as_chunks::<CHUNK_RECORD_BYTES>().0.to_vec();
        let coded: Vec<Coded> = records
            .iter()
            .enumerate()
            .map(|(i, record)| self.judge(flight.first_chunk + i, record))
            .collect();
        let bytes = coded.iter().map(|coded| coded.bytes).sum();
        if bytes > 0 {
            let (scratch, _) = self.card.scratch(flight.lane);
            let (from, to) = (scratch + self.window.packed, self.window.staged_packed);
            self.card.fetch(flight.lane, from, to, bytes).map_err(failed(DOING))?;
        }
        flight.coded = Some(coded);
        Ok(())
    }

    /// Whether the bound holds and it was worth it, as the processor decides it.
    fn judge(&self, chunk: usize, record: &[u8; CHUNK_RECORD_BYTES]) -> Coded {
        let word =
            |at: usize| u32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]]);
        let number = |at: usize| f64::from_bits(u64::from(word(at)) | u64::from(word(at + 4)) << 32);
        let payload_bytes = word(0) as usize;
        // Sums of halves are in f64 on either side.
        let dtype = self.writer.header.dtype;
        let rounding = if dtype == crate::DType::F32 { ROUNDING } else { 1.0 };
        let errors = Errors {
            max_abs: number(8) * rounding,
            squared_error: number(16) * rounding,
            squared_norm: number(24),
        };
        let original = self.elements_of(chunk) * dtype.size_bytes();
        let holds = errors.in_range() && errors.rel_l2() <= self.bound && payload_bytes < original;
        match payload_bytes {
            0 => Coded { bytes: 0, errors: None },
            bytes => Coded { bytes: CHUNK_HEADER_BYTES + bytes, errors: holds.then_some(errors) },
        }
    }

    fn elements_of(&self, chunk: usize) -> usize {
        GRAIN_CHUNK_ELEMENTS.min(self.elements - chunk * GRAIN_CHUNK_ELEMENTS)
    }

    /// Takes the oldest window out: writes its chunks in order, and has the processor code those that the kernels could not.
    fn land(&mut self, flights: &mut VecDeque<Flight>) -> Result<()> {
        for flight in flights.iter_mut().take(2) {
            self.collect(flight)?;
        }
        let Some(Flight { lane, first_chunk, coded: Some(coded), .. }) = flights.pop_front() else {
            return Ok(());
        };
        let (mut chunk, mut at) = (first_chunk, self.window.staged_packed);
        for run in coded.chunk_by(|a, b| a.errors.is_some() == b.errors.is_some()) {
            let bytes: usize = run.iter().map(|coded| coded.bytes).sum();
            if run[0].errors.is_some() {
                let staging = self.card.staging(lane).map_err(failed(DOING))?;
                self.writer.coded(&staging[at..at + bytes], run.iter().filter_map(|coded| coded.errors))?;
            } else {
                for first in (chunk..chunk + run.len()).step_by(RAW_CHUNKS) {
                    self.by_processor(lane, first, RAW_CHUNKS.min(chunk + run.len() - first))?;
                }
            }
            chunk += run.len();
            at += bytes;
        }
        Ok(())
    }

    fn by_processor(&mut self, lane: usize, first_chunk: usize, chunks: usize) -> Result<()> {
        let size = self.writer.header.dtype.size_bytes();
        let at = first_chunk * GRAIN_CHUNK_ELEMENTS;
        let bytes = (self.elements - at).min(chunks * GRAIN_CHUNK_ELEMENTS) * size;
        let raw = self.window.staged_raw;
        self.card.fetch(lane, self.address + (at * size) as u64, raw, bytes).map_err(failed(DOING))?;
        let staging = self.card.staging(lane).map_err(failed(DOING))?;
        self.writer.window(&staging[raw..raw + bytes])
    }
}
