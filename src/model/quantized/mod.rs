//! Weights that stay as small in memory as they are in the file: 16-bit floats and ggml's blocks.
//!
//! Comes in: a weight's bytes and rows of f32. Goes out: their product, in f32. Promises: the
//! bytes are held once; a product reads each of them once, however many rows there are; the
//! blocks are ggml's, bit for bit. A block is turned into bytes `q` with a scale and an offset,
//! `w = d · q + m`; the rows into signed bytes with a scale a block; so the inner loop is a dot
//! product of bytes, with AVX2 or VNNI where the processor has them.

mod activations;
mod columns;
mod floats;
mod format;
mod open;
mod pool;
mod portable;
mod weights;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(super) use columns::Columns;
pub use floats::product as few_rows;
pub use format::Packing;
pub(super) use pool::share;
pub use weights::Packed;
