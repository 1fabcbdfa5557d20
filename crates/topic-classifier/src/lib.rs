//! Decides which layer a memory belongs to, and says why
