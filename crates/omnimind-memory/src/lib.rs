//! Consolidates GPU memory instead of deleting it.
//!
//! When a GPU runs out of memory, the usual answer throws away what was learned. A [`Consolidator`] moves it out
//! instead: into a durable store, compressed within an error bound that the caller chooses, findable by similarity, and
//! back again when it is wanted. What was born of a failure is sealed to a keyholder: kept whole, and unreadable by the
//! process that lived it.
//!
//! ```
//! use std::sync::Arc;
//! use omnimind_memory::{Consolidator, DType, DeviceMemory, Item, NamedTensor, ProcessContext, SimulatedGpu};
//!
//! # let scratch = tempfile::tempdir()?;
//! # let dir = scratch.path().join("store");
//! let gpu = Arc::new(SimulatedGpu::default());
//! let weights: Vec<u8> = (0..128 * 64).flat_map(|i| ((i % 89) as f32 / 89.0 - 0.5).to_le_bytes()).collect();
//! let allocation = gpu.allocate(0, weights.len() as u64)?;
//! gpu.write(&allocation, 0, &weights)?;
//!
//! let consolidator = Consolidator::builder().store(&dir).gpu(gpu).build()?;
//! let context = ProcessContext::new("trainer")?;
//! let mut item = Item::new("model", vec![NamedTensor::device("w", DType::F32, [128, 64], allocation)]);
//! item.signature = Some(vec![0.6, 0.8]);
//!
//! let consolidated = consolidator.consolidate(vec![item], &context);
//! assert!(consolidated.failed.is_empty());
//! assert_eq!(consolidated.freed_bytes(), weights.len() as u64);
//!
//! let familiar = consolidator.deja_vu(&context, &[0.7, 0.7], 1)?;
//! let back = consolidator.reactivate(&familiar[0].content_hash, &context)?;
//! assert!(back.tensors[0].rel_l2_error <= 0.006);
//! assert_eq!(back.tensors[0].bytes.len(), weights.len());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | its idea |
//! |---|---|
//! | `consolidator` | what belongs together: store, device, classifier, bound, keyholder, index |
//! | `item`, `context` | what is handed over, and by whom |
//! | `borrowed`, `layout` | memory of others, read where it is and given back |
//! | `dlpack`, `cuda_array` | how frameworks hand it over |
//! | `pressure`, `placement` | whether it is time to consolidate; where work should run |
//! | `consolidate` | classify, hash, compress or seal, commit, free |
//! | `sealed` | what was born of a failure, encrypted without ever lying open on disk |
//! | `content` | what makes two memories the same one |
//! | `idle`, `shortage`, `rescue` | what may leave first, what ran out, and making room for it |
//! | `lease` | models that are critical while somebody uses them, and idle else |
//! | `protection` | pages of leased models that stay in RAM (on Linux) |
//! | `release` | a monitor of the machine asks for RAM or VRAM, and idle items leave (on Linux) |
//! | `pool` | tensors whose address outlives their contents |
//! | `kernels` | the card's own kernels for all this, or the processor |
//! | `deja_vu` | what a query resembles, across processes |
//! | `follower`, `index` | an index that is in step with the store, shared by threads |
//! | `compaction`, `index_care` | when its next snapshot is made; whether it holds what the store holds |
//! | `influence`, `sealed_signatures` | what a query resembles among what nobody may read |
//! | `disclose` | the owner of the key looks inside, or exchanges the key |
//! | `reactivate`, `on_device` | bringing back into host memory, as a stream, into VRAM |
//! | `outcome`, `error` | what came of it |
//! | [`witness`] | saying so to whoever watches from outside |
//!
//! There is no algorithm here: how tensors are compressed, where bytes are kept, what is traumatic and who may recall
//! what is decided in the crates that this one composes, whose types it re-exports where its own interface needs them.

mod borrowed;
mod compaction;
mod consolidate;
mod consolidator;
mod content;
mod context;
mod cuda_array;
mod deja_vu;
#[cfg(feature = "homomorphic")]
mod disclose;
mod dlpack;
mod error;
mod follower;
mod idle;
mod index;
mod index_care;
#[cfg(feature = "homomorphic")]
mod influence;
mod item;
mod kernels;
mod lanes;
mod layout;
mod lease;
mod on_device;
mod outcome;
mod placement;
mod pool;
mod pressure;
mod protection;
mod reactivate;
mod rehearsal;
#[cfg(target_os = "linux")]
mod release;
mod rescue;
mod sealed;
#[cfg(feature = "homomorphic")]
mod sealed_signatures;
mod shortage;
mod source;
pub mod witness;

pub use borrowed::Borrowed;
pub use compaction::Compaction;
pub use consolidator::{Builder, Consolidator};
pub use content::DOMAIN as CONTENT_HASH_DOMAIN;
pub use context::{MAX_CONTEXT_BYTES, ProcessContext};
pub use cuda_array::{CudaArray, CudaArrayInterface};
pub use deja_vu::Familiarity;
#[cfg(feature = "homomorphic")]
pub use disclose::{DisclosedTensor, Disclosure, LeftSealed, Resealed};
pub use dlpack::{DLDataType, DLDevice, DLManagedTensor, DLManagedTensorVersioned, DLPackVersion, DLTensor};
pub use error::{Error, ErrorClass, Result};
pub use follower::Notice;
pub use idle::{IdleId, IdleItem, IdleState, RecallCost, Taken};
pub use index_care::IndexCheck;
#[cfg(feature = "homomorphic")]
pub use influence::{Felt, Influence, InfluenceLevel, Unanswered};
pub use item::{Item, MAX_TENSOR_NAME_BYTES, NamedTensor, TensorData};
pub use kernels::CardQueue;
pub use lease::{Model, ModelLease};
pub use on_device::{DeviceTensor, ReactivatedOnDevice};
pub use outcome::{Consolidated, Failed, Outcome, StillHeld};
pub use pool::{GroupState, GroupStatus, Paused, Pool, PooledTensor, Resumed, Unvacated};
pub use pressure::Pressure;
pub use protection::Protection;
pub use reactivate::{OwnedTensor, Reactivated, TensorStream, TraceWarning};
#[cfg(target_os = "linux")]
pub use release::ReleaseOnRequest;
pub use rescue::{NotRescued, Ran, Relief, Rescued};
#[cfg(feature = "homomorphic")]
pub use sealed_signatures::MOST_ASKED;
pub use shortage::Shortage;

pub use activation_index::{
    ColumnStats, CompactOptions, CompactReport, GraphStats, IndexConfig, IndexError, IndexStats, Metric,
    QueryFilter,
};
pub use encrypted_unconscious::Recipient;
#[cfg(feature = "homomorphic")]
pub use encrypted_unconscious::keyholder::{Keyholder, SumAnswer};
pub use gpu_probe::{
    Allocation, Device, DeviceMemory, GpuProbe, KernelQueue, KernelSetup, NoGpu, Placement, PlacementConfig,
    Rule, Sampler, SamplerConfig, SimulatedGpu, TaskKind, WatermarkConfig, detect,
};
pub use memory_store::{
    ContentHash, Filter, GcReport, LayerName, Memory, MemorySummary, Stats, Store, Tensor, Trace,
    VerifyReport, Via,
};
pub use softhair_compress::{DType, Family, FrameHeader, Policy, TensorView, device::DeviceCodec};
pub use topic_classifier::{Classification, Classifier, ClassifierConfig, Layer, Signals, Weights};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
