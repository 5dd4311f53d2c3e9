//! `cargo fuzz run associations`
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| thorascribe_fuzz::associations(bytes));
