//! A safetensors file of any size: one tensor that is a quarter of it, many of 16 MiB, and their biases. Written piece
//! by piece, so that making it needs no memory. Values are bell-shaped like weights; nothing else about them matters.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

const COLUMNS: usize = 1024;
const LAYER_ROWS: usize = 4096;

/// Writes a file of at least `bytes` bytes (and at most one layer more), and says how many it has.
///
/// # Errors
/// If it cannot be written.
pub fn write(path: &Path, bytes: u64) -> Result<u64> {
    let mut shapes = vec![("embeddings.weight".to_owned(), vec![bytes as usize / 16 / COLUMNS, COLUMNS])];
    let mut total = byte_count(&shapes[0].1);
    for layer in 0.. {
        if total >= bytes {
            break;
        }
        for (name, shape) in [("weight", vec![LAYER_ROWS, COLUMNS]), ("bias", vec![LAYER_ROWS])] {
            total += byte_count(&shape);
            shapes.push((format!("layers.{layer}.{name}"), shape));
        }
    }
    let header = header(&shapes);
    let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for (row, _) in (0..total / 4).step_by(COLUMNS).enumerate() {
        let scale = 0.02 * (1.0 + (row % 7) as f32 / 7.0);
        for _ in 0..COLUMNS.min((total / 4) as usize - row * COLUMNS) {
            out.write_all(&(scale * bell(&mut random)).to_le_bytes())?;
        }
    }
    out.flush()?;
    Ok(8 + header.len() as u64 + total)
}

fn byte_count(shape: &[usize]) -> u64 {
    4 * shape.iter().product::<usize>() as u64
}

fn header(shapes: &[(String, Vec<usize>)]) -> String {
    let mut entries = Map::new();
    let mut begin = 0;
    for (name, shape) in shapes {
        let end = begin + byte_count(shape);
        entries.insert(name.clone(), json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}));
        begin = end;
    }
    let mut text = Value::Object(entries).to_string();
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    text
}

/// Mean 0, variance 1: the sum of four uniform values (Irwin–Hall), from one step of splitmix64.
fn bell(state: &mut u64) -> f32 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    let sum: f32 = [0, 16, 32, 48].iter().map(|shift| f32::from((z >> shift) as u16)).sum();
    (sum / 65535.0 - 2.0) * 3.0_f32.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_one_that_safetensors_reads() {
        let path = std::env::temp_dir().join(format!("omnimind-large-{}.safetensors", std::process::id()));
        let bytes = write(&path, 1 << 20).unwrap();
        let length = std::fs::metadata(&path).unwrap().len();
        let file = omnimind_cli::tensor_file::TensorFile::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(length, bytes);
        let shape =
            |name: &str| file.tensors().iter().find(|tensor| tensor.name == name).map(|t| t.shape.as_slice());
        assert_eq!(shape("embeddings.weight"), Some([64, 1024].as_slice()));
        assert_eq!(file.tensors().len(), 3);
    }
}
