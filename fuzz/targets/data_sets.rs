//! `cargo fuzz run data_sets`
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| thorascribe_fuzz::data_sets(bytes));
