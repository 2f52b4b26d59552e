//! A sound ring: its shared words change under all parties.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| slipring_fuzz::words::run(input));
