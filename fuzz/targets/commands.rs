//! `cargo fuzz run commands`
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| thorascribe_fuzz::commands(bytes));
