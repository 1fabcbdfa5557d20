//! What the GPU has, who holds it, and when to consolidate: one interface over a real card, a simulated one,
//! or none.
//!
//! | module | idea |
//! |---|---|
//! | [`probe`] | the two traits: [`GpuProbe`] looks, [`DeviceMemory`] allocates, copies and frees |
//! | [`info`] | what a look gives: devices, memory, processes, fragmentation |
//! | [`command_line()`] | how a process was started, where that is surely known |
//! | [`detect()`] | takes the real card where there is one; no GPU and no driver are normal answers |
//! | `cuda` | a real card, through the CUDA driver and NVML, both looked up at run time (feature `cuda`) |
//! | [`simulated`] | a card made of host memory: real contents, real fragmentation, failures on demand; one that several processes share |
//! | [`kernels`] | running programs on a card, with everything they need taken beforehand |
//! | [`none`] | no card, with the reason |
//! | [`watermark`] | "consolidate now", with hysteresis |
//! | [`sampler`] | what was seen of each card, again and again: a history |
//! | [`forecast`] | how full a card will be soon, from its history |
//! | [`placement`] | where work should run, and why |
//!
//! This crate reports and moves bytes. It decides when to consolidate and where work should run, and starts nothing.
//!
//! ```
//! use gpu_probe::{DeviceMemory, GpuProbe, SimulatedGpu, Watermark};
//!
//! let gpu = SimulatedGpu::default(); // one card of 3.81 GiB
//! let mut watermark = Watermark::default(); // enters above 85 %, leaves at 75 %
//! assert!(!watermark.should_consolidate(&gpu.memory(0)?));
//!
//! let model = gpu.allocate(0, 3500 << 20)?;
//! gpu.write(&model, 0, b"weights")?;
//! assert!(watermark.should_consolidate(&gpu.memory(0)?));
//!
//! let mut weights = [0; 7];
//! gpu.read(&model, 0, &mut weights)?;
//! assert_eq!(&weights, b"weights");
//! let given_back = gpu.free(model)?;
//! assert_eq!(given_back, 3500 << 20);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod command_line;
#[cfg(all(feature = "cuda", any(target_os = "linux", windows)))]
pub mod cuda;
mod detect;
mod error;
pub mod forecast;
pub mod info;
pub mod kernels;
pub mod none;
pub mod placement;
pub mod probe;
pub mod sampler;
pub mod simulated;
pub mod watermark;

pub use command_line::command_line;
#[cfg(all(feature = "cuda", any(target_os = "linux", windows)))]
pub use cuda::{CudaGpu, MemoryMeter};
pub use detect::{Detected, detect, detect_to_look};
pub use error::{Error, FreeError, OomCause, OutOfMemory, Result, human_bytes};
pub use forecast::{Expected, Trend};
pub use info::{DeviceInfo, Fragmentation, GpuProcess, MemoryInfo, Mig, MigInstance, ProcessKind};
pub use kernels::{DeviceSpan, KernelQueue, KernelSetup};
pub use none::NoGpu;
pub use placement::{CardState, Device, Placement, PlacementConfig, Rule, TaskKind, Work, place};
pub use probe::{Allocation, DeviceMemory, GpuProbe, Issuer};
pub use sampler::{Growth, Reading, Recorder, Sample, Sampler, SamplerConfig};
pub use simulated::{
    Allocator, DEFAULT_CAPACITY_BYTES, DEFAULT_PAGE_BYTES, Fault, SHARED_CARD_VARIABLE, SimulatedCard,
    SimulatedGpu,
};
pub use watermark::{Watermark, WatermarkConfig};
