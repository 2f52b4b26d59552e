//! A segment of a journal, changed anywhere, read in every way.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| slipring_fuzz::segment::run(input));
