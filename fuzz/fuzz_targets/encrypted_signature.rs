//! An encrypted signature that somebody else wrote: it is read or refused, and one that was not sealed to this keyholder is not
//! opened.
#![no_main]

use std::sync::LazyLock;

use encrypted_unconscious::{EncryptedSignature, Identity};
use libfuzzer_sys::fuzz_target;

static IDENTITY: LazyLock<Identity> = LazyLock::new(Identity::generate);

fuzz_target!(|bytes: &[u8]| {
    if let Ok(signature) = EncryptedSignature::from_bytes(bytes) {
        assert_eq!(signature.to_bytes(), bytes, "one signature is written in two ways");
        assert_eq!(signature.dimension() * 8, bytes.len() - 16 - ticket_bytes(bytes));
        let _ = IDENTITY.open_signature(&signature);
    }
});

fn ticket_bytes(bytes: &[u8]) -> usize {
    u32::from_le_bytes(std::array::from_fn(|at| bytes[12 + at])) as usize
}
