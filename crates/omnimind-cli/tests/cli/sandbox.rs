//! A directory of its own for each test, the binary in it, and small files of tensors.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::Value;

pub(crate) struct Sandbox {
    dir: tempfile::TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let sandbox = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(sandbox.path("tmp")).unwrap();
        sandbox
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// The binary, with nothing of the machine's own settings around it.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_omnimind"));
        command.current_dir(self.dir.path()).env_clear();
        command.env("HOME", self.dir.path()).env("TMPDIR", self.path("tmp"));
        command.env("XDG_DATA_HOME", self.path("data")).env("XDG_CONFIG_HOME", self.path("config"));
        command
    }

    pub(crate) fn run(&self, line: &str) -> Output {
        self.command().args(line.split_whitespace()).output().unwrap()
    }

    /// What somebody at a terminal would see, with the exit code.
    pub(crate) fn see(&self, line: &str) -> String {
        let Output { status, stdout, stderr } = self.run(line);
        let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
        format!("$ omnimind {line}\n{stdout}{stderr}[{}]\n", status.code().unwrap())
    }

    /// The same for several lines.
    pub(crate) fn see_all(&self, lines: &[&str]) -> String {
        lines.iter().map(|line| self.see(line)).collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn json(&self, line: &str) -> Value {
        let output = self.run(&format!("{line} --json"));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{line}: {error}: {output:?}"))
    }

    /// The exit code, and what was said on stderr.
    pub(crate) fn fail(&self, line: &str) -> (i32, String) {
        let output = self.run(line);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    /// Every file of the store with its bytes, but for the log of the database, which reading may fold away.
    pub(crate) fn store(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        collect(&self.path("data"), &mut files);
        files.retain(|(path, _)| path.components().any(|part| part.as_os_str() == "objects"));
        files.sort();
        files
    }

    /// A model of a matrix, a bias and a table of integers.
    pub(crate) fn model(&self, name: &str) {
        self.seeded_model(name, 1);
    }

    pub(crate) fn seeded_model(&self, name: &str, seed: u32) {
        let weight: Vec<u8> = wave(64 * 48, seed).into_iter().flat_map(f32::to_le_bytes).collect();
        let bias: Vec<u8> = wave(48, seed + 1).into_iter().flat_map(f32::to_le_bytes).collect();
        let ids: Vec<u8> = (0..30_i64).flat_map(i64::to_le_bytes).collect();
        let view = |dtype, shape: &[usize], bytes| TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
        let tensors = [
            ("layer.weight", view(Dtype::F32, &[64, 48], &weight)),
            ("layer.bias", view(Dtype::F32, &[48], &bias)),
            ("ids", view(Dtype::I64, &[5, 6], &ids)),
        ];
        let about = Some([("made_by".to_owned(), "a test".to_owned())].into());
        fs::write(self.path(name), safetensors::serialize(tensors, about).unwrap()).unwrap();
    }

    /// `rows` vectors of 8 dimensions, each pointing another way.
    pub(crate) fn vectors(&self, name: &str, rows: usize) {
        let mut values = vec![0.1_f32; rows * 8];
        for row in 0..rows {
            values[row * 8 + row % 8] = 1.0;
        }
        let shape = if rows == 1 { "(8,)".to_owned() } else { format!("({rows}, 8)") };
        self.write(
            name,
            npy("<f4", &shape, &values.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<_>>()),
        );
    }
}

pub(crate) fn npy(descr: &str, shape: &str, elements: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend_from_slice(&(header.len() as u16).to_le_bytes());
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(elements);
    file
}

/// Numbers that look like weights and are the same everywhere.
fn wave(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count).map(|_| 0.1 * (next() + next() + next())).collect()
}

fn collect(dir: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
}

/// Compares with a snapshot in which everything that differs between runs, machines and codecs is named, not shown.
macro_rules! assert_seen {
    ($name:literal, $sandbox:expr, $text:expr) => {{
        let mut settings = insta::Settings::clone_current();
        let dir = $sandbox.path("");
        settings.add_filter(dir.to_str().unwrap().trim_end_matches('/'), "[dir]");
        settings.add_filter(r#"ProcessContext\((\\?"[^"]*")\)"#, "$1");
        settings.add_filter(r"age1[0-9a-z]{58}", "[public key]");
        settings.add_filter(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "[time]");
        settings.add_filter(r#""(stored_bytes|total_compressed_bytes|object_bytes|kept_bytes|removed_bytes|file_bytes|snapshot_bytes|bytes|bytes_before)": \d+"#, "\"$1\": [bytes]");
        settings.add_filter(r#""(ratio|max_abs_error|rel_l2_error|total_compressed_mb|average_compression|age_seconds|graph_seconds|total_seconds)": [0-9.e-]+"#, "\"$1\": [number]");
        settings.add_filter(r#"(computed with |"kernel": ")[a-z0-9-]+"#, "$1[kernel]");
        settings.add_filter(r"\d+\.\d\d? s\b", "[age]");
        settings.add_filter(r"section \d+ fails", "section [n] fails");
        settings.add_filter(r"\d+(\.\d+)? (B|KiB|MiB|GiB)\b", "[size]");
        settings.add_filter(r"\d+\.\d %", "[share]");
        settings.add_filter(r"(relative L2(?: error)?|absolute) [0-9][0-9.e-]*", "$1 [error]");
        settings.add_filter(r"\b\d+ (s|min)\b", "[age]");
        settings.add_filter(r"\b(0\.0\d+|\d\.\de-\d+)\b", "[error]");
        settings.add_filter(r"\b[0-9a-f]{64}\b", "[hash]");
        settings.add_filter(r"\b[0-9a-f]{12}\b", "[hash]");
        settings.add_filter(r"\b[0-9a-f]{16}\b", "[hash]");
        settings.add_filter(r"ask again in \d+ h", "ask again in [hours]");
        settings.add_filter(r#""(audit_records|records)": \d+"#, "\"$1\": [number]");
        settings.add_filter(r"\b\d+ records\b", "[number] records");
        settings.add_filter(r"(\S) {2,}", "$1  ");
        settings.set_omit_expression(true);
        settings.set_prepend_module_to_snapshot(false);
        settings.bind(|| insta::assert_snapshot!($name, $text));
    }};
}

pub(crate) use assert_seen;
