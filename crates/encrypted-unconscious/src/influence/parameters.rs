//! The numbers that the encryption rests on, and why they are safe and large enough. No code.
//!
//! **Security.** A signature is encrypted under a one-time RLWE key: ring Z\[X\]/(X⁴⁰⁹⁶ + 1), modulus 2⁶⁴, a binary secret,
//! and an error uniform on −8…8 with the two ends half as likely, `TUniform(3)`. These are the GLWE parameters of
//! `V1_1_PARAM_MULTI_BIT_GROUP_2_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128` in `tfhe` (dimension 1, degree 4096), which its
//! authors chose for at least 128 bits with the lattice estimator. `cargo xtask security` prints that and an estimate of its own.
//!
//! **Range.** A score is the sum of products of two unit vectors in steps of 1/[`SCALE`]. The query is cut into [`DIGITS`]
//! digits, so that the error of the ciphertext is multiplied by small numbers only, and each digit's sum fits into 64
//! bits above the error (see [`Headroom`](super::Headroom)).

/// Degree of the ring, and length of the one-time key in bits.
pub const RING_DIMENSION: usize = 4096;

/// Bits of the ciphertext modulus: arithmetic is that of `u64`.
pub const MODULUS_LOG2: u32 = 64;

/// The error of a ciphertext is at most 2 to the power of this.
pub const NOISE_BOUND_LOG2: u32 = 3;

/// What 1.0 is in a quantised vector.
pub const SCALE: i16 = i16::MAX;

/// One unit of the integer dot product lies at this bit of the ciphertext.
pub const DELTA_LOG2: u32 = 21;

/// Bits of a digit of the query; digits are balanced, from −32 to 31.
pub const DIGIT_BITS: u32 = 6;

/// Digits of a coordinate of the query. The last one takes what is left, at most 8 either way.
pub const DIGITS: usize = 3;

/// Most dimensions a signature may have.
pub const MAX_DIMENSION: usize = 65_536;
