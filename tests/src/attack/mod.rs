//! The attack that the Unconscious must withstand (R22): an Ego that turned curious, with everything it has: the encrypted
//! signatures, the public key, memories of its own making, and a keyholder that answers within its budgets. It tries
//! to find out where a signature points.
//!
//! It cannot decrypt; so it asks, in every way that the keyholder allows, until it is refused. What it may know beforehand is
//! what tells the adversaries apart.

mod blind;
mod informed;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

pub use blind::Blind;
use encrypted_unconscious::{
    EncryptedSignature, Identity, Query, Sealer,
    keyholder::{
        Answer, Caller, Clock, Custody, CustodyConfig, KeyholderError, Moment, Step, StoreId, SumAnswer,
    },
};
pub use informed::Informed;

/// What an adversary has: everything that a process beside the keyholder has, and nothing else.
#[derive(Debug)]
pub struct Ego {
    state: tempfile::TempDir,
    keys: PathBuf,
    custody: Option<Custody>,
    config: CustodyConfig,
    clock: ManualClock,
    sealer: Sealer,
    /// What it wants to know more of.
    pub target: EncryptedSignature,
    /// Its random numbers.
    pub random: Random,
    /// How many memories of its own it has made.
    made: u64,
    /// Answers it was given so far.
    pub answers: u64,
}

impl Ego {
    /// A keyholder that has never been asked, a memory that is sealed, and one who wants to know.
    ///
    /// # Panics
    /// If there is no room for temporary files.
    #[must_use]
    pub fn new(signature: &[f32], config: &CustodyConfig, seed: u64) -> Self {
        let state = tempfile::tempdir().expect("room for a keyholder");
        let identity = Identity::generate();
        let sealer = Sealer::new(identity.recipient());
        let keys = state.path().join("key");
        identity.write_new(&keys).expect("room for a key");
        let target = sealer.encrypt_signature([0xff; 32], signature).expect("a direction");
        let mut ego = Self {
            keys,
            state,
            custody: None,
            config: config.clone(),
            clock: ManualClock::new(),
            sealer,
            target,
            random: Random(seed),
            made: 0,
            answers: 0,
        };
        ego.restart();
        ego
    }

    /// Ends the keyholder and starts it again, as an adversary may who can make it crash.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self) {
        self.custody = None;
        let identity = Identity::load(&self.keys).expect("its key");
        let state = self.state.path().join("state");
        let clock = Box::new(self.clock.clone());
        let custody = Custody::open_with_clock(&state, vec![identity], self.config.clone(), clock);
        self.custody = Some(custody.expect("a keyholder"));
    }

    /// Sets the machine's clock, forwards or backwards, as an administrator may; time itself goes on as it does.
    pub fn set_clock(&mut self, since_1970: Duration) {
        self.clock.change(|now| now.wall = UNIX_EPOCH + since_1970);
    }

    /// Lets time pass.
    pub fn wait(&mut self, time: Duration) {
        self.clock.change(|now| {
            now.wall += time;
            now.since_boot += time;
        });
    }

    fn custody(&self) -> &Custody {
        self.custody.as_ref().expect("it was started")
    }

    fn query(direction: &[f64]) -> Query {
        let direction: Vec<f32> = direction.iter().map(|&value| value as f32).collect();
        Query::new(&direction).expect("a direction")
    }

    /// A memory of its own, which points where it likes.
    ///
    /// # Panics
    /// If it points nowhere.
    pub fn make(&mut self, direction: &[f64]) -> EncryptedSignature {
        self.made += 1;
        let mut content_hash = [0; 32];
        content_hash[..8].copy_from_slice(&self.made.to_le_bytes());
        let direction: Vec<f32> = direction.iter().map(|&value| value as f32).collect();
        self.sealer.encrypt_signature(content_hash, &direction).expect("a direction")
    }

    /// Asks about the target alone, as some user.
    pub fn ask(&mut self, uid: u32, direction: &[f64]) -> Option<f32> {
        let asked = [self.target.clone()];
        match self.custody().influence(Caller { uid, pid: 1 }, &Self::query(direction), &asked) {
            Ok(answers) => match answers[0] {
                Answer::AtLeast(level) => {
                    self.answers += 1;
                    Some(level)
                }
                Answer::Refused(_) => None,
            },
            Err(_) => None,
        }
    }

    /// Asks about the sum of the target and memories of its own.
    pub fn ask_sum(&mut self, uid: u32, direction: &[f64], own: &[EncryptedSignature]) -> Option<f64> {
        let mut asked = vec![self.target.clone()];
        asked.extend_from_slice(own);
        let answer = self.custody().influence_of_set(Caller { uid, pid: 1 }, &Self::query(direction), &asked);
        self.counted(answer)
    }

    /// Says that the target and memories of its own are all that some store holds, and asks about that.
    pub fn ask_store(&mut self, uid: u32, direction: &[f64], own: &[EncryptedSignature]) -> Option<f64> {
        let store: StoreId = *blake3::hash(&self.random.bits().to_le_bytes()).as_bytes();
        let mut admitted = vec![self.target.clone()];
        admitted.extend_from_slice(own);
        let caller = Caller { uid, pid: 1 };
        let step = Step { from: 0, to: 1, admitted: &admitted, forgotten: &[] };
        self.custody().follow(caller, &store, step).ok()?;
        let answer = self.custody().influence_of_all(caller, &Self::query(direction), &store);
        self.counted(answer)
    }

    fn counted(&mut self, answer: Result<SumAnswer, KeyholderError>) -> Option<f64> {
        let answer = answer.ok()?;
        self.answers += 1;
        Some(answer.sum)
    }

    /// Whether the score of the target for `direction` is at least `threshold`, out of one answer about a sum: a memory of its
    /// own moves the score to where answers change. This is as much as one answer can tell.
    pub fn reaches(&mut self, uid: u32, direction: &[f64], threshold: f64, store: bool) -> Option<bool> {
        // A half is where rounding to whole numbers changes; more than one step can be added, less cannot be told.
        let along = 0.5 - threshold;
        let mut aside = self.gaussian(direction.len());
        let product = dot(&aside, direction);
        add(&mut aside, -product, direction);
        normalise(&mut aside);
        let across = (1.0 - along * along).max(0.0).sqrt();
        let own: Vec<f64> = direction
            .iter()
            .zip(&aside)
            .map(|(direction, aside)| along * direction + across * aside)
            .collect();
        let own = [self.make(&own)];
        let sum =
            if store { self.ask_store(uid, direction, &own) } else { self.ask_sum(uid, direction, &own) };
        Some(sum? >= 0.5)
    }

    /// A direction in which nothing is preferred.
    pub fn gaussian(&mut self, dimension: usize) -> Vec<f64> {
        let mut direction: Vec<f64> = (0..dimension)
            .map(|_| {
                let (a, b): (f64, f64) = (self.random.fraction(), self.random.fraction());
                (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
            })
            .collect();
        normalise(&mut direction);
        direction
    }
}

/// Numbers that look random and are the same every time (`SplitMix64`, Steele, Lea and Flood 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// From 0 to just below 1.
    fn fraction(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Scales to length 1.
pub fn normalise(vector: &mut [f64]) {
    let length = dot(vector, vector).sqrt();
    if length > 0.0 {
        scale(vector, 1.0 / length);
    }
}

/// Makes every coordinate so many times as large.
fn scale(vector: &mut [f64], factor: f64) {
    for value in vector {
        *value *= factor;
    }
}

/// Adds `factor` times `other`.
fn add(vector: &mut [f64], factor: f64, other: &[f64]) {
    for (value, other) in vector.iter_mut().zip(other) {
        *value += factor * other;
    }
}

/// The inner product.
#[must_use]
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// How near a guess comes to the truth: their cosine, 0 where there is no guess.
#[must_use]
pub fn cosine(guess: &[f64], truth: &[f32]) -> f64 {
    let truth: Vec<f64> = truth.iter().map(|&value| f64::from(value)).collect();
    let length = (dot(guess, guess) * dot(&truth, &truth)).sqrt();
    if length > 0.0 { dot(guess, &truth) / length } else { 0.0 }
}

/// A clock that is set by hand.
#[derive(Debug, Clone)]
struct ManualClock(Arc<Mutex<Moment>>);

impl ManualClock {
    fn new() -> Self {
        let wall = UNIX_EPOCH + Duration::from_hours(500_000);
        let (boot_id, since_boot) = ("boot".to_owned(), Duration::from_secs(1000));
        Self(Arc::new(Mutex::new(Moment { wall, boot_id, since_boot })))
    }

    fn change(&self, change: impl FnOnce(&mut Moment)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Moment {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
