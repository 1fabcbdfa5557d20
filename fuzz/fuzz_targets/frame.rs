//! A frame in memory: whatever its bytes, an answer or an error, and no more memory than the header declares. Reaches
//! the exact, soft and grain decoders.
#![no_main]

use libfuzzer_sys::fuzz_target;
use omnimind_fuzz::{MAX_TENSOR_BYTES, with_right_checksum};
use softhair_compress::Frame;

fuzz_target!(|bytes: &[u8]| {
    for bytes in [bytes.to_vec(), with_right_checksum(bytes)] {
        let Ok(frame) = Frame::parse(bytes) else { continue };
        let declared = frame.header().original_bytes();
        if declared > MAX_TENSOR_BYTES {
            continue;
        }
        if let Ok(tensor) = frame.decompress() {
            assert_eq!(tensor.len() as u64, declared);
        }
    }
});
