//! `consolidate`: files in, one memory each. A file that fails is reported and left alone; the others are kept.

use std::path::Path;

use omnimind_memory::{Consolidator, Error, Item, NamedTensor, Signals};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::args::Consolidate;
use crate::failure::Failure;
use crate::output::{Align, Bytes, DIM, Paint, Percent, Small, Table};
use crate::record::{MemoryRecord, TensorRecord, short};
use crate::session::Session;
use crate::tensor_file::{TensorFile, TensorFileError, read_vectors};

#[derive(Debug, Serialize)]
struct Answer<'a> {
    memories: &'a [Stored],
    failed: Vec<FailedFile>,
}

#[derive(Debug, Serialize)]
struct FailedFile {
    file: String,
    error: String,
}

#[derive(Debug, Serialize)]
struct Stored {
    file: String,
    new: bool,
    reasons: Vec<String>,
    #[serde(flatten)]
    memory: MemoryRecord,
}

pub(super) fn run(session: &Session, args: &Consolidate) -> Result<(), Failure> {
    let signatures = signatures(args)?;
    let mut consolidator = None;
    let (mut stored, mut failed) = (Vec::new(), Vec::new());
    let progress = session.output.progress(args.files.len());
    for (path, signature) in args.files.iter().zip(signatures) {
        progress.begin(path.display().to_string());
        match one(session, args, path, signature, &mut consolidator) {
            Ok(memory) => stored.push(memory),
            Err(failure) => failed.push((path, failure)),
        }
        progress.step();
    }
    drop(progress);
    print(session, &stored, &failed)?;
    match failed.pop() {
        None => Ok(()),
        Some((_, failure)) if args.files.len() == 1 => Err(failure),
        Some((_, last)) => {
            for (_, failure) in &failed {
                session.output.failure(failure);
            }
            session.output.failure(&last);
            let count = failed.len() + 1;
            let kept = stored.len();
            Err(Failure::Partial(format!("{count} of {} files failed; {kept} are stored", args.files.len())))
        }
    }
}

/// The signature of each file.
fn signatures(args: &Consolidate) -> Result<Vec<Option<Vec<f32>>>, Failure> {
    let files = args.files.len();
    let Some(path) = &args.signature else { return Ok(vec![None; files]) };
    let mut rows = read_vectors(path)?;
    let count = rows.len();
    match args.row {
        Some(row) if row < count => Ok(vec![Some(rows.swap_remove(row)); files]),
        Some(row) => Err(Failure::Usage(format!("--row {row}: {path:?} has {count} rows, counted from 0"))),
        None if count == files => Ok(rows.into_iter().map(Some).collect()),
        None if count == 1 => Ok(vec![rows.pop(); files]),
        None => Err(Failure::Usage(format!(
            "--signature {path:?} has {count} rows for {files} files; choose one with --row N, or give one row per file"
        ))),
    }
}

fn one(
    session: &Session,
    args: &Consolidate,
    path: &Path,
    signature: Option<Vec<f32>>,
    consolidator: &mut Option<Consolidator>,
) -> Result<Stored, Failure> {
    let name = path.to_str().ok_or_else(|| TensorFileError::Unsupported {
        path: path.to_owned(),
        reason: "its name is not UTF-8, and a memory records the name of its file".to_owned(),
        next: "rename it".to_owned(),
    })?;
    let file = TensorFile::open(path)?;
    // Only now: a file that cannot be read must not leave an empty store behind.
    let consolidator = match consolidator {
        Some(consolidator) => consolidator,
        None => consolidator.insert(session.consolidator()?),
    };
    let item = item(args, path, &file, signature);
    let mut answer = consolidator.consolidate(vec![item], &args.context);
    if let Some(failed) = answer.failed.pop() {
        return Err(Failure::OfFile { path: path.to_owned(), source: failed.error });
    }
    let outcome = answer.outcomes.pop().ok_or_else(|| Failure::Partial(format!("{path:?}: no answer")))?;
    let memory = consolidator.store().manifest(&outcome.content_hash).map_err(Error::Store)?;
    let reasons = outcome.classification.reasons.iter().map(ToString::to_string).collect();
    Ok(Stored { file: name.to_owned(), new: outcome.new, reasons, memory: memory.into() })
}

fn item<'a>(args: &Consolidate, path: &Path, file: &'a TensorFile, signature: Option<Vec<f32>>) -> Item<'a> {
    let tensors = file.tensors().iter().enumerate().map(|(at, tensor)| {
        NamedTensor::host(tensor.name.clone(), tensor.dtype, tensor.shape.clone(), file.bytes(at))
    });
    let mut item = Item::new(args.kind.clone(), tensors.collect());
    item.signals = Signals {
        error_type: args.error_type.clone(),
        severity: args.severity.clone(),
        impact: args.impact.clone(),
        text: args.error_text.clone(),
    };
    item.metadata = metadata(args, path, file);
    item.signature = signature;
    item.policy = args.bound;
    item
}

fn metadata(args: &Consolidate, path: &Path, file: &TensorFile) -> Map<String, Value> {
    let mut metadata = Map::new();
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    metadata.insert("file".to_owned(), json!(name));
    metadata.insert("format".to_owned(), json!(file.format().name()));
    if !file.metadata().is_empty() {
        metadata.insert("file_metadata".to_owned(), json!(file.metadata()));
    }
    let signals = [
        ("error_type", &args.error_type),
        ("severity", &args.severity),
        ("impact", &args.impact),
        ("error_text", &args.error_text),
    ];
    for (key, value) in signals {
        if let Some(value) = value {
            metadata.insert(key.to_owned(), json!(value));
        }
    }
    metadata.extend(args.metadata.iter().map(|(key, value)| (key.clone(), json!(value))));
    metadata
}

fn print(
    session: &Session,
    stored: &[Stored],
    failed: &[(&std::path::PathBuf, Failure)],
) -> Result<(), Failure> {
    let file = |path: &std::path::PathBuf| path.to_string_lossy().into_owned();
    let failed = failed
        .iter()
        .map(|(path, failure)| FailedFile { file: file(path), error: failure.to_string() })
        .collect();
    session.output.result(&Answer { memories: stored, failed }, |out| {
        if stored.is_empty() {
            return Ok(());
        }
        let mut table = Table::new([
            ("memory", Align::Left),
            ("layer", Align::Left),
            ("original", Align::Right),
            ("stored", Align::Right),
            ("kept", Align::Right),
            ("bound", Align::Left),
            ("rel. L2", Align::Right),
            ("file", Align::Left),
        ]);
        for Stored { file, new, memory, .. } in stored {
            table.row([
                short(&memory.content_hash),
                memory.layer.clone(),
                Bytes(memory.original_bytes).to_string(),
                Bytes(memory.stored_bytes).to_string(),
                Percent(memory.ratio).to_string(),
                memory.bound.clone(),
                Small(memory.rel_l2_error).to_string(),
                if *new { file.clone() } else { format!("{file} (was there already)") },
            ]);
        }
        table.write(out)?;
        for Stored { memory, reasons, .. } in stored {
            if memory.sealed {
                let why = format!("sealed (trauma score {:.2}): {}", memory.trauma_score, reasons.join("; "));
                writeln!(out, "{} {}", short(&memory.content_hash), why.paint(DIM))?;
            }
            if session.output.is_verbose() && !memory.tensors.is_empty() {
                TensorRecord::table(&memory.tensors).write(out)?;
            }
        }
        Ok(())
    })
}
