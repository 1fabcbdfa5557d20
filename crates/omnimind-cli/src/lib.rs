//! The omnimind command line.
pub mod tensor_file;
