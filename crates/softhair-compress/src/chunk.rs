//! One chunk of a tensor: which family codes it, until the bound is seen to hold, and the way back.

use std::borrow::Cow;

use crate::{
    DType, Error, Family, Result, exact,
    frame::CHUNK_HEADER_BYTES,
    grain::{self, Step},
    halves,
    measure::Errors,
    policy::{DEFAULT_REL_L2, Target},
    real::Real,
    soft,
};

/// A chunk as it is stored.
pub(crate) struct Stored<'a> {
    pub(crate) family: Family,
    pub(crate) payload: &'a [u8],
}

/// A chunk as it will be stored.
pub(crate) struct Encoded {
    pub(crate) family: Family,
    pub(crate) payload: Vec<u8>,
    pub(crate) errors: Errors,
}

impl Encoded {
    /// Bytes in the frame.
    pub(crate) fn stored_bytes(&self) -> usize {
        CHUNK_HEADER_BYTES + self.payload.len()
    }

    /// What stands in front of the payload: family, three zeros, length.
    pub(crate) fn header(&self) -> [u8; CHUNK_HEADER_BYTES] {
        let [a, b, c, d] = (self.payload.len() as u32).to_le_bytes();
        [self.family.code(), 0, 0, 0, a, b, c, d]
    }
}

/// Family and payload length of a chunk header.
pub(crate) fn parse_header(header: [u8; CHUNK_HEADER_BYTES]) -> Result<(Family, usize)> {
    let [family, 0, 0, 0, a, b, c, d] = header else {
        return Err(Error::Damaged("a reserved field of a chunk is not zero"));
    };
    let family = Family::from_code(family).ok_or(Error::Damaged("unknown family of a chunk"))?;
    Ok((family, u32::from_le_bytes([a, b, c, d]) as usize))
}

/// Most bytes that the payload of a chunk may have. Every encoder stays far below; a longer one is damage.
pub(crate) fn max_stored_bytes(original_bytes: usize) -> usize {
    2 * original_bytes + 4096
}

/// Chunks that are worked on at once: enough for every thread, in little memory.
pub(crate) fn window(chunk_bytes: usize) -> usize {
    let threads = rayon::current_num_threads();
    (4 * threads).min((WINDOW_BYTES / chunk_bytes.max(1)).max(threads)).max(1)
}

/// Original bytes in flight, unless the threads need more than that to be busy.
const WINDOW_BYTES: usize = 32 << 20;

impl Stored<'_> {
    /// Fills `out` with the chunk's elements.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the payload does not describe exactly those.
    pub(crate) fn decode(&self, dtype: DType, dims: &[usize], out: &mut [u8]) -> Result<()> {
        match (self.family, dtype) {
            (Family::Exact, _) => exact::decode(dtype, self.payload, out),
            (family, DType::F32) => decode_lossy::<f32>(family, self.payload, dims, out),
            (family, DType::F64) => decode_lossy::<f64>(family, self.payload, dims, out),
            (family, DType::F16 | DType::BF16) => {
                let mut wide = vec![0; 2 * out.len()];
                decode_lossy::<f32>(family, self.payload, dims, &mut wide)?;
                halves::narrow(dtype, &wide, out);
                Ok(())
            }
            _ => Err(Error::Damaged("integers are never stored with loss")),
        }
    }
}

fn decode_lossy<T: Lossy>(family: Family, payload: &[u8], dims: &[usize], out: &mut [u8]) -> Result<()> {
    let decode = |values: &mut [T]| match family {
        Family::Grain => grain::decode(payload, values),
        _ => soft::decode(payload, dims, values),
    };
    if let Some(values) = T::slice_le_mut(out) {
        return decode(values);
    }
    let mut values = vec![T::default(); out.len() / T::BYTES];
    decode(&mut values)?;
    for (out, value) in out.chunks_exact_mut(T::BYTES).zip(values) {
        value.store_le(out);
    }
    Ok(())
}

/// A type that both lossy families know.
trait Lossy: Real + grain::Kernels {}
impl<T: Real + grain::Kernels> Lossy for T {}

/// Codes a chunk so that `target` holds, with `family` if that can promise it, else exactly.
///
/// # Errors
/// [`Error::RatioOutOfReach`].
pub(crate) fn encode(
    dtype: DType,
    dims: &[usize],
    bytes: &[u8],
    target: Target,
    family: Family,
) -> Result<Encoded> {
    let lossy = match (family, dtype) {
        (Family::Exact, _) => None,
        (family, DType::F32) => Source::<f32>::new(dtype, dims, bytes).reach(family, target),
        (family, DType::F64) => Source::<f64>::new(dtype, dims, bytes).reach(family, target),
        (family, DType::F16 | DType::BF16) => {
            Source::<f32>::new(dtype, dims, &halves::widen(dtype, bytes)).against(bytes).reach(family, target)
        }
        _ => None,
    };
    // Rounding may cost more than it saves: tiny chunks, bounds close to the precision of the type.
    if let Some(encoded) = lossy.filter(|encoded| encoded.payload.len() < bytes.len()) {
        return Ok(encoded);
    }
    let encoded = encode_exact(dtype, bytes);
    match target {
        Target::Ratio(asked) if encoded.stored_bytes() as f64 > asked * bytes.len() as f64 => {
            let reached = encoded.stored_bytes() as f64 / bytes.len() as f64;
            Err(Error::RatioOutOfReach { asked, reached, dtype: dtype.name() })
        }
        _ => Ok(encoded),
    }
}

pub(crate) fn encode_exact(dtype: DType, bytes: &[u8]) -> Encoded {
    let mut payload = Vec::with_capacity(bytes.len());
    exact::encode(dtype, bytes, &mut payload);
    Encoded { family: Family::Exact, payload, errors: norm(dtype, bytes) }
}

/// Errors of an exact chunk. Its norm counts only beside lossy chunks, which only floats have.
fn norm(dtype: DType, bytes: &[u8]) -> Errors {
    fn of<T: Real>(bytes: &[u8]) -> Errors {
        let mut errors = Errors::default();
        for value in bytes.chunks_exact(T::BYTES).map(T::read_le) {
            errors.add(value.to_f64(), value.to_f64());
        }
        errors
    }
    match dtype {
        DType::F32 => of::<f32>(bytes),
        DType::F64 => of::<f64>(bytes),
        DType::F16 | DType::BF16 => of::<f32>(&halves::widen(dtype, bytes)),
        _ => Errors::default(),
    }
}

/// The values of one chunk, and what to measure a reconstruction against.
struct Source<'a, T: Clone> {
    dtype: DType,
    dims: &'a [usize],
    values: Cow<'a, [T]>,
    /// The original halves where `values` were widened: their reconstruction is rounded once more.
    halves: Option<&'a [u8]>,
}

impl<'a, T: Lossy> Source<'a, T> {
    fn new(dtype: DType, dims: &'a [usize], bytes: &'a [u8]) -> Self {
        Self { dtype, dims, values: T::slice_le(bytes), halves: None }
    }

    fn against(mut self, halves: &'a [u8]) -> Self {
        self.halves = Some(halves);
        self
    }

    fn reach(&self, family: Family, target: Target) -> Option<Encoded> {
        match target {
            Target::Exact => None,
            Target::MaxAbs(bound) => self.reach_max_abs(family, bound),
            Target::RelL2(bound) => self.reach_rel_l2(family, bound),
            Target::Ratio(ratio) => self.reach_ratio(family, ratio),
        }
    }

    fn reach_max_abs(&self, family: Family, bound: f64) -> Option<Encoded> {
        let mut aim = bound * (1.0 - 1e-6);
        for _ in 0..4 {
            let encoded = match family {
                Family::Soft => self.soft(aim)?,
                _ => self.grain(Step::Fixed(2.0 * aim))?,
            };
            if encoded.errors.max_abs <= bound {
                return Some(encoded);
            }
            // Rounding to the type of the data took the rest: halves, or bounds near the last bit.
            aim -= (encoded.errors.max_abs - bound) * 1.01;
            if aim <= bound / 8.0 {
                return None;
            }
        }
        None
    }

    fn reach_rel_l2(&self, family: Family, bound: f64) -> Option<Encoded> {
        // Rounding errors are uniform over a step: their root mean square is step / √12.
        let mut aim = first_aim(bound);
        let rms = self.rms();
        for _ in 0..6 {
            let encoded = match family {
                Family::Soft => self.soft(aim * rms * 3f64.sqrt())?,
                _ => self.grain(Step::OfBlockRms(aim * 12f64.sqrt()))?,
            };
            if encoded.errors.in_range() && encoded.errors.rel_l2() <= bound {
                return Some(encoded);
            }
            if !encoded.errors.in_range() {
                return None;
            }
            aim *= (bound / encoded.errors.rel_l2()).min(0.999) * 0.999;
        }
        None
    }

    /// Searches the finest step whose payload fits; one chunk at a time, so that every part of the tensor fits.
    fn reach_ratio(&self, family: Family, ratio: f64) -> Option<Encoded> {
        let original_bytes = self.values.len() * self.dtype.size_bytes();
        let budget = ratio * original_bytes as f64 - CHUNK_HEADER_BYTES as f64;
        let rms = self.rms();
        let attempt = |log_step: f64| match family {
            Family::Soft => self.soft(log_step.exp2() * rms),
            _ => self.grain(Step::OfBlockRms(log_step.exp2())),
        };
        // A halved step costs a bit per value; from 1e-7 to 1e3 root mean squares covers every float.
        let (mut fine, mut coarse) = (-24.0, 10.0);
        let mut best: Option<Encoded> = None;
        let mut guess = 2.05 - 8.0 * budget / self.values.len() as f64;
        for _ in 0..12 {
            let log_step = if guess > fine && guess < coarse { guess } else { f64::midpoint(fine, coarse) };
            let encoded = attempt(log_step);
            let excess_bits = match &encoded {
                Some(encoded) => 8.0 * (encoded.payload.len() as f64 - budget) / self.values.len() as f64,
                None => 1.0,
            };
            if excess_bits <= 0.0 {
                coarse = log_step;
                best = encoded;
                if excess_bits > -0.02 {
                    break;
                }
            } else {
                fine = log_step;
            }
            guess = log_step + excess_bits + if excess_bits > 0.0 { 0.01 } else { 0.0 };
        }
        best
    }

    /// Root mean square of the finite values.
    fn rms(&self) -> f64 {
        let finite = self.values.iter().filter(|value| value.is_finite());
        let (count, sum) = finite
            .fold((0usize, 0.0), |(count, sum), value| (count + 1, sum + value.to_f64() * value.to_f64()));
        if count == 0 { 0.0 } else { (sum / count as f64).sqrt() }
    }

    fn grain(&self, step: Step) -> Option<Encoded> {
        let mut payload = Vec::new();
        let errors = grain::encode(&self.values, step, &mut payload)?;
        let errors = if self.halves.is_some() { self.measure(Family::Grain, &payload)? } else { errors };
        Some(Encoded { family: Family::Grain, payload, errors })
    }

    fn soft(&self, max_abs: f64) -> Option<Encoded> {
        let mut payload = Vec::new();
        soft::encode(&self.values, self.dims, max_abs, &mut payload)?;
        let errors = self.measure(Family::Soft, &payload)?;
        Some(Encoded { family: Family::Soft, payload, errors })
    }

    /// Decodes a payload and compares it with the original.
    fn measure(&self, family: Family, payload: &[u8]) -> Option<Errors> {
        let mut restored = vec![0; self.values.len() * T::BYTES];
        decode_lossy::<T>(family, payload, self.dims, &mut restored).ok()?;
        if let Some(halves) = self.halves {
            let mut narrow = vec![0; halves.len()];
            halves::narrow(self.dtype, &restored, &mut narrow);
            restored = halves::widen(self.dtype, &narrow);
        }
        let restored = restored.chunks_exact(T::BYTES).map(T::read_le).map(T::to_f64);
        Some(Errors::between(self.values.iter().copied().map(T::to_f64).zip(restored)))
    }
}

/// How many root mean squares of a block a step of the first attempt at a relative bound is.
pub(crate) fn first_step(bound: f64) -> f64 {
    first_aim(bound) * 12f64.sqrt()
}

/// The relative error that is tried first for a bound.
fn first_aim(bound: f64) -> f64 {
    if bound == DEFAULT_REL_L2 { DEFAULT_REL_L2_AIM } else { bound * 0.9995 }
}

/// What [`crate::Policy::Default`] aims at below what it promises: on all-MiniLM-L6-v2 this keeps the mean
/// cosine of sentence embeddings above 0.99985, which the bound itself would just miss.
const DEFAULT_REL_L2_AIM: f64 = 0.00575;
