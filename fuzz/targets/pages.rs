//! `cargo fuzz run pages`
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| thorascribe_fuzz::pages(bytes));
