//! A sample of the matrix: the whole one is `cargo run --release -p crash-tests -- full`.

fn main() {}
