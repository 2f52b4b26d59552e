//! The whole protocol on one thread, with seeded pauses and kills: see
//! `verify/simulation/tests/simulation`.
