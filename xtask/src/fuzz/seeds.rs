//! Valid inputs, from which the fuzzer starts: frames of every family, element type and layout, tensor files, encrypted
//! signatures, what is asked about them, and logs of tests.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use encrypted_unconscious::{
    EncryptedSignature, Identity, Query, Sealer,
    keyholder::{
        Answer, Followed, KeyholderError, Refusal, Status, Step, SumAnswer,
        wire::{Reply, Request, greeting},
    },
};
use oom_forensics::generate::Plan;
use softhair_compress::{Codec, DType, Family, Policy, TensorView};

/// Fills the corpus of a target that has seeds; leaves what is there.
pub(super) fn write(target: &str, corpus: &Path) -> Result<()> {
    fs::create_dir_all(corpus)?;
    let seeds = match target {
        "frame" | "frame_stream" => frames()?,
        "tensor_file" => tensor_files(),
        "encrypted_signature" => encrypted_signatures()?,
        "keyholder_wire" => messages()?,
        "test_log" => logs(),
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

fn signatures() -> Result<Vec<EncryptedSignature>> {
    let sealer = Sealer::new(Identity::generate().recipient());
    let of = |dimension| sealer.encrypt_signature([dimension as u8; 32], &vec![1.0; dimension]);
    Ok([1, 2, 40].into_iter().map(of).collect::<Result<_, _>>()?)
}

fn encrypted_signatures() -> Result<Seeds> {
    let named = |signature: EncryptedSignature| (format!("{}d", signature.dimension()), signature.to_bytes());
    Ok(signatures()?.into_iter().map(named).collect())
}

/// Without their length: what the readers are given.
fn messages() -> Result<Seeds> {
    let (signatures, store) = (signatures()?, [7; 32]);
    let query = Query::new(&[0.6, 0.8])?;
    let again_in = Duration::from_secs(9);
    let status = Status {
        public_key: "age1".to_owned(),
        retired_keys: 1,
        levels: vec![0.25, 0.5],
        audit_records: 2,
        audit_head: "00ff".to_owned(),
        memories_asked: 3,
        memories_over_budget: 4,
        members: 5,
    };
    let step = Step { from: 1, to: 2, admitted: &signatures, forgotten: &[[8; 32]] };
    let answers = vec![
        Answer::AtLeast(0.5),
        Answer::Refused(Refusal::OverBudget { again_in }),
        Answer::Refused(Refusal::Unusable { reason: "changed".to_owned() }),
    ];
    let messages = [
        ("influence", Request::influence(&query, &signatures)),
        ("influence-of-set", Request::influence_of_set(&query, &signatures)),
        ("influence-of-all", Request::influence_of_all(&query, &store)),
        ("followed", Request::followed(&store)),
        ("follow", Request::follow(&store, step)),
        ("status", Request::status()),
        ("answers", Reply::Influence(answers).to_message()),
        ("sum", Reply::Sum(SumAnswer { sum: 1.0, members: 2 }).to_message()),
        ("position", Reply::Followed(Followed { position: 1, members: 2 }).to_message()),
        ("taken-in", Reply::TakenIn.to_message()),
        ("state", Reply::Status(status).to_message()),
        ("not-allowed", Reply::No(KeyholderError::NotAllowed { uid: 1 }).to_message()),
        ("out-of-step", Reply::No(KeyholderError::OutOfStep { position: 1, from: 2 }).to_message()),
        ("not-understood", Reply::NotUnderstood("what?".to_owned()).to_message()),
    ];
    let mut seeds = messages.map(|(name, message)| (name.to_owned(), message[4..].to_vec())).to_vec();
    seeds.push(("greeting".to_owned(), greeting().to_vec()));
    Ok(seeds)
}

/// The first byte is the size of the pieces in which the rest is read.
fn logs() -> Seeds {
    let plan = Plan { tests: 40, ooms: 6, setup_errors: 2, wrong_models: 1, skipped: 2, ..Plan::default() };
    let mut seeds = Seeds::new();
    for (name, size, colours) in
        [("pytest", 200, false), ("pytest-in-colour", 7, true), ("pytest-at-once", 0, false)]
    {
        let (log, _) = oom_forensics::generate::bytes(&Plan { colours, ..plan.clone() });
        seeds.push((name.to_owned(), [&[size], log.as_slice()].concat()));
    }
    let others = [
        ("dots", "\x32tests/test_a.py ..FE.s [ 50%]\ntests/test_b.py x [100%]\n1 failed in 2.5s\n"),
        (
            "nextest",
            "\x20        FAIL [   0.105s] crate module::test\n--- STDERR:   crate module::test ---\nCUDA error: out of memory\n",
        ),
        (
            "cargo",
            "\x40     Running unittests src/lib.rs (target/debug/deps/a-0123)\ntest a ... FAILED\ntest result: FAILED. 3 passed; 1 failed; 0 ignored\n",
        ),
        (
            "kernel",
            "\x60Out of memory: Killed process 7 (python) total-vm:1kB, anon-rss:9kB\noom-kill:constraint=C,task=python,pid=7\n",
        ),
    ];
    seeds.extend(others.map(|(name, log)| (name.to_owned(), log.as_bytes().to_vec())));
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_is_valid_input() {
        for (name, bytes) in frames().unwrap() {
            softhair_compress::Frame::parse(bytes).unwrap().decompress().expect(&name);
        }
        for (name, bytes) in encrypted_signatures().unwrap() {
            EncryptedSignature::from_bytes(&bytes).expect(&name);
        }
        for (name, bytes) in logs() {
            let mut analyzer = oom_forensics::Analyzer::new(oom_forensics::Config::standard().unwrap());
            analyzer.feed(&bytes[1..]);
            let report = analyzer.finish();
            assert!(bytes.len() < 65_536 && report.tests_run + report.oom_total > 0, "{name}");
        }
        for (name, bytes) in messages().unwrap() {
            let read = Request::from_bytes(&bytes).is_ok() || Reply::from_bytes(&bytes).is_ok();
            assert!(read || name == "greeting", "{name}");
        }
    }

    #[test]
    fn the_archive_has_the_offsets_of_the_format() {
        let zip = stored_zip("w.npy", b"content");
        assert_eq!(zip.len(), 30 + 5 + 7 + 46 + 5 + 22);
        assert_eq!(&zip[42..46], b"PK\x01\x02");
    }
}
