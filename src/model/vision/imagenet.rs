//! EfficientNet-Lite weights trained on ImageNet, under the names of the Python package
//! `efficientnet-lite-pytorch`, taken over for grey images.

use std::collections::HashMap;

use candle_core::{DType, Result, Tensor, bail};

use super::efficientnet_lite::EfficientNetLiteConfig;

/// Tensors by name.
pub type Tensors = HashMap<String, Tensor>;

/// Renames the package's tensors, in 32 bits: first what is trained, then the frozen statistics,
/// as [`super::efficientnet_lite::EfficientNetLite::trainable`] takes them. The first convolution's
/// three planes are summed to one; the classifier is left out.
///
/// The pixels of these weights are `(grey - 127) / 128`, grey being 0 to 255.
pub fn renamed(config: &EfficientNetLiteConfig, package: &Tensors) -> Result<(Tensors, Tensors)> {
    let mut taken = Taken { package, variables: Tensors::new(), statistics: Tensors::new() };
    let stem = taken.tensor("_conv_stem.weight")?;
    let grey = match config.num_channels {
        1 => stem.sum_keepdim(1)?,
        _ => stem,
    };
    taken.variables.insert("stem.weight".to_owned(), grey.permute((0, 2, 3, 1))?.flatten_from(1)?);
    taken.norm("_bn0", "stem")?;
    for (number, block) in config.blocks().iter().enumerate() {
        let (from, to) = (format!("_blocks.{number}"), format!("blocks.{number}"));
        if block.expansion > 1 {
            taken.pointwise(&format!("{from}._expand_conv"), &format!("{to}.expand"))?;
            taken.norm(&format!("{from}._bn0"), &format!("{to}.expand"))?;
        }
        let depthwise = taken.tensor(&format!("{from}._depthwise_conv.weight"))?;
        let depthwise = depthwise.flatten_from(1)?.t()?.contiguous()?;
        taken.variables.insert(format!("{to}.depthwise.weight"), depthwise);
        taken.norm(&format!("{from}._bn1"), &format!("{to}.depthwise"))?;
        taken.pointwise(&format!("{from}._project_conv"), &format!("{to}.project"))?;
        taken.norm(&format!("{from}._bn2"), &format!("{to}.project"))?;
    }
    taken.pointwise("_conv_head", "head")?;
    taken.norm("_bn1", "head")?;
    Ok((taken.variables, taken.statistics))
}

struct Taken<'a> {
    package: &'a Tensors,
    variables: Tensors,
    statistics: Tensors,
}

impl Taken<'_> {
    fn tensor(&self, name: &str) -> Result<Tensor> {
        match self.package.get(name) {
            Some(tensor) => tensor.to_dtype(DType::F32),
            None => bail!("no {name}; is this a file of efficientnet-lite-pytorch?"),
        }
    }

    fn pointwise(&mut self, from: &str, to: &str) -> Result<()> {
        let weight = self.tensor(&format!("{from}.weight"))?.flatten_from(1)?;
        self.variables.insert(format!("{to}.weight"), weight);
        Ok(())
    }

    fn norm(&mut self, from: &str, to: &str) -> Result<()> {
        for (its, ours) in [("weight", "weight"), ("bias", "bias")] {
            let tensor = self.tensor(&format!("{from}.{its}"))?;
            self.variables.insert(format!("{to}.norm.{ours}"), tensor);
        }
        for (its, ours) in [("running_mean", "mean"), ("running_var", "variance")] {
            let tensor = self.tensor(&format!("{from}.{its}"))?;
            self.statistics.insert(format!("{to}.norm.{ours}"), tensor);
        }
        Ok(())
    }
}
