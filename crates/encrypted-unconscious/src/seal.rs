//! Sealing: plaintext in, sealed bytes out, in chunks of 64 KiB. Holds a public key and no secret.

use std::fmt;
use std::io::{self, Write};

use age::stream::StreamWriter;

use crate::bundle::{BundleHeader, BundleWriter};
use crate::error::{Error, Result};
use crate::recipient::Recipient;

/// Seals for one keyholder. It cannot open what it sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealer {
    recipient: Recipient,
}

impl Sealer {
    /// Seals for the holder of this key.
    #[must_use]
    pub fn new(recipient: Recipient) -> Self {
        Self { recipient }
    }

    /// For whom it seals.
    #[must_use]
    pub fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// Begins to seal. Every call uses a fresh key, so the same content never looks the same twice.
    ///
    /// Sealing adds 200 to 600 bytes at the beginning, and 16 for each 64 KiB.
    ///
    /// # Errors
    /// [`Error::Io`] where `out` refuses; [`Error::CannotSeal`].
    pub fn seal<W: Write>(&self, out: W) -> Result<SealWriter<W>> {
        let recipients = std::iter::once(self.recipient.as_age() as &dyn age::Recipient);
        let inner = age::Encryptor::with_recipients(recipients)
            .map_err(|error| Error::CannotSeal { reason: error.to_string() })?
            .wrap_output(out)?;
        Ok(SealWriter { inner, failed: false })
    }

    /// Begins to seal a [bundle](crate::bundle): its header now, then a frame for each tensor.
    /// What [`BundleWriter::finish`] returns must be finished in its turn.
    ///
    /// # Errors
    /// As [`seal`](Self::seal) and [`BundleWriter::new`].
    pub fn seal_bundle<W: Write>(
        &self,
        out: W,
        header: &BundleHeader,
    ) -> Result<BundleWriter<SealWriter<W>>> {
        BundleWriter::new(self.seal(out)?, header)
    }
}

/// Takes plaintext; the sealed bytes go to the inner writer. [`finish`](Self::finish) must be called: without
/// it the end is missing, and whoever opens it is told so.
#[must_use = "what is sealed can be opened only after `finish`"]
pub struct SealWriter<W: Write> {
    inner: StreamWriter<W>,
    failed: bool,
}

impl<W: Write> SealWriter<W> {
    /// Writes the end and returns the inner writer, which is not flushed.
    ///
    /// # Errors
    /// [`Error::Io`] where the inner writer refuses; [`Error::SealingFailed`] where it did before.
    pub fn finish(self) -> Result<W> {
        if self.failed {
            return Err(Error::SealingFailed);
        }
        Ok(self.inner.finish()?)
    }

    /// A chunk that was written in part cannot be written again, so the first failure is final.
    fn guarded<T>(&mut self, act: impl FnOnce(&mut StreamWriter<W>) -> io::Result<T>) -> io::Result<T> {
        if self.failed {
            return Err(Error::SealingFailed.into());
        }
        act(&mut self.inner).inspect_err(|_| self.failed = true)
    }
}

impl<W: Write> Write for SealWriter<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.guarded(|inner| inner.write(data))
    }

    /// Flushes the inner writer; up to 64 KiB stay here until they are a whole chunk.
    fn flush(&mut self) -> io::Result<()> {
        self.guarded(Write::flush)
    }
}

impl<W: Write> fmt::Debug for SealWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealWriter").field("failed", &self.failed).finish_non_exhaustive()
    }
}
