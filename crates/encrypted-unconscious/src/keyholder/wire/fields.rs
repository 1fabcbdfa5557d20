//! The fields of a message, written one behind the other and read back. Nothing is allocated that the bytes do not hold.

use std::time::Duration;

use super::{super::answer::Refusal, MAX_MESSAGE_BYTES, MAX_SIGNATURES, WireError, not_understood};
use crate::influence::{EncryptedSignature, InfluenceError, Query};

/// Longer texts are cut: they are for people.
const MAX_TEXT_BYTES: usize = 512;

/// A message in the making: its length is written at the end.
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn new(kind: u8) -> Self {
        Self(vec![0, 0, 0, 0, kind])
    }

    /// The whole message, with its length.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = self.0.len() - 4;
        debug_assert!(length <= MAX_MESSAGE_BYTES, "a message of {length} bytes");
        self.0[..4].copy_from_slice(&(length as u32).to_le_bytes());
        self.0
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    pub(super) fn f32(&mut self, value: f32) {
        self.bytes(&value.to_le_bytes());
    }

    pub(super) fn text(&mut self, text: &str) {
        let text = &text[..text.floor_char_boundary(MAX_TEXT_BYTES)];
        self.u32(text.len() as u32);
        self.bytes(text.as_bytes());
    }

    /// In whole milliseconds, rather too long than too short.
    pub(super) fn duration(&mut self, duration: Duration) {
        self.u64(u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX));
    }

    pub(super) fn query(&mut self, query: &Query) {
        self.0.reserve(4 + 2 * query.dimension());
        self.u32(query.dimension() as u32);
        self.0.extend(query.steps().iter().flat_map(|step| step.to_le_bytes()));
    }

    pub(super) fn signatures(&mut self, signatures: &[EncryptedSignature]) {
        self.u32(signatures.len() as u32);
        for signature in signatures {
            let bytes = signature.to_bytes();
            self.u32(bytes.len() as u32);
            self.bytes(&bytes);
        }
    }

    pub(super) fn hashes(&mut self, hashes: &[[u8; 32]]) {
        self.u32(hashes.len() as u32);
        self.bytes(hashes.as_flattened());
    }

    pub(super) fn refusal(&mut self, refusal: &Refusal) {
        match refusal {
            Refusal::OverBudget { again_in } => {
                self.u8(1);
                self.duration(*again_in);
            }
            Refusal::Unusable { reason } => {
                self.u8(2);
                self.text(reason);
            }
        }
    }
}

/// What is left to read of a message.
pub(super) struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    fn bytes(&mut self, count: usize) -> Result<&'b [u8], WireError> {
        self.0.split_off(..count).ok_or(not_understood("a message ends within a field"))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (bytes, rest) =
            self.0.split_first_chunk().ok_or(not_understood("a message ends within a field"))?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(super) fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn size(&mut self) -> Result<usize, WireError> {
        usize::try_from(self.u64()?)
            .map_err(|_| not_understood("a number is larger than this machine counts"))
    }

    pub(super) fn f32(&mut self) -> Result<f32, WireError> {
        let value = self.array().map(f32::from_le_bytes)?;
        value.is_finite().then_some(value).ok_or(not_understood("a level is no number"))
    }

    pub(super) fn f64(&mut self) -> Result<f64, WireError> {
        let value = self.array().map(f64::from_le_bytes)?;
        value.is_finite().then_some(value).ok_or(not_understood("a sum is no number"))
    }

    /// A number of things, of which each takes at least `each` of the bytes that are left.
    pub(super) fn count(&mut self, each: usize, most: usize) -> Result<usize, WireError> {
        let count = self.u32()? as usize;
        if count > most {
            return Err(not_understood("a message counts more than a message may hold"));
        }
        if count > self.0.len() / each {
            return Err(not_understood("a message counts more than it holds"));
        }
        Ok(count)
    }

    pub(super) fn text(&mut self) -> Result<String, WireError> {
        let length = self.count(1, MAX_TEXT_BYTES)?;
        let text = str::from_utf8(self.bytes(length)?).map_err(|_| not_understood("a text is not UTF-8"))?;
        Ok(text.to_owned())
    }

    pub(super) fn duration(&mut self) -> Result<Duration, WireError> {
        self.u64().map(Duration::from_millis)
    }

    pub(super) fn query(&mut self) -> Result<Query, WireError> {
        let dimension = self.count(2, MAX_MESSAGE_BYTES)?;
        let steps = self.bytes(2 * dimension)?.as_chunks().0;
        Ok(Query::from_steps(steps.iter().map(|&step| i16::from_le_bytes(step)).collect())?)
    }

    /// Each by itself: one that cannot be used does not spoil the others.
    pub(super) fn signatures(
        &mut self,
    ) -> Result<Vec<Result<EncryptedSignature, InfluenceError>>, WireError> {
        let count = self.count(4, MAX_SIGNATURES)?;
        let mut signatures = Vec::with_capacity(count);
        for _ in 0..count {
            let length = self.u32()? as usize;
            signatures.push(EncryptedSignature::from_bytes(self.bytes(length)?));
        }
        Ok(signatures)
    }

    pub(super) fn hashes(&mut self) -> Result<Vec<[u8; 32]>, WireError> {
        let count = self.count(32, MAX_MESSAGE_BYTES)?;
        Ok(self.bytes(32 * count)?.as_chunks().0.to_vec())
    }

    /// The first byte of a refusal is read already.
    pub(super) fn refusal(&mut self, tag: u8) -> Result<Refusal, WireError> {
        match tag {
            1 => Ok(Refusal::OverBudget { again_in: self.duration()? }),
            2 => Ok(Refusal::Unusable { reason: self.text()? }),
            _ => Err(not_understood("a refusal is of no kind that is known")),
        }
    }

    /// Nothing may follow.
    pub(super) fn end(self) -> Result<(), WireError> {
        if self.0.is_empty() { Ok(()) } else { Err(not_understood("something follows the end of a message")) }
    }
}
