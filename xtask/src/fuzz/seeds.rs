//! Valid inputs, from which the fuzzer starts: frames of every family, element type and layout, and tensor files.

use std::fs;
use std::path::Path;

use anyhow::Result;
use softhair_compress::{Codec, DType, Family, Policy, TensorView};

/// Fills the corpus of a target that has seeds; leaves what is there.
pub(super) fn write(target: &str, corpus: &Path) -> Result<()> {
    fs::create_dir_all(corpus)?;
    let seeds = match target {
        "frame" | "frame_stream" => frames()?,
        "tensor_file" => tensor_files(),
        _ => Vec::new(),
    };
    for (name, bytes) in seeds {
        fs::write(corpus.join(name), bytes)?;
    }
    Ok(())
}

type Seeds = Vec<(String, Vec<u8>)>;

fn frames() -> Result<Seeds> {
    let mut seeds = Seeds::new();
    let shapes: [&[usize]; 5] = [&[], &[0, 3], &[37], &[16, 24], &[4, 8, 12]];
    let dtypes =
        [DType::F32, DType::F64, DType::F16, DType::BF16, DType::I32, DType::U8, DType::I64, DType::Bool];
    for dtype in dtypes {
        for shape in shapes {
            let bytes = elements(dtype, shape.iter().product());
            let tensor = TensorView::new(dtype, shape, &bytes)?;
            for policy in [Policy::Default, Policy::Exact, Policy::MaxAbs(1e-3)] {
                let name = format!("{}-{}d-{policy}", dtype.name(), shape.len());
                seeds.push((name, Codec::new().compress(tensor, policy)?.into_bytes()));
            }
        }
    }
    for family in [Family::Grain, Family::Soft] {
        for rank in 1..=4 {
            let shape = vec![9; rank];
            let bytes = elements(DType::F32, shape.iter().product());
            let tensor = TensorView::new(DType::F32, &shape, &bytes)?;
            let frame = Codec::new().with_family(family).compress(tensor, Policy::MaxAbs(1e-3))?;
            seeds.push((format!("{}-{rank}d", family.name()), frame.into_bytes()));
        }
    }
    Ok(seeds)
}

/// Little-endian elements of a smooth curve; of floats for the float types, small integers for the others.
fn elements(dtype: DType, count: usize) -> Vec<u8> {
    let curve = (0..count).map(|i| (i as f64 * 0.07).sin());
    match dtype {
        DType::F64 => curve.flat_map(f64::to_le_bytes).collect(),
        DType::F32 => curve.flat_map(|x| (x as f32).to_le_bytes()).collect(),
        // The upper half of a float32 is a bfloat16; as a float16 it is another number, just as valid.
        DType::BF16 | DType::F16 => {
            curve.flat_map(|x| ((x as f32).to_bits() >> 16).to_le_bytes()[..2].to_vec()).collect()
        }
        _ => (0..count).flat_map(|i| (i as u64 % 2).to_le_bytes()[..dtype.size_bytes()].to_vec()).collect(),
    }
}

fn tensor_files() -> Seeds {
    let header = br#"{"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"__metadata__":{"a":"b"}}"#;
    let mut safetensors = (header.len() as u64).to_le_bytes().to_vec();
    safetensors.extend_from_slice(header);
    safetensors.extend_from_slice(&elements(DType::F32, 4));
    let mut npy = b"\x93NUMPY\x01\x00\x46\x00".to_vec();
    let header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }";
    npy.extend(header.iter().chain(&vec![b' '; 0x46 - header.len()]));
    npy.extend_from_slice(&elements(DType::F32, 4));
    let mut seeds =
        vec![("model.safetensors".to_owned(), safetensors), ("array.npy".to_owned(), npy.clone())];
    seeds.push(("arrays.npz".to_owned(), stored_zip("w.npy", &npy)));
    seeds
}

/// A zip archive of one file, not compressed.
fn stored_zip(name: &str, content: &[u8]) -> Vec<u8> {
    let crc = !content.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    });
    let (name_len, length) = ((name.len() as u16).to_le_bytes(), (content.len() as u32).to_le_bytes());
    let common =
        [&[20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0], &crc.to_le_bytes()[..], &length, &length, &name_len, &[0; 2]];
    let mut zip = [b"PK\x03\x04", common.concat().as_slice(), name.as_bytes(), content].concat();
    let directory = (zip.len() as u32).to_le_bytes();
    let entry = [b"PK\x01\x02", &[20, 0][..], common.concat().as_slice(), &[0; 14], name.as_bytes()].concat();
    zip.extend_from_slice(&entry);
    zip.extend_from_slice(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    zip.extend_from_slice(&(entry.len() as u32).to_le_bytes());
    zip.extend_from_slice(&directory);
    zip.extend_from_slice(&[0; 2]);
    zip
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_is_valid_input() {
        for (name, bytes) in frames().unwrap() {
            softhair_compress::Frame::parse(bytes).unwrap().decompress().expect(&name);
        }
    }

    #[test]
    fn the_archive_has_the_offsets_of_the_format() {
        let zip = stored_zip("w.npy", b"content");
        assert_eq!(zip.len(), 30 + 5 + 7 + 46 + 5 + 22);
        assert_eq!(&zip[42..46], b"PK\x01\x02");
    }
}
