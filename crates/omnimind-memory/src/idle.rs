//! Items that lie idle: still on the device or in host memory, and the first to leave when somebody else needs the room (R30, R46).
//! Who has an item is decided here: it is in the registry, or with one thread that consolidates it, or gone; never two of these.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use memory_store::ContentHash;
use serde::Serialize;
use softhair_compress::Policy;

use crate::{Consolidator, Failed, Item, NamedTensor, ProcessContext, TensorData};

/// Items last used within as long of each other are equally old.
const AGE_GRAIN: Duration = Duration::from_secs(1);

/// Stored bytes per original byte that is expected of a type of which nothing has been measured (R15).
const EXPECTED_RATIO: f64 = 0.3;

/// Names an idle item, within its consolidator and for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct IdleId(u64);

impl fmt::Display for IdleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "idle item {}", self.0)
    }
}

/// What [`Consolidator::take`] gives back.
#[derive(Debug)]
#[must_use = "the item holds device memory"]
pub enum Taken {
    /// The item, as it was handed over.
    Item(Item<'static>),
    /// It was consolidated meanwhile; under this name it can be reactivated.
    Consolidated(ContentHash),
    /// It was taken before, or never handed over.
    Unknown,
}

/// What bringing an item back would take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RecallCost {
    /// Bytes to write to the device.
    pub bytes: u64,
    /// Bytes to read from the store.
    pub stored_bytes: u64,
    /// Whether `stored_bytes` follows from what items of this type took before; otherwise it is what is expected of any.
    pub measured: bool,
}

/// Where an idle item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IdleState {
    /// Where it was.
    Here,
    /// On its way into the store.
    BeingConsolidated,
    /// In the store.
    Consolidated(ContentHash),
}

/// An idle item, for a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IdleItem {
    /// Its name.
    pub id: IdleId,
    /// The type of the item.
    #[serde(rename = "type")]
    pub kind: String,
    /// Who handed it over, and may recall it without a warning.
    pub context: ProcessContext,
    /// Device memory that leaves with it, in bytes.
    pub device_bytes: u64,
    /// Host memory that leaves with it, in bytes. What it only borrows (a mapped file, a framework's tensor) is not counted.
    pub host_bytes: u64,
    /// How long it has not been used.
    pub idle_for: Duration,
    /// What bringing it back would take.
    pub cost: RecallCost,
    /// Where it is.
    pub state: IdleState,
}

/// Where room is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// On the card of this index.
    Card(u32),
    /// On any card.
    AnyCard,
    /// In host memory.
    Host,
}

impl Consolidator {
    /// Hands over an item that nobody uses now. It stays where it is until it is [taken](Self::take) back, or until
    /// [`with_rescue`](Self::with_rescue), [`consolidate_idle`](Self::consolidate_idle) or
    /// [`consolidate_idle_host`](Self::consolidate_idle_host) needs its memory. Then it is consolidated for `context`.
    ///
    /// # Errors
    /// An item that could not be consolidated is handed back at once, with the reason.
    pub fn idle(
        &self,
        item: Item<'static>,
        context: &ProcessContext,
    ) -> Result<IdleId, Box<Failed<'static>>> {
        self.idle_since(item, context, Duration::ZERO)
    }

    /// As [`Self::idle`], for an item that was last used so long ago.
    ///
    /// # Errors
    /// As [`Self::idle`].
    pub fn idle_since(
        &self,
        item: Item<'static>,
        context: &ProcessContext,
        idle_for: Duration,
    ) -> Result<IdleId, Box<Failed<'static>>> {
        match item.check().and_then(|()| self.check_signature(&item)) {
            Ok(()) => Ok(self.idle.add(item, context, idle_for)),
            Err(error) => Err(Box::new(Failed { item, error })),
        }
    }

    /// Says that an idle item was used just now. False if it is not here any more.
    pub fn touch(&self, id: IdleId) -> bool {
        self.idle.touch(id)
    }

    /// Takes an idle item back, or learns under which name it was consolidated. Waits while it is being consolidated. The registry
    /// knows it no more.
    pub fn take(&self, id: IdleId) -> Taken {
        self.idle.take(id)
    }

    /// All idle items, and those that were consolidated and not taken since; in the order in which they were handed over.
    #[must_use]
    pub fn idle_items(&self) -> Vec<IdleItem> {
        self.idle.list()
    }
}

/// The registry, shared by threads.
#[derive(Debug)]
pub(crate) struct Idle {
    born: Instant,
    entries: Mutex<Entries>,
    settled: Condvar,
}

#[derive(Debug, Default)]
struct Entries {
    by_id: BTreeMap<IdleId, Entry>,
    next: u64,
    /// Items that some thread is consolidating.
    under_way: usize,
    /// How many times that came to an end.
    settlements: u64,
    /// Stored bytes per original byte, as last measured of each type.
    ratios: HashMap<String, f64>,
}

#[derive(Debug)]
struct Entry {
    kind: String,
    context: ProcessContext,
    policy: Option<Policy>,
    bytes: u64,
    device_bytes: BTreeMap<u32, u64>,
    host_bytes: u64,
    /// Milliseconds since the registry was made; negative for what is older.
    last_use: i64,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Here(Item<'static>),
    UnderWay,
    Stored(ContentHash),
}

impl Idle {
    pub(crate) fn new() -> Self {
        Self { born: Instant::now(), entries: Mutex::default(), settled: Condvar::new() }
    }

    fn add(&self, item: Item<'static>, context: &ProcessContext, idle_for: Duration) -> IdleId {
        let last_use = self.now().saturating_sub(millis(idle_for));
        let mut entries = self.lock();
        let id = IdleId(entries.next);
        entries.next += 1;
        let entry = Entry {
            kind: item.kind.clone(),
            context: context.clone(),
            policy: item.policy,
            bytes: item.original_bytes(),
            device_bytes: device_bytes(&item),
            host_bytes: item.tensors.iter().map(NamedTensor::owned_host_bytes).sum(),
            last_use,
            place: Place::Here(item),
        };
        entries.by_id.insert(id, entry);
        id
    }

    fn touch(&self, id: IdleId) -> bool {
        let now = self.now();
        match self.lock().by_id.get_mut(&id) {
            Some(entry) if matches!(entry.place, Place::Here(_)) => {
                entry.last_use = now;
                true
            }
            _ => false,
        }
    }

    fn take(&self, id: IdleId) -> Taken {
        let under_way = |entries: &mut Entries| {
            entries.by_id.get(&id).is_some_and(|entry| matches!(entry.place, Place::UnderWay))
        };
        let waited = self.settled.wait_while(self.lock(), under_way);
        match waited.unwrap_or_else(PoisonError::into_inner).by_id.remove(&id) {
            Some(Entry { place: Place::Here(item), .. }) => Taken::Item(item),
            Some(Entry { place: Place::Stored(content_hash), .. }) => Taken::Consolidated(content_hash),
            Some(Entry { place: Place::UnderWay, .. }) | None => Taken::Unknown,
        }
    }

    fn list(&self) -> Vec<IdleItem> {
        let (now, entries) = (self.now(), self.lock());
        let one = |(&id, entry): (&IdleId, &Entry)| IdleItem {
            id,
            kind: entry.kind.clone(),
            context: entry.context.clone(),
            device_bytes: entry.device_bytes.values().sum(),
            host_bytes: entry.host_bytes,
            idle_for: Duration::from_millis(now.saturating_sub(entry.last_use).max(0).unsigned_abs()),
            cost: entries.cost(entry),
            state: match entry.place {
                Place::Here(_) => IdleState::Here,
                Place::UnderWay => IdleState::BeingConsolidated,
                Place::Stored(content_hash) => IdleState::Consolidated(content_hash),
            },
        };
        entries.by_id.iter().map(one).collect()
    }

    /// How many times consolidating an idle item has come to an end; for [`Self::news_since`].
    pub(crate) fn settlements(&self) -> u64 {
        self.lock().settlements
    }

    /// Whether some thread has brought an item to an end since; if one is about to, waits for it.
    pub(crate) fn news_since(&self, settlements: u64) -> bool {
        let nothing_yet = |entries: &mut Entries| entries.settlements == settlements && entries.under_way > 0;
        let waited = self.settled.wait_while(self.lock(), nothing_yet);
        waited.unwrap_or_else(PoisonError::into_inner).settlements != settlements
    }

    /// Takes items out to be consolidated: least recently used first, among equally old ones cheapest to bring back first, until
    /// they hold `bytes` bytes there, or just one. None of those in `except`, and none that holds nothing there.
    pub(crate) fn claim(&self, bytes: Option<u64>, room: Room, except: &HashSet<IdleId>) -> Vec<Claim<'_>> {
        let mut entries = self.lock();
        let mut order: Vec<_> = entries
            .by_id
            .iter()
            .filter(|(id, entry)| matches!(entry.place, Place::Here(_)) && !except.contains(id))
            .map(|(&id, entry)| {
                (entry.age_rank(), entries.cost(entry).stored_bytes, id, entry.bytes_in(room))
            })
            .filter(|&(.., held)| held > 0)
            .collect();
        order.sort_unstable();
        let (mut claims, mut claimed_bytes) = (Vec::new(), 0_u64);
        for (_, _, id, held) in order {
            if !claims.is_empty() && bytes.is_none_or(|wanted| claimed_bytes >= wanted) {
                break;
            }
            claims.extend(entries.begin(id).map(|(item, context)| Claim {
                idle: self,
                id,
                context,
                item: Some(item),
            }));
            claimed_bytes = claimed_bytes.saturating_add(held);
        }
        claims
    }

    fn settle(&self, id: IdleId, end: Option<Place>, ratio: Option<f64>) {
        let mut entries = self.lock();
        match end {
            Some(place) => {
                if let Some(entry) = entries.by_id.get_mut(&id) {
                    entry.place = place;
                    let kind = entry.kind.clone();
                    entries.ratios.extend(ratio.map(|ratio| (kind, ratio)));
                }
            }
            None => drop(entries.by_id.remove(&id)),
        }
        entries.under_way -= 1;
        entries.settlements += 1;
        drop(entries);
        self.settled.notify_all();
    }

    fn now(&self) -> i64 {
        millis(self.born.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn begin(&mut self, id: IdleId) -> Option<(Item<'static>, ProcessContext)> {
        let entry = self.by_id.get_mut(&id)?;
        match std::mem::replace(&mut entry.place, Place::UnderWay) {
            Place::Here(item) => {
                self.under_way += 1;
                Some((item, entry.context.clone()))
            }
            other => {
                entry.place = other;
                None
            }
        }
    }

    fn cost(&self, entry: &Entry) -> RecallCost {
        let measured = self.ratios.get(&entry.kind).copied();
        let expected = if entry.policy == Some(Policy::Exact) { 1.0 } else { EXPECTED_RATIO };
        let stored_bytes = (entry.bytes as f64 * measured.unwrap_or(expected)).ceil() as u64;
        RecallCost { bytes: entry.bytes, stored_bytes, measured: measured.is_some() }
    }
}

impl Entry {
    /// Small for what was last used long ago; equal for what is equally old.
    fn age_rank(&self) -> i64 {
        self.last_use.div_euclid(millis(AGE_GRAIN))
    }

    /// Bytes that leave there with it.
    fn bytes_in(&self, room: Room) -> u64 {
        match room {
            Room::Card(device) => self.device_bytes.get(&device).copied().unwrap_or(0),
            Room::AnyCard => self.device_bytes.values().sum(),
            Room::Host => self.host_bytes,
        }
    }
}

/// An item on its way into the store. Whoever has it brings it to an end; if that panics, the item is gone, and nobody waits for it.
#[derive(Debug)]
pub(crate) struct Claim<'r> {
    idle: &'r Idle,
    pub(crate) id: IdleId,
    pub(crate) context: ProcessContext,
    item: Option<Item<'static>>,
}

impl<'r> Claim<'r> {
    /// The item, to be consolidated, and the end to bring it to.
    pub(crate) fn begin(mut self) -> (Option<Item<'static>>, Ending<'r>) {
        let item = self.item.take();
        (item, Ending { idle: self.idle, id: self.id, end: None, ratio: None })
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Some(item) = self.item.take() {
            self.idle.settle(self.id, Some(Place::Here(item)), None);
        }
    }
}

/// What becomes of an item that was claimed; told to the registry when this is dropped.
pub(crate) struct Ending<'r> {
    idle: &'r Idle,
    id: IdleId,
    end: Option<Place>,
    ratio: Option<f64>,
}

impl Ending<'_> {
    pub(crate) fn stored(mut self, content_hash: ContentHash, ratio: f64) {
        (self.end, self.ratio) = (Some(Place::Stored(content_hash)), Some(ratio));
    }

    pub(crate) fn unharmed(mut self, item: Item<'static>) {
        self.end = Some(Place::Here(item));
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.idle.settle(self.id, self.end.take(), self.ratio);
    }
}

fn device_bytes(item: &Item<'_>) -> BTreeMap<u32, u64> {
    let mut held = BTreeMap::new();
    for tensor in &item.tensors {
        let on = match &tensor.data {
            TensorData::Device(allocation) => Some(allocation.device()),
            TensorData::Borrowed(borrowed) => borrowed.device(),
            TensorData::Kept(_) | TensorData::Host(_) => None,
        };
        if let Some(device) = on {
            *held.entry(device).or_default() += tensor.byte_count();
        }
    }
    held
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
