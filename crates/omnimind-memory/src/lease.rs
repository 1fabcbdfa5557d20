//! Models that are critical while somebody uses them, and idle else (R46). How long a model is in use is decided here; what becomes
//! of idle ones in `idle` and `rescue`; which of its pages are locked meanwhile in `protection`.

use std::convert::Infallible;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memory_store::ContentHash;
use serde_json::{Map, Value};
use softhair_compress::Policy;
use topic_classifier::Signals;

use crate::{
    Consolidator, Error, Failed, IdleId, Item, NamedTensor, NotRescued, ProcessContext, Protection, Ran,
    Relief, Result, Shortage, Taken, protection::LockedPages,
};

/// A model that lives on the device (or in host memory) while it is used. Nobody touches it while it is leased; without a lease it is
/// [idle](Consolidator::idle), and leaves when its memory is needed. The next lease brings it back. Of a model in host memory no page is
/// swapped while it is leased, as far as the system lets this process lock memory; see [`ModelLease::protection`].
///
/// What it was consolidated with bounds the error of one trip through the store, and every trip may add as much: give the item
/// [`Policy::Exact`] if it has to come back bit for bit. Dropping a `Model` leaves it idle; [`Model::into_item`] takes it out.
///
/// ```
/// use std::sync::Arc;
/// use omnimind_memory::{Consolidator, DType, DeviceMemory, GpuProbe, Item, NamedTensor, Policy, ProcessContext, SimulatedGpu};
///
/// # let scratch = tempfile::tempdir()?;
/// # let dir = scratch.path().join("store");
/// let gpu = Arc::new(SimulatedGpu::new(1 << 20));
/// let consolidator = Arc::new(Consolidator::builder().store(dir).gpu(gpu.clone()).build()?);
/// let weights = NamedTensor::device("w", DType::F32, [400, 400], gpu.allocate(0, 4 * 400 * 400)?);
/// let item = Item { policy: Some(Policy::Exact), ..Item::new("model", vec![weights]) };
/// let model = consolidator.model(item, &ProcessContext::new("server")?).map_err(|failed| failed.error)?;
///
/// let lease = model.lease()?;
/// assert_eq!(consolidator.consolidate_idle(u64::MAX).released_bytes(), 0, "in use: it stays");
/// drop(lease);
/// assert!(consolidator.consolidate_idle(u64::MAX).released_bytes() > 0, "idle: it leaves");
/// assert_eq!(gpu.memory(0)?.used_bytes, 0);
///
/// assert_eq!(model.lease()?.item().tensors[0].shape, [400, 400], "it comes back");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Model {
    consolidator: Arc<Consolidator>,
    context: ProcessContext,
    origin: Origin,
    place: Mutex<Place>,
}

/// What the store gives back with the tensors only in part.
struct Origin {
    kind: String,
    signals: Signals,
    metadata: Map<String, Value>,
    signature: Option<Vec<f32>>,
    policy: Option<Policy>,
    home: Home,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Home {
    Device,
    Host,
}

enum Place {
    /// With the consolidator, which may store it.
    Idle(IdleId),
    /// With so many leases. With none only if it could not be handed over to the consolidator; then nothing is locked.
    Leased { pages: Option<LockedPages>, item: Arc<Item<'static>>, leases: usize },
    /// In the store.
    Stored(ContentHash),
    /// Somebody took it out of the consolidator's list of idle items.
    Gone,
}

/// The right to use a [`Model`], which stays where it is as long as there is one.
#[must_use = "the model is idle again as soon as this is dropped"]
pub struct ModelLease<'m> {
    model: &'m Model,
    /// None only while it is being dropped.
    item: Option<Arc<Item<'static>>>,
    /// What had to leave so that it could come back.
    pub relief: Relief,
    protection: Protection,
}

impl Place {
    fn without_lease(item: Item<'static>) -> Self {
        Self::Leased { pages: None, item: Arc::new(item), leases: 0 }
    }
}

impl Consolidator {
    /// Makes a model of an item: idle at once, critical while it is [leased](Model::lease).
    ///
    /// # Errors
    /// As [`Self::idle`]; and if some of its tensors are on the device of this consolidator and some are elsewhere, because all come
    /// back to one place. The item is handed back.
    pub fn model(
        self: &Arc<Self>,
        item: Item<'static>,
        context: &ProcessContext,
    ) -> Result<Model, Box<Failed<'static>>> {
        let home = match self.home(&item) {
            Ok(home) => home,
            Err(error) => return Err(Box::new(Failed { item, error })),
        };
        let origin = Origin {
            kind: item.kind.clone(),
            signals: item.signals.clone(),
            metadata: item.metadata.clone(),
            signature: item.signature.clone(),
            policy: item.policy,
            home,
        };
        let place = Mutex::new(Place::Idle(self.idle(item, context)?));
        Ok(Model { consolidator: Arc::clone(self), context: context.clone(), origin, place })
    }

    fn home(&self, item: &Item<'_>) -> Result<Home> {
        let mut on_device = item.tensors.iter().map(|tensor| tensor.card() == Some(self.device));
        let in_host = item.tensors.iter().all(|tensor| tensor.card().is_none());
        if in_host {
            Ok(Home::Host)
        } else if on_device.all(|here| here) {
            Ok(Home::Device)
        } else {
            Err(Error::InvalidItem {
                kind: item.kind.clone(),
                reason: format!(
                    "its tensors are in several places, and all of a model comes back to one: put them on card {}, or in host \
                     memory",
                    self.device
                ),
            })
        }
    }
}

impl Model {
    /// Uses the model: from now on it stays where it is, until the last lease is dropped. If it is in the store, it is brought back
    /// first, to the device or to host memory, as it was; for which other idle items leave the device if there is no room.
    /// Several leases at once are fine; whoever leases while it is being brought back waits.
    ///
    /// # Errors
    /// As [`Consolidator::reactivate_on_device`]; the model then stays in the store, and the next lease tries again. A model that was
    /// sealed cannot be leased any more.
    pub fn lease(&self) -> Result<ModelLease<'_>> {
        let mut place = self.lock();
        let mut relief = Relief::default();
        if let Place::Idle(id) = *place {
            *place = match self.consolidator.take(id) {
                Taken::Item(item) => Place::without_lease(item),
                Taken::Consolidated(content_hash) => Place::Stored(content_hash),
                Taken::Unknown => Place::Gone,
            };
        }
        if let Place::Stored(content_hash) = *place {
            let item = self.bring_back(&content_hash, &mut relief)?;
            *place = Place::without_lease(item);
        }
        match &mut *place {
            Place::Leased { pages, item, leases } => {
                *leases += 1;
                let protection = pages.get_or_insert_with(|| LockedPages::of(item)).protection().clone();
                Ok(ModelLease { model: self, item: Some(Arc::clone(item)), relief, protection })
            }
            Place::Gone | Place::Idle(_) | Place::Stored(_) => Err(Error::InvalidItem {
                kind: self.origin.kind.clone(),
                reason: "somebody took it out of the list of idle items".to_owned(),
            }),
        }
    }

    /// Whether somebody uses it now.
    #[must_use]
    pub fn is_leased(&self) -> bool {
        matches!(&*self.lock(), Place::Leased { leases: 1.., .. })
    }

    /// Takes the model out of the consolidator's care, as [`Consolidator::take`].
    pub fn into_item(self) -> Taken {
        match self.place.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Place::Idle(id) => self.consolidator.take(id),
            Place::Leased { pages, item, .. } => {
                drop(pages);
                Arc::into_inner(item).map_or(Taken::Unknown, Taken::Item)
            }
            Place::Stored(content_hash) => Taken::Consolidated(content_hash),
            Place::Gone => Taken::Unknown,
        }
    }

    fn bring_back(&self, content_hash: &ContentHash, relief: &mut Relief) -> Result<Item<'static>> {
        let tensors = match self.origin.home {
            Home::Host => {
                let back = self.consolidator.reactivate(content_hash, &self.context)?;
                let tensor = |tensor: crate::OwnedTensor| {
                    NamedTensor::host(tensor.name, tensor.dtype, tensor.shape, tensor.bytes)
                };
                back.tensors.into_iter().map(tensor).collect()
            }
            Home::Device => self.bring_back_to_device(content_hash, relief)?,
        };
        let Origin { kind, signals, metadata, signature, policy, home: _ } = &self.origin;
        Ok(Item {
            kind: kind.clone(),
            tensors,
            signals: signals.clone(),
            metadata: metadata.clone(),
            signature: signature.clone(),
            policy: *policy,
        })
    }

    fn bring_back_to_device(
        &self,
        content_hash: &ContentHash,
        relief: &mut Relief,
    ) -> Result<Vec<NamedTensor<'static>>> {
        let rescued = self.consolidator.with_rescue_from(
            |error: &Error| Shortage::of(error),
            || self.consolidator.reactivate_on_device(content_hash, &self.context),
            || Err::<Infallible, ()>(()),
        );
        *relief = rescued.relief;
        match rescued.value {
            Ok(Ran::OnDevice(back)) => Ok(back.tensors.into_iter().map(NamedTensor::from).collect()),
            Ok(Ran::OnCpu(never)) => match never {},
            Err(NotRescued::Failed(error) | NotRescued::Nowhere { on_device: error, .. }) => Err(error),
        }
    }

    fn end_lease(&self) {
        let mut place = self.lock();
        let Place::Leased { leases, .. } = &mut *place else { return };
        *leases -= 1;
        if *leases > 0 {
            return;
        }
        let Place::Leased { pages, item, .. } = std::mem::replace(&mut *place, Place::Gone) else { return };
        // The locks hold the item, too; and every lease lets go of it before it says so.
        drop(pages);
        let Some(item) = Arc::into_inner(item) else { return };
        *place = match self.consolidator.idle(item, &self.context) {
            Ok(id) => Place::Idle(id),
            Err(failed) => Place::without_lease(failed.item),
        };
    }

    /// A panic elsewhere leaves whole what this guards.
    fn lock(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ModelLease<'_> {
    /// The model.
    #[must_use]
    pub fn item(&self) -> &Item<'static> {
        self
    }

    /// How much of the model is kept from being swapped as long as it is leased, and what to set if that is not all.
    ///
    /// Pages in host memory are locked from the first lease to the end of the last, as far as `RLIMIT_MEMLOCK` has room (all of them
    /// with `CAP_IPC_LOCK`). On systems other than Linux none are. The memory of a card is never swapped: 0 and 0 bytes.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use omnimind_memory::{Consolidator, DType, Item, NamedTensor, ProcessContext};
    ///
    /// # let scratch = tempfile::tempdir()?;
    /// # let dir = scratch.path().join("store");
    /// let consolidator = Arc::new(Consolidator::builder().store(dir).build()?);
    /// let weights = NamedTensor::host("w", DType::F32, [64, 64], vec![0; 4 * 64 * 64]);
    /// let model = consolidator.model(Item::new("model", vec![weights]), &ProcessContext::new("server")?).map_err(|f| f.error)?;
    ///
    /// let lease = model.lease()?;
    /// let protection = lease.protection();
    /// assert_eq!(protection.protected_bytes + protection.unprotected_bytes, 4 * 64 * 64);
    /// println!("{}", protection.statement);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn protection(&self) -> &Protection {
        &self.protection
    }
}

impl Deref for ModelLease<'_> {
    type Target = Item<'static>;

    fn deref(&self) -> &Item<'static> {
        match &self.item {
            Some(item) => item,
            None => unreachable!("a lease has its item until it is dropped"),
        }
    }
}

impl Drop for ModelLease<'_> {
    fn drop(&mut self) {
        self.item = None;
        self.model.end_lease();
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("kind", &self.origin.kind)
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ModelLease<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelLease")
            .field("model", self.model)
            .field("relief", &self.relief)
            .field("protection", &self.protection)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
