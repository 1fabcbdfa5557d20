//! The omnimind command line.
fn main() {}
