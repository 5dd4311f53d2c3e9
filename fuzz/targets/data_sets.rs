//! `cargo fuzz run data_sets`
#![no_main]

mod panics;

// The node lets no panic of a codec through, and so must the fuzzer not end at each.
libfuzzer_sys::fuzz_target!(init: panics::let_codecs_panic(), |bytes: &[u8]| {
    thorascribe_fuzz::data_sets(bytes);
});
