//! The cost of a call in one thread: see `benches/ring/benches/ring.rs`.
