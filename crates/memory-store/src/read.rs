//! Reading objects: every byte handed out has been hashed, and the end is only reached if the hash is right.

use crate::error::Error;
use crate::hash::{ContentHash, ObjectRef};
use crate::objects::{ObjectReader, ObjectStore};
use std::fmt;
use std::io::{self, Read};

/// Reads an object and verifies it on the way.
///
/// The last `read`, the one that would return 0, returns an error that wraps [`Error::ObjectDamaged`]
/// instead if the bytes were not the ones that were stored; bytes beyond the object's length are never
/// handed out. So what was read counts only when the end has been reached.
pub struct VerifiedReader {
    object: ObjectRef,
    place: String,
    source: ObjectReader,
    hasher: blake3::Hasher,
    left: u64,
    verified: bool,
}

impl VerifiedReader {
    pub(crate) fn open(store: &dyn ObjectStore, object: &ObjectRef) -> Result<Self, Error> {
        let place = store.place(&object.hash);
        let Some(source) = store.open(&object.hash)? else {
            return Err(Error::ObjectMissing { object: object.hash, place });
        };
        let hasher = blake3::Hasher::new();
        Ok(Self { object: *object, place, source, hasher, left: object.bytes, verified: false })
    }

    /// The object that is being read.
    #[must_use]
    pub fn object(&self) -> ObjectRef {
        self.object
    }

    /// Reads what is left, and verifies it. For callers that stop before the end.
    ///
    /// # Errors
    /// [`Error::ObjectDamaged`], or what the disk said.
    pub fn verify_rest(&mut self) -> Result<(), Error> {
        let mut buffer = vec![0; (self.left.clamp(1, 256 << 10)) as usize];
        loop {
            match self.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("read", self.place.as_ref(), e)),
            }
        }
    }

    fn damaged(&self, reason: String) -> io::Error {
        Error::ObjectDamaged { object: self.object.hash, place: self.place.clone(), reason }.into()
    }

    fn verify_end(&mut self) -> io::Result<()> {
        if self.verified {
            return Ok(());
        }
        if self.source.read(&mut [0])? != 0 {
            return Err(self.damaged(format!("it is longer than its {} bytes", self.object.bytes)));
        }
        let found = ContentHash::from_bytes(*self.hasher.finalize().as_bytes());
        if found != self.object.hash {
            return Err(self.damaged(format!("its bytes hash to {found}")));
        }
        self.verified = true;
        Ok(())
    }
}

impl Read for VerifiedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            return self.verify_end().map(|()| 0);
        }
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.source.read(&mut buffer[..wanted])?;
        if read == 0 {
            let (bytes, left) = (self.object.bytes, self.left);
            return Err(self.damaged(format!("it ends after {} of its {bytes} bytes", bytes - left)));
        }
        self.hasher.update(&buffer[..read]);
        self.left -= read as u64;
        Ok(read)
    }
}

impl fmt::Debug for VerifiedReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedReader")
            .field("object", &self.object)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

/// Reads a whole object for the sake of verifying it.
pub(crate) fn check_object(store: &dyn ObjectStore, object: &ObjectRef) -> Result<(), Error> {
    if let Some(found) = store.size(&object.hash)?
        && found != object.bytes
    {
        let reason = format!("it has {found} bytes instead of {}", object.bytes);
        return Err(Error::ObjectDamaged { object: object.hash, place: store.place(&object.hash), reason });
    }
    VerifiedReader::open(store, object)?.verify_rest()
}
