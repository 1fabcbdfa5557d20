//! Whether an error says that memory ran out, of which card, and how much was wanted. The words of frameworks are recognised by
//! `topic-classifier` (R13); here only the numbers beside them are read.

use std::error::Error as StdError;

use gpu_probe::OutOfMemory;
use serde::Serialize;
use topic_classifier::{ErrorKind, findings};

use crate::Error;

/// Memory that ran out, as far as an error says.
///
/// ```
/// use omnimind_memory::Shortage;
///
/// let torch = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. GPU 1 has a total capacity of \
///     3.81 GiB of which 12.00 MiB is free.";
/// let shortage = Shortage::from_text(torch).ok_or("not recognised")?;
/// assert_eq!((shortage.device, shortage.missing_bytes()), (Some(1), Some(8 << 20)));
/// assert_eq!(Shortage::from_text("ValueError: shapes do not match"), None);
/// # Ok::<(), &str>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Shortage {
    /// Index of the card.
    pub device: Option<u32>,
    /// Bytes asked for.
    pub wanted_bytes: Option<u64>,
    /// Bytes that were free; where that is known, in one piece.
    pub free_bytes: Option<u64>,
}

impl Shortage {
    /// What an error, or what caused it, says of memory that ran out; none if it is about something else.
    #[must_use]
    pub fn of(error: &(dyn StdError + 'static)) -> Option<Self> {
        let mut error = Some(error);
        while let Some(this) = error {
            if let Some(shortage) = known(this).map(Self::from).or_else(|| Self::from_text(&this.to_string()))
            {
                return Some(shortage);
            }
            error = this.source();
        }
        None
    }

    /// What a message says of memory that ran out, whoever's it is; none if it does not report that.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        findings(text).find(|finding| finding.kind == ErrorKind::OutOfMemory)?;
        let wanted = ["allocate ", "allocating "].iter().find_map(|words| bytes_after(text, words));
        Some(Self {
            device: number_after(text, "GPU ").and_then(|(number, _)| number.parse().ok()),
            wanted_bytes: wanted,
            free_bytes: bytes_after(text, "of which "),
        })
    }

    /// Bytes that must become free; none if that is not known, or if as many were free, but not in one piece.
    #[must_use]
    pub fn missing_bytes(&self) -> Option<u64> {
        let missing = self.wanted_bytes?.saturating_sub(self.free_bytes.unwrap_or(0));
        Some(missing).filter(|&missing| missing > 0)
    }
}

impl From<&OutOfMemory> for Shortage {
    fn from(oom: &OutOfMemory) -> Self {
        Self {
            device: Some(oom.device),
            wanted_bytes: Some(oom.requested_bytes),
            free_bytes: Some(oom.largest_free_bytes.unwrap_or(oom.free_bytes)),
        }
    }
}

/// The state of the card, if the error is one of ours.
fn known<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e OutOfMemory> {
    let ours = match error.downcast_ref::<Error>() {
        Some(Error::Probe(source) | Error::Device { source, .. }) => Some(source),
        _ => error.downcast_ref::<gpu_probe::Error>(),
    };
    match ours {
        Some(gpu_probe::Error::OutOfMemory(oom)) => Some(oom),
        _ => error.downcast_ref::<OutOfMemory>(),
    }
}

/// The first number of bytes that follows these words.
fn bytes_after(text: &str, words: &str) -> Option<u64> {
    let (number, rest) = number_after(text, words)?;
    let number: f64 = number.replace(',', "").parse().ok()?;
    let unit: String = rest.trim_start().chars().take_while(char::is_ascii_alphabetic).collect();
    let unit = match unit.as_str() {
        "KiB" => f64::from(1 << 10),
        "MiB" => f64::from(1 << 20),
        "GiB" => f64::from(1 << 30),
        "TiB" => f64::from(1 << 20) * f64::from(1 << 20),
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        _ => 1.0,
    };
    Some((number * unit).ceil() as u64)
}

/// The digits, commas and points that follow these words somewhere, and what comes after them.
fn number_after<'t>(text: &'t str, words: &str) -> Option<(&'t str, &'t str)> {
    text.match_indices(words).find_map(|(at, _)| {
        let rest = text[at + words.len()..].trim_start();
        let end = rest.find(|c: char| !c.is_ascii_digit() && !",.".contains(c)).unwrap_or(rest.len());
        rest.starts_with(|c: char| c.is_ascii_digit()).then(|| rest.split_at(end))
    })
}

#[cfg(test)]
mod tests {
    use gpu_probe::{DeviceMemory, SimulatedGpu};
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> (Option<u32>, Option<u64>, Option<u64>) {
        let shortage = Shortage::from_text(text).unwrap();
        (shortage.device, shortage.wanted_bytes, shortage.free_bytes)
    }

    #[test]
    fn the_words_of_frameworks_are_understood_with_their_numbers() {
        // R13, R30
        for (text, device, wanted, free) in [
            (
                "CUDA out of memory. Tried to allocate 2.50 GiB (GPU 0; 3.81 GiB total)",
                Some(0),
                Some(5 << 29),
                None,
            ),
            (
                "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1073741824 bytes.",
                None,
                Some(1 << 30),
                None,
            ),
            (
                "cupy.cuda.memory.OutOfMemoryError: Out of memory allocating 1,024 bytes (allocated so far: 0 bytes).",
                None,
                Some(1024),
                None,
            ),
            ("RuntimeError: CUDA error: out of memory", None, None, None),
            ("cudaErrorMemoryAllocation", None, None, None),
        ] {
            assert_eq!(read(text), (device, wanted, free), "{text}");
        }
    }

    #[test]
    fn an_error_of_ours_says_it_in_numbers_however_deep_it_lies() {
        // R30
        let gpu = SimulatedGpu::new(1 << 20);
        let error = gpu.allocate(0, 3 << 20).unwrap_err();
        let expected = Shortage { device: Some(0), wanted_bytes: Some(3 << 20), free_bytes: Some(1 << 20) };
        assert_eq!(Shortage::of(&error), Some(expected));
        let error = Error::Device { tensor: "w".to_owned(), source: error };
        assert_eq!(Shortage::of(&error), Some(expected));
        assert_eq!(Shortage::of(&std::io::Error::other(error)), Some(expected), "as text");
        assert_eq!(expected.missing_bytes(), Some(2 << 20));
        assert_eq!(Shortage::of(&gpu_probe::Error::DeviceLost { device: 0 }), None);
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in ".{0,40}(allocate |GPU |of which )?[0-9.,]{0,30}( ?[KMGT]iB)?.{0,20}") {
            let text = format!("CUDA out of memory. {text}");
            prop_assert!(Shortage::from_text(&text).is_some());
        }
    }
}
