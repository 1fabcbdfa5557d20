//! A card ready to run the kernels of one program: lanes made of a stream, scratch and staging memory.
//!
//! A queue has a share of its own in the card's primary context, so that it may outlive the probe that made it.

use std::collections::HashMap;
use std::ffi::CString;

use super::driver::{Context, Device, Driver, Failure, Kernel, Program, Programs, Refusal, Staging, Stream};
use super::ptx;
use crate::error::{Error, Result, human_bytes};
use crate::kernels::{DeviceSpan, KernelQueue, KernelSetup};

/// More lanes than any card runs beside each other.
const MOST_LANES: usize = 64;

/// Why there is no queue. What was taken is given back.
pub(super) enum NotMade {
    /// The card has too little left for scratch of so many bytes.
    CardFull {
        bytes: u64,
    },
    Error(Error),
}

impl From<Error> for NotMade {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

#[derive(Debug)]
pub(super) struct CudaQueue {
    driver: Driver,
    programs: Programs,
    device: Device,
    context: Context,
    /// Index of the card.
    index: u32,
    program: Option<Program>,
    /// Every kernel of the program, with how many parameters it has.
    kernels: HashMap<String, (Kernel, Option<usize>)>,
    lanes: Vec<Lane>,
    scratch_bytes: u64,
    staging_bytes: usize,
}

/// What is there of a lane; all of it, once the queue is made.
#[derive(Debug, Default)]
struct Lane {
    stream: Option<Stream>,
    scratch: Option<u64>,
    staging: Option<Staging>,
}

fn unsupported(device: u32, reason: &str) -> Error {
    let reason = format!("{reason}; the processor does the same work meanwhile");
    Error::Unsupported { device, what: "run kernels", reason }
}

impl CudaQueue {
    pub(super) fn new(
        driver: Driver,
        device: Device,
        index: u32,
        setup: &KernelSetup<'_>,
    ) -> Result<Self, NotMade> {
        let programs = driver.programs().map_err(|symbol| {
            unsupported(index, &format!("this CUDA driver has no {symbol}; update the driver"))
        })?;
        if !(1..=MOST_LANES).contains(&setup.lanes) {
            let lanes = setup.lanes;
            return Err(
                unsupported(index, &format!("1 to {MOST_LANES} lanes can be had, not {lanes}")).into()
            );
        }
        let Ok(text) = CString::new(setup.ptx) else {
            return Err(unsupported(index, "the program has a zero in its text; it is not PTX").into());
        };
        let entries = ptx::entries(setup.ptx);
        if entries.is_empty() {
            return Err(unsupported(index, "the program has no kernel; it is not PTX").into());
        }
        let not_made = |operation: &str, failure| match failure {
            Failure::OutOfMemory => {
                NotMade::CardFull { bytes: setup.scratch_bytes.saturating_mul(setup.lanes as u64) }
            }
            failure => NotMade::Error(failure.into_error(index, operation.to_owned())),
        };
        let context = driver.retain(device).map_err(|failure| not_made("opening the card", failure))?;
        // From here on dropping the queue gives back whatever it has so far.
        let mut queue = Self {
            driver,
            programs,
            device,
            context,
            index,
            program: None,
            kernels: HashMap::new(),
            lanes: Vec::new(),
            scratch_bytes: setup.scratch_bytes,
            staging_bytes: setup.staging_bytes,
        };
        let program = programs.load(context, &text).map_err(|refusal| match refusal {
            Refusal::Program(words) => unsupported(
                index,
                &format!("the driver does not take the program ({words}); update the driver"),
            )
            .into(),
            Refusal::Failure(failure) => not_made("loading a program", failure),
        })?;
        let program = queue.program.insert(program);
        for entry in entries {
            let name = CString::new(entry.name.as_str()).unwrap_or_default();
            let kernel = programs
                .kernel(context, program, &name)
                .map_err(|failure| not_made(&format!("looking for the kernel {}", entry.name), failure))?;
            queue.kernels.insert(entry.name, (kernel, entry.parameters));
        }
        for _ in 0..setup.lanes {
            queue.add_lane(&not_made)?;
        }
        Ok(queue)
    }

    fn add_lane(&mut self, not_made: &impl Fn(&str, Failure) -> NotMade) -> Result<(), NotMade> {
        self.lanes.push(Lane::default());
        let (programs, context) = (self.programs, self.context);
        let Some(lane) = self.lanes.last_mut() else { return Ok(()) };
        lane.stream = Some(programs.stream(context).map_err(|failure| not_made("making a stream", failure))?);
        if self.scratch_bytes > 0 {
            let size = usize::try_from(self.scratch_bytes)
                .map_err(|_| NotMade::CardFull { bytes: self.scratch_bytes })?;
            let scratch = self.driver.allocate(context, size);
            lane.scratch = Some(scratch.map_err(|failure| not_made("allocating scratch", failure))?);
        }
        if self.staging_bytes > 0 {
            let staging = programs.staging(context, self.staging_bytes);
            lane.staging = Some(staging.map_err(|failure| {
                let operation = format!("page-locking {}", human_bytes(self.staging_bytes as u64));
                // This is the host's memory, not the card's.
                NotMade::Error(failure.into_error(self.index, operation))
            })?);
        }
        Ok(())
    }

    fn error(&self, operation: String, failure: Failure) -> Error {
        failure.into_error(self.index, operation)
    }

    /// The lane, and what `operation` needs beside it.
    fn lane(&mut self, lane: usize, operation: &str) -> Result<(Programs, Context, &mut Lane)> {
        let count = self.lanes.len();
        let (programs, context, device) = (self.programs, self.context, self.index);
        let found = self.lanes.get_mut(lane).map(|found| (programs, context, found));
        found.ok_or_else(|| Error::Driver {
            device,
            operation: operation.to_owned(),
            reason: format!("there is no lane {lane}: there are {count}, with numbers from 0"),
        })
    }

    fn check_staging(&self, offset: usize, len: usize) -> Result<()> {
        match offset.checked_add(len) {
            Some(end) if end <= self.staging_bytes => Ok(()),
            _ => Err(Error::OutOfRange {
                device: self.index,
                offset: offset as u64,
                len: len as u64,
                bytes: self.staging_bytes as u64,
            }),
        }
    }
}

/// The stream of a lane. Every lane of a queue that was made has one.
fn stream(lane: &Lane) -> Result<&Stream, Failure> {
    lane.stream.as_ref().ok_or(Failure::Lost)
}

impl KernelQueue for CudaQueue {
    fn lanes(&self) -> usize {
        self.lanes.len()
    }

    fn scratch(&self, lane: usize) -> DeviceSpan {
        match self.lanes.get(lane).and_then(|lane| lane.scratch) {
            Some(address) => DeviceSpan { address, bytes: self.scratch_bytes },
            None => DeviceSpan { address: 0, bytes: 0 },
        }
    }

    fn staging_bytes(&self) -> usize {
        self.staging_bytes
    }

    fn join(&mut self) -> Result<()> {
        self.programs
            .wait_for_all(self.context)
            .map_err(|failure| self.error("waiting for the work of this process".into(), failure))
    }

    fn launch(
        &mut self,
        lane: usize,
        kernel: &str,
        grid: u32,
        threads: u32,
        arguments: &[u64],
    ) -> Result<()> {
        let operation = || format!("launching {kernel:?} on lane {lane}");
        let refused = |reason: String, device| Err(Error::Driver { device, operation: operation(), reason });
        let found = self.kernels.get(kernel).copied();
        let index = self.index;
        let (programs, context, there) = self.lane(lane, &operation())?;
        let found = match found {
            None => return refused("the program has no such kernel".into(), index),
            Some((_, None)) => return refused("it takes more than plain numbers".into(), index),
            Some((_, Some(wanted))) if wanted != arguments.len() => {
                let given = arguments.len();
                return refused(format!("it takes {wanted} arguments, and {given} were given"), index);
            }
            Some((found, Some(_))) => found,
        };
        stream(there)
            .and_then(|stream| programs.launch(context, stream, found, (grid, threads), arguments))
            .map_err(|failure| self.error(operation(), failure))
    }

    fn fetch(&mut self, lane: usize, from_address: u64, to_staging: usize, bytes: usize) -> Result<()> {
        let operation = || format!("fetching {} on lane {lane}", human_bytes(bytes as u64));
        self.lane(lane, &operation())?;
        self.check_staging(to_staging, bytes)?;
        let (programs, context, there) = self.lane(lane, &operation())?;
        let Lane { stream: Some(stream), staging: Some(staging), .. } = there else { return Ok(()) };
        if bytes == 0 {
            return Ok(());
        }
        programs
            .fetch(context, stream, from_address, (staging, to_staging), bytes)
            .map_err(|failure| self.error(operation(), failure))
    }

    fn send(&mut self, lane: usize, from_staging: usize, to_address: u64, bytes: usize) -> Result<()> {
        let operation = || format!("sending {} on lane {lane}", human_bytes(bytes as u64));
        self.lane(lane, &operation())?;
        self.check_staging(from_staging, bytes)?;
        let (programs, context, there) = self.lane(lane, &operation())?;
        let Lane { stream: Some(stream), staging: Some(staging), .. } = there else { return Ok(()) };
        if bytes == 0 {
            return Ok(());
        }
        programs
            .send(context, stream, (staging, from_staging), to_address, bytes)
            .map_err(|failure| self.error(operation(), failure))
    }

    fn staging(&mut self, lane: usize) -> Result<&mut [u8]> {
        let operation = || format!("waiting for lane {lane}");
        let index = self.index;
        let (programs, context, there) = self.lane(lane, &operation())?;
        stream(there)
            .and_then(|stream| programs.wait(context, stream))
            .map_err(|failure| failure.into_error(index, operation()))?;
        Ok(there.staging.as_mut().map_or(&mut [], Staging::bytes))
    }
}

impl Drop for CudaQueue {
    /// What is still running is waited for. There is nobody to tell of errors, and nothing is given back twice: what a driver
    /// that failed did not take is its own to free when the process ends.
    fn drop(&mut self) {
        let (programs, context) = (self.programs, self.context);
        for lane in &self.lanes {
            let _ = stream(lane).and_then(|stream| programs.wait(context, stream));
        }
        for lane in self.lanes.drain(..) {
            if let Some(stream) = lane.stream {
                programs.end_stream(context, stream);
            }
            if let Some(scratch) = lane.scratch {
                let _ = self.driver.free(context, scratch);
            }
            if let Some(staging) = lane.staging {
                programs.end_staging(context, staging);
            }
        }
        if let Some(program) = self.program.take() {
            programs.end_program(context, program);
        }
        self.driver.release(self.device);
    }
}
