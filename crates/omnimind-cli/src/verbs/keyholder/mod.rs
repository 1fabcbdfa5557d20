//! `keyholder`: the verbs of the one who holds the key. No other verb ever sees a secret.

#[cfg(all(unix, feature = "homomorphic"))]
mod audit;
#[cfg(all(unix, feature = "homomorphic"))]
mod disclose;
mod init;
mod passphrase;
#[cfg(all(unix, feature = "homomorphic"))]
mod rotate;
#[cfg(all(unix, feature = "homomorphic"))]
mod serve;
#[cfg(all(unix, feature = "homomorphic"))]
mod status;

use crate::args::KeyholderVerb;
use crate::failure::Failure;
use crate::session::Session;

pub(super) fn run(session: &Session, verb: KeyholderVerb) -> Result<(), Failure> {
    match verb {
        KeyholderVerb::Init { identity, passphrase, passphrase_file } => {
            init::run(session, identity, passphrase, passphrase_file.as_deref())
        }
        #[cfg(all(unix, feature = "homomorphic"))]
        KeyholderVerb::Serve { key, socket, allow } => serve::run(session, &key, socket, &allow),
        #[cfg(all(unix, feature = "homomorphic"))]
        KeyholderVerb::Status { socket } => status::run(session, socket),
        #[cfg(all(unix, feature = "homomorphic"))]
        KeyholderVerb::Audit { key } => audit::run(session, &key),
        #[cfg(all(unix, feature = "homomorphic"))]
        KeyholderVerb::Disclose { memory, key, output, force } => {
            disclose::run(session, &memory, &key, &output, force)
        }
        #[cfg(all(unix, feature = "homomorphic"))]
        KeyholderVerb::Rotate { key, resume, destroy_retired } => {
            rotate::run(session, &key, resume, destroy_retired)
        }
    }
}

#[cfg(all(unix, feature = "homomorphic"))]
mod place {
    //! Where the key and what belongs to it are: as typed, or as set.

    use std::io::ErrorKind;
    use std::path::{Path, PathBuf};

    use encrypted_unconscious::{Error, KeyRing};

    use super::passphrase::OfIdentity;
    use crate::args::Key;
    use crate::failure::Failure;
    use crate::session::Session;

    impl Key {
        pub(super) fn identity<'a>(&'a self, session: &'a Session) -> &'a Path {
            self.identity.as_deref().unwrap_or(&session.config().keyholder.identity)
        }

        pub(super) fn state<'a>(&'a self, session: &'a Session) -> &'a Path {
            self.state.as_deref().unwrap_or(&session.config().keyholder.state)
        }

        pub(super) fn passphrase<'a>(&'a self, session: &'a Session) -> OfIdentity<'a> {
            OfIdentity::new(self.identity(session), self.passphrase_file.as_deref())
        }

        pub(super) fn load(&self, session: &Session) -> Result<KeyRing, Failure> {
            self.load_with(session, &self.passphrase(session))
        }

        pub(super) fn load_with(
            &self,
            session: &Session,
            passphrase: &OfIdentity<'_>,
        ) -> Result<KeyRing, Failure> {
            KeyRing::load(self.identity(session), || passphrase.get()).map_err(|error| match error {
                Error::KeyFile { path, source, .. } if source.kind() == ErrorKind::NotFound => {
                    Failure::NotFound(format!(
                        "there is no identity at {path:?}; `omnimind keyholder init` makes one, --identity names another"
                    ))
                }
                Error::KeyFile { ref source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                    Failure::Keyholder(format!("{error}; run this as its owner, or name another with --identity"))
                }
                error => Failure::from_keyholder(error),
            })
        }
    }

    pub(super) fn socket(session: &Session, typed: Option<PathBuf>) -> PathBuf {
        typed.unwrap_or_else(|| session.config().unconscious.socket.clone())
    }
}
