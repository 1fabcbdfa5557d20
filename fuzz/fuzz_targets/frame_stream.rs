//! A frame as a stream: agrees with the frame in memory about every input.
#![no_main]

use libfuzzer_sys::fuzz_target;
use omnimind_fuzz::{MAX_TENSOR_BYTES, with_right_checksum};
use softhair_compress::{Frame, FrameReader};

fuzz_target!(|bytes: &[u8]| {
    let bytes = with_right_checksum(bytes);
    let Ok(reader) = FrameReader::new(bytes.as_slice()) else {
        assert!(Frame::parse(bytes).is_err(), "only the stream refuses this header");
        return;
    };
    if reader.header().original_bytes() > MAX_TENSOR_BYTES {
        return;
    }
    let mut streamed = Vec::new();
    let read = reader.decompress_to(&mut streamed).is_ok();
    let whole = Frame::parse(bytes).and_then(|frame| frame.decompress());
    assert_eq!(read, whole.is_ok(), "stream and memory disagree");
    if let Ok(whole) = whole {
        assert_eq!(whole, streamed);
    }
});
