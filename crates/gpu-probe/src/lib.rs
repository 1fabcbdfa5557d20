//! What the GPU has, who holds it, and when to consolidate; real, simulated or absent
