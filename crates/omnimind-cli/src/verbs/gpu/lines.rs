//! `gpu --watch --json`: one object per line and look, for programs.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use gpu_probe::{GpuProbe, Recorder};
use serde::Serialize;

use super::{Card, KEPT_SAMPLES};
use crate::failure::Failure;
use crate::output::timestamp;

#[derive(Debug, Serialize)]
struct Line {
    time: String,
    /// Since the first look.
    seconds: f64,
    source: &'static str,
    devices: Vec<Card>,
}

/// Until it is interrupted, nobody reads any more, or `count` lines are written.
pub(super) fn write(
    gpu: &Arc<dyn GpuProbe>,
    enter: f64,
    every: Duration,
    count: Option<u64>,
) -> Result<(), Failure> {
    let recorder = Recorder::new(Arc::clone(gpu), KEPT_SAMPLES).map_err(Failure::from_gpu)?;
    let (began, mut due, mut written) = (Instant::now(), Instant::now(), 0);
    loop {
        recorder.sample();
        let line = Line {
            time: timestamp(SystemTime::now()),
            seconds: began.elapsed().as_secs_f64(),
            source: gpu.source(),
            devices: Card::all(&recorder, &**gpu, enter),
        };
        let mut text = serde_json::to_string(&line).map_err(|error| Failure::Output(error.into()))?;
        text.push('\n');
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Failure::Output)?;
        drop(stdout);
        written += 1;
        if count.is_some_and(|count| written >= count) {
            return Ok(());
        }
        // What was missed is not made up for.
        due = (due + every).max(Instant::now());
        thread::sleep(due.saturating_duration_since(Instant::now()));
        recorder.look_closer();
    }
}
