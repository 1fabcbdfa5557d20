//! Holds idle models, and gives their memory away when a monitor of the machine asks for it. Ends when everything has left.
//!
//! ```text
//! cargo run -p omnimind-memory --example release_on_request /tmp/release &
//! omnimind memory release --socket /tmp/release --mib 1 --vram
//! omnimind memory release --socket /tmp/release --mib 1
//! ```

use std::error::Error;

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn Error>> {
    use std::{env, sync::Arc, thread, time::Duration};

    use omnimind_memory::{
        Consolidator, DType, DeviceMemory, GpuProbe, IdleState, Item, NamedTensor, ProcessContext,
        SimulatedGpu,
    };

    const MIB: usize = 1 << 20;

    let socket = env::args_os().nth(1).ok_or("name a socket to listen at, such as /tmp/release")?;
    let dir = tempfile::tempdir()?;
    let gpu = Arc::new(SimulatedGpu::new(8 << 20));
    let consolidator = Consolidator::builder().store(dir.path().join("store")).gpu(gpu.clone()).build()?;
    let consolidator = Arc::new(consolidator);
    let context = ProcessContext::new("server")?;

    let on_card = NamedTensor::device("w", DType::U8, [2 * MIB], gpu.allocate(0, 2 * MIB as u64)?);
    let in_host = NamedTensor::host("keys", DType::U8, [3 * MIB], vec![7; 3 * MIB]);
    for item in [Item::new("model", vec![on_card]), Item::new("cache", vec![in_host])] {
        consolidator.idle(item, &context).map_err(|failed| failed.error)?;
    }

    let listening = consolidator.release_on_request(socket)?;
    println!("listening at {}", listening.path().display());
    let mut left = 0;
    while left < 2 {
        thread::sleep(Duration::from_millis(100));
        if let Some(trouble) = listening.trouble() {
            eprintln!("{trouble}");
        }
        let items = consolidator.idle_items();
        let gone: Vec<_> =
            items.iter().filter(|item| matches!(item.state, IdleState::Consolidated(_))).collect();
        if gone.len() > left {
            left = gone.len();
            let names: Vec<_> = gone.iter().map(|item| item.kind.as_str()).collect();
            println!("in the store: {}; on the card: {} bytes", names.join(", "), gpu.memory(0)?.used_bytes);
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() -> Result<(), Box<dyn Error>> {
    Err("the socket at which memory is asked for is there on Linux only".into())
}
