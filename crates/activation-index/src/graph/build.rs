//! Growing a graph: each row is searched for, and linked both ways with the best of what is found. Threads share the work.
//! A graph can be grown from an older one, without the rows that are gone.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use super::search::{Scratch, Walk};
use super::{BASE_LINKS, Graph, LINKS, Links, NO_LINK, Probe, Rows, level};
use crate::bits::Bits;
use crate::column::RowNumber;

/// How wide the search for a new row's neighbours is; what the paper calls efConstruction.
pub(super) const WIDTH: usize = 200;

/// Locks for writing lists, shared by rows whose numbers agree in the low bits.
const LOCKS: usize = 1024;

/// A graph in the making. Lists are read without locks: whatever a reader finds there is the number of a row.
#[derive(Debug)]
pub(crate) struct Builder<'r> {
    rows: Rows<'r>,
    base: Vec<AtomicU32>,
    upper_at: Vec<u32>,
    upper: Vec<AtomicU32>,
    locks: Vec<Mutex<()>>,
    entry: RowNumber,
    top: u32,
    strays: Vec<RowNumber>,
}

/// An older graph, and what became of its rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Older<'g> {
    pub(crate) graph: Graph<'g>,
    /// By old number: the new one, or [`NO_LINK`] if the row is gone.
    pub(crate) renumbered: &'g [u32],
}

impl<'r> Builder<'r> {
    /// Links all rows, on so many threads. `keys` has one for each row; rows that `apart` holds are left out.
    pub(crate) fn build(
        rows: Rows<'r>,
        keys: &[u64],
        apart: &Bits,
        older: Option<Older<'_>>,
        threads: usize,
    ) -> Self {
        let levels = |row: usize| if apart.contains(row as u32) { 0 } else { level(keys[row]) };
        let mut upper_at = Vec::with_capacity(rows.len() + 1);
        upper_at.push(0);
        for row in 0..rows.len() {
            upper_at.push(upper_at[row] + levels(row));
        }
        let unlinked = |lists: usize, length| (0..lists * length).map(|_| AtomicU32::new(NO_LINK)).collect();
        let mut builder = Self {
            rows,
            base: unlinked(rows.len(), BASE_LINKS),
            upper: unlinked(upper_at.last().copied().unwrap_or_default() as usize, LINKS),
            upper_at,
            locks: (0..LOCKS).map(|_| Mutex::new(())).collect(),
            entry: 0,
            top: 0,
            strays: Vec::new(),
        };

        let mut linked = apart.clone();
        if let Some(older) = older {
            builder.adopt(older, apart, &mut linked);
        }
        let mut new: Vec<RowNumber> = (0..rows.len() as u32).filter(|&row| !linked.contains(row)).collect();
        let nothing_adopted = linked.len() == apart.len();
        // The highest comes first: it is where all later searches begin.
        if let Some(highest) = new.iter().position(|&row| nothing_adopted || builder.level(row) > builder.top)
            && let Some(highest) =
                new[highest..].iter().map(|&row| (builder.level(row), row)).max_by_key(|&(level, _)| level)
        {
            if !nothing_adopted {
                builder.insert(highest.1, &mut Room::new(rows.stride));
            }
            (builder.top, builder.entry) = highest;
            new.retain(|&row| row != highest.1);
        }
        builder.share_out(&new, threads);
        builder.find_strays(apart);
        builder
    }

    /// The finished graph.
    pub(crate) fn into_arrays(self) -> Arrays {
        let plain = |links: Vec<AtomicU32>| links.into_iter().map(AtomicU32::into_inner).collect();
        Arrays {
            base: plain(self.base),
            upper_at: self.upper_at,
            upper: plain(self.upper),
            entry: self.entry,
            top: self.top,
            strays: self.strays,
        }
    }

    fn share_out(&self, new: &[RowNumber], threads: usize) {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut room = Room::new(self.rows.stride);
            while let Some(&row) = new.get(next.fetch_add(1, Relaxed)) {
                self.insert(row, &mut room);
            }
        };
        thread::scope(|scope| {
            for _ in 1..threads.clamp(1, new.len().max(1)) {
                scope.spawn(work);
            }
            work();
        });
    }

    fn insert(&self, row: RowNumber, room: &mut Room) {
        let Room { scratch, probe, other, products, chosen } = room;
        probe.become_row(&self.rows, row);
        let highest = self.level(row).min(self.top) as usize;
        let walk = Walk { links: self, rows: &self.rows };
        let mut start = walk.descend(probe, highest, scratch);
        for layer in (0..=highest).rev() {
            walk.best_first(layer, probe, start, Some(row), WIDTH, scratch);
            if let Some((nearest, _)) = scratch.found().next() {
                start = nearest;
            }
            self.choose(scratch.found(), LINKS, other, products, &mut chosen[layer]);
        }
        // From the base up: whoever comes by the row in a layer can go on from it in the one below.
        for layer in 0..=highest {
            let chosen = std::mem::take(&mut room.chosen[layer]);
            {
                let _guard = self.lock(row);
                self.set(layer, row, &chosen);
            }
            for &neighbour in &chosen {
                self.link(layer, neighbour, row, room);
            }
            room.chosen[layer] = chosen;
        }
    }

    /// Adds a link from `from` to `to`. A full list is chosen anew.
    fn link(&self, layer: usize, from: RowNumber, to: RowNumber, room: &mut Room) {
        let _guard = self.lock(from);
        let mut links = Vec::with_capacity(BASE_LINKS + 1);
        self.each(layer, from, |row| links.push(row));
        if links.contains(&to) {
            return;
        }
        links.push(to);
        self.set_best(layer, from, &mut links, room);
    }

    /// Sets the links of `from` to `links`, or to the best choice of them if they are too many.
    fn set_best(&self, layer: usize, from: RowNumber, links: &mut Vec<RowNumber>, room: &mut Room) {
        let most = if layer == 0 { BASE_LINKS } else { LINKS };
        if links.len() > most {
            let Room { probe: _, other, products, scratch: _, chosen: _ } = room;
            other.become_row(&self.rows, from);
            let mut scored = Vec::with_capacity(links.len());
            self.rows.scores(other, links, products, |row, score| scored.push((row, score)));
            scored.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            self.choose(scored.into_iter(), most, other, products, links);
        }
        self.set(layer, from, links);
    }

    /// Of candidates, the most alike first, those that are more like the row than like one that was chosen before: links in
    /// all directions instead of many in one.
    fn choose(
        &self,
        candidates: impl Iterator<Item = (RowNumber, f32)>,
        most: usize,
        other: &mut Probe,
        products: &mut Vec<i32>,
        chosen: &mut Vec<RowNumber>,
    ) {
        chosen.clear();
        for (candidate, score) in candidates {
            if chosen.len() == most {
                break;
            }
            other.become_row(&self.rows, candidate);
            let mut apart = true;
            self.rows.scores(other, chosen, products, |_, between| apart &= between <= score);
            if apart {
                chosen.push(candidate);
            }
        }
    }

    /// Takes over the lists of rows that are still there. Who was linked to a row that is gone is linked to whom that one
    /// was linked to, if the choice falls on them.
    fn adopt(&mut self, older: Older<'_>, apart: &Bits, linked: &mut Bits) {
        let renumber =
            |old: RowNumber| older.renumbered.get(old as usize).copied().filter(|&new| new != NO_LINK);
        let mut room = Room::new(self.rows.stride);
        let mut links = Vec::new();
        for (old, &new) in older.renumbered.iter().enumerate() {
            if new == NO_LINK || linked.contains(new) || older.graph.strays.contains(&(old as u32)) {
                continue;
            }
            let mut lost = false;
            for layer in 0..=self.level(new) as usize {
                links.clear();
                older.graph.each(layer, old as u32, |neighbour| match renumber(neighbour) {
                    Some(neighbour) => links.push(neighbour),
                    None => older.graph.each(layer, neighbour, |beyond| links.extend(renumber(beyond))),
                });
                links.sort_unstable();
                links.dedup();
                // Whatever the older graph says: only to rows that are in this layer.
                links.retain(|&link| {
                    link != new && self.level(link) as usize >= layer && !apart.contains(link)
                });
                self.set_best(layer, new, &mut links, &mut room);
                lost |= layer == 0 && links.is_empty();
            }
            // A row that lost all its links is linked like a new one.
            if !lost {
                linked.insert(new);
                if self.level(new) > self.top || !linked.contains(self.entry) {
                    (self.top, self.entry) = (self.level(new), new);
                }
            }
        }
    }

    /// Looks for rows that no walk from the entry comes to: choosing anew may have cut the last link to them. A neighbour
    /// with room gets one; who is still not found is a stray.
    fn find_strays(&mut self, apart: &Bits) {
        let mut reached = Bits::with_limit(self.rows.len());
        let mut to_visit = Vec::new();
        if !apart.contains(self.entry) && self.rows.len() > 0 {
            to_visit.push(self.entry);
        }
        self.reach(&mut to_visit, &mut reached);
        let mut lost = Vec::new();
        for row in (0..self.rows.len() as u32).filter(|&row| !apart.contains(row)) {
            if reached.contains(row) {
                continue;
            }
            let mut neighbours = Vec::new();
            self.each(0, row, |neighbour| neighbours.push(neighbour));
            let host = neighbours.into_iter().find(|&n| reached.contains(n) && self.add_if_room(n, row));
            match host {
                Some(_) => {
                    to_visit.push(row);
                    self.reach(&mut to_visit, &mut reached);
                }
                None => lost.push(row),
            }
        }
        lost.retain(|&row| !reached.contains(row));
        self.strays = (0..self.rows.len() as u32).filter(|&row| apart.contains(row)).chain(lost).collect();
        self.strays.sort_unstable();
    }

    fn reach(&self, to_visit: &mut Vec<RowNumber>, reached: &mut Bits) {
        while let Some(row) = to_visit.pop() {
            if reached.insert(row) {
                self.each(0, row, |next| {
                    if !reached.contains(next) {
                        to_visit.push(next);
                    }
                });
            }
        }
    }

    fn add_if_room(&self, from: RowNumber, to: RowNumber) -> bool {
        let free = self.list(0, from).iter().find(|link| link.load(Relaxed) == NO_LINK);
        free.inspect(|link| link.store(to, Relaxed)).is_some()
    }

    fn level(&self, row: RowNumber) -> u32 {
        self.upper_at[row as usize + 1] - self.upper_at[row as usize]
    }

    fn list(&self, layer: usize, row: RowNumber) -> &[AtomicU32] {
        let row = row as usize;
        if layer == 0 {
            &self.base[row * BASE_LINKS..][..BASE_LINKS]
        } else {
            &self.upper[(self.upper_at[row] as usize + layer - 1) * LINKS..][..LINKS]
        }
    }

    fn set(&self, layer: usize, row: RowNumber, links: &[RowNumber]) {
        let padded = links.iter().copied().chain(std::iter::repeat(NO_LINK));
        for (place, link) in self.list(layer, row).iter().zip(padded) {
            place.store(link, Relaxed);
        }
    }

    fn lock(&self, row: RowNumber) -> MutexGuard<'_, ()> {
        // Nothing is left half-done by a panic that a later writer could not overwrite.
        self.locks[row as usize % LOCKS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Links for Builder<'_> {
    fn each(&self, layer: usize, row: RowNumber, visit: impl FnMut(RowNumber)) {
        let links = self.list(layer, row).iter().map(|link| link.load(Relaxed));
        links.take_while(|&link| link != NO_LINK).for_each(visit);
    }

    fn prefetch(&self, row: RowNumber) {
        crate::kernel::prefetch_list(self.list(0, row));
    }

    fn entry(&self) -> (RowNumber, usize) {
        (self.entry, self.top as usize)
    }
}

/// What a thread that inserts needs room for.
struct Room {
    scratch: Scratch,
    probe: Probe,
    other: Probe,
    products: Vec<i32>,
    /// By layer.
    chosen: Vec<Vec<RowNumber>>,
}

impl Room {
    fn new(stride: usize) -> Self {
        Self {
            scratch: Scratch::default(),
            probe: Probe::with_stride(stride),
            other: Probe::with_stride(stride),
            products: Vec::new(),
            chosen: vec![Vec::with_capacity(LINKS); super::MAX_LEVEL as usize + 1],
        }
    }
}

/// A finished graph that owns its arrays.
#[derive(Debug)]
pub(crate) struct Arrays {
    pub(crate) base: Vec<u32>,
    pub(crate) upper_at: Vec<u32>,
    pub(crate) upper: Vec<u32>,
    pub(crate) entry: RowNumber,
    pub(crate) top: u32,
    pub(crate) strays: Vec<u32>,
}

impl Arrays {
    pub(crate) fn graph(&self) -> Graph<'_> {
        Graph {
            base: &self.base,
            upper_at: &self.upper_at,
            upper: &self.upper,
            entry: self.entry,
            top: self.top,
            strays: &self.strays,
        }
    }
}
