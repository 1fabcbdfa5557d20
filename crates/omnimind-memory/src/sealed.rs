//! Sealing what was born of a failure (R19): everything that an item has, whole, in one object that only the keyholder can
//! open. Encryption and layout are `encrypted-unconscious`'s; this streams tensors into it, so that neither the disk nor
//! much of the memory ever holds them in the clear.

use std::{
    io::{self, Read, Write},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use encrypted_unconscious::{
    BundleHeader, BundleWriter, Error as SealError, SealWriter, Sealer, TensorEntry,
};
use memory_store::{Batch, ContentHash, NewTensor, ObjectWriter};
use serde_json::Value;
use softhair_compress::FrameHeader;

use crate::{
    Consolidator, Error, Item, NamedTensor, Result,
    consolidate::{Plan, Stored},
    lanes,
    rehearsal::{Head, Performance, Rehearsal},
    source::{Hashing, Source},
};

/// The name in the manifest of a sealed memory under which its encrypted signature is found.
#[cfg(feature = "homomorphic")]
pub(crate) const ENCRYPTED_SIGNATURE: &str = "signature";

/// Parts of a frame under way from the codec to the seal.
const PARTS_UNDER_WAY: usize = 16;

type Bundle<'b> = BundleWriter<SealWriter<ObjectWriter<'b>>>;

impl Consolidator {
    /// Unconscious: one object for the whole memory, sealed to the keyholder.
    pub(crate) fn seal(&self, plan: &Plan<'_>, batch: &Batch) -> Result<Stored> {
        let item = plan.item;
        let Some(keyholder) = self.keyholder.clone() else {
            let trauma_score = plan.classification.trauma_score;
            return Err(Error::NoKeyholder { kind: item.kind.clone(), trauma_score });
        };
        let sealing = |error| Error::from_seal(&item.kind, error);
        let sealer = Sealer::new(keyholder);
        let rehearsed = lanes::each(&item.tensors, |tensor| self.rehearse(tensor, plan))?;
        let mut bundle = sealer.seal_bundle(batch.object()?, &bundle_header(item)).map_err(sealing)?;
        for ((tensor, digest), (_, head)) in item.tensors.iter().zip(&plan.digests).zip(&rehearsed) {
            self.perform(tensor, *digest, plan, head, &mut bundle)?;
        }
        let object = bundle.finish().and_then(SealWriter::finish).map_err(sealing)?.finish()?;
        let errors = rehearsed.iter().map(|(header, _)| (header.max_abs_error, header.rel_l2_error));
        let (max_abs_error, rel_l2_error) =
            errors.fold((0.0, 0.0), |(abs, rel): (f64, f64), error| (abs.max(error.0), rel.max(error.1)));
        let signature = encrypt_signature(plan.item, &plan.content_hash, &sealer, batch)?;
        Ok(Stored {
            tensors: signature.into_iter().collect(),
            sealed: Some(object),
            max_abs_error,
            rel_l2_error,
        })
    }

    fn rehearse(&self, tensor: &NamedTensor<'_>, plan: &Plan<'_>) -> Result<(FrameHeader, Head)> {
        let mut rehearsal = Rehearsal::default();
        let source = Source::new(tensor, self.gpu.as_deref())?;
        let header = self
            .codec
            .compress_from(tensor.dtype, &tensor.shape, source, plan.policy, &mut rehearsal)
            .map_err(|error| Error::from_codec(&tensor.name, error))?;
        let head = rehearsal.into_head(header.header_bytes());
        Ok((header, head))
    }

    /// Compresses once more, now into the bundle, which reads what the codec writes.
    fn perform(
        &self,
        tensor: &NamedTensor<'_>,
        digest: blake3::Hash,
        plan: &Plan<'_>,
        head: &Head,
        bundle: &mut Bundle<'_>,
    ) -> Result<()> {
        let mut source = Hashing::new(Source::new(tensor, self.gpu.as_deref())?);
        let (parts, frame) = pipe();
        let compress = || {
            let mut out = Performance::new(parts, head);
            self.codec
                .compress_from(tensor.dtype, &tensor.shape, &mut source, plan.policy, &mut out)
                .map(drop)
        };
        let (compressed, sealed) = thread::scope(|scope| {
            let compressing = scope.spawn(compress);
            let sealed = bundle.write_frame_from(head.frame_bytes(), frame);
            (compressing.join(), sealed)
        });
        let error = match (compressed, sealed) {
            (Err(panic), _) => std::panic::resume_unwind(panic),
            (Ok(Ok(())), Ok(())) => None,
            // The codec only failed because nobody took what it wrote.
            (Ok(Err(softhair_compress::Error::Io { source, .. })), Err(error)) if is_hang_up(&source) => {
                Some(Error::from_seal(&plan.item.kind, error))
            }
            (Ok(Err(error)), _) => Some(Error::from_codec(&tensor.name, error)),
            (Ok(Ok(())), Err(error)) => Some(Error::from_seal(&plan.item.kind, error)),
        };
        match error {
            None if source.digest() == digest => Ok(()),
            // A frame that is shorter, longer or another than the rehearsed one is of other elements.
            None | Some(Error::Io { .. } | Error::Seal { source: SealError::ShortFrame { .. }, .. }) => {
                Err(Error::TensorChanged { tensor: tensor.name.clone() })
            }
            Some(error) => Err(error),
        }
    }
}

/// What lets the memory be felt although nobody reads it: its signature, encrypted. Beside the seal, and not in it.
#[cfg(feature = "homomorphic")]
fn encrypt_signature(
    item: &Item<'_>,
    content_hash: &ContentHash,
    sealer: &Sealer,
    batch: &Batch,
) -> Result<Option<NewTensor>> {
    // What points nowhere resembles nothing; where the metric allows such a signature, it is sealed with the rest.
    let signature = item.signature.as_ref().filter(|values| values.iter().any(|&value| value != 0.0));
    let Some(signature) = signature else { return Ok(None) };
    let encrypted = sealer.encrypt_signature(*content_hash.as_bytes(), signature)?;
    let mut object = batch.object()?;
    object.write_all(&encrypted.to_bytes()).map_err(|error| Error::from_io(ENCRYPTED_SIGNATURE, error))?;
    let (dimension, original_bytes) = (signature.len() as u64, 4 * signature.len() as u64);
    let object = object.finish()?;
    Ok(Some(NewTensor::new(ENCRYPTED_SIGNATURE, "rlwe64", vec![dimension], object, original_bytes)))
}

#[cfg(not(feature = "homomorphic"))]
#[expect(clippy::unnecessary_wraps, reason = "as with the feature")]
fn encrypt_signature(_: &Item<'_>, _: &ContentHash, _: &Sealer, _: &Batch) -> Result<Option<NewTensor>> {
    Ok(None)
}

/// All that an item says of itself; unlike the catalogue, with the text of the error.
fn bundle_header(item: &Item<'_>) -> BundleHeader {
    let mut metadata = item.described();
    if let Some(text) = &item.signals.text {
        metadata.entry("error_text").or_insert_with(|| Value::from(text.as_str()));
    }
    let entry = |tensor: &NamedTensor<'_>| TensorEntry {
        name: tensor.name.clone(),
        original_bytes: tensor.byte_count(),
    };
    BundleHeader {
        kind: item.kind.clone(),
        metadata: Value::Object(metadata).to_string(),
        signature: item.signature.clone(),
        tensors: item.tensors.iter().map(entry).collect(),
    }
}

/// A pipe within the process: what is written at one end is read at the other. (One of the system would end the process
/// by a signal where the program has asked for that.)
fn pipe() -> (PartSender, PartReceiver) {
    let (sender, receiver) = sync_channel(PARTS_UNDER_WAY);
    (PartSender(sender), PartReceiver { receiver, part: Vec::new(), at: 0 })
}

struct PartSender(SyncSender<Vec<u8>>);

impl Write for PartSender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.send(bytes.to_vec()) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

struct PartReceiver {
    receiver: Receiver<Vec<u8>>,
    part: Vec<u8>,
    at: usize,
}

impl Read for PartReceiver {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.part.len() {
            let Ok(part) = self.receiver.recv() else { return Ok(0) };
            (self.part, self.at) = (part, 0);
        }
        let count = out.len().min(self.part.len() - self.at);
        out[..count].copy_from_slice(&self.part[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
