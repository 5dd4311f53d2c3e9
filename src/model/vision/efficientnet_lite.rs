//! EfficientNet-Lite (Tan and Le 2019; Lite variant of 2020): inverted residual blocks with ReLU6
//! and without squeeze-and-excitation.
//!
//! Images lie as `[batch, rows, columns, channels]`. A model directory holds every convolution with
//! its batch norm folded in; training keeps the two apart, with the statistics frozen.

use candle_core::{DType, Result, Tensor, bail};
use candle_nn::{Init, VarBuilder};
use serde::{Deserialize, Serialize};

use super::encoder::EncoderOutput;
use crate::model::layer::{Linear, Steps, bias_add, bias_relu6, depthwise, tap_image};

/// Added to the variance in every batch norm, as published.
pub const NORM_EPS: f64 = 1e-3;
/// The kernel of the first convolution and its stride.
const STEM: Steps = Steps { kernel: 3, stride: 2 };

/// Says in a manifest which kind of encoder this is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// The only one.
    #[default]
    #[serde(rename = "efficientnet-lite")]
    EfficientNetLite,
}

/// The sizes of an EfficientNet-Lite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EfficientNetLiteConfig {
    /// Tells it from other encoders.
    pub kind: Kind,
    /// Columns and rows of the image, pixels.
    pub image_size: usize,
    /// Colour channels; a grey image is repeated.
    pub num_channels: usize,
    /// Width of the first convolution.
    pub stem_width: usize,
    /// Width of the last, that of the output.
    pub head_width: usize,
    /// Whether the output is the mean over the image and its mirror image.
    #[serde(default)]
    pub mirrored: bool,
    /// The stages between them.
    pub stages: Vec<StageConfig>,
}

/// Blocks of one width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageConfig {
    /// Columns and rows of the depthwise kernel.
    pub kernel: usize,
    /// Stride of the first block; the others have 1.
    pub stride: usize,
    /// Width of the depthwise convolution over that of the block's input.
    pub expansion: usize,
    /// Width of the output.
    pub width: usize,
    /// Blocks.
    pub repeats: usize,
}

/// What one block is built from.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockConfig {
    pub(super) steps: Steps,
    pub(super) expansion: usize,
    pub(super) input: usize,
    pub(super) output: usize,
}

impl EfficientNetLiteConfig {
    /// EfficientNet-Lite0 for grey images.
    pub fn lite0(image_size: usize) -> Self {
        let stage = |[kernel, stride, expansion, width, repeats]: [usize; 5]| StageConfig {
            kernel,
            stride,
            expansion,
            width,
            repeats,
        };
        let stages = [
            [3, 1, 1, 16, 1],
            [3, 2, 6, 24, 2],
            [5, 2, 6, 40, 2],
            [3, 2, 6, 80, 3],
            [5, 1, 6, 112, 3],
            [5, 2, 6, 192, 4],
            [3, 1, 6, 320, 1],
        ];
        Self {
            kind: Kind::EfficientNetLite,
            image_size,
            num_channels: 1,
            stem_width: 32,
            head_width: 1280,
            mirrored: false,
            stages: stages.map(stage).to_vec(),
        }
    }

    /// The blocks in their order.
    pub(super) fn blocks(&self) -> Vec<BlockConfig> {
        let mut input = self.stem_width;
        let mut blocks = Vec::new();
        for stage in &self.stages {
            for repeat in 0..stage.repeats {
                let stride = if repeat == 0 { stage.stride } else { 1 };
                blocks.push(BlockConfig {
                    steps: Steps { kernel: stage.kernel, stride },
                    expansion: stage.expansion,
                    input,
                    output: stage.width,
                });
                input = stage.width;
            }
        }
        blocks
    }

    /// How many rows the last hidden state has.
    pub fn output_tokens(&self) -> usize {
        let first = STEM.output(self.image_size);
        self.blocks().iter().fold(first, |side, block| block.steps.output(side)).pow(2)
    }

    /// Says in words what makes the sizes impossible.
    pub fn check(&self) -> std::result::Result<(), String> {
        let within = |name: String, value: usize, most: usize| {
            if (1..=most).contains(&value) {
                return Ok(());
            }
            Err(format!("{name} = {value} is outside 1 to {most}"))
        };
        within("image_size".to_owned(), self.image_size, 4096)?;
        within("num_channels".to_owned(), self.num_channels, 4)?;
        within("stem_width".to_owned(), self.stem_width, 4096)?;
        within("head_width".to_owned(), self.head_width, 1 << 14)?;
        within("the number of stages".to_owned(), self.stages.len(), 16)?;
        for (number, stage) in self.stages.iter().enumerate() {
            for (name, value, most) in [
                ("kernel", stage.kernel, 15),
                ("stride", stage.stride, 4),
                ("expansion", stage.expansion, 16),
                ("width", stage.width, 4096),
                ("repeats", stage.repeats, 64),
            ] {
                within(format!("stage {number}: {name}"), value, most)?;
            }
        }
        Ok(())
    }
}

/// Where a part takes its tensors from.
struct Source<'a> {
    tensors: VarBuilder<'a>,
    /// Mean and variance of every batch norm, where convolution and norm stand apart.
    statistics: Option<VarBuilder<'a>>,
    name: String,
}

impl Source<'_> {
    fn part(&self, name: &str) -> Self {
        let joined =
            if self.name.is_empty() { name.to_owned() } else { format!("{}.{name}", self.name) };
        Self {
            tensors: self.tensors.pp(name),
            statistics: self.statistics.as_ref().map(|s| s.pp(name)),
            name: joined,
        }
    }
}

/// The encoder.
#[derive(Clone, Debug)]
pub struct EfficientNetLite {
    config: EfficientNetLiteConfig,
    stem: Convolution,
    blocks: Vec<Block>,
    head: Convolution,
}

impl EfficientNetLite {
    /// Takes folded convolutions from `source`: `stem`, `blocks.N.expand`, `.depthwise` and
    /// `.project`, `head`, each with `weight` and `bias`.
    pub fn load(config: &EfficientNetLiteConfig, source: &VarBuilder<'_>) -> Result<Self> {
        Self::build(config, source, None)
    }

    /// For training: each convolution has `weight`, `norm.weight` and `norm.bias` in `variables`,
    /// and its norm's frozen `norm.mean` and `norm.variance` in `statistics`.
    pub fn trainable(
        config: &EfficientNetLiteConfig,
        variables: &VarBuilder<'_>,
        statistics: &VarBuilder<'_>,
    ) -> Result<Self> {
        Self::build(config, variables, Some(statistics))
    }

    fn build(
        config: &EfficientNetLiteConfig,
        tensors: &VarBuilder<'_>,
        statistics: Option<&VarBuilder<'_>>,
    ) -> Result<Self> {
        if let Err(reason) = config.check() {
            bail!("EfficientNet-Lite: {reason}");
        }
        let source = Source {
            tensors: tensors.clone(),
            statistics: statistics.cloned(),
            name: String::new(),
        };
        let blocks = config.blocks();
        let last = blocks.last().map_or(config.stem_width, |block| block.output);
        let seen = STEM.kernel * STEM.kernel * config.num_channels;
        Ok(Self {
            config: config.clone(),
            stem: Convolution::load((config.stem_width, seen), 0, &source.part("stem"))?,
            blocks: blocks
                .iter()
                .enumerate()
                .map(|(number, block)| {
                    Block::load(block, &source.part(&format!("blocks.{number}")))
                })
                .collect::<Result<_>>()?,
            head: Convolution::load((config.head_width, last), 0, &source.part("head"))?,
        })
    }

    /// The sizes.
    pub fn config(&self) -> &EfficientNetLiteConfig {
        &self.config
    }

    /// Encodes `[batch, channels, rows, columns]` of normalised pixels.
    pub fn forward(&self, pixels: &Tensor) -> Result<EncoderOutput> {
        let mut last_hidden = self.stages(pixels, 0)?.0;
        if self.config.mirrored {
            let (batch, patches, width) = last_hidden.dims3()?;
            let side = patches.isqrt();
            let (seen, _) = self.stages(&mirror(pixels, 3)?, 0)?;
            let seen = mirror(&seen.reshape((batch, side, side, width))?, 2)?;
            let seen = seen.reshape((batch, patches, width))?;
            last_hidden = ((last_hidden + seen)? * 0.5)?;
        }
        Ok(EncoderOutput { pooled: last_hidden.mean(1)?, last_hidden, stages: vec![] })
    }

    /// The mean over the patches of the image as it is, even where the output is to be the mean
    /// over the mirror image too: training shows both, one at a time.
    pub fn pooled_once(&self, pixels: &Tensor) -> Result<Tensor> {
        self.stages(pixels, 0)?.0.mean(1)
    }

    /// The last hidden state, and for comparisons the first `keep` of: the stem's output, each
    /// block's, as `[batch, rows, columns, channels]`.
    pub fn stages(&self, pixels: &Tensor, keep: usize) -> Result<(Tensor, Vec<Tensor>)> {
        let (batch, channels, rows, columns) = pixels.dims4()?;
        let size = self.config.image_size;
        if channels != self.config.num_channels || rows != size || columns != size {
            bail!(
                "an image of {channels} × {rows} × {columns} for an encoder of {} × {size} × {size}",
                self.config.num_channels
            );
        }
        let pixels = pixels.permute((0, 2, 3, 1))?.contiguous()?;
        let taps = STEM.kernel * STEM.kernel;
        let seen = (0..taps).map(|t| tap_image(&pixels, STEM, t)).collect::<Result<Vec<_>>>()?;
        let mut x = self.stem.pointwise_relu6(&Tensor::cat(&seen, 3)?)?;
        let mut kept = Vec::new();
        for block in &self.blocks {
            if kept.len() < keep {
                kept.push(x.clone());
            }
            x = block.forward(&x)?;
        }
        if kept.len() < keep {
            kept.push(x.clone());
        }
        let features = self.head.pointwise_relu6(&x)?;
        Ok((features.reshape((batch, (), self.config.head_width))?, kept))
    }

    /// Every convolution with its norm folded in, by the names that [`EfficientNetLite::load`]
    /// takes.
    pub fn folded(&self) -> Result<Vec<(String, Tensor)>> {
        let mut tensors = Vec::new();
        let blocks = self.blocks.iter().flat_map(Block::convolutions);
        for convolution in [&self.stem].into_iter().chain(blocks).chain([&self.head]) {
            let (weight, bias) = convolution.fold()?;
            tensors.push((format!("{}.weight", convolution.name), weight));
            tensors.push((format!("{}.bias", convolution.name), bias));
        }
        Ok(tensors)
    }
}

/// The other way round along one dimension.
fn mirror(x: &Tensor, dimension: usize) -> Result<Tensor> {
    let last = x.dim(dimension)?.saturating_sub(1) as u32;
    let order: Vec<u32> = (0..=last).rev().collect();
    x.contiguous()?.index_select(&Tensor::new(order, x.device())?, dimension)
}

/// One inverted residual: widen, convolve each channel, narrow.
#[derive(Clone, Debug)]
struct Block {
    expand: Option<Convolution>,
    depthwise: Convolution,
    project: Convolution,
    steps: Steps,
    skip: bool,
}

impl Block {
    fn load(config: &BlockConfig, source: &Source<'_>) -> Result<Self> {
        let BlockConfig { steps, expansion, input, output } = *config;
        let wide = input * expansion;
        let expand = (expansion > 1)
            .then(|| Convolution::load((wide, input), 0, &source.part("expand")))
            .transpose()?;
        let taps = steps.kernel * steps.kernel;
        Ok(Self {
            expand,
            depthwise: Convolution::load((taps, wide), 1, &source.part("depthwise"))?,
            project: Convolution::load((output, wide), 0, &source.part("project"))?,
            steps,
            skip: steps.stride == 1 && input == output,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let wide = match &self.expand {
            Some(expand) => expand.pointwise_relu6(x)?,
            None => x.clone(),
        };
        let (weight, bias) = self.depthwise.fold()?;
        let seen = bias_relu6(&depthwise(&wide, &weight, self.steps)?, &bias)?;
        let narrow = self.project.pointwise(&seen)?;
        if self.skip { x + narrow } else { Ok(narrow) }
    }

    fn convolutions(&self) -> impl Iterator<Item = &Convolution> {
        self.expand.iter().chain([&self.depthwise, &self.project])
    }
}

/// A convolution's weight and what comes after it.
#[derive(Clone, Debug)]
struct Convolution {
    name: String,
    weight: Tensor,
    /// The dimension of `weight` that its outputs lie along.
    outputs: usize,
    after: After,
}

#[derive(Clone, Debug)]
enum After {
    Bias(Tensor),
    Norm {
        gain: Tensor,
        bias: Tensor,
        mean: Tensor,
        /// One over the standard deviation.
        sharpness: Tensor,
    },
}

impl Convolution {
    fn load(shape: (usize, usize), outputs: usize, source: &Source<'_>) -> Result<Self> {
        let tensors = &source.tensors;
        let width = if outputs == 0 { shape.0 } else { shape.1 };
        let init = Init::Randn { mean: 0.0, stdev: 0.02 };
        let weight = tensors.get_with_hints(shape, "weight", init)?;
        let after = match &source.statistics {
            None => After::Bias(tensors.get_with_hints(width, "bias", Init::Const(0.0))?),
            Some(statistics) => {
                let variance = statistics.get(width, "norm.variance")?.to_dtype(DType::F32)?;
                After::Norm {
                    gain: tensors.get_with_hints(width, "norm.weight", Init::Const(1.0))?,
                    bias: tensors.get_with_hints(width, "norm.bias", Init::Const(0.0))?,
                    mean: statistics.get(width, "norm.mean")?,
                    sharpness: (variance + NORM_EPS)?.sqrt()?.recip()?,
                }
            }
        };
        Ok(Self { name: source.name.clone(), weight, outputs, after })
    }

    /// Weight and bias that do the work of the norm too.
    fn fold(&self) -> Result<(Tensor, Tensor)> {
        match &self.after {
            After::Bias(bias) => Ok((self.weight.clone(), bias.clone())),
            After::Norm { gain, bias, mean, sharpness } => {
                let scale = (gain * sharpness)?;
                let weight = self.weight.broadcast_mul(&scale.unsqueeze(1 - self.outputs)?)?;
                Ok((weight, (bias - (mean * scale)?)?))
            }
        }
    }

    fn product(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let (weight, bias) = self.fold()?;
        Ok((Linear::new(weight, None).forward(x)?, bias))
    }

    /// A 1 × 1 convolution.
    fn pointwise(&self, x: &Tensor) -> Result<Tensor> {
        let (y, bias) = self.product(x)?;
        bias_add(&y, &bias)
    }

    /// A 1 × 1 convolution and the rectifier.
    fn pointwise_relu6(&self, x: &Tensor) -> Result<Tensor> {
        let (y, bias) = self.product(x)?;
        bias_relu6(&y, &bias)
    }
}
