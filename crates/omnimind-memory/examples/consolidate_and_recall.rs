//! Fills a simulated GPU past its threshold, consolidates, finds the memory again by similarity, and brings it back.

use std::{error::Error, sync::Arc};

use omnimind_memory::{Consolidator, DType, DeviceMemory, Item, NamedTensor, ProcessContext, SimulatedGpu};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let gpu = Arc::new(SimulatedGpu::new(1 << 20));
    let consolidator = Consolidator::builder().store(dir.path().join("store")).gpu(gpu.clone()).build()?;
    let context = ProcessContext::new("trainer")?;

    let mut items = Vec::new();
    while !consolidator.should_consolidate()?.consolidate {
        let seed = items.len();
        let weights: Vec<u8> = (0..128 * 128)
            .flat_map(|at: usize| ((at * (seed + 7) % 997) as f32 / 997.0 - 0.5).to_le_bytes())
            .collect();
        let allocation = gpu.allocate(0, weights.len() as u64)?;
        gpu.write(&allocation, 0, &weights)?;
        let mut item =
            Item::new("layer", vec![NamedTensor::device("weight", DType::F32, [128, 128], allocation)]);
        item.signature = Some(vec![seed as f32 + 1.0, 5.0]);
        items.push(item);
    }
    println!("{}", consolidator.should_consolidate()?.reason);

    let consolidated = consolidator.consolidate(items, &context);
    println!("{} memories, {} bytes of VRAM freed", consolidated.outcomes.len(), consolidated.freed_bytes());
    println!("{}", consolidator.should_consolidate()?.reason);

    let familiar = consolidator.deja_vu(&context, &[3.0, 5.0], 1)?;
    let found = familiar.first().ok_or("nothing is familiar")?;
    let back = consolidator.reactivate_on_device(&found.content_hash, &context)?;
    println!("{} is back: similarity {:.3}", found.content_hash, found.similarity);
    for tensor in back.tensors {
        println!("{} {:?}: {} bytes of VRAM", tensor.name, tensor.shape, gpu.free(tensor.allocation)?);
    }
    Ok(())
}
