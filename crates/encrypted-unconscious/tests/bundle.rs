//! Bundles: what is inside a seal, and what happens when it is not what it should be (R19).
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::io::{self, Read};

use encrypted_unconscious::{
    BundleHeader, BundleReader, BundleWriter, Error, Identity, Result, Sealer, TensorEntry,
};
use proptest::prelude::*;

fn header(names: &[&str]) -> BundleHeader {
    BundleHeader {
        kind: "model".into(),
        metadata: r#"{"error_type":"OOM"}"#.into(),
        signature: Some(vec![0.5, -1.0, f32::MIN_POSITIVE]),
        tensors: names
            .iter()
            .map(|name| TensorEntry { name: (*name).into(), original_bytes: 1 << 40 })
            .collect(),
    }
}

fn write(header: &BundleHeader, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = BundleWriter::new(Vec::new(), header).unwrap();
    for frame in frames {
        writer.write_frame(frame).unwrap();
    }
    writer.finish().unwrap()
}

fn read(bytes: impl Read) -> Result<(BundleHeader, Vec<Vec<u8>>)> {
    let mut reader = BundleReader::new(bytes)?;
    let mut frames = Vec::new();
    while let Some(mut frame) = reader.next_frame()? {
        let mut bytes = Vec::new();
        frame.read_to_end(&mut bytes)?;
        frames.push(bytes);
    }
    Ok((reader.header().clone(), frames))
}

#[test]
fn a_sealed_bundle_comes_back_whole_and_only_to_its_keyholder() {
    // R19
    let keyholder = Identity::generate();
    let header = header(&["encoder.weight", "empty", "", "große Schicht"]);
    let frames = [vec![7; 200_000], vec![], vec![1], vec![2; 65_536]];
    let mut writer = Sealer::new(keyholder.recipient()).seal_bundle(Vec::new(), &header).unwrap();
    writer.write_frame(&frames[0]).unwrap();
    writer.write_frame(&frames[1]).unwrap();
    writer.write_frame_from(1, &frames[2][..]).unwrap();
    writer.write_frame_from(65_536, io::repeat(2)).unwrap();
    let sealed = writer.finish().unwrap().finish().unwrap();

    let mut reader = keyholder.open_bundle(&sealed[..]).unwrap();
    assert_eq!(reader.header(), &header);
    for (entry, expected) in header.tensors.iter().zip(&frames) {
        let mut frame = reader.next_frame().unwrap().unwrap();
        assert_eq!((frame.entry(), frame.frame_bytes()), (entry, expected.len() as u64));
        let mut bytes = Vec::new();
        frame.read_to_end(&mut bytes).unwrap();
        assert!(&bytes == expected);
    }
    assert!(reader.next_frame().unwrap().is_none());
    assert!(matches!(Identity::generate().open_bundle(&sealed[..]), Err(Error::WrongKey)));
}

#[test]
fn a_bundle_may_hold_no_tensor_and_no_signature() {
    let empty = BundleHeader::default();
    assert_eq!(read(&write(&empty, &[])[..]).unwrap(), (empty, vec![]));
}

#[test]
fn a_frame_that_was_not_read_to_its_end_is_skipped() {
    let bytes = write(&header(&["a", "b", "c"]), &[vec![1; 1000], vec![2; 1000], vec![3; 10]]);
    let mut reader = BundleReader::new(&bytes[..]).unwrap();
    reader.next_frame().unwrap().unwrap().read_exact(&mut [0; 7]).unwrap();
    reader.next_frame().unwrap().unwrap();
    let mut last = Vec::new();
    reader.next_frame().unwrap().unwrap().read_to_end(&mut last).unwrap();
    assert_eq!(last, [3; 10]);
    assert!(reader.next_frame().unwrap().is_none());
}

#[test]
fn too_many_too_few_and_too_short_frames_are_refused() {
    let mut writer = BundleWriter::new(Vec::new(), &header(&["a", "b"])).unwrap();
    writer.write_frame(b"one").unwrap();
    let short = writer.write_frame_from(10, &b"four"[..]).unwrap_err();
    assert!(matches!(short, Error::ShortFrame { declared: 10, given: 4, .. }));
    assert!(matches!(writer.finish(), Err(Error::FramesMissing { next, after: 0 }) if next == "b"));
    let mut writer = BundleWriter::new(Vec::new(), &header(&[])).unwrap();
    assert!(matches!(writer.write_frame(b"one"), Err(Error::TooManyFrames { declared: 0 })));
}

#[test]
fn every_cut_and_every_addition_is_noticed() {
    let whole = write(&header(&["a", "b"]), &[vec![1; 20], vec![2; 20]]);
    for cut in 0..whole.len() {
        let error = read(&whole[..cut]).unwrap_err();
        assert!(matches!(error, Error::BundleCut { .. }), "{cut}: {error}");
    }
    assert!(matches!(read(&[&whole[..], b"x"].concat()[..]), Err(Error::TrailingBytes)));
}

#[test]
fn what_is_not_a_bundle_is_called_so() {
    let whole = write(&header(&["a"]), &[vec![1; 20]]);
    let mut newer = whole.clone();
    newer[4] = 2;
    let error = read(&newer[..]).unwrap_err().to_string();
    assert!(error.contains("version 2"), "{error}");
    let mut other = whole.clone();
    other[0] = b'X';
    assert!(matches!(read(&other[..]), Err(Error::NotABundle { .. })));
    let mut huge = whole;
    huge[6..10].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(read(&huge[..]), Err(Error::HeaderTooLarge { .. })));
}

#[test]
fn a_frame_that_claims_more_than_there_is_costs_nothing() {
    let mut bytes = write(&header(&["a"]), &[vec![]]);
    let size = bytes.len() - 8;
    bytes[size..].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut reader = BundleReader::new(&bytes[..]).unwrap();
    let mut frame = reader.next_frame().unwrap().unwrap();
    assert_eq!(frame.frame_bytes(), u64::MAX);
    let error = Error::from(frame.read(&mut [0; 16]).unwrap_err());
    assert!(matches!(error, Error::BundleCut { .. }), "{error}");
    assert!(matches!(reader.next_frame(), Err(Error::BundleCut { .. })));
}

#[test]
fn damage_inside_a_sealed_bundle_is_reported_as_what_it_is() {
    let keyholder = Identity::generate();
    let mut writer = Sealer::new(keyholder.recipient()).seal_bundle(Vec::new(), &header(&["a"])).unwrap();
    writer.write_frame(&vec![5; 300_000]).unwrap();
    let mut sealed = writer.finish().unwrap().finish().unwrap();
    let middle = sealed.len() / 2;
    sealed[middle] ^= 1;
    let error = keyholder.open(&sealed[..]).and_then(read).unwrap_err();
    assert!(matches!(error, Error::Damaged { at_end: false, .. }), "{error:?}");
    sealed[middle] ^= 1;
    let error = keyholder.open(&sealed[..sealed.len() - 300]).and_then(read).unwrap_err();
    assert!(matches!(error, Error::Damaged { at_end: true, .. }), "{error:?}");
}

proptest! {
    #[test]
    fn any_bundle_comes_back(
        kind in ".{0,20}",
        metadata in ".{0,200}",
        signature in prop::option::of(prop::collection::vec(any::<f32>().prop_filter("NaN", |x| !x.is_nan()), 0..50)),
        tensors in prop::collection::vec((".{0,20}", any::<u64>(), prop::collection::vec(any::<u8>(), 0..300)), 0..10),
    ) {
        let frames: Vec<_> = tensors.iter().map(|(_, _, frame)| frame.clone()).collect();
        let tensors = tensors
            .into_iter()
            .map(|(name, original_bytes, _)| TensorEntry { name, original_bytes })
            .collect();
        let header = BundleHeader { kind, metadata, signature, tensors };
        prop_assert_eq!(read(&write(&header, &frames)[..]).unwrap(), (header, frames));
    }

    #[test]
    fn a_mutated_bundle_is_read_or_refused_without_a_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = write(&header(&["a", "b"]), &[vec![1; 20], vec![2; 20]]);
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok((header, frames)) = read(&bytes[..]) {
            prop_assert_eq!(header.tensors.len(), frames.len());
        }
    }
}
