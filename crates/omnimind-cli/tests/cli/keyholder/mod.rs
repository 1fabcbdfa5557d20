//! The one who holds the key, as its owner and those who ask it meet it: memories that crashed, and a process that serves them.

mod custody;
mod questions;
mod rotation;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use crate::sandbox::{Sandbox, npy};

const DIMENSION: usize = 384;

/// Real embeddings, none of which is much like another one of the first few.
static EMBEDDINGS: LazyLock<Vec<Vec<f32>>> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/sentence-embeddings.npy");
    let file = fs::read(path).unwrap();
    let elements = &file[file.len() - 2000 * DIMENSION * 4..];
    let numbers: Vec<f32> =
        elements.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    numbers.chunks_exact(DIMENSION).map(<[f32]>::to_vec).collect()
});

fn write_rows(sandbox: &Sandbox, name: &str, rows: &[Vec<f32>]) {
    let bytes: Vec<u8> = rows.iter().flatten().flat_map(|number| number.to_le_bytes()).collect();
    sandbox.write(name, npy("<f4", &format!("({}, {})", rows.len(), rows[0].len()), &bytes));
}

/// The first embedding, with another sign in one coordinate: as good as the same, and yet another question.
fn nearly_the_first(variant: usize) -> Vec<f32> {
    let mut row = EMBEDDINGS[0].clone();
    let large = (0..DIMENSION).filter(|&at| row[at].abs() > 0.03).nth(variant).unwrap();
    row[large] = -row[large];
    row
}

/// A keyholder's identity, and so many memories sealed for it; `embeddings.npy` has 20 rows, the first of which are theirs.
fn crashed(memories: usize) -> Sandbox {
    let sandbox = Sandbox::new();
    assert!(sandbox.run("keyholder init").status.success());
    crash(&sandbox, 0, memories);
    write_rows(&sandbox, "embeddings.npy", &EMBEDDINGS[..20]);
    sandbox
}

fn crash(sandbox: &Sandbox, from: usize, memories: usize) {
    let names: Vec<_> = (from..from + memories).map(|number| format!("crash-{number}.safetensors")).collect();
    for (name, seed) in names.iter().zip(10 * from as u32..) {
        sandbox.seeded_model(name, 2 * seed);
    }
    write_rows(sandbox, "signatures.npy", &EMBEDDINGS[from..from + memories]);
    let crash =
        "--context agent --type agent --error-type oom --severity critical --signature signatures.npy";
    let consolidated = sandbox.run(&format!("consolidate {} {crash}", names.join(" ")));
    assert!(consolidated.status.success(), "{consolidated:?}");
}

/// Of all sealed memories.
fn hashes(sandbox: &Sandbox) -> Vec<String> {
    let listed = sandbox.json("list --layer unconscious");
    let memories = listed["memories"].as_array().unwrap().iter();
    memories.map(|memory| memory["content_hash"].as_str().unwrap().to_owned()).collect()
}

fn settings(sandbox: &Sandbox, text: &str) {
    fs::create_dir_all(sandbox.path("config/omnimind")).unwrap();
    sandbox.write("config/omnimind/omnimind.toml", text);
}

fn public_key(sandbox: &Sandbox) -> String {
    fs::read_to_string(sandbox.path("config/omnimind/keyholder.key.pub")).unwrap().trim().to_owned()
}

/// A keyholder that serves, and is gone when the test is, however it ends.
struct Serving {
    child: Child,
}

impl Serving {
    fn of(sandbox: &Sandbox) -> Self {
        Self::with(sandbox, "")
    }

    /// Returns when it has taken its place.
    fn with(sandbox: &Sandbox, options: &str) -> Self {
        let mut command = sandbox.command();
        command.args(["keyholder", "serve"]).args(options.split_whitespace());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut serving = Self { child: command.spawn().unwrap() };
        let said = BufReader::new(serving.child.stdout.take().unwrap());
        let ready = said.lines().map_while(Result::ok).any(|line| line.contains("answers at"));
        if !ready {
            let mut why = String::new();
            serving.child.stderr.take().unwrap().read_to_string(&mut why).unwrap();
            panic!("it does not serve: {why}");
        }
        serving
    }

    /// As its owner ends it. Returns the exit code.
    fn stop(mut self) -> Option<i32> {
        self.signal("TERM");
        self.child.wait().unwrap().code()
    }

    fn signal(&self, name: &str) {
        let told = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(told.unwrap().success());
    }

    /// As nobody should: nothing is cleaned up.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
