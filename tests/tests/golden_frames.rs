//! Frames written by the first release decode to the same bytes for ever (design: "old versions stay readable").

use std::fs;

use end_to_end::{golden_cases, golden_dir};
use softhair_compress::{Frame, FrameReader};

#[test]
fn every_golden_frame_decodes_to_the_bytes_it_always_decoded_to() {
    // R15, R17, R18
    let index = fs::read_to_string(golden_dir().join("decoded.b3")).unwrap();
    let mut checked = 0;
    for line in index.lines() {
        let (hash, name) = line.split_once("  ").unwrap();
        let bytes = fs::read(golden_dir().join(format!("{name}.frame"))).unwrap();
        let mut streamed = Vec::new();
        FrameReader::new(bytes.as_slice()).unwrap().decompress_to(&mut streamed).unwrap();
        assert_eq!(Frame::parse(bytes).unwrap().decompress().unwrap(), streamed, "{name}");
        assert_eq!(blake3::hash(&streamed).to_string(), hash, "{name}");
        checked += 1;
    }
    assert_eq!(
        checked,
        golden_cases().len(),
        "a case without a frame: cargo run -p end-to-end --bin make-golden"
    );
}

#[test]
fn every_golden_frame_says_what_it_holds() {
    // R15
    for case in golden_cases() {
        let bytes = fs::read(golden_dir().join(format!("{}.frame", case.name))).unwrap();
        let frame = Frame::parse(bytes).unwrap();
        let header = frame.header();
        assert_eq!(
            (header.dtype, &header.shape, header.policy),
            (case.dtype, &case.shape, case.policy),
            "{}",
            case.name
        );
        assert_eq!(header.family, case.family, "{}", case.name);
        if header.max_abs_error == 0.0 {
            assert_eq!(frame.decompress().unwrap(), case.bytes, "{}", case.name);
        }
    }
}
