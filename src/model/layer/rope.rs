//! Rotary position embedding in the arrangement of LLaMA's Hugging Face checkpoints: the two
//! halves of a head are the real and imaginary parts (Su et al. 2021).
#![expect(clippy::indexing_slicing, reason = "kernel over rows whose lengths are checked at entry")]

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Device, Error, Layout, Result, Shape, Tensor, bail};

use super::rows::{for_rows, fused, slice};

/// Cosines and sines of every position's angles.
#[derive(Clone, Debug)]
pub struct Rotary {
    half: usize,
    positions: usize,
    cos: Arc<Vec<f32>>,
    sin: Arc<Vec<f32>>,
    device: Device,
    /// Both `[positions, half]` on a device other than the processor.
    tables: Option<(Tensor, Tensor)>,
}

impl Rotary {
    /// The tables for heads of `width` numbers at `positions` positions with the base `theta`.
    pub fn new(width: usize, positions: usize, theta: f64, device: &Device) -> Result<Self> {
        if width == 0 || !width.is_multiple_of(2) {
            bail!("a rotary embedding needs an even head width, got {width}");
        }
        let half = width / 2;
        // In f32 and in this order, as PyTorch does it.
        let frequency = |i: usize| 1.0 / (theta as f32).powf(2.0 * i as f32 / width as f32);
        let angles = (0..positions * half).map(|i| (i / half) as f32 * frequency(i % half));
        let (sin, cos): (Vec<_>, Vec<_>) = angles.map(f32::sin_cos).unzip();
        let table = |t: &[f32]| Tensor::from_slice(t, (positions, half), device);
        let tables =
            (!device.is_cpu()).then(|| Ok::<_, Error>((table(&cos)?, table(&sin)?))).transpose()?;
        let (cos, sin) = (Arc::new(cos), Arc::new(sin));
        Ok(Self { half, positions, cos, sin, device: device.clone(), tables })
    }

    /// Where the tables are used.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// How many positions the tables hold.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Turns `[batch, heads, time, width]`, time 0 standing at position `first`.
    pub fn forward(&self, x: &Tensor, first: usize) -> Result<Tensor> {
        let (_, _, time, width) = x.dims4()?;
        if width != 2 * self.half || first + time > self.positions {
            bail!(
                "{time} positions from {first} and heads of {width}: the rotary table holds {} positions for heads of {}",
                self.positions,
                2 * self.half
            );
        }
        if fused(x) {
            let (cos, sin) = (self.cos.clone(), self.sin.clone());
            return x.contiguous()?.apply_op1(Turn { cos, sin, first, time, direction: 1.0 });
        }
        if let Some((cos, sin)) = &self.tables {
            let part = |table: &Tensor| table.narrow(0, first, time)?.to_dtype(x.dtype());
            return candle_nn::rotary_emb::rope_slow(x, &part(cos)?, &part(sin)?);
        }
        let part = |table: &[f32]| {
            let part = &table[first * self.half..(first + time) * self.half];
            Tensor::from_slice(part, (time, self.half), &self.device)?.to_dtype(x.dtype())
        };
        candle_nn::rotary_emb::rope_slow(x, &part(&self.cos)?, &part(&self.sin)?)
    }

    /// Cosines and sines `[positions, half]`, f32, on a device other than the processor.
    #[cfg(feature = "cuda")]
    pub(in crate::model) fn tables(&self) -> Option<&(Tensor, Tensor)> {
        self.tables.as_ref()
    }
}

struct Turn {
    cos: Arc<Vec<f32>>,
    sin: Arc<Vec<f32>>,
    first: usize,
    time: usize,
    direction: f32,
}

impl CustomOp1 for Turn {
    fn name(&self) -> &'static str {
        "rotary-embedding"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let width = super::rows::width(layout.shape())?;
        let half = width / 2;
        let x = slice(storage, layout)?;
        let mut out = vec![0f32; x.len()];
        for_rows(&mut out, width, |row, out| {
            let at = (self.first + row % self.time) * half;
            let (real, imaginary) = x[row * width..(row + 1) * width].split_at(half);
            let (cos, sin) = (&self.cos[at..at + half], &self.sin[at..at + half]);
            let (out_real, out_imaginary) = out.split_at_mut(half);
            for i in 0..half {
                let sin = sin[i] * self.direction;
                out_real[i] = real[i] * cos[i] - imaginary[i] * sin;
                out_imaginary[i] = imaginary[i] * cos[i] + real[i] * sin;
            }
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    /// A rotation's transpose is the rotation back.
    fn bwd(&self, _x: &Tensor, _out: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let back = Self {
            cos: self.cos.clone(),
            sin: self.sin.clone(),
            direction: -self.direction,
            ..*self
        };
        gradient.contiguous()?.apply_op1_no_bwd(&back).map(Some)
    }
}
