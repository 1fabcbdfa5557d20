//! What a keyholder does with a question: opens what it is about, charges, writes down, and only then answers, coarsely.

use std::{
    collections::HashMap,
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    Answer, Followed, KeyholderError, Refusal, Rounding, Status, Step, StoreId, SumAnswer,
    audit::{Caller, Deed, Kind, Record},
    budget::BudgetConfig,
    clock::{Clock, SystemClock},
    keeper::Keeper,
    ledger::Ledger,
    memo::Memo,
    state_dir::{self, failed},
    sums::Sums,
};
use crate::{
    Error, Identity, Sealer,
    influence::{
        EncryptedSignature, Evaluation, InfluenceError, OpenedSignature, Query, SignatureKey, SignatureSum,
    },
};

/// Answers that are given again for nothing.
const MOST_REMEMBERED: usize = 65_536;
/// Keys of signatures that need not be opened again: some 30 MiB.
const MOST_KEYS: usize = 200_000;
/// How long what was written may not be durable.
const SYNC_AFTER: Duration = Duration::from_secs(1);
const SAVE_SUMS_AFTER: Duration = Duration::from_secs(2);
/// A record of so many memories has about five megabytes.
const MOST_SIGNATURES: usize = 65_536;

/// How coarse answers are, what they cost, and how much is taken at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CustodyConfig {
    /// How coarse answers are.
    pub rounding: Rounding,
    /// How much may be asked.
    pub budget: BudgetConfig,
    /// Most signatures in one question or step.
    pub most_signatures: usize,
}

impl Default for CustodyConfig {
    fn default() -> Self {
        Self { rounding: Rounding::default(), budget: BudgetConfig::default(), most_signatures: 4096 }
    }
}

impl CustodyConfig {
    /// # Errors
    /// [`KeyholderError::Config`].
    pub fn validate(&self) -> Result<(), KeyholderError> {
        self.rounding.validate()?;
        self.budget.validate()?;
        if !(1..=MOST_SIGNATURES).contains(&self.most_signatures) {
            let reason = format!("most_signatures must be 1 to {MOST_SIGNATURES}");
            return Err(KeyholderError::Config { reason });
        }
        let dearest = self.budget.price_of_level.max(self.budget.price_of_sum);
        let needed = dearest.saturating_mul(self.most_signatures as u64);
        if self.budget.caller.capacity < needed {
            let reason = format!(
                "a question about most_signatures ({}) can cost {needed} units, and no caller ever has more than {}; \
                 lower it, or raise the capacity of `caller`",
                self.most_signatures, self.budget.caller.capacity
            );
            return Err(KeyholderError::Config { reason });
        }
        Ok(())
    }
}

/// Keys in use: it answers questions of any caller, and keeps what must not be forgotten in a folder.
///
/// What was charged survives the end of the process, however it ends. A power loss can take back what was charged in the last
/// second. The audit log and what damage of it means: see [`audit`](super::audit).
#[derive(Debug)]
pub struct Custody {
    keeper: Option<Keeper>,
    kept: Arc<Kept>,
    _serving: File,
}

/// What the thread of the keeper sees, too.
#[derive(Debug)]
struct Kept {
    state_dir: PathBuf,
    keys: RwLock<Keys>,
    config: CustodyConfig,
    books: Mutex<Books>,
    opened: Mutex<Memo<[u8; 32], SignatureKey>>,
    sums: Mutex<Sums>,
    sums_saved: Mutex<Instant>,
}

/// What is opened with, and what the keyholder's own files are sealed to.
#[derive(Debug)]
struct Keys {
    /// The current one first.
    identities: Vec<Identity>,
    sealer: Sealer,
}

impl Keys {
    fn new(identities: Vec<Identity>) -> Result<Self, KeyholderError> {
        let current = identities
            .first()
            .ok_or_else(|| KeyholderError::Config { reason: "there is no key".to_owned() })?;
        Ok(Self { sealer: Sealer::new(current.recipient()), identities })
    }
}

#[derive(Debug)]
struct Books {
    ledger: Ledger,
    levels: Memo<[u8; 32], f32>,
    sums: Memo<[u8; 32], SumAnswer>,
}

/// What is known about one memory of a question before it is charged.
enum Considered {
    Remembered(f32),
    Scored { memory: [u8; 32], level: f32 },
    Refused(Refusal),
}

impl Custody {
    /// Takes custody of keys, the current one first. `state_dir` is made if it is not there, and closed to others; only one
    /// process can serve it.
    ///
    /// # Errors
    /// [`KeyholderError::Served`], [`KeyholderError::LedgerDamaged`], [`KeyholderError::Config`], [`KeyholderError::File`].
    pub fn open(
        state_dir: &Path,
        keys: Vec<Identity>,
        config: CustodyConfig,
    ) -> Result<Self, KeyholderError> {
        Self::open_with_clock(state_dir, keys, config, Box::new(SystemClock::new()))
    }

    /// As [`open`](Self::open), with another clock.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with_clock(
        state_dir: &Path,
        keys: Vec<Identity>,
        config: CustodyConfig,
        clock: Box<dyn Clock>,
    ) -> Result<Self, KeyholderError> {
        config.validate()?;
        let keys = Keys::new(keys)?;
        state_dir::prepare(state_dir)?;
        let serving = state_dir::serve(state_dir)?;
        let ledger = Ledger::open(state_dir, config.budget.clone(), clock)?;
        let kept = Arc::new(Kept {
            state_dir: state_dir.to_owned(),
            sums: Mutex::new(Sums::load(state_dir, &keys.identities)),
            sums_saved: Mutex::new(Instant::now()),
            books: Mutex::new(Books {
                ledger,
                levels: Memo::new(MOST_REMEMBERED),
                sums: Memo::new(MOST_REMEMBERED / 16),
            }),
            opened: Mutex::new(Memo::new(MOST_KEYS)),
            keys: RwLock::new(keys),
            config,
        });
        let keeper = Keeper::start(SYNC_AFTER, {
            let kept = Arc::clone(&kept);
            move || kept.settle()
        });
        let keeper = Some(keeper.map_err(failed(state_dir, "watched"))?);
        Ok(Self { keeper, kept, _serving: serving })
    }

    /// How much each memory resembles the query.
    ///
    /// # Errors
    /// [`KeyholderError::TooMany`], [`KeyholderError::CallerOverBudget`], [`KeyholderError::LedgerDamaged`],
    /// [`KeyholderError::File`]. What is wrong with one memory is said in its answer.
    pub fn influence(
        &self,
        caller: Caller,
        query: &Query,
        signatures: &[EncryptedSignature],
    ) -> Result<Vec<Answer>, KeyholderError> {
        self.finish(caller, self.kept.influence(caller, query, signatures))
    }

    /// The sum of the scores of a chosen set. Every member is charged, or none.
    ///
    /// # Errors
    /// As [`influence`](Self::influence); [`KeyholderError::Refused`] for what is wrong with a member;
    /// [`KeyholderError::Question`].
    pub fn influence_of_set(
        &self,
        caller: Caller,
        query: &Query,
        signatures: &[EncryptedSignature],
    ) -> Result<SumAnswer, KeyholderError> {
        self.finish(caller, self.kept.influence_of_set(caller, query, signatures))
    }

    /// The sum of the scores of all memories of a store that were [followed](Self::follow), of the query's dimension.
    ///
    /// # Errors
    /// As [`influence_of_set`](Self::influence_of_set).
    pub fn influence_of_all(
        &self,
        caller: Caller,
        query: &Query,
        store: &StoreId,
    ) -> Result<SumAnswer, KeyholderError> {
        self.finish(caller, self.kept.influence_of_all(caller, query, store))
    }

    /// How far it has followed a store.
    ///
    /// # Errors
    /// None so far.
    pub fn followed(&self, store: &StoreId) -> Result<Followed, KeyholderError> {
        Ok(lock(&self.kept.sums).followed(store))
    }

    /// Takes more memories into the sums of a store. One that is there already, or that cannot be opened, is passed over.
    ///
    /// # Errors
    /// [`KeyholderError::OutOfStep`], also where a member was forgotten, [`KeyholderError::TooMany`], [`KeyholderError::Refused`] where a step goes back or more
    /// stores are followed than can be; [`KeyholderError::LedgerDamaged`], [`KeyholderError::File`].
    pub fn follow(&self, caller: Caller, store: &StoreId, step: Step<'_>) -> Result<(), KeyholderError> {
        self.finish(caller, self.kept.follow(caller, store, step))
    }

    /// What it holds and how much was asked of it.
    ///
    /// # Errors
    /// None so far.
    pub fn status(&self) -> Result<Status, KeyholderError> {
        let members = lock(&self.kept.sums).members();
        let books = lock(&self.kept.books);
        let budgets = books.ledger.budgets();
        let keys = read(&self.kept.keys);
        Ok(Status {
            public_key: keys.sealer.recipient().to_string(),
            retired_keys: keys.identities.len() - 1,
            levels: self.kept.config.rounding.levels.clone(),
            audit_records: books.ledger.records(),
            audit_head: books.ledger.head(),
            memories_asked: budgets.memories.len(),
            memories_over_budget: budgets.memories_over_budget(&books.ledger.stand_now()),
            members,
        })
    }

    /// Writes down what is no question: that it is served, that somebody was turned away.
    ///
    /// # Errors
    /// [`KeyholderError::LedgerDamaged`], [`KeyholderError::File`].
    pub fn note(&self, caller: Caller, what: Deed) -> Result<(), KeyholderError> {
        let result = lock(&self.kept.books).ledger.note(Record::of(caller, what));
        self.poke();
        result
    }

    /// Takes other keys into custody, the current one first, and forgets those it had: after the key was exchanged.
    ///
    /// # Errors
    /// [`KeyholderError::Config`] without a key; then it keeps those it has.
    pub fn replace_keys(&self, keys: Vec<Identity>) -> Result<(), KeyholderError> {
        let keys = Keys::new(keys)?;
        *self.kept.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        // What is kept is sealed to the new one the next time.
        lock(&self.kept.sums).is_dirty = true;
        self.poke();
        Ok(())
    }

    /// What it was opened with.
    #[must_use]
    pub fn config(&self) -> &CustodyConfig {
        &self.kept.config
    }

    /// A question that was turned away is written down, too.
    fn finish<T>(&self, caller: Caller, result: Result<T, KeyholderError>) -> Result<T, KeyholderError> {
        if let Err(error) = &result
            && !matches!(error, KeyholderError::LedgerDamaged { .. } | KeyholderError::File { .. })
        {
            let deed = Deed::Refused { reason: error.to_string() };
            lock(&self.kept.books).ledger.note(Record::of(caller, deed))?;
        }
        self.poke();
        result
    }

    fn poke(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.poke();
        }
    }
}

impl Drop for Custody {
    fn drop(&mut self) {
        self.keeper = None;
        let _ = self.kept.make_durable(true);
        let _ = self.kept.save_sums();
    }
}

impl Kept {
    fn influence(
        &self,
        caller: Caller,
        query: &Query,
        signatures: &[EncryptedSignature],
    ) -> Result<Vec<Answer>, KeyholderError> {
        self.refuse_too_many(signatures)?;
        let question = Question::of(query);
        let names: Vec<_> =
            signatures.iter().map(|signature| question.about("memory", [signature.fingerprint()])).collect();
        let known: Vec<_> = {
            let levels = &mut lock(&self.books).levels;
            names.iter().map(|name| levels.get(name).copied()).collect()
        };
        let mut evaluation = None;
        let considered: Vec<_> = signatures
            .iter()
            .zip(known)
            .map(|(signature, known)| match known {
                Some(level) => Considered::Remembered(level),
                None => self
                    .consider(query, signature, &mut evaluation)
                    .unwrap_or_else(|error| Considered::Refused(error.into())),
            })
            .collect();

        let Books { ledger, levels, .. } = &mut *lock(&self.books);
        let prices = &self.config.budget;
        let (answers, fresh) = ledger.transact(|budgets, stand| {
            let mut record = Record::new(caller, Kind::Answer);
            let (mut fresh, mut charged) = (HashMap::new(), HashMap::<_, u64>::new());
            let mut answers = Vec::with_capacity(names.len());
            for (name, considered) in names.iter().zip(&considered) {
                let (memory, level) = match considered {
                    Considered::Remembered(level) => {
                        record.remembered += 1;
                        answers.push(Answer::AtLeast(*level));
                        continue;
                    }
                    Considered::Refused(refusal) => {
                        record.refused += 1;
                        answers.push(Answer::Refused(refusal.clone()));
                        continue;
                    }
                    Considered::Scored { memory, level } => (*memory, *level),
                };
                // By another caller meanwhile, or twice in this question.
                if levels.get(name).is_some() || fresh.contains_key(name) {
                    record.remembered += 1;
                    answers.push(Answer::AtLeast(level));
                    continue;
                }
                let charged = charged.entry(memory).or_default();
                // Whether there is enough must not depend on the level.
                if let Err(again_in) =
                    budgets.afford_memory(&memory, stand, charged.saturating_add(prices.price_of_level))
                {
                    record.refused += 1;
                    answers.push(Answer::Refused(Refusal::OverBudget { again_in }));
                    continue;
                }
                let price = if level > 0.0 { prices.price_of_level } else { prices.price_of_silence };
                *charged += price;
                record.charge(memory, price);
                fresh.insert(*name, level);
                answers.push(Answer::AtLeast(level));
            }
            let most = prices.price_of_level.saturating_mul(fresh.len() as u64);
            budgets
                .afford_caller(caller.uid, stand, most)
                .map_err(|again_in| KeyholderError::CallerOverBudget { uid: caller.uid, again_in })?;
            Ok((record, (answers, fresh)))
        })?;
        for (name, level) in fresh {
            levels.insert(name, level);
        }
        Ok(answers)
    }

    fn consider(
        &self,
        query: &Query,
        signature: &EncryptedSignature,
        evaluation: &mut Option<Evaluation>,
    ) -> Result<Considered, InfluenceError> {
        let opened = self.open(query, signature)?;
        let score = evaluation.get_or_insert_with(|| Evaluation::of(query)).score(&opened)?;
        Ok(Considered::Scored { memory: opened.content_hash(), level: self.config.rounding.level(score) })
    }

    fn influence_of_set(
        &self,
        caller: Caller,
        query: &Query,
        signatures: &[EncryptedSignature],
    ) -> Result<SumAnswer, KeyholderError> {
        self.refuse_too_many(signatures)?;
        let mut fingerprints: Vec<_> = signatures.iter().map(EncryptedSignature::fingerprint).collect();
        fingerprints.sort_unstable();
        let name = Question::of(query).about("set", fingerprints);
        let known = lock(&self.books).sums.get(&name).copied();
        let mut memories = Vec::new();
        let answer = if let Some(known) = known {
            known
        } else {
            let opened = signatures
                .iter()
                .map(|signature| self.open(query, signature))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| KeyholderError::Refused(error.into()))?;
            memories.extend(opened.iter().map(OpenedSignature::content_hash));
            self.sum_answer(&SignatureSum::of(&opened)?, query)?
        };
        let price = self.config.budget.price_of_sum;
        self.answer_sum(name, answer, Record::new(caller, Kind::Sum), |record, budgets, stand| {
            for memory in memories {
                budgets.afford_memory(&memory, stand, price)?;
                record.charge(memory, price);
            }
            Ok(())
        })
    }

    fn influence_of_all(
        &self,
        caller: Caller,
        query: &Query,
        store: &StoreId,
    ) -> Result<SumAnswer, KeyholderError> {
        let (name, answer) = {
            let sums = lock(&self.sums);
            let summed = sums.of(store, query.dimension()).ok_or(InfluenceError::Nothing)?;
            let mut state = [0; 32];
            state[..8].copy_from_slice(&summed.state.to_le_bytes());
            let name = Question::of(query).about("all", [*store, state]);
            let known = lock(&self.books).sums.get(&name).copied();
            (name, known.map_or_else(|| self.sum_answer(&summed.sum, query), Ok)?)
        };
        let price = self.config.budget.price_of_sum;
        let about = Some(blake3::Hash::from_bytes(*store).to_hex().to_string());
        let record = Record { about, ..Record::new(caller, Kind::Total) };
        self.answer_sum(name, answer, record, |record, budgets, stand| {
            budgets.afford_everyone(stand, price)?;
            (record.everyone, record.caller) = (price, price);
            Ok(())
        })
    }

    fn sum_answer(&self, sum: &SignatureSum, query: &Query) -> Result<SumAnswer, InfluenceError> {
        let score = sum.score(query)?;
        Ok(SumAnswer { sum: self.config.rounding.sum(score), members: sum.members() })
    }

    /// Charges for a sum unless it was said before, and remembers it.
    fn answer_sum(
        &self,
        name: [u8; 32],
        answer: SumAnswer,
        mut record: Record,
        charge: impl FnOnce(&mut Record, &super::budget::Budgets, &super::clock::Stand) -> Result<(), Duration>,
    ) -> Result<SumAnswer, KeyholderError> {
        let Books { ledger, sums, .. } = &mut *lock(&self.books);
        let known = sums.get(&name).is_some();
        let uid = record.uid;
        ledger.transact(|budgets, stand| {
            if known {
                record.remembered = answer.members;
            } else {
                charge(&mut record, budgets, stand)
                    .map_err(|again_in| KeyholderError::Refused(Refusal::OverBudget { again_in }))?;
                budgets
                    .afford_caller(uid, stand, record.caller)
                    .map_err(|again_in| KeyholderError::CallerOverBudget { uid, again_in })?;
            }
            Ok((record, ()))
        })?;
        sums.insert(name, answer);
        Ok(answer)
    }

    fn follow(&self, caller: Caller, store: &StoreId, step: Step<'_>) -> Result<(), KeyholderError> {
        self.refuse_too_many(step.admitted)?;
        // First, because opening costs time.
        lock(&self.sums).check(store, &step)?;
        let opened: Vec<_> =
            step.admitted.iter().filter_map(|signature| self.open_any(signature).ok()).collect();
        let unusable = (step.admitted.len() - opened.len()) as u64;
        let stepped = lock(&self.sums).step(store, &step, &opened)?;
        let record = Record {
            admitted: stepped.admitted,
            refused: stepped.refused + unusable,
            about: Some(blake3::Hash::from_bytes(*store).to_hex().to_string()),
            ..Record::new(caller, Kind::Follow)
        };
        lock(&self.books).ledger.note(record)
    }

    fn refuse_too_many(&self, signatures: &[EncryptedSignature]) -> Result<(), KeyholderError> {
        let (asked, most) = (signatures.len(), self.config.most_signatures);
        if asked <= most { Ok(()) } else { Err(KeyholderError::TooMany { asked, most }) }
    }

    fn open(&self, query: &Query, signature: &EncryptedSignature) -> Result<OpenedSignature, InfluenceError> {
        let (query, signature_dimension) = (query.dimension(), signature.dimension());
        if query != signature_dimension {
            return Err(InfluenceError::OtherDimension { query, signature: signature_dimension });
        }
        self.open_any(signature)
    }

    fn open_any(&self, signature: &EncryptedSignature) -> Result<OpenedSignature, InfluenceError> {
        let fingerprint = signature.fingerprint();
        if let Some(key) = lock(&self.opened).get(&fingerprint) {
            return Ok(signature.with_key(key));
        }
        let mut result = Err(InfluenceError::Ticket(Error::WrongKey));
        for key in &read(&self.keys).identities {
            result = key.open_signature(signature);
            if !matches!(result, Err(InfluenceError::Ticket(Error::WrongKey))) {
                break;
            }
        }
        let opened = result?;
        lock(&self.opened).insert(fingerprint, opened.to_key());
        Ok(opened)
    }

    /// Makes durable what is not. Returns whether something is left to do.
    fn settle(&self) -> bool {
        if let Err(error) = self.make_durable(false) {
            lock(&self.books).ledger.stop_because(&error);
        }
        if lock(&self.sums_saved).elapsed() < SAVE_SUMS_AFTER {
            return lock(&self.sums).is_dirty;
        }
        // They are derived, and are tried again after the next step and in the end.
        let _ = self.save_sums();
        false
    }

    fn make_durable(&self, all: bool) -> Result<(), KeyholderError> {
        let settlement = lock(&self.books).ledger.settle(all)?;
        settlement.map_or(Ok(()), |settlement| settlement.carry_out())
    }

    fn save_sums(&self) -> Result<(), KeyholderError> {
        let mut sums = lock(&self.sums);
        if sums.is_dirty {
            *lock(&self.sums_saved) = Instant::now();
            sums.save(&self.state_dir, &read(&self.keys).sealer)?;
        }
        Ok(())
    }
}

/// A query's name, to know it again.
struct Question([u8; 32]);

impl Question {
    fn of(query: &Query) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("omnimind-memory 2026 keyholder question v1");
        for step in query.steps() {
            hasher.update(&step.to_le_bytes());
        }
        Self(*hasher.finalize().as_bytes())
    }

    fn about(&self, kind: &str, what: impl IntoIterator<Item = [u8; 32]>) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(kind.as_bytes());
        for what in what {
            hasher.update(&what);
        }
        *hasher.finalize().as_bytes()
    }
}

/// What a panic left behind is whole: state changes only after it was written down.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
