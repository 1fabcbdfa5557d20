//! Custody of keys, as it is configured and asked. What happens to a question is in `kept`.

use std::{
    fs::File,
    path::Path,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    Answer, Followed, KeyholderError, Rounding, Status, Step, StoreId, SumAnswer,
    audit::{Caller, Deed, Record},
    budget::BudgetConfig,
    clock::{Clock, SystemClock},
    keeper::Keeper,
    kept::{Books, Kept, Keys, MOST_KEYS, MOST_REMEMBERED, lock, read},
    ledger::Ledger,
    memo::Memo,
    state_dir::{self, failed},
    sums::Sums,
};
use crate::{
    Identity,
    influence::{EncryptedSignature, Query},
};

/// How long what was written may not be durable.
const SYNC_AFTER: Duration = Duration::from_secs(1);
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
