//! What to do when memory runs out (R30): consolidate what is idle, try again, and only then fall back to the processor. Which
//! items leave first is decided in `idle`; what an error says of memory in `shortage`.

use std::{collections::HashSet, error::Error as StdError};

use crate::{
    Consolidator, Error, IdleId, Outcome, Shortage,
    idle::{Claim, Room},
    witness::Event,
};

/// What came of [`Consolidator::with_rescue`], and what it took.
#[derive(Debug)]
#[must_use = "device memory that could not be freed is in the outcomes"]
pub struct Rescued<T, U, E, F> {
    /// What the caller's own work returned.
    pub value: Result<Ran<T, U>, NotRescued<E, F>>,
    /// How often the device was tried.
    pub attempts: usize,
    /// What was consolidated to make room.
    pub relief: Relief,
}

/// Where the work ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ran<T, U> {
    /// On the device.
    OnDevice(T),
    /// On the processor, because no room could be made.
    OnCpu(U),
}

/// Why it ran nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRescued<E, F> {
    /// The device failed for another reason than memory; this is its error, unchanged.
    #[error("{0}")]
    Failed(E),
    /// No room could be made, and the processor failed too.
    #[error("{on_device}; and on the processor: {on_cpu}")]
    Nowhere {
        /// The last of the device's errors.
        on_device: E,
        /// The processor's error.
        on_cpu: F,
    },
}

/// Idle items that had to leave.
#[derive(Debug, Default)]
#[must_use = "device memory that could not be freed is in the outcomes"]
pub struct Relief {
    /// Those that are durable now. Look into [`Outcome::still_held`] for what could not be freed.
    pub consolidated: Vec<(IdleId, Outcome)>,
    /// Those that could not be consolidated. They are idle as before, unharmed.
    pub failed: Vec<(IdleId, Error)>,
    /// What was done, in words and in this order.
    pub reasons: Vec<String>,
}

impl Relief {
    /// Device memory that was freed or handed back to its owners, in bytes.
    #[must_use]
    pub fn released_bytes(&self) -> u64 {
        self.consolidated.iter().map(|(_, outcome)| outcome.released_bytes()).sum()
    }

    /// Host memory that was freed, in bytes.
    #[must_use]
    pub fn released_host_bytes(&self) -> u64 {
        self.consolidated.iter().map(|(_, outcome)| outcome.freed_host_bytes).sum()
    }

    pub(crate) fn released_in(&self, room: Room) -> u64 {
        match room {
            Room::Card(_) | Room::AnyCard => self.released_bytes(),
            Room::Host => self.released_host_bytes(),
        }
    }
}

impl Consolidator {
    /// Runs `allocate`; whenever that runs out of memory, consolidates idle items (see [`Self::idle`]) and runs it again; and when
    /// nothing is idle any more, runs `on_cpu`. The least recently used leave first, and among equally old ones those that are
    /// cheapest to bring back; as many as the error says bytes are missing, or one at a time.
    ///
    /// Out of memory is [`gpu_probe::Error::OutOfMemory`], or any error whose text, or that of what caused it, is such a
    /// message of a known framework (R13). Every other error is returned at once, unchanged. Several threads may do this at
    /// once: no item is consolidated twice, and a thread that finds none waits for what others are about to free.
    ///
    /// ```
    /// use std::{convert::Infallible, sync::Arc};
    /// use omnimind_memory::{Consolidator, DType, DeviceMemory, Item, NamedTensor, ProcessContext, Ran, SimulatedGpu, Taken};
    ///
    /// # let scratch = tempfile::tempdir()?;
    /// # let dir = scratch.path().join("store");
    /// let gpu = Arc::new(SimulatedGpu::new(1 << 20));
    /// let consolidator = Consolidator::builder().store(dir).gpu(gpu.clone()).build()?;
    /// let model = NamedTensor::device("w", DType::F32, [400, 400], gpu.allocate(0, 4 * 400 * 400)?);
    /// let id = consolidator.idle(Item::new("model", vec![model]), &ProcessContext::new("agents")?).map_err(|f| f.error)?;
    ///
    /// let rescued = consolidator.with_rescue(|| gpu.allocate(0, 900_000), || Ok::<_, Infallible>("slowly"));
    /// assert!(matches!(rescued.value?, Ran::OnDevice(_)));
    /// assert_eq!((rescued.attempts, rescued.relief.consolidated.len()), (2, 1));
    /// assert!(matches!(consolidator.take(id), Taken::Consolidated(_)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_rescue<T, U, E: StdError + 'static, F>(
        &self,
        allocate: impl FnMut() -> Result<T, E>,
        on_cpu: impl FnOnce() -> Result<U, F>,
    ) -> Rescued<T, U, E, F> {
        self.with_rescue_from(|error: &E| Shortage::of(error), allocate, on_cpu)
    }

    /// As [`Self::with_rescue`], for errors of any type: `shortage` says which of them are about memory, for example by
    /// [`Shortage::from_text`].
    pub fn with_rescue_from<T, U, E, F>(
        &self,
        shortage: impl Fn(&E) -> Option<Shortage>,
        mut allocate: impl FnMut() -> Result<T, E>,
        on_cpu: impl FnOnce() -> Result<U, F>,
    ) -> Rescued<T, U, E, F> {
        let (mut attempts, mut relief, mut tried) = (0, Relief::default(), HashSet::new());
        let value = loop {
            let settlements = self.idle.settlements();
            attempts += 1;
            let error = match allocate() {
                Ok(value) => {
                    if !relief.consolidated.is_empty() {
                        self.testify(Event::Rescued, None, Some(relief.released_bytes()));
                    }
                    break Ok(Ran::OnDevice(value));
                }
                Err(error) => error,
            };
            let Some(shortage) = shortage(&error) else { break Err(NotRescued::Failed(error)) };
            let room = shortage.device.map_or(Room::AnyCard, Room::Card);
            if self.relieve(shortage.missing_bytes(), room, &mut tried, &mut relief, &|| true) {
                continue;
            }
            if self.idle.news_since(settlements) {
                relief.reasons.push("another thread has made room meanwhile".to_owned());
                continue;
            }
            relief.reasons.push("nothing is idle any more: falling back to the processor".to_owned());
            break match on_cpu() {
                Ok(value) => {
                    self.testify(Event::CpuFallback, None, shortage.wanted_bytes);
                    Ok(Ran::OnCpu(value))
                }
                Err(on_cpu) => Err(NotRescued::Nowhere { on_device: error, on_cpu }),
            };
        };
        Rescued { value, attempts, relief }
    }

    /// Consolidates idle items until `bytes` bytes of this consolidator's device have been released, or nothing is idle any
    /// more: what to do when [`should_consolidate`](Self::should_consolidate) says so.
    pub fn consolidate_idle(&self, bytes: u64) -> Relief {
        self.make_room(Room::Card(self.device), bytes, &|| true)
    }

    /// Consolidates idle items that hold host memory until `bytes` bytes of it have been freed, or nothing is idle there any more; in
    /// the order of [`consolidate_idle`](Self::consolidate_idle), and as little is lost. Tensors that only borrow their memory (of a
    /// mapped file, of a framework) free none, and an item that has no others stays.
    ///
    /// What is freed goes back to the allocator. That of glibc keeps tensors below 32 MiB for its next allocations, up to 64 MiB for
    /// each thread: start the process with `MALLOC_TRIM_THRESHOLD_=131072` if other processes are to have them at once.
    ///
    /// ```
    /// use omnimind_memory::{Consolidator, DType, Item, NamedTensor, ProcessContext, Taken};
    ///
    /// # let scratch = tempfile::tempdir()?;
    /// # let dir = scratch.path().join("store");
    /// let consolidator = Consolidator::builder().store(dir).build()?;
    /// let cache = NamedTensor::host("keys", DType::U8, [1 << 20], vec![0; 1 << 20]);
    /// let id = consolidator.idle(Item::new("cache", vec![cache]), &ProcessContext::new("server")?).map_err(|f| f.error)?;
    ///
    /// assert_eq!(consolidator.consolidate_idle_host(4096).released_host_bytes(), 1 << 20, "whole items leave");
    /// assert!(matches!(consolidator.take(id), Taken::Consolidated(_)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn consolidate_idle_host(&self, bytes: u64) -> Relief {
        self.make_room(Room::Host, bytes, &|| true)
    }

    /// As above, and begins no further item once `goes_on` says no.
    pub(crate) fn make_room(&self, room: Room, bytes: u64, goes_on: &dyn Fn() -> bool) -> Relief {
        let (mut relief, mut tried) = (Relief::default(), HashSet::new());
        loop {
            let missing = bytes.saturating_sub(relief.released_in(room));
            if missing == 0 || !self.relieve(Some(missing), room, &mut tried, &mut relief, goes_on) {
                return relief;
            }
        }
    }

    /// Consolidates as many idle items as hold so many bytes, or one. An item that fails once is not tried again. False if
    /// none could be consolidated, or `goes_on` says that none may be begun any more.
    fn relieve(
        &self,
        bytes: Option<u64>,
        room: Room,
        tried: &mut HashSet<IdleId>,
        relief: &mut Relief,
        goes_on: &dyn Fn() -> bool,
    ) -> bool {
        let before = relief.consolidated.len();
        while relief.consolidated.len() == before {
            let claims = self.idle.claim(bytes, room, tried);
            if claims.is_empty() {
                return false;
            }
            for claim in claims {
                if !goes_on() {
                    // This claim and those after it are idle again.
                    return false;
                }
                tried.insert(claim.id);
                self.consolidate_claim(claim, relief);
            }
        }
        true
    }

    fn consolidate_claim(&self, claim: Claim<'_>, relief: &mut Relief) {
        let (id, context) = (claim.id, claim.context.clone());
        let (item, ending) = claim.begin();
        let mut consolidated = self.consolidate(item.into_iter().collect(), &context);
        if let Some(outcome) = consolidated.outcomes.pop() {
            relief.reasons.push(format!(
                "{id} ({}) was consolidated as {}: {} released",
                outcome.kind,
                outcome.content_hash,
                outcome.released()
            ));
            ending.stored(outcome.content_hash, outcome.ratio);
            relief.consolidated.push((id, outcome));
        } else if let Some(failed) = consolidated.failed.pop() {
            relief.reasons.push(format!("{id} ({}) stays where it is: {}", failed.item.kind, failed.error));
            ending.unharmed(failed.item);
            relief.failed.push((id, failed.error));
        }
    }
}
