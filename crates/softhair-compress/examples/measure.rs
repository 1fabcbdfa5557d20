//! Compresses every tensor of a safetensors-like raw file of `f32` and prints size, error and speed.
//!
//! `cargo run --release --example measure -- FILE COLUMNS [BOUND]` reads FILE as rows of COLUMNS little-endian `f32`.

use std::{error::Error, time::Instant};

use softhair_compress::{Codec, DType, Frame, Policy, TensorView};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("name a file of little-endian f32")?;
    let columns: usize = arguments.next().ok_or("name the number of columns")?.parse()?;
    let policy: Policy = arguments.next().as_deref().unwrap_or("default").parse()?;
    let mut bytes = std::fs::read(path)?;
    let rows = bytes.len() / 4 / columns;
    bytes.truncate(rows * columns * 4);
    let shape = [rows, columns];
    let tensor = TensorView::new(DType::F32, &shape, &bytes)?;
    let gigabytes = bytes.len() as f64 / 1e9;

    let codec = Codec::new();
    let (compress, frame) = fastest(|| codec.compress(tensor, policy))?;
    let frame = Frame::parse(frame.into_bytes())?;
    let mut restored = vec![0; bytes.len()];
    let (decompress, ()) = fastest(|| frame.decompress_into(&mut restored))?;

    let header = frame.header();
    println!("family      {}", header.family.name());
    println!(
        "stored      {:.4} of {:.1} MB",
        frame.as_bytes().len() as f64 / bytes.len() as f64,
        1e3 * gigabytes
    );
    println!("rel L2      {:.6}", header.rel_l2_error);
    println!("max error   {:.3e}", header.max_abs_error);
    println!("compress    {:.2} GB/s", gigabytes / compress);
    println!("decompress  {:.2} GB/s", gigabytes / decompress);
    Ok(())
}

/// The shortest of seven runs, in seconds, and what the last one gave.
fn fastest<T, E>(mut run: impl FnMut() -> Result<T, E>) -> Result<(f64, T), E> {
    let mut best = f64::INFINITY;
    for _ in 0..7 {
        let started = Instant::now();
        run()?;
        best = best.min(started.elapsed().as_secs_f64());
    }
    Ok((best, run()?))
}
