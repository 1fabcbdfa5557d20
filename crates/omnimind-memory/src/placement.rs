//! Where a piece of work should run (R29, R23): how full the cards are, whether it resembles what crashed, and what `gpu-probe`
//! makes of that.

use std::time::Duration;

use gpu_probe::{CardState, GpuProbe, Placement, PlacementConfig, TaskKind, Work, place};

use crate::{Consolidator, Error, Result};

/// How long work takes to begin: as full as a card will be then, it is judged.
const FORECAST_AHEAD: Duration = Duration::from_secs(10);

impl Consolidator {
    /// Where work of this kind that wants `bytes` of a card should run, and why. With a `signature` the Unconscious is asked
    /// whether the work resembles what crashed; where it does not answer, the decision is made without, and a
    /// [notice](Self::notices) says so. With a [sampler](crate::Builder::sampler) a card that is being filled counts as full
    /// before it is, and the reason names who fills it.
    ///
    /// # Errors
    /// If there is a GPU, but it does not answer.
    pub fn place(
        &self,
        kind: TaskKind,
        bytes: u64,
        signature: Option<&[f32]>,
        config: &PlacementConfig,
    ) -> Result<Placement> {
        let mut cards = Vec::new();
        if let Some(gpu) = &self.gpu {
            for device in gpu.devices().map_err(Error::Probe)? {
                let memory = gpu.memory(device.index).map_err(Error::Probe)?;
                let others_bytes = others_bytes(gpu.as_ref(), device.index);
                let card = CardState { others_bytes, ..CardState::new(device.index, &memory) };
                cards.push(match &self.sampler {
                    Some(sampler) => card.heading(sampler.recorder(), FORECAST_AHEAD),
                    None => card,
                });
            }
        }
        let influence = signature.map_or(0.0, |signature| self.felt(signature));
        Ok(place(&Work { kind, bytes, influence }, &cards, config))
    }

    /// The strongest influence on a signature; 0 where nobody can say.
    #[cfg(feature = "homomorphic")]
    fn felt(&self, signature: &[f32]) -> f32 {
        match self.influence(signature) {
            Ok(influence) => influence.felt.first().map_or(0.0, |felt| felt.at_least),
            Err(Error::NoScores | Error::NoSuchDimension { .. }) => 0.0,
            Err(error) => {
                self.index.tell(crate::Notice::WithoutInfluence { reason: error.to_string() });
                0.0
            }
        }
    }

    #[cfg(not(feature = "homomorphic"))]
    #[expect(clippy::unused_self, reason = "as with the feature")]
    fn felt(&self, _: &[f32]) -> f32 {
        0.0
    }
}

/// What other processes hold of a card, where that is told of each. In a container this process may be known by another number;
/// then nobody can say which of them are others.
fn others_bytes(gpu: &dyn GpuProbe, device: u32) -> Option<u64> {
    let processes = gpu.processes(device).ok()?;
    let own = std::process::id();
    if processes.iter().all(|process| process.pid != own)
        && gpu.fragmentation(device).ok()?.allocated_bytes > 0
    {
        return None;
    }
    processes.iter().filter(|process| process.pid != own).map(|process| process.used_bytes).sum()
}

#[cfg(test)]
mod tests {
    use gpu_probe::{DeviceMemory, SimulatedGpu};

    use super::*;

    #[test]
    fn what_others_hold_is_told_apart_from_what_this_process_holds() {
        // R29, R31
        let gpu = SimulatedGpu::new(64 << 20);
        assert_eq!(others_bytes(&gpu, 0), Some(0));
        gpu.add_process(0, 4242, "python", 3 << 20).unwrap();
        gpu.add_process(0, 4243, "python", 2 << 20).unwrap();
        let own = gpu.allocate(0, 1 << 20).unwrap();
        assert_eq!(others_bytes(&gpu, 0), Some(5 << 20));
        gpu.free(own).unwrap();
        assert_eq!(others_bytes(&gpu, 7), None);
    }
}
