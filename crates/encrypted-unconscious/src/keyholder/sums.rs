//! Sums over all memories of a store, and the file in which they survive a restart.
//!
//! The file `sums.age` is sealed to the keyholder itself. It is derived: if it cannot be read, sums begin anew. All numbers are
//! little-endian:
//!
//! | bytes | meaning |
//! |---|---|
//! | 8 | `OMNISUM1` |
//! | 4 | number of stores |
//! | 32, 8, 4 | of each: its identity, how far it was followed, its number of sums |
//! | 4, 4 | of each sum: dimension, number of members |
//! | 8 × dimension | bodies |
//! | 8 × 4096 | sum of the keys |
//! | 32 × members | their content hashes |

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, BufReader, Read, Write},
    path::Path,
};

use zeroize::{Zeroize, Zeroizing};

use super::{Followed, KeyholderError, Refusal, Step, StoreId, state_dir};
use crate::{
    Identity, Sealer,
    influence::{InfluenceError, MAX_DIMENSION, OpenedSignature, RING_DIMENSION, SignatureSum},
};

const FILE: &str = "sums.age";
const MAGIC: [u8; 8] = *b"OMNISUM1";
const MOST_STORES: usize = 1024;
const MOST_SUMS_OF_A_STORE: usize = 16;
/// In all sums together: half a gigabyte or so.
const MOST_MEMBERS: u64 = 1 << 23;

#[derive(Debug, Default)]
pub(super) struct Sums {
    stores: HashMap<StoreId, OfStore>,
    members: u64,
    /// Counts changes, so that no two states of a sum have the same.
    changes: u64,
    pub(super) is_dirty: bool,
}

#[derive(Debug, Default)]
struct OfStore {
    position: u64,
    by_dimension: BTreeMap<usize, Summed>,
}

#[derive(Debug)]
pub(super) struct Summed {
    pub(super) sum: SignatureSum,
    /// Different for each state that the sum ever had in this process.
    pub(super) state: u64,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stepped {
    pub(super) admitted: u64,
    pub(super) refused: u64,
}

impl Sums {
    pub(super) fn followed(&self, store: &StoreId) -> Followed {
        self.stores.get(store).map_or_else(Followed::default, |of_store| {
            let members = of_store.by_dimension.values().map(|summed| summed.sum.members()).sum();
            Followed { position: of_store.position, members }
        })
    }

    pub(super) fn members(&self) -> u64 {
        self.members
    }

    pub(super) fn of(&self, store: &StoreId, dimension: usize) -> Option<&Summed> {
        self.stores.get(store)?.by_dimension.get(&dimension)
    }

    /// Whether a step can be taken from where the sums are.
    pub(super) fn check(&self, store: &StoreId, step: &Step<'_>) -> Result<(), KeyholderError> {
        let Step { from, to, .. } = *step;
        let position = self.followed(store).position;
        let has_forgotten = || step.forgotten.iter().any(|memory| self.contains(store, memory));
        if from != 0 && (from != position || has_forgotten()) {
            return Err(KeyholderError::OutOfStep { position, from });
        }
        let refuse = |reason: String| Err(KeyholderError::Refused(Refusal::Unusable { reason }));
        if to < from {
            return refuse(format!("a step from change {from} back to {to} is none"));
        }
        if !self.stores.contains_key(store) && self.stores.len() >= MOST_STORES {
            return refuse(format!("the keyholder follows {MOST_STORES} stores already, and no more"));
        }
        Ok(())
    }

    fn contains(&self, store: &StoreId, memory: &[u8; 32]) -> bool {
        let in_any =
            |of_store: &OfStore| of_store.by_dimension.values().any(|summed| summed.sum.contains(memory));
        self.stores.get(store).is_some_and(in_any)
    }

    /// Takes a step, with those of its signatures that could be opened.
    pub(super) fn step(
        &mut self,
        store: &StoreId,
        step: &Step<'_>,
        admitted: &[OpenedSignature],
    ) -> Result<Stepped, KeyholderError> {
        self.check(store, step)?;
        self.is_dirty = true;
        if step.from == 0 {
            self.members -= self.followed(store).members;
            self.stores.remove(store);
        }
        let of_store = self.stores.entry(*store).or_default();
        of_store.position = step.to;
        let mut stepped = Stepped::default();
        for signature in admitted {
            let dimension = signature.dimension();
            let has_room = self.members < MOST_MEMBERS
                && (of_store.by_dimension.contains_key(&dimension)
                    || of_store.by_dimension.len() < MOST_SUMS_OF_A_STORE);
            if !has_room {
                stepped.refused += 1;
                continue;
            }
            let summed = of_store
                .by_dimension
                .entry(dimension)
                .or_insert_with(|| Summed { sum: SignatureSum::new(dimension), state: 0 });
            match summed.sum.add(signature) {
                Ok(()) => {
                    self.changes += 1;
                    summed.state = self.changes;
                    self.members += 1;
                    stepped.admitted += 1;
                }
                Err(InfluenceError::Twice) => {}
                Err(_) => stepped.refused += 1,
            }
        }
        Ok(stepped)
    }

    /// What the file holds, or nothing, if it is not there or of no use.
    pub(super) fn load(state_dir: &Path, keys: &[Identity]) -> Self {
        let path = state_dir.join(FILE);
        let read = |key: &Identity| {
            let file = File::open(&path).ok()?;
            Self::read(&mut BufReader::new(key.open(file).ok()?)).ok()
        };
        keys.iter().find_map(read).unwrap_or_default()
    }

    pub(super) fn save(&mut self, state_dir: &Path, sealer: &Sealer) -> Result<(), KeyholderError> {
        state_dir::replace(&state_dir.join(FILE), |file| {
            let mut writer = sealer.seal(io::BufWriter::new(file))?;
            self.write(&mut writer)?;
            writer.finish()?.flush()
        })?;
        self.is_dirty = false;
        Ok(())
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&MAGIC)?;
        out.write_all(&(self.stores.len() as u32).to_le_bytes())?;
        for (store, of_store) in &self.stores {
            out.write_all(store)?;
            out.write_all(&of_store.position.to_le_bytes())?;
            out.write_all(&(of_store.by_dimension.len() as u32).to_le_bytes())?;
            for (&dimension, summed) in &of_store.by_dimension {
                out.write_all(&(dimension as u32).to_le_bytes())?;
                out.write_all(&(summed.sum.members() as u32).to_le_bytes())?;
                write_numbers(out, &summed.sum.bodies)?;
                write_numbers(out, summed.sum.key_sum())?;
                for member in &summed.sum.members {
                    out.write_all(member)?;
                }
            }
        }
        Ok(())
    }

    fn read(source: &mut impl Read) -> io::Result<Self> {
        let mut sums = Self::default();
        if bytes::<8>(source)? != MAGIC {
            return Err(no_sums());
        }
        for _ in 0..limited(source, MOST_STORES)? {
            let store = bytes::<32>(source)?;
            let mut of_store = OfStore { position: u64::from_le_bytes(bytes(source)?), ..OfStore::default() };
            for _ in 0..limited(source, MOST_SUMS_OF_A_STORE)? {
                let dimension = limited(source, MAX_DIMENSION)?;
                let members = limited(source, MOST_MEMBERS as usize)?;
                let bodies = read_numbers(source, dimension)?;
                let key = Zeroizing::new(read_numbers(source, RING_DIMENSION)?);
                let mut hashes = std::collections::HashSet::new();
                for _ in 0..members {
                    hashes.insert(bytes::<32>(source)?);
                }
                sums.members += members as u64;
                if hashes.len() != members || sums.members > MOST_MEMBERS {
                    return Err(no_sums());
                }
                sums.changes += 1;
                let sum = SignatureSum::from_parts(bodies, &key, hashes).ok_or_else(no_sums)?;
                of_store.by_dimension.insert(dimension, Summed { sum, state: sums.changes });
            }
            sums.stores.insert(store, of_store);
        }
        // The end is authentic only once it has been read.
        if source.read(&mut [0])? != 0 {
            return Err(no_sums());
        }
        Ok(sums)
    }
}

fn no_sums() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not the sums of a keyholder")
}

fn bytes<const N: usize>(source: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    source.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn limited(source: &mut impl Read, most: usize) -> io::Result<usize> {
    let number = u32::from_le_bytes(bytes(source)?) as usize;
    if number <= most { Ok(number) } else { Err(no_sums()) }
}

fn read_numbers(source: &mut impl Read, count: usize) -> io::Result<Vec<u64>> {
    let mut chunk = Zeroizing::new([0; 8]);
    // Large enough from the start, so that growing leaves no copy behind.
    let mut numbers = Vec::with_capacity(count);
    for _ in 0..count {
        if let Err(error) = source.read_exact(&mut *chunk) {
            numbers.zeroize();
            return Err(error);
        }
        numbers.push(u64::from_le_bytes(*chunk));
    }
    Ok(numbers)
}

fn write_numbers(out: &mut impl Write, numbers: &[u64]) -> io::Result<()> {
    let mut buffer = Zeroizing::new([0; 4096]);
    for chunk in numbers.chunks(512) {
        for (place, number) in buffer.as_chunks_mut().0.iter_mut().zip(chunk) {
            *place = number.to_le_bytes();
        }
        out.write_all(&buffer[..chunk.len() * 8])?;
    }
    Ok(())
}
