//! The model: layers against finite differences, a whole checkpoint against the published
//! implementation's outputs, and files that lie.

mod efficientnet_lite;
mod gradients;
mod medclip_archive;
mod minigpt4;
mod reference;
mod released;
mod stop;
mod tokenizer;
mod torch;
mod torch_file;

pub(crate) use reference::{changed, imported, reference};
pub(crate) use released::{released, small};
pub(crate) use torch_file::save;
