//! Where a piece of work should run (R29, R23): how full the cards are, whether it resembles what crashed, and what `gpu-probe`
//! makes of that.

use gpu_probe::{CardState, Placement, PlacementConfig, TaskKind, Work, place};

use crate::{Consolidator, Error, Result};

impl Consolidator {
    /// Where work of this kind that wants `bytes` of a card should run, and why. With a `signature` the Unconscious is asked
    /// whether the work resembles what crashed; where it does not answer, the decision is made without, and a
    /// [notice](Self::notices) says so.
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
                cards.push(CardState::new(device.index, &memory));
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
