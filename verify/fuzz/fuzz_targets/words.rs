//! A sound ring whose shared words change under everybody who uses it.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| slipring_fuzz::words::run(input));
