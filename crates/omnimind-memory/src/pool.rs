//! Memory in place: tensors whose address outlives their contents. A group of them is paused, which consolidates it and gives its
//! memory away, and resumed, which brings its contents back to the very addresses that others have pointers to.
//!
//! Where a group is, is decided here. Anchors are `gpu-probe`'s, and what happens to the contents is `consolidate`'s.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gpu_probe::{Allocation, DeviceMemory};
use memory_store::{Committed, ContentHash};
use serde::{Serialize, Serializer};
use softhair_compress::{DType, Policy};

use crate::{
    Consolidator, Error, Item, NamedTensor, Outcome, ProcessContext, Result, TraceWarning,
    context::label_fault,
    item::{name_fault, shape_bytes},
    witness::Event,
};

/// Tensors in groups, each under a tag, in memory that can be given away without losing its address.
///
/// Threads may share it; work on one group waits for other work on that group, and for nothing else. Dropping it frees all
/// memory; what was paused stays in the store.
///
/// ```
/// use std::sync::Arc;
/// use omnimind_memory::{Consolidator, DType, GpuProbe, ProcessContext, SimulatedGpu};
///
/// # let scratch = tempfile::tempdir()?;
/// # let dir = scratch.path().join("store");
/// let gpu = Arc::new(SimulatedGpu::default());
/// let consolidator = Arc::new(Consolidator::builder().store(dir).gpu(gpu.clone()).build()?);
/// let context = ProcessContext::new("server")?;
/// let pool = consolidator.pool();
///
/// let weights = pool.allocate("weights", "w", DType::F32, [256, 256])?;
/// pool.write(&weights, 0, &[0; 4 * 256 * 256])?;
///
/// let paused = pool.pause("weights", &context)?;
/// assert!(paused.still_held.is_empty() && paused.freed_bytes >= 4 * 256 * 256);
/// assert_eq!(gpu.memory(0)?.used_bytes, 0);
///
/// pool.resume("weights", &context)?;
/// assert_eq!(pool.status()[0].tensors[0].address(), weights.address());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Pool {
    consolidator: Arc<Consolidator>,
    groups: Mutex<BTreeMap<String, Arc<Mutex<Group>>>>,
}

/// A tensor of a [`Pool`]: where it is, for as long as it is not freed. Holds nothing itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PooledTensor {
    /// The group it belongs to.
    pub tag: String,
    /// Its name, unique within the group.
    pub name: String,
    /// Element type.
    #[serde(serialize_with = "as_name")]
    pub dtype: DType,
    /// Elements along each dimension.
    pub shape: Vec<usize>,
    address: u64,
    bytes: u64,
}

impl PooledTensor {
    /// Address on the card, the same before and after a pause. While its group is paused there is no memory behind it.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Bytes of its elements.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Whether a group can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupState {
    /// Its tensors are there.
    Live,
    /// Its contents are in the store under this name.
    Paused(ContentHash),
}

/// A group, for a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupStatus {
    /// Its tag.
    pub tag: String,
    /// Whether it can be used.
    pub state: GroupState,
    /// Bytes of all its tensors.
    pub bytes: u64,
    /// Bytes of those tensors that have memory now: all of a live group, none of a paused one, unless vacating failed.
    pub held_bytes: u64,
    /// The error bound of the group; the consolidator's own if none.
    pub bound: Option<String>,
    /// Its tensors.
    pub tensors: Vec<PooledTensor>,
}

/// What came of [`Pool::pause`].
#[derive(Debug, Serialize)]
pub struct Paused {
    /// Under which name the contents are in the store.
    pub content_hash: ContentHash,
    /// What consolidating it took; none if the group was paused already.
    pub outcome: Option<Outcome>,
    /// Device memory that became free now, in bytes.
    pub freed_bytes: u64,
    /// Tensors whose contents are durable, but whose memory could not be given away. Pausing the group again tries that again.
    pub still_held: Vec<Unvacated>,
}

/// A tensor that is stored, and still has its memory.
#[derive(Debug, Serialize)]
pub struct Unvacated {
    /// Its name.
    pub tensor: String,
    /// Bytes that it holds.
    pub bytes: u64,
    /// What the device answered.
    #[serde(serialize_with = "as_message")]
    pub error: gpu_probe::Error,
}

/// What came of [`Pool::resume`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Resumed {
    /// The memory that was brought back; none if the group was live already.
    pub content_hash: Option<ContentHash>,
    /// Bytes that were written to the device.
    pub bytes: u64,
    /// Set if the context was not in the memory's activation trace.
    pub warning: Option<TraceWarning>,
}

#[derive(Debug)]
struct Group {
    slots: Vec<Slot>,
    policy: Option<Policy>,
    state: State,
}

#[derive(Debug)]
struct Slot {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    allocation: Allocation,
}

#[derive(Debug)]
enum State {
    /// What was brought back last, unless tensors came or went since.
    Live {
        restored: Option<Restored>,
    },
    Paused {
        content_hash: ContentHash,
        held: Vec<String>,
    },
}

/// Which bytes a memory gave: as long as they are on the device, they need not be compressed again, and lose nothing again.
#[derive(Debug)]
struct Restored {
    content_hash: ContentHash,
    digests: Vec<blake3::Hash>,
}

impl Consolidator {
    /// An empty pool of memory on this consolidator's device.
    #[must_use]
    pub fn pool(self: &Arc<Self>) -> Pool {
        Pool { consolidator: Arc::clone(self), groups: Mutex::default() }
    }
}

impl Pool {
    /// Takes memory for a tensor of the group `tag`. What it holds before it is written is not specified. Cards give such memory
    /// in whole pages (2 MiB on a real one), so it suits large tensors.
    ///
    /// # Errors
    /// [`Error::Device`] if the card is full, or has no memory that can be given away without losing its address;
    /// [`Error::InvalidItem`] for a tag, name or shape that cannot be stored, or a name that the group has already;
    /// [`Error::GroupPaused`].
    pub fn allocate(
        &self,
        tag: &str,
        name: impl Into<String>,
        dtype: DType,
        shape: impl Into<Vec<usize>>,
    ) -> Result<PooledTensor> {
        let (name, shape) = (name.into(), shape.into());
        let refuse = |reason: String| Error::InvalidItem { kind: tag.to_owned(), reason };
        if let Some(fault) = label_fault(tag) {
            return Err(refuse(format!("its tag cannot be used: {fault}")));
        }
        let about = |fault: String| refuse(format!("tensor {name:?} {fault}"));
        name_fault(&name).map_or(Ok(()), |fault| Err(about(fault)))?;
        let bytes = shape_bytes(dtype, &shape).map_err(about)?;
        let group = self.group_or_new(tag);
        let mut group = lock(&group);
        group.check_live(tag)?;
        if group.slots.iter().any(|slot| slot.name == name) {
            return Err(refuse(format!("two tensors are named {name:?}")));
        }
        let gpu = self.gpu(&name)?;
        let allocation = gpu
            .allocate_anchored(self.consolidator.device, bytes)
            .map_err(|source| Error::Device { tensor: name.clone(), source })?;
        let slot = Slot { name, dtype, shape, allocation };
        let tensor = slot.describe(tag);
        group.slots.push(slot);
        group.state = State::Live { restored: None };
        Ok(tensor)
    }

    /// The error bound of a group from now on; the consolidator's own if none. Every pause of changed contents costs the bound
    /// again; [`Policy::Exact`] is for what must not drift.
    ///
    /// # Errors
    /// A bound that means nothing, or a tag that cannot be used.
    pub fn set_policy(&self, tag: &str, policy: Option<Policy>) -> Result<()> {
        policy.map_or(Ok(()), Policy::check).map_err(Error::Policy)?;
        if let Some(fault) = label_fault(tag) {
            let reason = format!("its tag cannot be used: {fault}");
            return Err(Error::InvalidItem { kind: tag.to_owned(), reason });
        }
        lock(&self.group_or_new(tag)).policy = policy;
        Ok(())
    }

    /// Copies `data` to a tensor, `offset` bytes from its beginning.
    ///
    /// # Errors
    /// [`Error::GroupPaused`], [`Error::NoSuchGroup`], or what the device answers.
    pub fn write(&self, tensor: &PooledTensor, offset: u64, data: &[u8]) -> Result<()> {
        self.with_slot(tensor, |gpu, allocation| gpu.write(allocation, offset, data))
    }

    /// Fills `out` from a tensor, `offset` bytes from its beginning.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn read(&self, tensor: &PooledTensor, offset: u64, out: &mut [u8]) -> Result<()> {
        self.with_slot(tensor, |gpu, allocation| gpu.read(allocation, offset, out))
    }

    /// Consolidates a group as one memory whose type is the tag, and then gives its device memory away. Its addresses stay its own.
    /// Contents that are what was last brought back are not compressed again.
    ///
    /// A group that is paused already stays so; then only what is still held is tried again.
    ///
    /// # Errors
    /// As for an item that [could not be consolidated](crate::Failed); the group is then as it was. [`Error::NoSuchGroup`].
    pub fn pause(&self, tag: &str, context: &ProcessContext) -> Result<Paused> {
        let group = self.group(tag)?;
        let mut group = lock(&group);
        let gpu = self.gpu(tag)?;
        match &group.state {
            State::Live { restored } => {
                let (mut outcome, committed) = self.remember(tag, &group, restored.as_ref(), context)?;
                let paused = group.vacate(gpu, outcome.content_hash);
                outcome.freed_bytes = paused.freed_bytes;
                self.count_freed(&mut outcome, &committed);
                self.consolidator.testify(
                    Event::Consolidated,
                    Some(&outcome.content_hash),
                    Some(outcome.freed_bytes),
                );
                Ok(Paused { outcome: Some(outcome), ..paused })
            }
            State::Paused { content_hash, .. } => {
                let content_hash = *content_hash;
                Ok(group.vacate(gpu, content_hash))
            }
        }
    }

    /// Brings a paused group back to its addresses, within its error bound. A live group stays as it is.
    ///
    /// # Errors
    /// [`Error::Device`] if the card has no room (which [`Consolidator::with_rescue`] understands) or fails; otherwise as
    /// [`Consolidator::reactivate`]. The group is then paused as before, and holds no memory, unless the error is
    /// [`Error::GroupStillHeld`].
    pub fn resume(&self, tag: &str, context: &ProcessContext) -> Result<Resumed> {
        let group = self.group(tag)?;
        let mut group = lock(&group);
        let gpu = self.gpu(tag)?;
        let State::Paused { content_hash, .. } = group.state else {
            return Ok(Resumed { content_hash: None, bytes: 0, warning: None });
        };
        match group.bring_back(&self.consolidator, gpu, &content_hash, context) {
            Ok((digests, warning)) => {
                group.state = State::Live { restored: Some(Restored { content_hash, digests }) };
                Ok(Resumed { content_hash: Some(content_hash), bytes: group.bytes(), warning })
            }
            Err(error) => {
                let paused = group.vacate(gpu, content_hash);
                if paused.still_held.is_empty() {
                    return Err(error);
                }
                let held_bytes = paused.still_held.iter().map(|held| held.bytes).sum();
                Err(Error::GroupStillHeld { tag: tag.to_owned(), held_bytes, source: Box::new(error) })
            }
        }
    }

    /// Pauses every group; one that fails does not hold the others up.
    pub fn pause_all(&self, context: &ProcessContext) -> Vec<(String, Result<Paused>)> {
        self.tags().into_iter().map(|tag| (tag.clone(), self.pause(&tag, context))).collect()
    }

    /// Resumes every group; one that fails does not hold the others up.
    pub fn resume_all(&self, context: &ProcessContext) -> Vec<(String, Result<Resumed>)> {
        self.tags().into_iter().map(|tag| (tag.clone(), self.resume(&tag, context))).collect()
    }

    /// Gives up a tensor and its address. Returns how many bytes became free. What was paused of it stays in the store.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`], or if the device fails; the tensor is then still there. A paused group cannot lose single tensors:
    /// [`Error::GroupPaused`].
    pub fn free(&self, tensor: &PooledTensor) -> Result<u64> {
        let group = self.group(&tensor.tag)?;
        let mut group = lock(&group);
        group.check_live(&tensor.tag)?;
        let at = group.position(tensor)?;
        let gpu = self.gpu(&tensor.name)?;
        let slot = group.slots.remove(at);
        match gpu.free(slot.allocation) {
            Ok(bytes) => {
                group.state = State::Live { restored: None };
                Ok(bytes)
            }
            Err(failed) => {
                group.slots.insert(at, Slot { allocation: failed.allocation, ..slot });
                Err(Error::Device { tensor: tensor.name.clone(), source: failed.source })
            }
        }
    }

    /// Gives up a group and its addresses, live or paused. Returns how many bytes became free. What was paused of it stays in the
    /// store, and can be reactivated elsewhere.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`]; or the first failure of the device. What could not be freed is then still in the group.
    pub fn free_group(&self, tag: &str) -> Result<u64> {
        let group = self.group(tag)?;
        let mut group = lock(&group);
        let gpu = self.gpu(tag)?;
        let (freed, failed) = group.free_all(gpu);
        match failed {
            None => {
                group.state = State::Live { restored: None };
                Ok(freed)
            }
            Some(failed) => Err(failed),
        }
    }

    /// All groups with a tensor, in the order of their tags. Waits for those that are being paused or resumed.
    #[must_use]
    pub fn status(&self) -> Vec<GroupStatus> {
        let groups: Vec<_> =
            locked(&self.groups).iter().map(|(tag, group)| (tag.clone(), Arc::clone(group))).collect();
        groups.into_iter().filter_map(|(tag, group)| lock(&group).status(tag)).collect()
    }

    /// Everything up to and including the commit. The group is only read.
    fn remember<'g>(
        &self,
        tag: &str,
        group: &'g Group,
        restored: Option<&Restored>,
        context: &ProcessContext,
    ) -> Result<(Outcome, Committed)> {
        let tensor = |slot: &'g Slot| {
            NamedTensor::kept(slot.name.as_str(), slot.dtype, slot.shape.as_slice(), &slot.allocation)
        };
        let mut item = Item::new(tag, group.slots.iter().map(tensor).collect());
        item.policy = group.policy;
        let mut plan = self.consolidator.plan(&item)?;
        let same = restored.filter(|restored| restored.digests == plan.digests);
        self.consolidator.remember_plan(&mut plan, same.map(|restored| restored.content_hash), context)
    }

    fn count_freed(&self, outcome: &mut Outcome, committed: &Committed) {
        if let Err(error) = self.consolidator.record_freed(committed, outcome.freed_bytes) {
            outcome.warning = Some(error);
        }
    }

    fn with_slot<T>(
        &self,
        tensor: &PooledTensor,
        work: impl FnOnce(&dyn DeviceMemory, &Allocation) -> gpu_probe::Result<T>,
    ) -> Result<T> {
        let group = self.group(&tensor.tag)?;
        let group = lock(&group);
        group.check_live(&tensor.tag)?;
        let slot = &group.slots[group.position(tensor)?];
        work(self.gpu(&tensor.name)?, &slot.allocation)
            .map_err(|source| Error::Device { tensor: tensor.name.clone(), source })
    }

    fn gpu(&self, tensor: &str) -> Result<&dyn DeviceMemory> {
        self.consolidator.gpu.as_deref().ok_or_else(|| Error::NoGpu { tensor: tensor.to_owned() })
    }

    fn tags(&self) -> Vec<String> {
        self.status().into_iter().map(|group| group.tag).collect()
    }

    /// A group that has a tensor. (A group is never forgotten, so that nobody can put a tensor into one that just was.)
    fn group(&self, tag: &str) -> Result<Arc<Mutex<Group>>> {
        let group = locked(&self.groups).get(tag).cloned();
        group
            .filter(|group| !lock(group).slots.is_empty())
            .ok_or_else(|| Error::NoSuchGroup { tag: tag.to_owned(), tensor: None })
    }

    fn group_or_new(&self, tag: &str) -> Arc<Mutex<Group>> {
        let new = || Group { slots: Vec::new(), policy: None, state: State::Live { restored: None } };
        Arc::clone(locked(&self.groups).entry(tag.to_owned()).or_insert_with(|| Arc::new(Mutex::new(new()))))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let Some(gpu) = self.consolidator.gpu.as_deref() else { return };
        for group in locked(&self.groups).values() {
            // What cannot be freed lives until the probe that made it is dropped.
            drop(lock(group).free_all(gpu));
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("groups", &self.groups).finish_non_exhaustive()
    }
}

impl Group {
    fn check_live(&self, tag: &str) -> Result<()> {
        match self.state {
            State::Live { .. } => Ok(()),
            State::Paused { content_hash, .. } => {
                Err(Error::GroupPaused { tag: tag.to_owned(), content_hash })
            }
        }
    }

    /// Where a tensor is among the slots. One that was freed and allocated again is another, with another address.
    fn position(&self, tensor: &PooledTensor) -> Result<usize> {
        let same = |slot: &Slot| slot.name == tensor.name && slot.allocation.address() == tensor.address;
        self.slots
            .iter()
            .position(same)
            .ok_or_else(|| Error::NoSuchGroup { tag: tensor.tag.clone(), tensor: Some(tensor.name.clone()) })
    }

    /// Gives away the memory of all tensors, now that their contents are in the store under this name.
    fn vacate(&mut self, gpu: &dyn DeviceMemory, content_hash: ContentHash) -> Paused {
        let (mut freed_bytes, mut still_held) = (0, Vec::new());
        for slot in &self.slots {
            match gpu.vacate(&slot.allocation) {
                Ok(bytes) => freed_bytes += bytes,
                Err(error) => {
                    let bytes = slot.allocation.bytes();
                    still_held.push(Unvacated { tensor: slot.name.clone(), bytes, error });
                }
            }
        }
        let held = still_held.iter().map(|held| held.tensor.clone()).collect();
        self.state = State::Paused { content_hash, held };
        Paused { content_hash, outcome: None, freed_bytes, still_held }
    }

    /// Puts memory under every tensor, and the contents into it. After an error some of it may be there.
    fn bring_back(
        &self,
        consolidator: &Consolidator,
        gpu: &dyn DeviceMemory,
        content_hash: &ContentHash,
        context: &ProcessContext,
    ) -> Result<(Vec<blake3::Hash>, Option<TraceWarning>)> {
        for slot in &self.slots {
            gpu.occupy(&slot.allocation)
                .map_err(|source| Error::Device { tensor: slot.name.clone(), source })?;
        }
        let mut digests = vec![None; self.slots.len()];
        let (_, warning) = consolidator.reactivate_each(content_hash, context, |stream| {
            let header = stream.header();
            let same = |slot: &Slot| {
                slot.name == stream.name() && slot.dtype == header.dtype && slot.shape == header.shape
            };
            let Some(at) = self.slots.iter().position(same) else {
                return Err(foreign(content_hash, stream.name()));
            };
            digests[at] = Some(consolidator.fill(stream, gpu, &self.slots[at].allocation)?);
            Ok(())
        })?;
        let missing = self.slots.iter().zip(&digests).find(|(_, digest)| digest.is_none());
        if let Some((slot, _)) = missing {
            return Err(foreign(content_hash, &slot.name));
        }
        Ok((digests.into_iter().flatten().collect(), warning))
    }

    /// Frees everything; what cannot be freed stays, and the first reason is returned.
    fn free_all(&mut self, gpu: &dyn DeviceMemory) -> (u64, Option<Error>) {
        let (mut freed, mut first) = (0, None);
        for slot in std::mem::take(&mut self.slots) {
            match gpu.free(slot.allocation) {
                Ok(bytes) => freed += bytes,
                Err(failed) => {
                    let error = Error::Device { tensor: slot.name.clone(), source: failed.source };
                    first.get_or_insert(error);
                    self.slots.push(Slot { allocation: failed.allocation, ..slot });
                }
            }
        }
        (freed, first)
    }

    fn status(&self, tag: String) -> Option<GroupStatus> {
        let held = |slot: &&Slot| match &self.state {
            State::Live { .. } => true,
            State::Paused { held, .. } => held.contains(&slot.name),
        };
        let status = GroupStatus {
            state: match self.state {
                State::Live { .. } => GroupState::Live,
                State::Paused { content_hash, .. } => GroupState::Paused(content_hash),
            },
            bytes: self.bytes(),
            held_bytes: self.slots.iter().filter(held).map(|slot| slot.allocation.bytes()).sum(),
            bound: self.policy.map(|policy| policy.to_string()),
            tensors: self.slots.iter().map(|slot| slot.describe(&tag)).collect(),
            tag,
        };
        Some(status).filter(|status| !status.tensors.is_empty())
    }

    fn bytes(&self) -> u64 {
        self.slots.iter().map(|slot| slot.allocation.bytes()).sum()
    }
}

impl Slot {
    fn describe(&self, tag: &str) -> PooledTensor {
        PooledTensor {
            tag: tag.to_owned(),
            name: self.name.clone(),
            dtype: self.dtype,
            shape: self.shape.clone(),
            address: self.allocation.address(),
            bytes: self.allocation.bytes(),
        }
    }
}

/// A memory that a group was paused as, and that is another now.
fn foreign(content_hash: &ContentHash, tensor: &str) -> Error {
    let reason = "it is not what the group was paused as".to_owned();
    Error::Damaged { content_hash: *content_hash, tensor: tensor.to_owned(), reason }
}

/// A panic elsewhere leaves a group whole: its state is changed in one step, after the work.
fn lock(group: &Mutex<Group>) -> MutexGuard<'_, Group> {
    locked(group)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn as_name<S: Serializer>(dtype: &DType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(dtype.name())
}

fn as_message<S: Serializer>(error: &gpu_probe::Error, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(error)
}
