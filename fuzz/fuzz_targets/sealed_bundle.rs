//! What the keyholder opens: bytes that claim to be sealed to it, and bundles that came out of a seal.
#![no_main]

use std::io::{Read, copy, sink};
use std::sync::LazyLock;

use encrypted_unconscious::{BundleReader, Identity};
use libfuzzer_sys::fuzz_target;

static IDENTITY: LazyLock<Identity> = LazyLock::new(Identity::generate);

fuzz_target!(|bytes: &[u8]| {
    if let Ok(bundle) = BundleReader::new(bytes) {
        read(bundle);
    }
    if let Ok(mut plain) = IDENTITY.open(bytes) {
        let _ = copy(&mut plain, &mut sink());
    }
});

/// Frames never hold more than there is: sizes are taken from the input.
fn read(mut bundle: BundleReader<&[u8]>) {
    while let Ok(Some(mut frame)) = bundle.next_frame() {
        let mut content = Vec::new();
        let Ok(read) = frame.read_to_end(&mut content) else { return };
        assert_eq!(read as u64, frame.frame_bytes());
    }
}
