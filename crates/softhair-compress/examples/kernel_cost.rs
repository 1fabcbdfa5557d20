//! What each kernel costs, counted in an emulator: instructions that warps issue and bytes that cross the card's memory, for each
//! 32 values of normal weights at the default bound. Needs no card, and says nothing about time: compare with what a card can issue.
//!
//! `cargo run --release -p softhair-compress --example kernel_cost`

#[path = "../tests/emulated/mod.rs"]
#[allow(dead_code, reason = "tests need more of it")]
mod emulated;

use std::io::Cursor;

use emulated::EmulatedCard;
use softhair_compress::{DType, Policy, device::DeviceCodec};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shape = [16, 65_536];
    let values = shape[0] * shape[1];
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let mut normal = || (0..12).map(|_| uniform()).sum::<f32>() - 6.0;
    let weights: Vec<f32> = (0..values).map(|_| 0.02 * normal()).collect();
    println!("{:6} {:22} {:>14} {:>10} {:>10}", "type", "kernel", "instructions", "B read", "B written");
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let bytes: Vec<u8> = match dtype {
            DType::F32 => weights.iter().flat_map(|value| value.to_le_bytes()).collect(),
            DType::F16 => {
                weights.iter().flat_map(|&value| half::f16::from_f32(value).to_le_bytes()).collect()
            }
            _ => weights.iter().flat_map(|&value| half::bf16::from_f32(value).to_le_bytes()).collect(),
        };
        let mut codec = DeviceCodec::new(EmulatedCard::with_lane_bytes(1, 16 << 20))?;
        let address = codec.card().holding(&bytes);
        let mut frame = Cursor::new(Vec::new());
        codec.compress_to(dtype, &shape, address, Policy::Default, &mut frame)?;
        let restored = codec.restore_from(frame.get_ref().as_slice(), address);
        if dtype == DType::F32 {
            codec.digest(address, bytes.len() as u64)?;
        }
        for (kernel, cost) in codec.card().costs() {
            let each = |count: u64| count as f64 / (values as f64 / 32.0);
            let [instructions, read, written] =
                [cost.instructions, cost.global_bytes_read, cost.global_bytes_written].map(each);
            println!("{:6} {kernel:22} {instructions:14.1} {read:10.1} {written:10.1}", dtype.name());
            if std::env::var_os("OPCODES").is_some() {
                let mut opcodes: Vec<_> = cost.by_opcode.iter().collect();
                opcodes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
                for (opcode, &count) in opcodes.into_iter().take(16) {
                    println!("       {opcode:>30} {:8.2}", each(count));
                }
            }
        }
        restored?;
    }
    Ok(())
}
