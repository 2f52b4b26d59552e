//! Random operations on rings, against an oracle: see `tests/`.
