//! What a call costs in one thread: see `benches/ring/benches/ring.rs`.
