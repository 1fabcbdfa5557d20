//! All that is known of one card at one moment: what the table, the lines and the live view are made of, and the JSON.

use gpu_probe::{
    DeviceInfo, Expected, Fragmentation, GpuProbe, GpuProcess, Growth, MemoryInfo, Recorder, Sample, Trend,
};
use serde::Serialize;

use std::time::Duration;

/// How far ahead a forecast is told.
pub(crate) const AHEAD: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Serialize)]
pub(super) struct Card {
    #[serde(flatten)]
    pub(super) info: DeviceInfo,
    /// None where the card does not answer.
    pub(super) memory: Option<MemoryInfo>,
    pub(super) used_fraction: Option<f64>,
    /// Why it does not answer.
    pub(super) error: Option<String>,
    /// Above the share at which consolidating begins.
    pub(super) consolidate: bool,
    pub(super) fragmentation: Option<Pieces>,
    /// None where the driver does not tell. The one that holds most first.
    pub(super) processes: Option<Vec<Process>>,
    pub(super) forecast: Option<Forecast>,
}

/// In what pieces memory is free, and what this process holds without using it.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Pieces {
    #[serde(flatten)]
    pub(super) fragmentation: Fragmentation,
    pub(super) reserved_but_unallocated_bytes: Option<u64>,
    pub(super) fragmented_fraction: Option<f64>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Process {
    #[serde(flatten)]
    pub(super) of: GpuProcess,
    /// Share of the card.
    pub(super) used_fraction: Option<f64>,
    /// What it took since it was first seen; null where it was seen only once or took nothing.
    pub(super) more_bytes: Option<u64>,
}

/// Where the share in use is heading; only while watching.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Forecast {
    pub(super) ahead_seconds: f64,
    pub(super) expected_fraction: Expected,
    pub(super) slope_per_second: f64,
    /// None unless it clearly fills.
    pub(super) full_in_seconds: Option<f64>,
}

impl Card {
    /// Every card of the recorder as it was seen last.
    pub(super) fn all(recorder: &Recorder, gpu: &dyn GpuProbe, enter: f64) -> Vec<Self> {
        let cards = recorder.devices().into_iter().map(|info| {
            let history = recorder.history(info.index);
            let fragmentation = gpu.fragmentation(info.index).ok();
            let (processes, growth) = (recorder.processes(info.index), recorder.growth(info.index));
            Self::of(info, &history, processes, &growth, fragmentation, enter)
        });
        cards.collect()
    }

    pub(super) fn of(
        info: DeviceInfo,
        history: &[Sample],
        processes: Option<Vec<GpuProcess>>,
        growth: &[Growth],
        fragmentation: Option<Fragmentation>,
        enter: f64,
    ) -> Self {
        let (memory, error) = match history.last().map(|sample| &sample.seen) {
            Some(Ok(reading)) => (Some(reading.memory), None),
            Some(Err(reason)) => (None, Some(reason.to_string())),
            None => (None, None),
        };
        let used_fraction = memory.map(|memory| memory.used_fraction());
        let processes = processes.map(|processes| biggest_first(processes, growth, info.total_bytes));
        Self {
            memory,
            used_fraction,
            error,
            consolidate: used_fraction.is_some_and(|used| used > enter),
            fragmentation: fragmentation.map(Pieces::of),
            processes,
            forecast: Forecast::of(history),
            info,
        }
    }
}

fn biggest_first(processes: Vec<GpuProcess>, growth: &[Growth], total_bytes: u64) -> Vec<Process> {
    let mut all: Vec<Process> = processes
        .into_iter()
        .map(|process| Process {
            used_fraction: process
                .used_bytes
                .filter(|_| total_bytes > 0)
                .map(|used| used as f64 / total_bytes as f64),
            more_bytes: growth.iter().find(|growth| growth.pid == process.pid).map(Growth::more_bytes),
            of: process,
        })
        .collect();
    all.sort_by_key(|one| (u64::MAX - one.of.used_bytes.unwrap_or(0), one.of.pid));
    all
}

impl Pieces {
    fn of(fragmentation: Fragmentation) -> Self {
        Self {
            reserved_but_unallocated_bytes: fragmentation.reserved_but_unallocated_bytes(),
            fragmented_fraction: fragmentation.fragmented_fraction(),
            fragmentation,
        }
    }
}

impl Forecast {
    fn of(history: &[Sample]) -> Option<Self> {
        let trend = Trend::of(history.iter().filter_map(Sample::used_fraction))?;
        Some(Self {
            ahead_seconds: AHEAD.as_secs_f64(),
            expected_fraction: trend.expected_in(AHEAD),
            slope_per_second: trend.slope_per_second,
            full_in_seconds: trend.time_until(1.0).map(|left| left.as_secs_f64()),
        })
    }
}
