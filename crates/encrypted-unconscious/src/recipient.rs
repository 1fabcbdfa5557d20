//! The public key of a keyholder: all that a sealing process needs, and no secret.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use x25519_dalek::{PublicKey, StaticSecret};

use crate::error::{Error, Result};
use crate::key_file::{self, Access};

/// A public key. Written as `age1…`, 62 characters.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Recipient(age::x25519::Recipient);

impl Recipient {
    /// Reads the public key from a file, such as [`Identity::write_pair`](crate::Identity::write_pair) makes.
    ///
    /// # Errors
    /// [`Error::KeyFile`] or [`Error::NotARecipientFile`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = key_file::read(path, Access::Everybody)?;
        key_file::only_line(&text)
            .and_then(parse)
            .map_err(|reason| Error::NotARecipientFile { path: path.to_owned(), reason })
    }

    /// Writes the public key to a new file, which everybody may read.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] or [`Error::KeyFile`]; then there is no new file.
    pub fn write_new(&self, path: impl AsRef<Path>) -> Result<()> {
        key_file::write_new(path.as_ref(), &format!("{self}\n"), Access::Everybody)
    }

    pub(crate) fn of(identity: &age::x25519::Identity) -> Self {
        Self(identity.to_public())
    }

    pub(crate) fn as_age(&self) -> &age::x25519::Recipient {
        &self.0
    }
}

impl FromStr for Recipient {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text.trim()).map_err(|reason| Error::NotARecipient { reason })
    }
}

fn parse(text: &str) -> Result<Recipient, &'static str> {
    if text.get(..15).is_some_and(|start| start.eq_ignore_ascii_case("AGE-SECRET-KEY-")) {
        return Err(
            "this is a secret identity, which a sealing process must not have; use the public key beside it",
        );
    }
    if !text.starts_with("age1") {
        return Err("it does not begin with age1");
    }
    let recipient = text
        .parse()
        .map(Recipient)
        .map_err(|_| "it is mistyped, cut short, or of a kind that is not X25519")?;
    // `age` panics when it seals for a point of low order, which is no key: anybody could open what is
    // sealed for it.
    let (_, bytes) = bech32::decode(text).map_err(|_| "it is mistyped")?;
    let point = <[u8; 32]>::try_from(bytes).map_err(|_| "it has the wrong length")?;
    let shared = StaticSecret::from([1; 32]).diffie_hellman(&PublicKey::from(point));
    if shared.was_contributory() {
        Ok(recipient)
    } else {
        Err("it is a point that nobody holds the secret of")
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(point: [u8; 32]) -> String {
        bech32::encode::<bech32::Bech32>(bech32::Hrp::parse("age").unwrap(), &point).unwrap()
    }

    #[test]
    fn a_point_of_low_order_is_refused_before_it_can_be_sealed_for() {
        let mut one = [0; 32];
        one[0] = 1;
        for point in [[0; 32], one] {
            let error = encoded(point).parse::<Recipient>().unwrap_err();
            assert!(error.to_string().contains("nobody holds"), "{error}");
        }
    }

    #[test]
    fn what_is_not_a_public_key_is_refused_without_repeating_it() {
        let good = encoded([9; 32]);
        assert_eq!(good.parse::<Recipient>().unwrap().to_string(), good);
        let secret = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
        let mistyped = good.replace("age1p", "age1q");
        for text in ["", "age1", "hello", secret, &good[..40], &mistyped, "ägé1ääääääääääääääää"]
        {
            let error = text.parse::<Recipient>().unwrap_err().to_string();
            assert!(text.len() < 5 || !error.contains(text), "{error}");
        }
        assert!(secret.parse::<Recipient>().unwrap_err().to_string().contains("secret identity"));
    }
}
