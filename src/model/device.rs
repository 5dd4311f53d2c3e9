//! Where a model computes.

use candle_core::Device;

use super::error::ModelError;
use crate::config;

/// Opens the device that was asked for: `auto` takes the first GPU of a build and a machine that
/// have one, else the processor.
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
    // The driver's library is opened by name, and its absence is a panic of the binding.
    let opened = std::panic::catch_unwind(|| Device::new_cuda(number));
    match opened {
        Ok(Ok(device)) => Ok(device),
        Ok(Err(error)) => Err(format!("there is no such GPU ({error})")),
        Err(_) => Err("the NVIDIA driver cannot be loaded".to_owned()),
    }
}
