//! A durable, content-addressed store of compressed tensors for many processes
