//! What the owner of the key does with sealed memories: look inside (R24), and seal them to another key. Not for a process
//! that consolidates: it does not have the key.

use std::io::{self, Write};

use encrypted_unconscious::{
    BundleReader, EncryptedSignature, FrameReader as SealedFrame, KeyRing, OpenReader, Sealer,
};
use memory_store::{Batch, ContentHash, Filter, Memory, NewTensor, Replaced, Tensor, VerifiedReader};
use serde::Serialize;
use serde_json::{Map, Value};
use softhair_compress::{FrameHeader, FrameReader};

use crate::{Consolidator, Error, Result};

/// What lies under a seal, but for the elements of the tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct Disclosure {
    /// The type of the item.
    pub kind: String,
    /// Everything that was said of it, with the text of the error.
    pub metadata: Map<String, Value>,
    /// The embedding by which it would have been found.
    pub signature: Option<Vec<f32>>,
    /// Name of each tensor, and what its frame says of it.
    pub tensors: Vec<(String, FrameHeader)>,
}

/// A tensor that is being disclosed, for [`Consolidator::disclose_each`].
pub struct DisclosedTensor<'s> {
    name: String,
    kind: String,
    frame: FrameReader<SealedFrame<'s, OpenReader<VerifiedReader>>>,
}

/// What came of sealing everything to the current key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Resealed {
    /// Memories that were sealed to a retired key, and are sealed to the current one now.
    pub resealed: usize,
    /// Memories that were sealed to the current key already.
    pub already: usize,
    /// Memories that stay as they are, and why.
    pub left: Vec<LeftSealed>,
}

/// A memory that could not be sealed to the current key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftSealed {
    /// The memory.
    pub content_hash: ContentHash,
    /// Why.
    pub reason: String,
}

impl Consolidator {
    /// What lies under the seal of a memory (R24). Decrypts all of it once, and holds none of the tensors.
    ///
    /// # Errors
    /// [`Error::NotSealed`]; [`Error::Seal`] where no key fits or something was changed; if the store cannot be read.
    pub fn disclose(&self, content_hash: &ContentHash, keys: &KeyRing) -> Result<Disclosure> {
        let mut tensors = Vec::new();
        let header = self.disclose_each(content_hash, keys, |tensor| {
            tensors.push((tensor.name.clone(), tensor.header().clone()));
            Ok(())
        })?;
        let metadata = serde_json::from_str(&header.metadata).unwrap_or_default();
        Ok(Disclosure { kind: header.kind, metadata, signature: header.signature, tensors })
    }

    /// Hands out every tensor under the seal of a memory as a stream. Returns only after the end was found to be authentic: if
    /// this is an error, what was written is worthless.
    ///
    /// # Errors
    /// As [`disclose`](Self::disclose), or whatever `each` returns.
    pub fn disclose_each(
        &self,
        content_hash: &ContentHash,
        keys: &KeyRing,
        mut each: impl FnMut(DisclosedTensor<'_>) -> Result<()>,
    ) -> Result<encrypted_unconscious::BundleHeader> {
        let memory = self.store.manifest(content_hash)?;
        let sealed = memory.sealed.ok_or(Error::NotSealed(*content_hash))?;
        let kind = &memory.summary.kind;
        let from_seal = |error| Error::from_seal(kind, error);
        let opened = keys.open_bundle(self.store.read_object(&sealed)?).map_err(from_seal)?;
        let mut bundle: BundleReader<_> = opened.reader;
        let header = bundle.header().clone();
        while let Some(frame) = bundle.next_frame().map_err(from_seal)? {
            let name = frame.entry().name.clone();
            let frame = FrameReader::new(frame).map_err(|error| from_frame(kind, &name, error))?;
            each(DisclosedTensor { name, kind: kind.clone(), frame })?;
        }
        Ok(header)
    }

    /// Seals every sealed memory of the store to the current key of the ring, one commit for each: interrupted, it goes on
    /// where it was when it is called again. Memories keep their names, and other processes may go on meanwhile. What was
    /// sealed before is garbage for [`Store::gc`](memory_store::Store::gc).
    ///
    /// `progress` is told how many of how many are done.
    ///
    /// # Errors
    /// If the store cannot be read. A memory that cannot be opened is left and named in the answer.
    pub fn reseal(&self, keys: &KeyRing, mut progress: impl FnMut(usize, usize)) -> Result<Resealed> {
        let memories = self.store.list(&Filter::default())?;
        let sealed: Vec<_> = memories.into_iter().filter(|memory| memory.sealed).collect();
        let mut answer = Resealed::default();
        for (done, memory) in sealed.iter().enumerate() {
            progress(done, sealed.len());
            match self.reseal_one(&memory.content_hash, keys) {
                Ok(true) => answer.resealed += 1,
                Ok(false) => answer.already += 1,
                // Forgotten meanwhile.
                Err(Error::Store(error)) if error.is_not_found() => {}
                Err(error) => {
                    let reason = error.to_string();
                    answer.left.push(LeftSealed { content_hash: memory.content_hash, reason });
                }
            }
        }
        progress(sealed.len(), sealed.len());
        Ok(answer)
    }

    /// Whether anything had to be done.
    fn reseal_one(&self, content_hash: &ContentHash, keys: &KeyRing) -> Result<bool> {
        loop {
            let memory = self.store.manifest(content_hash)?;
            let batch = self.store.begin()?;
            let Some((tensors, sealed)) = self.sealed_anew(&memory, keys, &batch)? else { return Ok(false) };
            let mut batch = batch;
            batch.replace(*content_hash, memory.objects(), tensors, Some(sealed))?;
            match batch.commit_all()?.replacements.first() {
                // Somebody healed it meanwhile.
                Some(Replaced::Differs) => {}
                Some(Replaced::Gone) => return Ok(false),
                _ => return Ok(true),
            }
        }
    }

    /// The memory's objects under the current key, if they are not under it.
    fn sealed_anew(
        &self,
        memory: &Memory,
        keys: &KeyRing,
        batch: &Batch,
    ) -> Result<Option<(Vec<NewTensor>, memory_store::ObjectRef)>> {
        let content_hash = memory.summary.content_hash;
        let kind = &memory.summary.kind;
        let from_seal = |error| Error::from_seal(kind, error);
        let object = memory.sealed.ok_or(Error::NotSealed(content_hash))?;
        let sealer = Sealer::new(keys.current().recipient());
        let signatures: Vec<_> = memory
            .tensors
            .iter()
            .map(|tensor| self.signature_anew(tensor, keys, &sealer))
            .collect::<Result<_>>()?;
        let mut opened = keys.open(self.store.read_object(&object)?).map_err(from_seal)?;
        if opened.is_current && signatures.iter().all(Option::is_none) {
            return Ok(None);
        }
        let mut writer = sealer.seal(batch.object()?).map_err(from_seal)?;
        io::copy(&mut opened.reader, &mut writer).map_err(|error| from_seal(error.into()))?;
        let payload = writer.finish().map_err(from_seal)?.finish()?;
        let mut tensors = Vec::with_capacity(signatures.len());
        for (tensor, anew) in memory.tensors.iter().zip(signatures) {
            let object = match anew {
                None => tensor.object,
                Some(signature) => {
                    let mut object = batch.object()?;
                    object
                        .write_all(&signature.to_bytes())
                        .map_err(|error| Error::from_io(&tensor.name, error))?;
                    object.finish()?
                }
            };
            let Tensor { name, dtype, shape, original_bytes, .. } = tensor;
            tensors.push(NewTensor::new(name, dtype, shape.clone(), object, *original_bytes));
        }
        Ok(Some((tensors, payload)))
    }

    fn signature_anew(
        &self,
        tensor: &Tensor,
        keys: &KeyRing,
        sealer: &Sealer,
    ) -> Result<Option<EncryptedSignature>> {
        let mut bytes = Vec::new();
        let mut reader = self.store.read_object(&tensor.object)?;
        io::copy(&mut reader, &mut bytes).map_err(|error| Error::from_io(&tensor.name, error))?;
        let opened = keys.open_signature(&EncryptedSignature::from_bytes(&bytes)?)?;
        if opened.is_current { Ok(None) } else { Ok(Some(opened.reader.sealed_to(sealer)?)) }
    }
}

impl DisclosedTensor<'_> {
    /// What the frame says of the tensor: element type, shape, bound asked for, errors measured.
    #[must_use]
    pub fn header(&self) -> &FrameHeader {
        self.frame.header()
    }

    /// Name of the tensor.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes all elements, row-major and little-endian.
    ///
    /// # Errors
    /// If writing fails or the tensor is damaged; what was written is then worthless.
    pub fn write_to(self, out: &mut impl Write) -> Result<()> {
        let Self { name, kind, frame } = self;
        frame.decompress_to(out).map(drop).map_err(|error| from_frame(&kind, &name, error))
    }
}

/// An error of the seal that came through the codec is one of the seal.
fn from_frame(kind: &str, name: &str, error: softhair_compress::Error) -> Error {
    match error {
        softhair_compress::Error::Io { source, .. } => Error::from_seal(kind, source.into()),
        error => Error::from_codec(name, error),
    }
}
