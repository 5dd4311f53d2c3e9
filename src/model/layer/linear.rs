//! `x · Wᵀ + b`, the weight in floats or packed.

use std::sync::Arc;

use candle_core::quantized::{QStorage, QTensor};
use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};
use candle_nn::{Init, VarBuilder};

use super::bias_add;
use super::low_rank::LowRank;
use super::rows::{fused, slice};
use crate::model::quantized::{Packed, Packing, few_rows};

/// A linear layer, its weight stored as `[out, in]`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
    low_rank: Option<LowRank>,
}

#[derive(Clone, Debug)]
enum Weight {
    /// Trainable.
    Float(Tensor),
    /// As it lies in its file, in main memory.
    Packed(Packed),
    /// ggml's blocks on a device with kernels for them.
    Device(Arc<QTensor>),
}

impl Weight {
    /// Where `source` says that a weight is packed, it stays so.
    fn load(shape: (usize, usize), init: Init, source: &VarBuilder<'_>) -> Result<Self> {
        match packed(shape, source)? {
            Some(packed) if source.device().is_cpu() => Ok(Self::Packed(packed)),
            Some(packed) => {
                let dtype = packed.packing().ggml();
                let bytes = packed.bytes()?;
                let storage = QStorage::from_data(bytes.into(), source.device(), dtype)?;
                Ok(Self::Device(Arc::new(QTensor::new(storage, shape)?)))
            }
            None => Ok(Self::Float(source.get_with_hints(shape, "weight", init)?)),
        }
    }
}

/// The packed `weight` of `source`, if it holds one. Floats stay packed on the CPU only: a device
/// computes in them.
fn packed(shape: (usize, usize), source: &VarBuilder<'_>) -> Result<Option<Packed>> {
    for packing in Packing::ALL {
        let name = packing.stored_name("weight");
        let float = packing.float();
        if float.is_some() && !(source.device().is_cpu() && source.dtype() == DType::F32) {
            continue;
        }
        if source.contains_tensor(&name) {
            let data = source.get_unchecked_dtype(&name, float.unwrap_or(DType::U8))?;
            let packed = Packed::new(packing, &data.to_device(&candle_core::Device::Cpu)?)?;
            if packed.dims() != shape {
                bail!("{name} is {:?}, the architecture has {shape:?}", packed.dims());
            }
            return Ok(Some(packed));
        }
    }
    Ok(None)
}

impl Linear {
    /// Takes `weight` and, when asked, `bias` from `source`.
    pub fn load(input: usize, output: usize, bias: bool, source: &VarBuilder<'_>) -> Result<Self> {
        let weight = Weight::load((output, input), Init::Randn { mean: 0.0, stdev: 0.02 }, source)?;
        let bias =
            bias.then(|| source.get_with_hints(output, "bias", Init::Const(0.0))).transpose()?;
        Ok(Self { weight, bias, low_rank: None })
    }

    /// A layer of tensors already at hand.
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight: Weight::Float(weight), bias, low_rank: None }
    }

    /// The same layer with this change beside its weight.
    #[must_use]
    pub fn with_low_rank(self, low_rank: LowRank) -> Self {
        Self { low_rank: Some(low_rank), ..self }
    }

    /// The weight, where it is numbers alone that nobody trains.
    #[cfg(feature = "cuda")]
    pub(super) fn plain(&self) -> Option<&Tensor> {
        match &self.weight {
            Weight::Float(weight) if self.bias.is_none() && self.low_rank.is_none() => {
                (!weight.track_op()).then_some(weight)
            }
            _ => None,
        }
    }

    /// Numbers that go out and that come in.
    pub fn dims(&self) -> Result<(usize, usize)> {
        match &self.weight {
            Weight::Float(weight) => weight.dims2(),
            Weight::Packed(packed) => Ok(packed.dims()),
            Weight::Device(weight) => weight.shape().dims2(),
        }
    }

    /// `[.., in]` to `[.., out]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (output, input) = self.dims()?;
        let mut shape = x.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = output;
        }
        let x = x.reshape(((), input))?;
        let y = match &self.weight {
            Weight::Float(weight) => product(&x, weight)?,
            Weight::Packed(packed) => packed.matmul(&x)?,
            Weight::Device(weight) => {
                let y = x.to_dtype(DType::F32)?.contiguous()?.apply_op1_no_bwd(weight.as_ref())?;
                y.to_dtype(x.dtype())?
            }
        };
        let y = match &self.low_rank {
            Some(low_rank) => (y + low_rank.forward(&x)?)?,
            None => y,
        };
        let y = match &self.bias {
            Some(bias) => bias_add(&y, bias)?,
            None => y,
        };
        y.reshape(shape)
    }
}

/// A table of vectors by token id, which may serve as a linear layer too.
#[derive(Clone, Debug)]
pub struct Embedding {
    table: Weight,
}

impl Embedding {
    /// Takes `weight`, `[count, width]`, from `source`.
    pub fn load(count: usize, width: usize, source: &VarBuilder<'_>) -> Result<Self> {
        let init = Init::Randn { mean: 0.0, stdev: 0.02 };
        if !source.device().is_cpu() {
            // A device's kernels for blocks look no rows up.
            return Ok(Self {
                table: Weight::Float(source.get_with_hints((count, width), "weight", init)?),
            });
        }
        Ok(Self { table: Weight::load((count, width), init, source)? })
    }

    /// The type of the vectors.
    pub fn dtype(&self) -> DType {
        match &self.table {
            Weight::Float(table) => table.dtype(),
            Weight::Packed(_) | Weight::Device(_) => DType::F32,
        }
    }

    /// `[.., width]` of ids `[..]` (u32).
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let flat = ids.flatten_all()?;
        let rows = match &self.table {
            Weight::Float(table) => table.index_select(&flat, 0)?,
            Weight::Packed(table) => table.select(&flat.to_vec1::<u32>()?)?,
            Weight::Device(_) => bail!("no rows can be looked up in blocks on a device"),
        };
        let mut shape = ids.dims().to_vec();
        shape.push(rows.dim(1)?);
        rows.reshape(shape)
    }

    /// The linear layer with the same weight.
    pub fn to_linear(&self) -> Linear {
        Linear { weight: self.table.clone(), bias: None, low_rank: None }
    }
}

/// `x · Wᵀ`; few rows in f32 on the CPU take a kernel that reads each weight once.
fn product(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    if x.dim(0)? <= FEW && fused(x) && fused(weight) && weight.is_contiguous() {
        return x.contiguous()?.apply_op2(weight, FewRows);
    }
    x.matmul(&weight.t()?)
}

/// Up to so many rows the general product is slower than the kernel for few.
const FEW: usize = 8;

struct FewRows;

impl CustomOp2 for FewRows {
    fn name(&self) -> &'static str {
        "few-rows"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, _) = x_layout.shape().dims2()?;
        let (output, _) = weight_layout.shape().dims2()?;
        let mut out = vec![0f32; rows * output];
        few_rows(weight, weight_layout, slice(x, x_layout)?, &mut out)?;
        Ok((CpuStorage::F32(out), Shape::from((rows, output))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        Ok((Some(gradient.matmul(weight)?), Some(gradient.t()?.matmul(x)?)))
    }
}
