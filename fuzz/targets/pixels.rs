//! `cargo fuzz run pixels`
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| thorascribe_fuzz::pixels(bytes));
