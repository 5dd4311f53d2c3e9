//! Kernels of our own for a GPU.
//!
//! `kernels.cu` holds them; here is how each is launched, as data, so that the same launches run on
//! a GPU and, compiled for the host, in the tests. Only `device` (feature `cuda`) knows of CUDA.

#[cfg(feature = "cuda")]
mod device;
mod launch;

use candle_core::{DType, Result};

#[cfg(feature = "cuda")]
pub(in crate::model) use device::{Gpu, address, keep_freed_memory, logits_in_f32};
#[cfg(feature = "cuda")]
pub(super) use device::{norm_rows, softmax_rows};
pub use launch::{
    Attention, Norm, NormBefore, Rows, Softmax, append, attend, gated, head_fits, logits, norm,
    product, product_fits, softmax,
};

/// What runs the kernels, and holds what they compute with: numbers of one type.
pub trait Machine {
    /// Numbers in its memory, one after another.
    type Buffer;
    /// The weight of a linear layer, or of several that take in the same rows.
    type Matrix;

    /// The type of the numbers: f32, f16 or bf16.
    fn dtype(&self) -> DType;

    /// Room for rows of numbers, which hold nothing yet.
    fn room(&self, rows: usize, width: usize) -> Result<Self::Buffer>;

    /// The same for numbers of 32 bits.
    fn wide_room(&self, rows: usize, width: usize) -> Result<Self::Buffer>;

    /// Takes words to its memory.
    fn upload(&self, words: &[i64]) -> Result<Self::Buffer>;

    /// Runs a kernel, after those before it.
    fn launch(&self, launch: &Launch<'_, Self::Buffer>) -> Result<()>;

    /// `x · Wᵀ` of any number of rows.
    fn product(&self, x: &Self::Buffer, matrix: &Self::Matrix) -> Result<Self::Buffer>;

    /// The numbers `[out, in]` of a matrix, where they are all that it is.
    fn numbers<'m>(&self, matrix: &'m Self::Matrix) -> Option<&'m Self::Buffer>;
}

/// A kernel with its grid and its words.
#[derive(Debug)]
pub struct Launch<'a, B> {
    /// Its name in `kernels.cu`.
    pub kernel: String,
    /// Columns and rows of blocks.
    pub grid: (u32, u32),
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of shared memory of a block.
    pub shared: u32,
    /// The members of its structure, in order.
    pub words: Vec<Word<'a, B>>,
}

/// No structure of `kernels.cu` has more words.
pub const WORDS: usize = 12;

/// Eight bytes that a kernel takes.
#[derive(Debug)]
pub enum Word<'a, B> {
    /// The address of numbers; 0 where there are none.
    Buffer(Option<&'a B>),
    /// An integer.
    Whole(usize),
    /// A number, in 64 bits.
    Real(f64),
}

/// The ending of the names of kernels for a type.
fn suffix(dtype: DType) -> Option<&'static str> {
    match dtype {
        DType::F32 => Some("f32"),
        DType::F16 => Some("f16"),
        DType::BF16 => Some("bf16"),
        _ => None,
    }
}
