//! An encrypted signature of format 1, made once, stays readable: `golden/signature-v1` and the key that it was made for.

#![cfg(feature = "homomorphic")]
#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use encrypted_unconscious::{EncryptedSignature, Identity, Query, influence};

#[test]
fn what_was_encrypted_once_is_still_compared() {
    let folder = tempfile::tempdir().unwrap();
    // A checkout does not keep who may read a file.
    let identity: Identity = {
        let path = folder.path().join("key");
        std::fs::write(&path, include_bytes!("golden/key")).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        Identity::load(&path).unwrap()
    };
    let signature = EncryptedSignature::from_bytes(include_bytes!("golden/signature-v1")).unwrap();
    assert_eq!(signature.dimension(), 5);
    let opened = identity.open_signature(&signature).unwrap();
    assert_eq!(opened.content_hash(), [0x5a; 32]);
    // It was [3, -1, 4, 1, -5] / sqrt(52), in steps of 1/32767.
    let steps = [13632, -4544, 18176, 4544, -22720];
    for (axis, step) in steps.into_iter().enumerate() {
        let query: Vec<f32> = (0..5).map(|at| if at == axis { 1.0 } else { 0.0 }).collect();
        let score = influence::scores(&Query::new(&query).unwrap(), [&opened]).unwrap()[0];
        assert_eq!(score.units(), step * 32_767);
    }
}
