//! Seals what came out of a crash under a public key only: the process that seals it cannot open it.
//!
//! | module | idea |
//! |---|---|
//! | [`identity`] | the keyholder's secret, and the one file it lives in |
//! | [`ring`] | the identity in use and those before it, and how one takes the other's place |
//! | [`recipient`] | the public half: all that a sealing process needs |
//! | [`seal`] | plaintext in, sealed bytes out, as a stream |
//! | [`open`] | sealed bytes in, plaintext out, authenticated before it is returned |
//! | [`bundle`] | what is inside: a header that names the tensors, then their frames |
//! | [`influence`] | dot products with signatures that stay encrypted |
//! | [`keyholder`] | who decrypts scores: budgets, coarse answers, an audit log, a socket |
//!
//! The sealed format is [age](https://age-encryption.org/v1) with one X25519 recipient, and nothing else, so
//! `age -d -i keyholder.key` opens it too. Keys are age's, too: an identity made by `age-keygen` works.
//!
//! # What sealing protects, and what it does not
//!
//! It protects what is stored: whoever has the store, its backups and the public key, but not the identity,
//! can read neither the tensors nor their names, the signature or the metadata inside, and cannot change a
//! byte without that being noticed when it is opened.
//!
//! It does not protect
//! - against the process that lived it: that process had the plaintext, and nothing can take it back from
//!   its memory, its swap or its core dump;
//! - what is kept beside the sealed bytes: a catalogue's content hash (which lets somebody who has the same
//!   content recognise it), type, context, timestamps and metadata stay readable, and so does the size;
//! - against replacement: anybody with the public key can seal something else and put it there. Sealing says
//!   who may read, not who wrote;
//! - against the loss of the identity: without it, what is sealed is gone.
//!
//! ```
//! use std::io::{Read, Write};
//!
//! use encrypted_unconscious::{Identity, Recipient, Sealer};
//!
//! let identity = Identity::generate(); // stays with the keyholder
//! let public: Recipient = identity.recipient().to_string().parse()?; // goes to everybody else
//!
//! let mut writer = Sealer::new(public).seal(Vec::new())?;
//! writer.write_all(b"what happened")?;
//! let sealed = writer.finish()?;
//!
//! let mut opened = String::new();
//! identity.open(&sealed[..])?.read_to_string(&mut opened)?;
//! assert_eq!(opened, "what happened");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod bundle;
mod error;
pub mod identity;
#[cfg(feature = "homomorphic")]
pub mod influence;
mod key_file;
#[cfg(feature = "homomorphic")]
pub mod keyholder;
pub mod open;
pub mod recipient;
pub mod ring;
pub mod seal;

pub use bundle::{BundleHeader, BundleReader, BundleWriter, FrameReader, TensorEntry};
pub use error::{Error, Result};
pub use identity::Identity;
#[cfg(feature = "homomorphic")]
pub use influence::{EncryptedSignature, InfluenceError, OpenedSignature, Query, SignatureSum};
pub use key_file::Passphrase;
pub use open::OpenReader;
pub use recipient::Recipient;
pub use ring::{KeyRing, Opened};
pub use seal::{SealWriter, Sealer};

#[cfg(all(doctest, unix, feature = "homomorphic"))]
#[doc = include_str!("../README.md")]
struct Readme;
