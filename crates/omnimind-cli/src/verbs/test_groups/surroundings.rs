//! What `test-groups` asks of its surroundings, answered by this family's crates: a look at a card by `gpu-probe`, and what an
//! output says by `oom-forensics`.

use std::io::Read;
use std::sync::Arc;

use gpu_probe::GpuProbe;
use oom_forensics::{Analyzer, Config, Patterns, Thresholds};
use test_groups::{Forensics, Holder, Look, OutOfMemory, Vram};

/// Out-of-memory errors of one output that are looked at: of main memory there may be some before one of a card.
const MOST_ERRORS: usize = 100;

/// The cards of this machine, or simulated ones.
#[derive(Debug)]
pub(super) struct Cards(pub(super) Arc<dyn GpuProbe>);

impl Vram for Cards {
    fn source(&self) -> String {
        self.0.source().to_owned()
    }

    fn look(&mut self, device: u32) -> Result<Look, String> {
        let memory = self.0.memory(device).map_err(|error| error.to_string())?;
        let holder =
            |process: gpu_probe::GpuProcess| Holder { pid: process.pid, used_bytes: process.used_bytes };
        // Some drivers do not tell who holds what.
        let holders = self.0.processes(device).ok();
        Ok(Look {
            total_bytes: memory.total_bytes,
            used_bytes: memory.used_bytes,
            holders: holders.map(|processes| processes.into_iter().map(holder).collect()),
        })
    }
}

/// What a test printed.
#[derive(Debug)]
pub(super) struct Outputs {
    pub(super) thresholds: Thresholds,
}

impl Forensics for Outputs {
    fn out_of_memory(&self, output: &mut dyn Read) -> Option<OutOfMemory> {
        let patterns = Patterns::none();
        let config = Config { thresholds: self.thresholds, patterns, first_ooms: MOST_ERRORS };
        let mut analyzer = Analyzer::new(config);
        // Of an output that cannot be read to its end counts what was read.
        drop(analyzer.read("output", output));
        let of_card = analyzer.finish().first_ooms.into_iter().find(|oom| !oom.source.is_host())?;
        let cause = serde_json::to_value(of_card.cause).ok();
        Some(OutOfMemory {
            message: of_card.at.text,
            cause: cause.as_ref().and_then(|cause| cause.as_str()).map(str::to_owned),
            requested_bytes: of_card.numbers.requested_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use gpu_probe::{DeviceMemory, NoGpu, SimulatedGpu};

    use super::*;

    #[test]
    fn a_card_is_seen_with_who_holds_it_and_no_card_with_the_reason() {
        let gpu = SimulatedGpu::new(1 << 30);
        let held = gpu.allocate(0, 64 << 20).unwrap();
        let mut cards = Cards(Arc::new(gpu));
        let look = cards.look(0).unwrap();
        assert_eq!((look.total_bytes, look.used_bytes), (1 << 30, 64 << 20));
        let own = Holder { pid: std::process::id(), used_bytes: Some(64 << 20) };
        assert_eq!((look.holders.unwrap(), cards.source().as_str()), (vec![own], "simulated"));
        assert!(cards.look(7).unwrap_err().contains('7'));
        drop(held);
        let mut none = Cards(Arc::new(NoGpu::new("there is no driver")));
        assert!(none.look(0).is_err());
    }

    #[test]
    fn only_what_ran_out_on_a_card_counts_whatever_was_printed_around_it() {
        let outputs = Outputs { thresholds: Thresholds::default() };
        let read = |text: &str| outputs.out_of_memory(&mut text.as_bytes());
        let printed = "collecting\nOut of memory: Killed process 77 (python) total-vm:1kB\n\
                       E torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 8.00 GiB. GPU 0 has a total capacity of 3.81 \
                       GiB of which 3.50 GiB is free.\n";
        let found = read(printed).unwrap();
        assert!(found.message.contains("Tried to allocate 8.00 GiB"), "{found:?}");
        assert_eq!(found.cause.as_deref(), Some("one_allocation_too_large"));
        assert_eq!(found.requested_bytes, Some(8 << 30));
        assert_eq!(read("Out of memory: Killed process 77 (python) total-vm:1kB\n"), None);
        assert_eq!(read("assert 1 == 2\n"), None);
    }
}
