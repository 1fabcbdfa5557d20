use gpu_probe::{DeviceMemory, GpuProbe, SimulatedGpu};
use proptest::prelude::*;
use softhair_compress::DType;

use super::*;
use crate::TensorData;

const MODEL_BYTES: u64 = 64 << 10;

fn consolidator(dir: &tempfile::TempDir, card_bytes: u64) -> (Arc<SimulatedGpu>, Arc<Consolidator>) {
    let gpu = Arc::new(SimulatedGpu::new(card_bytes));
    let consolidator =
        Consolidator::builder().store(dir.path().join("store")).gpu(gpu.clone()).without_kernels();
    (gpu, Arc::new(consolidator.build().unwrap()))
}

fn contents(seed: u8) -> Vec<u8> {
    (0..MODEL_BYTES).map(|at| (at as u8).wrapping_mul(seed | 1)).collect()
}

fn model(gpu: &SimulatedGpu, consolidator: &Arc<Consolidator>, seed: u8) -> Model {
    let allocation = gpu.allocate(0, MODEL_BYTES).unwrap();
    gpu.write(&allocation, 0, &contents(seed)).unwrap();
    let tensor = NamedTensor::device("w", DType::U8, [MODEL_BYTES as usize], allocation);
    let item = Item { policy: Some(Policy::Exact), ..Item::new("model", vec![tensor]) };
    consolidator.model(item, &context()).unwrap()
}

fn context() -> ProcessContext {
    ProcessContext::new("server").unwrap()
}

fn read(gpu: &SimulatedGpu, item: &Item<'_>) -> Vec<u8> {
    let TensorData::Device(allocation) = &item.tensors[0].data else { panic!("not on the device") };
    let mut bytes = vec![0; MODEL_BYTES as usize];
    gpu.read(allocation, 0, &mut bytes).unwrap();
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_leased_model_is_there_and_whole_whatever_happens_around_it(
        steps in prop::collection::vec((0_usize..3, 0_u8..3), 1..25),
    ) {
        // R46. There is room for two of three, and each is wanted again and again.
        let dir = tempfile::tempdir().unwrap();
        let (gpu, consolidator) = consolidator(&dir, 2 * MODEL_BYTES);
        let mut models = Vec::new();
        for seed in 0..3 {
            let _ = consolidator.consolidate_idle(u64::MAX);
            models.push(model(&gpu, &consolidator, seed));
        }
        let mut leases: Vec<Vec<ModelLease<'_>>> = vec![vec![], vec![], vec![]];
        for (which, step) in steps {
            match step {
                0 => {
                    let in_use = leases.iter().filter(|leases| !leases.is_empty()).count();
                    let lease = models[which].lease();
                    if !leases[which].is_empty() || in_use < 2 {
                        leases[which].push(lease.unwrap());
                    } else {
                        prop_assert!(lease.is_err(), "two are in use, and there is no room for a third");
                    }
                }
                1 => drop(leases[which].pop()),
                _ => drop(consolidator.consolidate_idle(MODEL_BYTES)),
            }
            for (seed, leases) in leases.iter().enumerate() {
                prop_assert_eq!(models[seed].is_leased(), !leases.is_empty());
                for lease in leases {
                    prop_assert_eq!(read(&gpu, lease.item()), contents(seed as u8));
                }
            }
        }
        drop(leases);
        for model in models {
            match model.into_item() {
                Taken::Item(item) => drop(consolidator.consolidate(vec![item], &context())),
                Taken::Consolidated(_) => {}
                Taken::Unknown => prop_assert!(false, "a model was lost"),
            }
        }
        prop_assert_eq!(gpu.memory(0).unwrap().used_bytes, 0);
    }
}

#[test]
fn a_model_that_cannot_come_back_stays_in_the_store_and_the_next_lease_tries_again() {
    let dir = tempfile::tempdir().unwrap();
    let (gpu, consolidator) = consolidator(&dir, 2 * MODEL_BYTES);
    let model = model(&gpu, &consolidator, 7);
    assert_eq!(consolidator.consolidate_idle(u64::MAX).consolidated.len(), 1);
    let others = gpu.allocate(0, 2 * MODEL_BYTES).unwrap();
    let error = model.lease().unwrap_err().to_string();
    assert!(error.contains("memory"), "{error}");
    gpu.free(others).unwrap();
    assert_eq!(read(&gpu, &model.lease().unwrap()), contents(7));
}

#[test]
fn a_model_in_host_memory_comes_back_to_host_memory_and_one_in_two_places_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (gpu, consolidator) = consolidator(&dir, MODEL_BYTES);
    let host = || NamedTensor::host("h", DType::U8, [4], vec![1, 2, 3, 4]);
    let model = consolidator.model(Item::new("model", vec![host()]), &context()).unwrap();
    let lease = model.lease().unwrap();
    assert!(matches!(&lease.tensors[0].data, TensorData::Host(bytes) if bytes[..] == [1, 2, 3, 4]));
    drop(lease);
    let device = NamedTensor::device("d", DType::U8, [4], gpu.allocate(0, 4).unwrap());
    let failed = consolidator.model(Item::new("model", vec![host(), device]), &context()).unwrap_err();
    assert!(failed.error.to_string().contains("several places"), "{}", failed.error);
    assert_eq!(failed.item.tensors.len(), 2);
}

#[test]
fn a_model_that_somebody_took_away_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (gpu, consolidator) = consolidator(&dir, MODEL_BYTES);
    let model = model(&gpu, &consolidator, 1);
    let taken = consolidator.take(consolidator.idle_items()[0].id);
    assert!(matches!(taken, Taken::Item(_)));
    assert!(model.lease().unwrap_err().to_string().contains("took it out"));
}
