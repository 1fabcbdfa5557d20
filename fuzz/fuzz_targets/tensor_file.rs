//! `.safetensors`, `.npy` and `.npz` readers: every tensor that a file is said to have lies within it, with the bytes
//! that its type and shape need.
#![no_main]

use libfuzzer_sys::fuzz_target;
use omnimind_cli::tensor_file::TensorFile;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = TensorFile::from_bytes("fuzzed", bytes.to_vec()) else { return };
    for (index, tensor) in file.tensors().iter().enumerate() {
        let elements: usize = tensor.shape.iter().product();
        assert_eq!(file.bytes(index).len(), elements * tensor.dtype.size_bytes());
    }
});
