//! Who answers what came in: custody, or a stand-in where the connections are tested and not the answers.

use std::fmt;

use super::super::{
    Caller, Custody, Deed, Followed, Status, Step, StoreId,
    answer::{Answer, KeyholderError, SumAnswer},
};
use crate::influence::{EncryptedSignature, Query};

/// Who answers. The methods are those of the [`Keyholder`](super::Keyholder), and who asks.
pub(super) trait Desk: fmt::Debug + Send + Sync {
    fn influence(
        &self,
        caller: Caller,
        query: &Query,
        signatures: &[EncryptedSignature],
    ) -> Result<Vec<Answer>, KeyholderError>;
    fn influence_of_set(
        &self,
        caller: Caller,
        query: &Query,
        signatures: &[EncryptedSignature],
    ) -> Result<SumAnswer, KeyholderError>;
    fn influence_of_all(
        &self,
        caller: Caller,
        query: &Query,
        store: &StoreId,
    ) -> Result<SumAnswer, KeyholderError>;
    fn followed(&self, store: &StoreId) -> Result<Followed, KeyholderError>;
    fn follow(&self, caller: Caller, store: &StoreId, step: Step<'_>) -> Result<(), KeyholderError>;
    fn status(&self) -> Result<Status, KeyholderError>;
    /// Takes down what is no question.
    fn note(&self, caller: Caller, deed: Deed) -> Result<(), KeyholderError>;
}

impl Desk for Custody {
    fn influence(
        &self,
        caller: Caller,
        query: &Query,
        signatures: &[EncryptedSignature],
    ) -> Result<Vec<Answer>, KeyholderError> {
        self.influence(caller, query, signatures)
    }

    fn influence_of_set(
        &self,
        caller: Caller,
        query: &Query,
        signatures: &[EncryptedSignature],
    ) -> Result<SumAnswer, KeyholderError> {
        self.influence_of_set(caller, query, signatures)
    }

    fn influence_of_all(
        &self,
        caller: Caller,
        query: &Query,
        store: &StoreId,
    ) -> Result<SumAnswer, KeyholderError> {
        self.influence_of_all(caller, query, store)
    }

    fn followed(&self, store: &StoreId) -> Result<Followed, KeyholderError> {
        self.followed(store)
    }

    fn follow(&self, caller: Caller, store: &StoreId, step: Step<'_>) -> Result<(), KeyholderError> {
        self.follow(caller, store, step)
    }

    fn status(&self) -> Result<Status, KeyholderError> {
        self.status()
    }

    fn note(&self, caller: Caller, deed: Deed) -> Result<(), KeyholderError> {
        self.note(caller, deed)
    }
}
