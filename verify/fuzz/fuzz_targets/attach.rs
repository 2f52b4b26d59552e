//! Any bytes as a ring's file: every way in, and use of what opens.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| slipring_fuzz::attach::run(input));
