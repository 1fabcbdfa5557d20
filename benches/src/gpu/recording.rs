//! What a pipeline gives to a card: noted while it runs, and given again without the pipeline, so that the card and the bus are
//! measured alone.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gpu_probe::KernelQueue;
use softhair_compress::device::Card;

use super::timed;

/// Copies begin at multiples of this.
const ALIGNMENT: usize = 256;

/// A queue that notes what it is given, while it is told to.
#[derive(Debug)]
pub(super) struct Recording {
    queue: Box<dyn KernelQueue>,
    notes: Option<Vec<Given>>,
}

/// Something that was given to a lane.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) lane: usize,
    pub(super) what: What,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    Launch {
        kernel: String,
        grid: u32,
        threads: u32,
        arguments: Vec<u64>,
    },
    Fetch {
        from: u64,
        to: usize,
        bytes: usize,
    },
    /// `content` is what is sent, if that matters.
    Send {
        from: usize,
        to: u64,
        bytes: usize,
        content: Vec<u8>,
    },
}

impl Recording {
    pub(super) fn new(queue: Box<dyn KernelQueue>) -> Self {
        Self { queue, notes: None }
    }

    pub(super) fn begin(&mut self) {
        self.notes = Some(Vec::new());
    }

    /// What was given since the beginning.
    pub(super) fn end(&mut self) -> Work {
        Work(self.notes.take().unwrap_or_default())
    }

    pub(super) fn wait(&mut self) -> Result<()> {
        for lane in 0..self.queue.lanes() {
            self.queue.staging(lane)?;
        }
        Ok(())
    }

    fn note(&mut self, lane: usize, what: What) {
        if let Some(notes) = &mut self.notes {
            notes.push(Given { lane, what });
        }
    }
}

impl Card for Recording {
    type Error = gpu_probe::Error;

    fn lanes(&self) -> usize {
        self.queue.lanes()
    }

    fn scratch(&self, lane: usize) -> (u64, u64) {
        let span = self.queue.scratch(lane);
        (span.address, span.bytes)
    }

    fn staging_bytes(&self) -> usize {
        self.queue.staging_bytes()
    }

    fn launch(
        &mut self,
        lane: usize,
        kernel: &str,
        grid: u32,
        threads: u32,
        arguments: &[u64],
    ) -> gpu_probe::Result<()> {
        self.note(lane, What::Launch { kernel: kernel.into(), grid, threads, arguments: arguments.into() });
        self.queue.launch(lane, kernel, grid, threads, arguments)
    }

    fn fetch(&mut self, lane: usize, from: u64, to: usize, bytes: usize) -> gpu_probe::Result<()> {
        self.note(lane, What::Fetch { from, to, bytes });
        self.queue.fetch(lane, from, to, bytes)
    }

    fn send(&mut self, lane: usize, from: usize, to: u64, bytes: usize) -> gpu_probe::Result<()> {
        if self.notes.is_some() {
            let content = self.queue.staging(lane)?[from..from + bytes].to_vec();
            self.note(lane, What::Send { from, to, bytes, content });
        }
        self.queue.send(lane, from, to, bytes)
    }

    fn staging(&mut self, lane: usize) -> gpu_probe::Result<&mut [u8]> {
        self.queue.staging(lane)
    }
}

/// Work for a card, in the order in which it is given.
#[derive(Debug, Clone)]
pub(super) struct Work(pub(super) Vec<Given>);

impl Work {
    /// Without what came before the first kernel: the pipeline looks at the tensor first.
    pub(super) fn without_the_first_look(mut self) -> Self {
        let first = self.0.iter().position(Given::is_launch).unwrap_or(self.0.len());
        self.0.drain(..first);
        self
    }

    pub(super) fn launches(&self) -> Self {
        Self(self.0.iter().filter(|given| given.is_launch()).cloned().collect())
    }

    /// Each copy with a place of its own in the staging memory of its lane; what is to be sent is put there.
    pub(super) fn placed(mut self, card: &mut Recording) -> Result<Self> {
        let mut used: BTreeMap<usize, usize> = BTreeMap::new();
        for Given { lane, what } in &mut self.0 {
            let at = used.entry(*lane).or_default();
            let (place, bytes) = match what {
                What::Launch { .. } => continue,
                What::Fetch { to, bytes, .. } => (to, *bytes),
                What::Send { from, content, .. } => {
                    let staging = card.queue.staging(*lane)?;
                    let room = staging.get_mut(*at..*at + content.len()).context("staging is too small")?;
                    room.copy_from_slice(content);
                    (from, content.len())
                }
            };
            *place = *at;
            *at = (*at + bytes).next_multiple_of(ALIGNMENT);
            ensure!(
                *at <= card.queue.staging_bytes(),
                "staging is too small for the whole tensor; have more of it"
            );
        }
        Ok(self)
    }

    /// Gives everything to the card, and waits until it is done.
    pub(super) fn give(&self, card: &mut Recording) -> Result<Duration> {
        let give = || -> Result<()> {
            for Given { lane, what } in &self.0 {
                match what {
                    What::Launch { kernel, grid, threads, arguments } => {
                        card.queue.launch(*lane, kernel, *grid, *threads, arguments)?;
                    }
                    What::Fetch { from, to, bytes } => card.queue.fetch(*lane, *from, *to, *bytes)?,
                    What::Send { from, to, bytes, .. } => card.queue.send(*lane, *from, *to, *bytes)?,
                }
            }
            card.wait()
        };
        let (done, took) = timed(give);
        done.map(|()| took)
    }

    /// What the second fetch after the kernels of each window brought, window by window: the first brings how much that is.
    pub(super) fn packed(&self, card: &mut Recording) -> Result<Vec<u8>> {
        let mut since_launch: BTreeMap<usize, usize> = BTreeMap::new();
        let mut packed = Vec::new();
        for given in &self.0 {
            let fetches = since_launch.entry(given.lane).or_default();
            match given.what {
                What::Launch { .. } => *fetches = 0,
                What::Fetch { to, bytes, .. } => {
                    *fetches += 1;
                    if *fetches == 2 {
                        packed.extend_from_slice(&card.queue.staging(given.lane)?[to..to + bytes]);
                    }
                }
                What::Send { .. } => {}
            }
        }
        Ok(packed)
    }
}

impl Given {
    fn is_launch(&self) -> bool {
        matches!(self.what, What::Launch { .. })
    }
}

/// A window of a tensor that is restored: what is sent, and the kernels, the last of which is told where to write.
#[derive(Debug)]
struct Window<'w> {
    sent: &'w Given,
    index: &'w Given,
    restore: &'w Given,
    values: u64,
    bytes: u64,
}

impl Work {
    /// For a recorded restoring: the windows that each lane got first, and then their kernels alone, again and again, until they have
    /// written as much as fits between `address` and `end`. Kernels alone would find another window's bytes in their scratch.
    ///
    /// Returns what is to be given once, what is to be timed, and how many bytes that writes.
    pub(super) fn restoring_kernels(&self, address: u64, end: u64) -> Result<(Self, Self, u64)> {
        let windows = self.windows(end)?;
        let lanes =
            1 + windows.iter().map(|window| window.sent.lane).max().context("nothing was restored")?;
        let first = &windows[..lanes.min(windows.len())];
        let once = first.iter().map(|window| window.sent.clone()).collect();
        let (mut again, mut at) = (Vec::new(), address);
        for window in first.iter().cycle() {
            if at + window.bytes > end {
                break;
            }
            let mut restore = window.restore.clone();
            if let What::Launch { arguments, .. } = &mut restore.what
                && let Some(values) = arguments.last_mut()
            {
                *values = at;
            }
            again.extend([window.index.clone(), restore]);
            at += window.bytes;
        }
        Ok((Self(once), Self(again), at - address))
    }

    fn windows(&self, end: u64) -> Result<Vec<Window<'_>>> {
        let work: Vec<_> = self.0.iter().filter(|given| !matches!(given.what, What::Fetch { .. })).collect();
        let mut windows = Vec::new();
        for window in work.chunks(3) {
            let [sent, index, restore] = window else {
                anyhow::bail!("a window has other work than expected")
            };
            let (What::Send { .. }, What::Launch { .. }, What::Launch { arguments, .. }) =
                (&sent.what, &index.what, &restore.what)
            else {
                anyhow::bail!("the processor restored a part of it, so that kernels alone do not restore it");
            };
            let values = *arguments.last().context("a kernel that is not told where to write")?;
            windows.push(Window { sent, index, restore, values, bytes: 0 });
        }
        let mut end = end;
        for window in windows.iter_mut().rev() {
            (window.bytes, end) = (end - window.values, window.values);
        }
        Ok(windows)
    }
}
