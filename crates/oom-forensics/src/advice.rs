//! What to do about it, from what was found.

use crate::cause::Cause;
use crate::report::Report;
use crate::size::human;

/// A share of all errors below which a cause earns no advice.
const WORTH_A_WORD: f64 = 0.05;

/// Sentences, in the order of the causes.
pub(crate) fn of(report: &Report) -> Vec<String> {
    let mut advice: Vec<String> = Vec::new();
    for found in &report.by_cause {
        if (found.ooms as f64) < report.oom_total as f64 * WORTH_A_WORD {
            continue;
        }
        advice.extend(about(report, found.cause));
    }
    let total = report.oom_total;
    let most = report.by_file.iter().find_map(|count| Some((count.file.as_ref()?, count.ooms)));
    if let Some((file, ooms)) = most.filter(|(_, ooms)| total > 1 && ooms.saturating_mul(2) > total) {
        advice.push(format!("Begin with {file}: {ooms} of {total} errors are in it."));
    }
    advice
}

fn about(report: &Report, cause: Cause) -> Option<String> {
    Some(match cause {
        Cause::CompetingProcesses => {
            let most = report.processes.first().map(|process| {
                let name = process.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
                let held = process.most_bytes.map(|bytes| format!(", up to {}", human(bytes))).unwrap_or_default();
                format!("; process {}{name} is named {} times{held}", process.pid, process.seen)
            });
            format!(
                "Run GPU tests one after the other, or give each process its share of the card{}.",
                most.unwrap_or_default()
            )
        }
        Cause::Fragmentation => "Set PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True (before 2.1: max_split_size_mb:128), \
                                 and consolidate between tests."
            .to_owned(),
        Cause::Accumulation => {
            let grown = report.growth.map(|growth| format!(": {} over {} tests", human(growth.bytes), growth.tests));
            format!(
                "Something keeps what tests leave on the card{}; drop models in teardown, and look for caches and globals.",
                grown.unwrap_or_default()
            )
        }
        Cause::OneAllocationTooLarge => {
            "Make the largest allocations smaller: a smaller batch, a shorter sequence, lower precision, or in pieces.".to_owned()
        }
        Cause::CardTooSmall => {
            "What the tests need is more than the card has: smaller models, lower precision, the CPU for some, or a larger card."
                .to_owned()
        }
        Cause::HostMemory => "Main memory ran out, not the card: fewer workers, or a limit for each of them.".to_owned(),
        Cause::Unknown => return None,
    })
}
