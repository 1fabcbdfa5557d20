//! What answers: keys, books and sums behind their locks, and the way of a question through them. It is opened, scored, charged
//! and written down, and then answered.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
    time::{Duration, Instant},
};

use super::{
    Answer, CustodyConfig, KeyholderError, Refusal, Step, StoreId, SumAnswer,
    audit::{Caller, Kind, Record},
    ledger::Ledger,
    memo::Memo,
    sums::Sums,
};
use crate::{
    Error, Identity, Sealer,
    influence::{
        EncryptedSignature, Evaluation, InfluenceError, OpenedSignature, Query, SignatureKey, SignatureSum,
    },
};

/// Answers that are given again for nothing.
pub(super) const MOST_REMEMBERED: usize = 65_536;
/// Keys of signatures that need not be opened again: some 30 MiB.
pub(super) const MOST_KEYS: usize = 200_000;
const SAVE_SUMS_AFTER: Duration = Duration::from_secs(2);

/// What the thread of the keeper sees, too.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) state_dir: PathBuf,
    pub(super) keys: RwLock<Keys>,
    pub(super) config: CustodyConfig,
    pub(super) books: Mutex<Books>,
    pub(super) opened: Mutex<Memo<[u8; 32], SignatureKey>>,
    pub(super) sums: Mutex<Sums>,
    pub(super) sums_saved: Mutex<Instant>,
}

/// What is opened with, and what the keyholder's own files are sealed to.
#[derive(Debug)]
pub(super) struct Keys {
    /// The current one first.
    pub(super) identities: Vec<Identity>,
    pub(super) sealer: Sealer,
}

impl Keys {
    pub(super) fn new(identities: Vec<Identity>) -> Result<Self, KeyholderError> {
        let current = identities
            .first()
            .ok_or_else(|| KeyholderError::Config { reason: "there is no key".to_owned() })?;
        Ok(Self { sealer: Sealer::new(current.recipient()), identities })
    }
}

#[derive(Debug)]
pub(super) struct Books {
    pub(super) ledger: Ledger,
    pub(super) levels: Memo<[u8; 32], f32>,
    pub(super) sums: Memo<[u8; 32], SumAnswer>,
}

/// What is known about one memory of a question before it is charged.
enum Considered {
    Remembered(f32),
    Scored { memory: [u8; 32], level: f32 },
    Refused(Refusal),
}

impl Kept {
    pub(super) fn influence(
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

    pub(super) fn influence_of_set(
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

    pub(super) fn influence_of_all(
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

    pub(super) fn follow(
        &self,
        caller: Caller,
        store: &StoreId,
        step: Step<'_>,
    ) -> Result<(), KeyholderError> {
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
    pub(super) fn settle(&self) -> bool {
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

    pub(super) fn make_durable(&self, all: bool) -> Result<(), KeyholderError> {
        let settlement = lock(&self.books).ledger.settle(all)?;
        settlement.map_or(Ok(()), |settlement| settlement.carry_out())
    }

    pub(super) fn save_sums(&self) -> Result<(), KeyholderError> {
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
pub(super) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
