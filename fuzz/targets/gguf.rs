//! `cargo fuzz run gguf`
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| thorascribe_fuzz::gguf(bytes));
