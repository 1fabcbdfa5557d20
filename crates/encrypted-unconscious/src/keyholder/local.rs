//! A keyholder in this very process, for who owns the key and wants no socket.

use std::path::Path;

use super::{
    Answer, Followed, Keyholder, KeyholderError, Status, Step, StoreId, SumAnswer,
    audit::Caller,
    custody::{Custody, CustodyConfig},
};
use crate::{
    Identity,
    influence::{EncryptedSignature, Query},
};

/// [`Custody`] that this process itself asks. Budgets and the log are the same as behind a socket.
#[derive(Debug)]
pub struct LocalKeyholder {
    custody: Custody,
    caller: Caller,
}

impl LocalKeyholder {
    /// # Errors
    /// As [`Custody::open`].
    pub fn open(
        state_dir: &Path,
        keys: Vec<Identity>,
        config: CustodyConfig,
    ) -> Result<Self, KeyholderError> {
        Ok(Self::of(Custody::open(state_dir, keys, config)?))
    }

    /// Of custody that was taken already.
    #[must_use]
    pub fn of(custody: Custody) -> Self {
        Self { custody, caller: Caller::this_process() }
    }
}

impl Keyholder for LocalKeyholder {
    fn influence(
        &self,
        query: &Query,
        signatures: &[EncryptedSignature],
    ) -> Result<Vec<Answer>, KeyholderError> {
        self.custody.influence(self.caller, query, signatures)
    }

    fn influence_of_set(
        &self,
        query: &Query,
        signatures: &[EncryptedSignature],
    ) -> Result<SumAnswer, KeyholderError> {
        self.custody.influence_of_set(self.caller, query, signatures)
    }

    fn influence_of_all(&self, query: &Query, store: &StoreId) -> Result<SumAnswer, KeyholderError> {
        self.custody.influence_of_all(self.caller, query, store)
    }

    fn followed(&self, store: &StoreId) -> Result<Followed, KeyholderError> {
        self.custody.followed(store)
    }

    fn follow(&self, store: &StoreId, step: Step<'_>) -> Result<(), KeyholderError> {
        self.custody.follow(self.caller, store, step)
    }

    fn status(&self) -> Result<Status, KeyholderError> {
        self.custody.status()
    }
}
