//! The doors through which foreign bytes come in, each as a function of bytes alone. Whatever the
//! bytes are, none may panic, hang, or take more memory than a limit; each also holds what must
//! be true of what came out.
//!
//! The fuzzer calls them (`targets/`), and `tests/all` replays seeds and once fatal inputs
//! through the same functions.

mod associations;
mod checkpoints;
mod objects;
mod pages;
mod pixels;
mod scratch;
mod settings;

pub use associations::{associations, commands};
pub use checkpoints::{gguf, pickles, safetensors};
pub use objects::data_sets;
pub use pages::pages;
pub use pixels::pixels;
pub use settings::settings;

/// A door: a function of bytes.
pub type Target = fn(&[u8]);

/// Every door, by the name of its fuzz target and of its folder of inputs.
pub const TARGETS: [(&str, Target); 9] = [
    ("associations", associations),
    ("commands", commands),
    ("data_sets", data_sets),
    ("pixels", pixels),
    ("pickles", pickles),
    ("safetensors", safetensors),
    ("gguf", gguf),
    ("settings", settings),
    ("pages", pages),
];
