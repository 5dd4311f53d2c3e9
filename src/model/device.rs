//! Where a model computes, and in what.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};

use super::checkpoint::Manifest;
use super::checkpoint::manifest::Architecture;
use super::checkpoint::quantize::WeightType;
use super::checkpoint::stored::Stored;
use super::error::ModelError;
use crate::config;

/// Opens the device that was asked for: `auto` takes the first GPU of a build and a machine that
/// have one, else the processor.
///
/// # Errors
/// A GPU by number that is not there, or that this build cannot use.
pub fn open(choice: config::Device) -> Result<Device, ModelError> {
    match choice {
        config::Device::Cpu => Ok(Device::Cpu),
        config::Device::Cuda(number) => cuda(number).map_err(|reason| ModelError::Device {
            device: choice.to_string(),
            reason: format!("{reason}; set \"cpu\" or \"auto\""),
        }),
        config::Device::Auto => Ok(cuda(0).unwrap_or_else(|reason| {
            tracing::debug!(reason, "no GPU; the model computes on the processor");
            Device::Cpu
        })),
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that opens a GPU")]
fn cuda(number: usize) -> Result<Device, String> {
    if !cfg!(feature = "cuda") {
        return Err("this build has no CUDA (build it with --features cuda)".to_owned());
    }
    // Of a library that lacks a function, the binding panics.
    match std::panic::catch_unwind(|| Device::new_cuda(number)) {
        Ok(Ok(device)) => {
            #[cfg(feature = "cuda")]
            if let Err(error) = super::layer::cuda::keep_freed_memory(&device) {
                tracing::warn!(%error, "the GPU's memory is taken anew at each step");
            }
            Ok(device)
        }
        Ok(Err(error)) => Err(absent(number, &error.to_string())),
        Err(_) => Err("NVIDIA's driver or CUDA's libraries cannot be used".to_owned()),
    }
}

/// Why a GPU does not open, of the binding's error, which may have a backtrace after its first line.
fn absent(number: usize, error: &str) -> String {
    if error.contains("CUDA_ERROR_NO_DEVICE") {
        return "there is no NVIDIA GPU here, or no driver for it".to_owned();
    }
    let first = error.lines().next().unwrap_or_default();
    format!("GPU {number} does not open ({first})")
}

/// What a model computes in. The processor's kernels are for f32; a GPU's are as exact in 16 bits
/// as weights of 16 bits are.
pub(super) fn computes_in(device: &Device, manifest: &Manifest, stored: &Stored) -> DType {
    // The thresholds of the small models were found in f32, and they are fast enough.
    let small = manifest.architecture == Architecture::EfficientNetLiteLinearLlama;
    if device.is_cpu() || small {
        return DType::F32;
    }
    match manifest.dtype {
        Some(WeightType::F32) => DType::F32,
        Some(WeightType::Bf16) => DType::BF16,
        Some(WeightType::F16 | WeightType::Q8_0 | WeightType::Q4K) => DType::F16,
        // As the language model came, which is most of it.
        None => match stored.describe("model.embed_tokens.weight") {
            Some((_, dtype @ (DType::F16 | DType::BF16))) => dtype,
            _ => DType::F32,
        },
    }
}

/// Bytes a second that a GPU reads and writes, both counted, when it copies within its memory: what
/// bounds how fast it goes through weights. `None` on the processor.
pub fn copy_bandwidth(device: &Device) -> candle_core::Result<Option<f64>> {
    const NUMBERS: usize = 1 << 29;
    const FEW: u32 = 8;
    const MANY: u32 = 40;
    if device.is_cpu() {
        return Ok(None);
    }
    let from = Tensor::zeros(NUMBERS, DType::F32, device)?;
    let copies = |count: u32| {
        device.synchronize()?;
        let start = Instant::now();
        for _ in 0..count {
            from.copy()?;
        }
        device.synchronize()?;
        Ok::<_, candle_core::Error>(start.elapsed().as_secs_f64())
    };
    copies(FEW)?;
    // What it takes to get the room, once a series, falls out of the difference.
    let seconds = copies(MANY)? - copies(FEW)?;
    let bytes = 2.0 * size_of::<f32>() as f64 * NUMBERS as f64 * f64::from(MANY - FEW);
    Ok(Some(bytes / seconds))
}
