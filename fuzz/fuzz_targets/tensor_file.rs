//! `.safetensors`, `.npy` and `.npz` readers: every tensor that a file is said to have lies within it, with the bytes
//! that its type and shape need.
#![no_main]

use libfuzzer_sys::fuzz_target;
use omnimind_cli::tensor_file::TensorFile;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = TensorFile::from_bytes("fuzzed", bytes.to_vec()) else { return };
    for (index, tensor) in file.tensors().iter().enumerate() {
        // Extents beside a zero may be of any size.
        let elements = if tensor.shape.contains(&0) { 0 } else { tensor.shape.iter().product::<usize>() };
        assert_eq!(file.bytes(index).len(), elements * tensor.dtype.size_bytes());
    }
});
