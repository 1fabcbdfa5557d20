//! `list`: the memories of the store, the youngest first.

use std::time::SystemTime;

use omnimind_memory::{Error, Filter, LayerName};
use serde::Serialize;

use crate::args::List;
use crate::failure::Failure;
use crate::output::{Align, Bytes, DIM, Paint, Percent, Table, WARN, age};
use crate::record::{MemoryRecord, moment, short};
use crate::session::Session;

#[derive(Debug, Serialize)]
struct Answer {
    memories: Vec<MemoryRecord>,
}

pub(super) fn run(session: &Session, args: List) -> Result<(), Failure> {
    let filter = filter(args)?;
    let consolidator = session.existing()?;
    let store = consolidator.store();
    let memories = store.list(&filter).map_err(Error::Store)?;
    if session.output.json {
        let mut records = Vec::with_capacity(memories.len());
        for memory in &memories {
            match store.manifest(&memory.content_hash) {
                Ok(memory) => records.push(MemoryRecord::from(memory)),
                // Forgotten by somebody since it was listed.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(Error::Store(error).into()),
            }
        }
        return session.output.result(&Answer { memories: records }, |_| Ok(()));
    }
    session.output.result(&(), |out| {
        if memories.is_empty() {
            return writeln!(out, "{}", "no memories".paint(DIM));
        }
        let mut table = Table::new([
            ("memory", Align::Left),
            ("type", Align::Left),
            ("layer", Align::Left),
            ("context", Align::Left),
            ("tensors", Align::Right),
            ("original", Align::Right),
            ("stored", Align::Right),
            ("kept", Align::Right),
            ("trauma", Align::Right),
            ("age", Align::Right),
            ("", Align::Left),
        ]);
        let now = SystemTime::now();
        for memory in &memories {
            let cells = [
                short(&memory.content_hash),
                memory.kind.clone(),
                memory.layer.to_string(),
                memory.context.clone(),
                if memory.sealed { "-".to_owned() } else { memory.tensor_count.to_string() },
                Bytes(memory.original_bytes).to_string(),
                Bytes(memory.stored_bytes).to_string(),
                Percent(memory.ratio).to_string(),
                format!("{:.2}", memory.trauma_score),
                age(now.duration_since(moment(memory.stored_at)).unwrap_or_default()),
                if memory.damaged { "damaged".to_owned() } else { String::new() },
            ];
            if memory.damaged {
                table.styled_row(cells, WARN);
            } else {
                table.row(cells);
            }
        }
        table.write(out)
    })
}

fn filter(args: List) -> Result<Filter, Failure> {
    let millis = |time: SystemTime| {
        time.duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    };
    if let Some(score) = args.min_trauma
        && !(0.0..=1.0).contains(&score)
    {
        return Err(Failure::Usage(format!("--min-trauma {score}: a trauma score lies between 0 and 1")));
    }
    let layer = args.layer.map(|layer| LayerName::new(layer.as_str())).transpose().map_err(Error::Store)?;
    Ok(Filter {
        layer,
        kind: args.kind,
        context: args.context.map(|context| context.as_str().to_owned()),
        since: args.since.map(millis),
        until: args.until.map(millis),
        min_trauma: args.min_trauma,
        limit: args.limit.map(|limit| limit as u64),
    })
}
