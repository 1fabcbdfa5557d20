//! The keyholder as others see it: what it can be asked, and what it answers. It alone decrypts, and only scores; it counts
//! what it gave away, answers coarsely, and keeps a log of who asked.
//!
//! | module | its idea |
//! |---|---|
//! | [`answer`] | scores made coarse |
//! | [`custody`], `kept`, `local` | custody of keys; what happens to a question; the same without a socket |
//! | [`budget`], [`clock`] | what may still be given away, and the time it comes back by |
//! | [`audit`], `chain`, `ledger`, `snapshot` | who asked and what it cost, in a log that shows damage and that budgets come from |
//! | `sums` | sums over all of a store |
//! | `memo`, `keeper`, `state_dir`, `harden` | what was worked out before; what makes it durable; files; no swap |
//! | [`wire`] | how it is asked over a socket |
//! | `server`, `client`, `line` | who answers at the socket, who asks, and the messages between them |

pub mod answer;
pub mod audit;
pub mod budget;
mod chain;
#[cfg(unix)]
mod client;
pub mod clock;
pub mod custody;
mod harden;
mod keeper;
mod kept;
mod ledger;
#[cfg(unix)]
mod line;
mod local;
mod memo;
#[cfg(unix)]
mod server;
mod snapshot;
mod state_dir;
mod sums;
pub mod wire;

#[cfg(test)]
mod custody_tests;
#[cfg(test)]
mod ledger_tests;

use std::fmt;

use crate::influence::{EncryptedSignature, Query};

pub use answer::{Answer, KeyholderError, Refusal, Rounding, SumAnswer};
pub use audit::{AuditLog, AuditReport, Caller, Deed};
pub use budget::{Allowance, BudgetConfig};
#[cfg(unix)]
pub use client::RemoteKeyholder;
pub use clock::{Clock, Moment, SystemClock};
pub use custody::{Custody, CustodyConfig};
pub use harden::harden_process;
pub use local::LocalKeyholder;
#[cfg(unix)]
pub use server::{Server, ServerOptions, Stop};

/// The identity of a store: sums are kept for each store.
pub type StoreId = [u8; 32];

/// Whoever holds the key to scores: a process behind a socket, or this process itself.
///
/// Every question is charged to the budgets of the memories that it is about, and logged, before it is answered. Asking the
/// same again is free while the keyholder remembers.
pub trait Keyholder: fmt::Debug + Send + Sync {
    /// How much each memory resembles the query: one answer for each signature, in their order.
    ///
    /// # Errors
    /// [`KeyholderError`], if there is no answer about any of them.
    fn influence(
        &self,
        query: &Query,
        signatures: &[EncryptedSignature],
    ) -> Result<Vec<Answer>, KeyholderError>;

    /// The sum of the scores of a chosen set, decrypted as one. Every member is charged.
    ///
    /// # Errors
    /// [`KeyholderError`]; [`KeyholderError::Refused`] if any of them cannot be answered about.
    fn influence_of_set(
        &self,
        query: &Query,
        signatures: &[EncryptedSignature],
    ) -> Result<SumAnswer, KeyholderError>;

    /// The sum of the scores of all memories of a store that were [followed](Self::follow), of the query's dimension.
    ///
    /// # Errors
    /// [`KeyholderError`].
    fn influence_of_all(&self, query: &Query, store: &StoreId) -> Result<SumAnswer, KeyholderError>;

    /// How far the keyholder has followed a store.
    ///
    /// # Errors
    /// [`KeyholderError`].
    fn followed(&self, store: &StoreId) -> Result<Followed, KeyholderError>;

    /// Takes more memories into the sums of a store. A member that is there already is left as it is.
    ///
    /// # Errors
    /// [`KeyholderError::OutOfStep`] if it has not followed to where the step begins, or if a member was forgotten; then the
    /// sums are as before. [`KeyholderError`].
    fn follow(&self, store: &StoreId, step: Step<'_>) -> Result<(), KeyholderError>;

    /// What it holds and how much was asked of it.
    ///
    /// # Errors
    /// [`KeyholderError`].
    fn status(&self) -> Result<Status, KeyholderError>;
}

/// A part of what happened in a store.
#[derive(Debug, Clone, Copy)]
pub struct Step<'s> {
    /// The last change the keyholder must know of; 0 begins anew and drops what the sums held.
    pub from: u64,
    /// The last change it knows of afterwards.
    pub to: u64,
    /// Signatures of the memories that came in between.
    pub admitted: &'s [EncryptedSignature],
    /// Memories that were forgotten in between. If one of them is in the sums, they must be begun anew: a sum cannot be mended
    /// without the ciphertext.
    pub forgotten: &'s [[u8; 32]],
}

/// How far a store has been followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Followed {
    /// The last change of the store that the sums know of; 0 if none.
    pub position: u64,
    /// Memories in the sums.
    pub members: u64,
}

/// What a keyholder holds and how much was asked of it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Status {
    /// The public key to seal to (`age1…`).
    pub public_key: String,
    /// Keys that it still opens with, besides.
    pub retired_keys: usize,
    /// Answers are the highest of these that a score reaches.
    pub levels: Vec<f32>,
    /// Records in the audit log.
    pub audit_records: u64,
    /// The last link of the audit log's chain, in hexadecimal digits.
    pub audit_head: String,
    /// Memories that something was asked about.
    pub memories_asked: usize,
    /// Memories whose budget is used up for now.
    pub memories_over_budget: usize,
    /// Memories in the sums of all stores.
    pub members: u64,
}
