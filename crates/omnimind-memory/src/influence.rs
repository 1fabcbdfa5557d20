//! Whether something resembles what crashed (R20, R23), without reading what crashed: questions to the keyholder, about the
//! memories that are sealed, and what it lets be known. How scores are computed, rounded and budgeted is
//! `encrypted-unconscious`'s business.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use encrypted_unconscious::{
    EncryptedSignature, Query,
    keyholder::{Answer, KeyholderError, Refusal, Step, SumAnswer},
};
use memory_store::{Change, ContentHash};
use serde::{Serialize, Serializer};

use crate::{Consolidator, Error, Result, sealed_signatures::SealedMemory};

/// How strongly the Unconscious answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InfluenceLevel {
    /// Nothing that crashed resembles it, as far as may be known.
    None,
    /// Below one half.
    Faint,
    /// From one half on: a déjà vu.
    Clear,
    /// From three quarters on.
    Strong,
}

impl InfluenceLevel {
    /// Of an answer, 0 to 1.
    #[must_use]
    pub fn of(at_least: f32) -> Self {
        match at_least {
            value if value >= 0.75 => Self::Strong,
            value if value >= 0.5 => Self::Clear,
            value if value > 0.0 => Self::Faint,
            _ => Self::None,
        }
    }
}

/// What the Unconscious lets be known about a query: which sealed memories it resembles, and roughly how much.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Influence {
    /// Memories that resemble it, the strongest first.
    pub felt: Vec<Felt>,
    /// Memories that were asked about and do not resemble it.
    pub silent: usize,
    /// Memories about which nothing is said.
    pub unanswered: Vec<Unanswered>,
}

/// A sealed memory that a query resembles.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Felt {
    /// The memory.
    pub content_hash: ContentHash,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Since when it is stored; in JSON in seconds.
    #[serde(rename = "age_seconds", serialize_with = "as_seconds")]
    pub age: Duration,
    /// The cosine is at least this.
    pub at_least: f32,
    /// The contexts in its activation trace.
    #[serde(skip)]
    pub contexts: Vec<String>,
}

/// A sealed memory about which nothing is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unanswered {
    /// The memory.
    pub content_hash: ContentHash,
    /// Why: its budget is used up, or its encrypted signature cannot be used.
    pub reason: String,
}

fn as_seconds<S: Serializer>(age: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(age.as_secs_f64())
}

impl Influence {
    /// The strongest that was felt: what a decision about placement asks for (R23).
    #[must_use]
    pub fn level(&self) -> InfluenceLevel {
        InfluenceLevel::of(self.felt.first().map_or(0.0, |felt| felt.at_least))
    }
}

impl SealedMemory {
    fn as_felt(&self, at_least: f32) -> Felt {
        let since = UNIX_EPOCH + Duration::from_millis(self.stored_at);
        Felt {
            content_hash: self.content_hash,
            kind: self.kind.clone(),
            age: SystemTime::now().duration_since(since).unwrap_or_default(),
            at_least,
            contexts: self.contexts.clone(),
        }
    }
}

impl Consolidator {
    /// Which sealed memories `query` resembles (R20): asks the keyholder about the newest of them, at most
    /// [`MOST_ASKED`](crate::MOST_ASKED), whose signatures have as many dimensions. Each question is charged to the memory's budget.
    ///
    /// # Errors
    /// [`Error::NoScores`] without a keyholder that can be asked; [`Error::Keyholder`] where it does not answer;
    /// [`Error::Influence`] if the query is empty, zero or not finite; if the store cannot be read.
    pub fn influence(&self, query: &[f32]) -> Result<Influence> {
        self.influence_among(query, |_| true)
    }

    pub(crate) fn influence_among(
        &self,
        query: &[f32],
        admits: impl Fn(&SealedMemory) -> bool,
    ) -> Result<Influence> {
        let unconscious = self.unconscious.as_ref().ok_or(Error::NoScores)?;
        let query = Query::new(query)?;
        let mut influence = Influence::default();
        let (asked, mut signatures) = {
            let mut known = unconscious.up_to_date(&self.store)?;
            let (mut asked, mut signatures) = (Vec::new(), Vec::new());
            for memory in
                known.newest(&self.store, query.dimension())?.into_iter().filter(|memory| admits(memory))
            {
                match &memory.signature {
                    Ok(signature) => {
                        asked.push(memory.as_felt(0.0));
                        signatures.push(signature.clone());
                    }
                    Err(reason) => {
                        let (content_hash, reason) = (memory.content_hash, reason.clone());
                        influence.unanswered.push(Unanswered { content_hash, reason });
                    }
                }
            }
            (asked, signatures)
        };
        if signatures.is_empty() {
            return Ok(influence);
        }
        let mut answers = unconscious.keyholder.influence(&query, &signatures)?;
        let outdated: Vec<usize> = {
            let mut known = unconscious.up_to_date(&self.store)?;
            let unusable = |answer: &Answer| matches!(answer, Answer::Refused(Refusal::Unusable { .. }));
            let candidates = (0..answers.len()).filter(|&at| unusable(&answers[at]));
            let mut read_again = |at: usize| {
                known
                    .read_again(&self.store, &asked[at].content_hash)
                    .map(|now| signatures[at] = now)
                    .is_some()
            };
            candidates.filter(|&at| read_again(at)).collect()
        };
        if !outdated.is_empty() {
            let anew: Vec<_> = outdated.iter().map(|&at| signatures[at].clone()).collect();
            let again = unconscious.keyholder.influence(&query, &anew)?;
            for (at, answer) in outdated.into_iter().zip(again) {
                answers[at] = answer;
            }
        }
        for (memory, answer) in asked.into_iter().zip(answers) {
            match answer {
                Answer::AtLeast(at_least) if at_least > 0.0 => {
                    influence.felt.push(Felt { at_least, ..memory });
                }
                Answer::AtLeast(_) => influence.silent += 1,
                Answer::Refused(refusal) => {
                    let (content_hash, reason) = (memory.content_hash, refusal.to_string());
                    influence.unanswered.push(Unanswered { content_hash, reason });
                }
            }
        }
        influence.felt.sort_by(|a, b| b.at_least.total_cmp(&a.at_least).then(a.age.cmp(&b.age)));
        Ok(influence)
    }

    /// How much all sealed memories of the store together resemble `query`: the sum of their cosines, rounded. It is decrypted as
    /// one number, and costs as much as asking about one memory. What is new in the store is told to the keyholder first.
    ///
    /// # Errors
    /// As [`influence`](Self::influence), and [`Error::Keyholder`] where the budget of sums is used up.
    pub fn influence_of_all(&self, query: &[f32]) -> Result<SumAnswer> {
        let unconscious = self.unconscious.as_ref().ok_or(Error::NoScores)?;
        let query = Query::new(query)?;
        let store = self.store.identity().ok_or(Error::NoScores)?;
        self.tell_keyholder()?;
        Ok(unconscious.keyholder.influence_of_all(&query, &store)?)
    }

    /// Tells the keyholder which sealed memories came to the store since it was last told, so that sums are over all of them.
    ///
    /// # Errors
    /// [`Error::Keyholder`] where it does not answer; if the store cannot be read.
    pub fn tell_keyholder(&self) -> Result<()> {
        let keyholder = &self.unconscious.as_ref().ok_or(Error::NoScores)?.keyholder;
        let store = self.store.identity().ok_or(Error::NoScores)?;
        let followed = keyholder.followed(&store)?;
        if followed.position == self.store.last_change()? {
            return Ok(());
        }
        match self.tell_changes_since(followed.position) {
            // A memory of the sums was forgotten, or another process was quicker.
            Err(Error::Keyholder(KeyholderError::OutOfStep { .. })) => self.tell_changes_since(0),
            told => told,
        }
    }

    /// In steps, so that no step is larger than a request may be.
    fn tell_changes_since(&self, position: u64) -> Result<()> {
        const MOST_IN_A_STEP: usize = 1000;
        // A position that no store comes to: sums that were left under way are begun anew.
        const UNDER_WAY: u64 = 1 << 62;
        let keyholder = &self.unconscious.as_ref().ok_or(Error::NoScores)?.keyholder;
        let store = self.store.identity().ok_or(Error::NoScores)?;
        let (changes, last) = self.store.changes_since(position)?;
        let (mut came, mut went) = (Vec::new(), Vec::new());
        for change in changes {
            match change {
                // The record does not reach back so far: what follows is the whole store.
                Change::Reset if position != 0 => return self.tell_changes_since(0),
                Change::Added { memory, .. } if SealedMemory::has_signature(&memory) => {
                    came.push(memory.content_hash);
                }
                Change::Forgotten { content_hash } => {
                    came.retain(|hash| *hash != content_hash);
                    went.push(*content_hash.as_bytes());
                }
                _ => {}
            }
        }
        let mut from = position;
        let steps = came.chunks(MOST_IN_A_STEP).chain(came.is_empty().then_some(&[][..]));
        let count = came.len().div_ceil(MOST_IN_A_STEP).max(1);
        for (number, hashes) in steps.enumerate() {
            let signatures = self.signatures_of(hashes)?;
            let to = if number + 1 == count { last } else { last | UNDER_WAY };
            let forgotten = if number == 0 { &went[..] } else { &[] };
            let step = Step { from, to, admitted: &signatures, forgotten };
            keyholder.follow(&store, step)?;
            from = to;
        }
        Ok(())
    }

    fn signatures_of(&self, hashes: &[ContentHash]) -> Result<Vec<EncryptedSignature>> {
        let mut signatures = Vec::with_capacity(hashes.len());
        for hash in hashes {
            match self.store.manifest(hash) {
                Ok(memory) => signatures.extend(SealedMemory::read_signature(&self.store, &memory).ok()),
                // Forgotten since, which the next change says; or damaged, which is no reason to say nothing of the others.
                Err(error) if error.is_not_found() || error.is_damage() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(signatures)
    }
}
