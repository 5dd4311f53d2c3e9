//! The kernels on a GPU, over candle's tensors.
#![expect(unsafe_code, reason = "kernels read and write the GPU's memory by address")]

use candle_core::backend::BackendDevice;
use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, DevicePtr, LaunchConfig, PushKernelArg, result, sys,
};
use candle_core::cuda_backend::{S, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, DType, Device, Result, Shape, Storage, Tensor, bail};

use super::super::joined::Joined;
use super::{Launch, Machine, Norm, Rows, Softmax, WORDS, Word, logits, norm, softmax, suffix};

/// `kernels.cu`, as `build.rs` has it translated.
const KERNELS: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));

/// A GPU that computes in one type.
#[derive(Clone, Debug)]
pub(in crate::model) struct Gpu {
    device: CudaDevice,
    dtype: DType,
}

impl Gpu {
    /// The GPU that a tensor lies on, where there are kernels for its type.
    pub(in crate::model) fn of(x: &Tensor) -> Option<Self> {
        Self::new(x.device(), x.dtype())
    }

    /// A device, where it is a GPU and there are kernels for the type.
    pub(in crate::model) fn new(device: &Device, dtype: DType) -> Option<Self> {
        let Device::Cuda(device) = device else { return None };
        suffix(dtype)?;
        Some(Self { device: device.clone(), dtype })
    }
}

impl Machine for Gpu {
    type Buffer = Tensor;
    type Matrix = Joined;

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn room(&self, rows: usize, width: usize) -> Result<Tensor> {
        room(&self.device, self.dtype, rows, width)
    }

    fn wide_room(&self, rows: usize, width: usize) -> Result<Tensor> {
        room(&self.device, DType::F32, rows, width)
    }

    fn upload(&self, words: &[i64]) -> Result<Tensor> {
        Tensor::from_slice(words, words.len(), &Device::Cuda(self.device.clone()))
    }

    fn launch(&self, launch: &Launch<'_, Tensor>) -> Result<()> {
        let mut words = [0u64; WORDS];
        if launch.words.len() > words.len() {
            bail!("{}: {} words are too many", launch.kernel, launch.words.len());
        }
        for (slot, word) in words.iter_mut().zip(&launch.words) {
            *slot = match word {
                Word::Buffer(Some(tensor)) => address(tensor)?,
                Word::Buffer(None) => 0,
                Word::Whole(whole) => *whole as u64,
                Word::Real(real) => real.to_bits(),
            };
        }
        let function =
            self.device.get_or_load_custom_func(&launch.kernel, "thorascribe", KERNELS)?;
        let mut builder = function.builder();
        builder.arg(&words);
        let config = LaunchConfig {
            grid_dim: (launch.grid.0, launch.grid.1, 1),
            block_dim: (launch.threads, 1, 1),
            shared_mem_bytes: launch.shared,
        };
        // SAFETY: launch.rs fills the structure that the kernel takes, which is no longer than
        // `words`, with buffers of the sizes that it states; they are freed in the stream's order.
        unsafe { builder.launch(config) }.w()?;
        Ok(())
    }

    fn product(&self, x: &Tensor, matrix: &Joined) -> Result<Tensor> {
        matrix.forward(x)
    }

    fn numbers<'m>(&self, matrix: &'m Joined) -> Option<&'m Tensor> {
        // The kernel reads sixteen bytes at a time.
        matrix.whole().filter(|whole| {
            whole.dtype() == self.dtype
                && address(whole).is_ok_and(|address| address.is_multiple_of(16))
        })
    }
}

fn room(device: &CudaDevice, dtype: DType, rows: usize, width: usize) -> Result<Tensor> {
    let shape = Shape::from((rows, width));
    // SAFETY: numbers of any bits are numbers, and the kernel that it is room for writes it before
    // anything reads it.
    let storage = unsafe { device.alloc_uninit(&shape, dtype)? };
    Ok(Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false))
}

/// Logits `[rows, width]` in 32 bits, and behind each row the logarithm of the sum of its
/// exponents; `None` where no kernel is for them.
pub(in crate::model) fn logits_in_f32(x: &Tensor) -> Result<Option<Tensor>> {
    let Some(gpu) = Gpu::of(x).filter(|_| !x.track_op()) else { return Ok(None) };
    let (rows, width) = x.dims2()?;
    logits(&gpu, &x.contiguous()?, rows, width).map(Some)
}

/// Where the numbers of a contiguous tensor on a GPU lie.
pub(in crate::model) fn address(tensor: &Tensor) -> Result<u64> {
    fn of<T>(slice: &CudaSlice<T>) -> u64 {
        slice.device_ptr(slice.stream()).0
    }
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cuda(storage), true) = (&*storage, layout.is_contiguous()) else {
        bail!("a kernel got a tensor {:?} that is not contiguous on a GPU", layout.shape())
    };
    let start = match &storage.slice {
        S::F32(slice) => of(slice),
        S::F16(slice) => of(slice),
        S::BF16(slice) => of(slice),
        S::I64(slice) => of(slice),
        _ => bail!("there are no kernels for {:?}", tensor.dtype()),
    };
    Ok(start + (layout.start_offset() * tensor.dtype().size_in_bytes()) as u64)
}

/// The norm of the rows of `x`; `None` where no kernel is for them, or a gradient is asked for.
pub(in crate::model::layer) fn norm_rows(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    eps: f32,
    centre: bool,
) -> Result<Option<Tensor>> {
    let Some(gpu) = Gpu::of(x) else { return Ok(None) };
    let plain = |t: &Tensor| !t.track_op() && t.dtype() == x.dtype();
    let width = weight.elem_count();
    if !plain(x) || !plain(weight) || !bias.is_none_or(plain) || width == 0 {
        return Ok(None);
    }
    if x.dims().last() != Some(&width) || bias.is_some_and(|bias| bias.elem_count() != width) {
        bail!("a norm of {width} weights for {:?}", x.dims());
    }
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    let bias = bias.map(Tensor::contiguous).transpose()?;
    for numbers in [Some(&x), Some(&weight), bias.as_ref()].into_iter().flatten() {
        // The kernel reads as much at a time.
        if !address(numbers)?.is_multiple_of(16) {
            return Ok(None);
        }
    }
    let by = Norm { weight: &weight, bias: bias.as_ref(), eps: f64::from(eps), centre };
    let rows = Rows { held: x.elem_count() / width, width, places: None };
    let (_, out) = norm(&gpu, &x, None, &by, rows)?;
    out.reshape(x.shape()).map(Some)
}

/// The softmax of attention scores, its mask a table on the GPU; `None` where no kernel is for
/// them, or a gradient is asked for.
pub(in crate::model::layer) fn softmax_rows(
    scores: &Tensor,
    by: &Softmax<'_, Tensor>,
) -> Result<Option<Tensor>> {
    let Some(gpu) = Gpu::of(scores) else { return Ok(None) };
    let plain = |t: &Tensor| !t.track_op() && t.dtype() == scores.dtype() && t.is_contiguous();
    if scores.track_op() || !by.bias.is_none_or(plain) || scores.elem_count() == 0 {
        return Ok(None);
    }
    softmax(&gpu, &scores.contiguous()?, by)?.reshape(scores.shape()).map(Some)
}

/// Lets the GPU's memory pool keep what was freed: else it is given back at each wait for the
/// GPU, and taken anew at the next step.
pub(in crate::model) fn keep_freed_memory(device: &Device) -> Result<()> {
    let Device::Cuda(device) = device else { return Ok(()) };
    let stream = device.cuda_stream();
    let context = stream.context();
    if !context.has_async_alloc() {
        return Ok(());
    }
    context.bind_to_thread().w()?;
    let mut threshold = u64::MAX;
    // SAFETY: the device is the context's, the pool is the device's, and the attribute is 64 bits.
    unsafe {
        let pool = result::device::get_mem_pool(context.cu_device()).w()?;
        result::mem_pool::set_attribute(
            pool,
            sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
            (&raw mut threshold).cast(),
        )
        .w()?;
    }
    Ok(())
}
