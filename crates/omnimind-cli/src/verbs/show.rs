//! `show`: everything that is known about one memory.

use omnimind_memory::Error;

use crate::args::Named;
use crate::failure::Failure;
use crate::output::{Align, BOLD, Bytes, Paint, Percent, Small, Table};
use crate::record::{MemoryRecord, TensorRecord};
use crate::session::{Session, resolve};

pub(super) fn run(session: &Session, args: &Named) -> Result<(), Failure> {
    let consolidator = session.existing()?;
    let hash = resolve(&consolidator, &args.hash)?;
    let memory = MemoryRecord::from(consolidator.store().manifest(&hash).map_err(Error::Store)?);
    session.output.result(&memory, |out| {
        writeln!(out, "{}", memory.content_hash.paint(BOLD))?;
        let mut table = Table::new([("", Align::Left), ("", Align::Left)]).indented(2);
        let contexts: Vec<_> = memory.activation_traces.iter().map(|trace| trace.context.as_str()).collect();
        let state = match (memory.damaged, memory.sealed) {
            (true, _) => "damaged; `omnimind verify` says what",
            (_, true) => "sealed; only the keyholder can open it",
            _ => "may be recalled",
        };
        for (name, value) in [
            ("type", memory.kind.clone()),
            ("layer", format!("{}: {state}", memory.layer)),
            ("trauma score", format!("{:.2}", memory.trauma_score)),
            ("stored at", memory.stored_at.clone()),
            ("stored by", memory.context.clone()),
            ("trace", contexts.join(", ")),
            (
                "size",
                format!(
                    "{} kept as {} ({})",
                    Bytes(memory.original_bytes),
                    Bytes(memory.stored_bytes),
                    Percent(memory.ratio)
                ),
            ),
            ("bound asked", memory.bound.clone()),
            (
                "error measured",
                format!(
                    "relative L2 {}, absolute {}",
                    Small(memory.rel_l2_error),
                    Small(memory.max_abs_error)
                ),
            ),
        ] {
            table.row([name.to_owned(), value]);
        }
        if let Some(signature) = &memory.encrypted_signature {
            let text =
                format!("encrypted: {} dimensions, {}", signature.dimension, Bytes(signature.stored_bytes));
            table.row(["signature".to_owned(), text]);
        }
        for (key, value) in &memory.metadata {
            table.row([
                key.clone(),
                value.as_str().map_or_else(|| value.to_string(), |text| format!("{text:?}")),
            ]);
        }
        table.write(out)?;
        if memory.tensors.is_empty() {
            return Ok(());
        }
        TensorRecord::table(&memory.tensors).write(out)
    })
}
