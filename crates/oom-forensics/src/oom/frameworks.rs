//! What JAX, TensorFlow, `CuPy`, vLLM, ONNX Runtime and the libraries of the vendors print.

use crate::size::{bytes_after, leading_bytes, leading_number};

use super::code::is_code_before;
use super::{Message, Numbers, Source};

/// Where a message begins, and the message.
type Reader = fn(&str) -> Option<(usize, Message)>;

/// From the most telling to the barest.
const READERS: &[Reader] = &[tensorflow, jax, cupy, onnx_runtime, vllm, library];

pub(super) fn read(line: &str) -> Option<Message> {
    READERS.iter().find_map(|reader| reader(line)).filter(|(at, _)| !is_code_before(line, *at)).map(|it| it.1)
}

fn asked(source: Source, requested_bytes: Option<u64>) -> Message {
    Message::new(source, Numbers { requested_bytes, ..Numbers::default() })
}

/// `RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes.`
fn jax(line: &str) -> Option<(usize, Message)> {
    const TRYING: [&str; 2] = ["ut of memory while trying to allocate ", "ut of memory trying to allocate "];
    if let Some((at, words)) = TRYING.iter().find_map(|words| Some((line.find(words)?, words))) {
        let at = if line[..at].ends_with(['O', 'o']) { at - 1 } else { at };
        return Some((at, asked(Source::Jax, bytes_after(line, words))));
    }
    let at = line.find("RESOURCE_EXHAUSTED")?;
    let rest = line[at..].to_ascii_lowercase();
    // The same status is used for quotas and full disks.
    let is_memory = ["memory", "alloc", "hbm"].iter().any(|word| rest.contains(word));
    is_memory.then(|| {
        let mut message = asked(Source::Jax, None);
        // "Ran out of memory in memory space hbm. Used 18.3G of 15.5G hbm."
        message.numbers.total_bytes = line[at..]
            .split_once("Used ")
            .and_then(|(_, rest)| rest.split_once(" of "))
            .and_then(|(_, total)| leading_bytes(total));
        (at, message)
    })
}

/// `OOM when allocating tensor with shape[256,1024,1024] and type float on /job:…/device:GPU:0 by allocator GPU_0_bfc`
fn tensorflow(line: &str) -> Option<(usize, Message)> {
    let at = line.find("OOM when allocating")?;
    let mut message = asked(Source::TensorFlow, tensor_bytes(&line[at..]));
    if line[at..].contains("device:CPU") {
        message.source = Source::HostAllocator;
    }
    let device = line[at..].split_once("device:GPU:").and_then(|(_, rest)| leading_number(rest));
    message.numbers.device = device.and_then(|device| device.try_into().ok());
    Some((at, message))
}

fn tensor_bytes(text: &str) -> Option<u64> {
    let (_, shape) = text.split_once("shape[")?;
    let (shape, rest) = shape.split_once(']')?;
    let mut elements = 1_u64;
    for dimension in shape.split(',').filter(|dimension| !dimension.trim().is_empty()) {
        elements = elements.saturating_mul(dimension.trim().parse().ok()?);
    }
    let kind = rest.split_once("type ")?.1.split(' ').next()?;
    let width = match kind {
        "bool" | "int8" | "uint8" | "qint8" | "quint8" => 1,
        "half" | "bfloat16" | "int16" | "uint16" => 2,
        "float" | "int32" | "uint32" | "qint32" => 4,
        "double" | "int64" | "uint64" | "complex64" => 8,
        "complex128" => 16,
        _ => return None,
    };
    Some(elements.saturating_mul(width))
}

/// `cupy.cuda.memory.OutOfMemoryError: Out of memory allocating 1,024 bytes (allocated so far: 512 bytes, limit set to: …)`
fn cupy(line: &str) -> Option<(usize, Message)> {
    const ALLOCATING: &str = "Out of memory allocating ";
    let at = line.find(ALLOCATING)?;
    let mut message = asked(Source::CuPy, bytes_after(line, ALLOCATING));
    message.numbers.allocated_bytes = bytes_after(line, "allocated so far: ");
    message.numbers.total_bytes = bytes_after(line, "limit set to: ");
    Some((at, message))
}

fn onnx_runtime(line: &str) -> Option<(usize, Message)> {
    const BUFFER: &str = "Failed to allocate memory for requested buffer of size ";
    if let Some(at) = line.find(BUFFER) {
        return Some((at, asked(Source::OnnxRuntime, bytes_after(line, BUFFER))));
    }
    if let Some(at) = line.find("CUDA failure 2: out of memory") {
        let mut message = asked(Source::OnnxRuntime, None);
        message.numbers.device =
            line.split_once("GPU=").and_then(|(_, gpu)| leading_number(gpu)?.try_into().ok());
        return Some((at, message));
    }
    let (at, smaller) = (line.find("Available memory of ")?, " is smaller than requested bytes of ");
    let mut message = asked(Source::OnnxRuntime, Some(bytes_after(line, smaller)?));
    message.numbers.free_bytes = bytes_after(line, "Available memory of ");
    Some((at, message))
}

fn vllm(line: &str) -> Option<(usize, Message)> {
    // "Free memory on device (3.2/79.1 GiB) on startup is less than desired GPU memory utilization (0.9, 71.2 GiB)."
    if let Some(at) = line.find("is less than desired GPU memory utilization") {
        let mut message = asked(Source::Vllm, None);
        let share = line[at..].split_once('(').and_then(|(_, inner)| inner.split_once(", "));
        message.numbers.requested_bytes = share.and_then(|(_, wanted)| leading_bytes(wanted));
        if let Some((free, rest)) = line[..at].rsplit_once('(').and_then(|(_, inner)| inner.split_once('/')) {
            message.numbers.total_bytes = leading_bytes(rest);
            let unit = rest.split_once(' ').and_then(|(_, unit)| unit.split(')').next()).unwrap_or_default();
            message.numbers.free_bytes = leading_bytes(&format!("{free} {unit}"));
        }
        return Some((at, message));
    }
    // "(4.00 GiB KV cache is needed, which is larger than the available KV cache memory (2.35 GiB)."
    if let Some(at) = line.find(" KV cache is needed") {
        let mut message = asked(Source::Vllm, crate::size::bytes_before(line, " KV cache is needed"));
        message.numbers.free_bytes = bytes_after(line, "available KV cache memory (");
        return Some((at, message));
    }
    let phrases = ["No available memory for the cache blocks", "can be stored in KV cache"];
    let at = phrases.iter().find_map(|phrase| line.find(phrase))?;
    Some((at, asked(Source::Vllm, None)))
}

fn library(line: &str) -> Option<(usize, Message)> {
    const SUFFIXES: [&str; 3] = ["_ALLOC_FAILED", "_ALLOCATION_FAILED", "rocblas_status_memory_error"];
    let at = SUFFIXES.iter().find_map(|suffix| line.find(suffix))?;
    let name =
        line[..at].rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().unwrap_or_default();
    let is_library = ["CU", "cu", "HIP", "hip", "ROC", "roc", "MIOPEN", "NCCL", "NVML"];
    let known = name.is_empty() || is_library.iter().any(|prefix| name.starts_with(prefix));
    known.then(|| (at, asked(Source::GpuLibrary, None)))
}
