//! `cargo fuzz run pickles`
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| thorascribe_fuzz::pickles(bytes));
