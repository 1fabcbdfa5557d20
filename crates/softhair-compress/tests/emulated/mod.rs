//! A card whose kernels run in an emulator.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::collections::BTreeMap;

use ptx_emulator::{Arena, Launch, Program};
use softhair_compress::device::{Card, PTX};

/// Parsed once: it is long.
fn program() -> &'static Program {
    static PROGRAM: std::sync::OnceLock<Program> = std::sync::OnceLock::new();
    PROGRAM.get_or_init(|| Program::parse(PTX).unwrap())
}

/// Memory, lanes, and a program.
pub(crate) struct EmulatedCard {
    memory: Arena,
    lanes: Vec<Lane>,
    lane_bytes: usize,
    /// Operations that succeed before all fail.
    left: Option<usize>,
    /// What each kernel has cost.
    costs: BTreeMap<String, Launch>,
}

struct Lane {
    scratch: u64,
    staging: Vec<u8>,
}

/// Why an operation failed.
#[derive(Debug)]
pub(crate) struct Failed(String);

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the emulated card failed: {}", self.0)
    }
}

impl std::error::Error for Failed {}

impl EmulatedCard {
    /// A card with room for a few chunks in each lane.
    pub(crate) fn new(lanes: usize) -> Self {
        Self::with_lane_bytes(lanes, 4 << 20)
    }

    pub(crate) fn with_lane_bytes(lanes: usize, lane_bytes: usize) -> Self {
        let mut memory = Arena::new();
        let lanes = (0..lanes)
            .map(|_| Lane { scratch: memory.allocate(lane_bytes as u64), staging: vec![0xee; lane_bytes] })
            .collect();
        Self { memory, lanes, lane_bytes, left: None, costs: BTreeMap::new() }
    }

    /// Makes every operation fail after so many.
    pub(crate) fn fail_after(&mut self, operations: usize) {
        self.left = Some(operations);
    }

    /// Puts bytes on the card.
    pub(crate) fn holding(&mut self, bytes: &[u8]) -> u64 {
        let address = self.memory.allocate(bytes.len() as u64);
        self.memory.write(address, bytes).unwrap();
        address
    }

    /// Takes memory in which nothing was written.
    pub(crate) fn room(&mut self, bytes: usize) -> u64 {
        self.memory.allocate(bytes as u64)
    }

    pub(crate) fn contents(&self, address: u64, bytes: usize) -> Vec<u8> {
        let mut contents = vec![0; bytes];
        self.memory.read(address, &mut contents).unwrap();
        contents
    }

    /// What each kernel has cost so far.
    #[allow(dead_code, reason = "for an example only")]
    pub(crate) fn costs(&self) -> &BTreeMap<String, Launch> {
        &self.costs
    }

    fn operate(&mut self) -> Result<(), Failed> {
        match &mut self.left {
            Some(0) => Err(Failed("it was made to fail".into())),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for EmulatedCard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmulatedCard").field("lanes", &self.lanes.len()).finish_non_exhaustive()
    }
}

impl Card for EmulatedCard {
    type Error = Failed;

    fn lanes(&self) -> usize {
        self.lanes.len()
    }

    fn scratch(&self, lane: usize) -> (u64, u64) {
        (self.lanes[lane].scratch, self.lane_bytes as u64)
    }

    fn staging_bytes(&self) -> usize {
        self.lane_bytes
    }

    fn launch(
        &mut self,
        _lane: usize,
        kernel: &str,
        grid: u32,
        threads: u32,
        arguments: &[u64],
    ) -> Result<(), Failed> {
        self.operate()?;
        let launched = program().launch(&mut self.memory, kernel, grid, threads, arguments);
        let launched = launched.unwrap_or_else(|fault| panic!("{fault}"));
        let cost = self.costs.entry(kernel.to_owned()).or_default();
        cost.instructions += launched.instructions;
        cost.global_bytes_read += launched.global_bytes_read;
        cost.global_bytes_written += launched.global_bytes_written;
        for (opcode, count) in launched.by_opcode {
            *cost.by_opcode.entry(opcode).or_default() += count;
        }
        Ok(())
    }

    fn fetch(
        &mut self,
        lane: usize,
        from_address: u64,
        to_staging: usize,
        bytes: usize,
    ) -> Result<(), Failed> {
        self.operate()?;
        let into = &mut self.lanes[lane].staging[to_staging..to_staging + bytes];
        self.memory.read(from_address, into).map_err(|fault| panic!("fetching: {fault}"))
    }

    fn send(
        &mut self,
        lane: usize,
        from_staging: usize,
        to_address: u64,
        bytes: usize,
    ) -> Result<(), Failed> {
        self.operate()?;
        let from = &self.lanes[lane].staging[from_staging..from_staging + bytes];
        self.memory.write(to_address, from).map_err(|fault| panic!("sending: {fault}"))
    }

    fn staging(&mut self, lane: usize) -> Result<&mut [u8], Failed> {
        self.operate()?;
        Ok(&mut self.lanes[lane].staging)
    }
}
