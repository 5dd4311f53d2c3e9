//! A weight matrix as it lies in its file, and its products.

use candle_core::{
    CpuStorage, CustomOp1, DType, Device, Layout, Result, Shape, Storage, Tensor, bail,
};
use rayon::prelude::*;

use super::Packing;
use super::activations::Activations;
use super::columns::Columns;
use super::floats;
use super::open::{Opened, RUN};

/// Weight rows that one step of a product takes: one to a lane.
pub(super) const TILE: usize = 8;
/// Rows of `x` from which on weights are turned to meet all of them at once.
const FEW: usize = 8;
/// Rows of `x` from which on 16-bit weights are widened for a general matrix product.
const MANY: usize = 16;
/// Weight rows widened at a time.
const WIDENED: usize = 1024;

/// A matrix `[rows, columns]` in main memory.
#[derive(Clone, Debug)]
pub struct Packed {
    packing: Packing,
    rows: usize,
    columns: usize,
    /// u8 `[rows, bytes of a row]` for blocks, `[rows, columns]` for floats.
    data: Tensor,
}

impl Packed {
    /// Of u8 `[rows, bytes of a row]` for blocks, or a matrix of 16-bit floats.
    pub fn new(packing: Packing, data: &Tensor) -> Result<Self> {
        let (rows, width) = data.dims2()?;
        let (dtype, columns) = match packing.float() {
            Some(dtype) => (dtype, Some(width)),
            None => (DType::U8, packing.columns(width)),
        };
        let Some(columns) = columns.filter(|_| data.dtype() == dtype && data.device().is_cpu())
        else {
            bail!("{:?} {:?} is no weight of {packing}", data.dtype(), data.dims());
        };
        Ok(Self { packing, rows, columns, data: data.contiguous()? })
    }

    /// How the numbers lie.
    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// Rows and columns.
    pub fn dims(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// The bytes of blocks as a device other than the CPU takes them.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        self.data.flatten_all()?.to_vec1::<u8>()
    }

    /// `x · Wᵀ` of f32 `[n, columns]`; the gradient by `x` is there, the weight has none.
    pub fn matmul(&self, x: &Tensor) -> Result<Tensor> {
        let (n, columns) = x.dims2()?;
        if columns != self.columns || x.dtype() != DType::F32 || !x.device().is_cpu() {
            bail!(
                "{:?} {:?} cannot meet a weight of {} × {} on the CPU",
                x.dtype(),
                x.dims(),
                self.rows,
                self.columns
            );
        }
        if self.packing.float().is_none() || n <= MANY {
            return x.contiguous()?.apply_op1(Product(self.clone()));
        }
        let parts = (0..self.rows).step_by(WIDENED).map(|first| {
            let part = self.data.narrow(0, first, WIDENED.min(self.rows - first))?;
            x.matmul(&part.to_dtype(DType::F32)?.t()?)
        });
        Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 1)
    }

    /// The rows of these numbers, as f32 `[n, columns]`.
    pub fn select(&self, rows: &[u32]) -> Result<Tensor> {
        if self.packing.float().is_some() {
            let index = Tensor::from_slice(rows, rows.len(), &Device::Cpu)?;
            return self.data.index_select(&index, 0)?.to_dtype(DType::F32);
        }
        if let Some(row) = rows.iter().find(|row| **row as usize >= self.rows) {
            bail!("row {row} of a matrix of {}", self.rows);
        }
        let mut out = vec![0f32; rows.len() * self.columns];
        self.with_bytes(|bytes| {
            let width = bytes.len() / self.rows.max(1);
            out.par_chunks_mut(self.columns).zip(rows).for_each(|(out, row)| {
                let at = *row as usize * width;
                let row = bytes.get(at..at + width).unwrap_or_default();
                widen(self.packing, row, out);
            });
            Ok(())
        })?;
        Tensor::from_vec(out, (rows.len(), self.columns), &Device::Cpu)
    }

    /// The whole matrix as f32.
    pub fn dequantize(&self) -> Result<Tensor> {
        self.select(&(0..self.rows as u32).collect::<Vec<_>>())
    }

    fn with_bytes<T>(&self, f: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
        let (storage, layout) = self.data.storage_and_layout();
        let (Storage::Cpu(CpuStorage::U8(all)), Some((start, end))) =
            (&*storage, layout.contiguous_offsets())
        else {
            bail!("a weight of blocks is not u8 in main memory")
        };
        let Some(bytes) = all.get(start..end) else { bail!("a layout reaches past its storage") };
        f(bytes)
    }

    fn product(&self, x: &[f32], out: &mut [f32]) -> Result<()> {
        if self.packing.float().is_some() {
            let (storage, layout) = self.data.storage_and_layout();
            let Storage::Cpu(storage) = &*storage else { bail!("a weight is not in main memory") };
            return floats::product(storage, layout, x, out);
        }
        self.with_bytes(|bytes| {
            let few = x.len() / self.columns < FEW;
            let height = if few { self.columns } else { x.len().max(1) };
            let xs = x.chunks_exact(height).map(|x| Activations::new(x, self.columns));
            blocks(self.packing, bytes, self.rows, &xs.collect::<Vec<_>>(), out);
            Ok(())
        })
    }
}

/// One row to f32.
fn widen(packing: Packing, row: &[u8], out: &mut [f32]) {
    let run = RUN / packing.block() * packing.block_bytes();
    let mut opened = Opened::new();
    for (blocks, out) in row.chunks(run).zip(out.chunks_mut(RUN)) {
        opened.open(packing, blocks);
        let scales = opened.d.iter().zip(&opened.m);
        for ((out, q), (d, m)) in out.chunks_mut(16).zip(opened.q.chunks(16)).zip(scales) {
            for (o, q) in out.iter_mut().zip(q) {
                *o = d * f32::from(*q) + m;
            }
        }
    }
}

/// `[n, rows]`, a tile of weight rows at a time. `xs` are single rows, or one matrix.
#[expect(unsafe_code, reason = "each tile writes its own columns")]
fn blocks(packing: Packing, bytes: &[u8], rows: usize, xs: &[Activations], out: &mut [f32]) {
    let width = bytes.len() / rows.max(1);
    let row = |row: usize| {
        let row = row.min(rows.saturating_sub(1));
        bytes.get(row * width..(row + 1) * width).unwrap_or_default()
    };
    let count = xs.iter().map(|x| x.rows).sum::<usize>();
    let out = Columns::new(out, rows);
    super::pool::share(rows.div_ceil(TILE), |tiles| {
        let mut sums = vec![0f32; count * TILE];
        for tile in tiles {
            let weights = std::array::from_fn(|i| row(tile * TILE + i));
            sums.fill(0.0);
            tile_sums(packing, &weights, xs, &mut sums);
            for (i, sums) in sums.chunks_exact(TILE).enumerate() {
                // SAFETY: this tile alone has these columns.
                unsafe { out.write(i, tile * TILE, sums) };
            }
        }
    });
}

/// Eight weight rows with every row of `xs`: `[rows of xs, 8]`.
fn tile_sums(packing: Packing, weights: &[&[u8]; TILE], xs: &[Activations], sums: &mut [f32]) {
    let Some(first) = xs.first() else { return };
    #[cfg(target_arch = "x86_64")]
    let done = {
        if first.rows == 1 {
            super::x86::few(packing, weights, xs, sums);
        } else {
            super::x86::several(packing, weights, first, sums);
        }
        super::x86::columns(first)
    };
    #[cfg(not(target_arch = "x86_64"))]
    let done = 0;
    if done == first.columns {
        return;
    }
    for (i, row) in weights.iter().enumerate() {
        let mut sums = &mut *sums;
        for x in xs {
            let (own, rest) = sums.split_at_mut(x.rows * TILE);
            super::portable::dot(packing, row, x, done, own, TILE, i);
            sums = rest;
        }
    }
}

struct Product(Packed);

impl CustomOp1 for Product {
    fn name(&self) -> &'static str {
        "packed-product"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, _) = layout.shape().dims2()?;
        let (CpuStorage::F32(all), Some((start, end))) = (storage, layout.contiguous_offsets())
        else {
            bail!("a product with a packed weight needs contiguous f32")
        };
        let Some(x) = all.get(start..end) else { bail!("a layout reaches past its storage") };
        let mut out = vec![0f32; n * self.0.rows];
        self.0.product(x, &mut out)?;
        Ok((CpuStorage::F32(out), Shape::from((n, self.0.rows))))
    }

    fn bwd(&self, _x: &Tensor, _out: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        gradient.contiguous()?.matmul(&self.0.dequantize()?).map(Some)
    }
}
