//! Seals what came out of a crash under public keys only
