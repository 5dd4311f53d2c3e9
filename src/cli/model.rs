//! `thorascribe model`: import, check, quantize, measure and describe model directories.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use candle_core::Device;
use clap::{Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::Outcome;
use crate::model::checkpoint::ModelFiles;
use crate::model::checkpoint::compare::compare;
use crate::model::checkpoint::import::{Progress, import};
use crate::model::checkpoint::manifest::{ImageTokens, Manifest};
use crate::model::checkpoint::quantize::{WeightType, quantize};
use crate::model::{DraftRequest, Model, PromptChoice};
use crate::radiograph::GreyImage;

/// What may be asked of `model`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a model directory of a checkpoint (MedCLIP, projection, Vicuna).
    Import {
        /// The folder with the checkpoint's files.
        source: PathBuf,
        /// The model directory to make; must be empty or absent.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// What of the image becomes tokens: its embedding (1), or its patches.
        #[arg(long, value_enum, default_value = "patches")]
        image_tokens: Tokens,
    },
    /// Check a model directory: its files, tensors, and one draft; or each stage against another
    /// implementation's outputs.
    Check {
        /// The model directory.
        folder: PathBuf,
        /// The other implementation's outputs.
        #[arg(long, value_name = "SAFETENSORS", requires = "image")]
        against: Option<PathBuf>,
        /// The image that they were made from: DICOM, PNG or JPEG.
        #[arg(long, value_name = "FILE")]
        image: Option<PathBuf>,
        /// The question: a number of the model's own, or a text.
        #[arg(long, value_name = "TEXT|N", default_value = "1")]
        prompt: String,
    },
    /// Make a smaller copy of a model directory, with its language model in blocks.
    Quantize {
        /// The model directory.
        folder: PathBuf,
        /// The model directory to make; must be empty or absent.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// f16 or bf16: every matrix. q8_0 or q4_k: the language model's matrices, others in 16
        /// bits.
        #[arg(long, value_name = "TYPE")]
        dtype: WeightType,
    },
    /// Measure how fast a model is on this machine, and how much memory it takes.
    Bench(super::bench::Arguments),
    /// Describe a model directory, or the embedded model.
    Info {
        /// The model directory; without it, the embedded model.
        folder: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Tokens {
    Pooled,
    Patches,
}

pub(super) fn run(arguments: &Arguments, _config: Option<&Path>) -> Outcome {
    match &arguments.action {
        Action::Import { source, out, image_tokens } => {
            let image_tokens = match image_tokens {
                Tokens::Pooled => ImageTokens::Pooled,
                Tokens::Patches => ImageTokens::Patches,
            };
            run_import(source, out, image_tokens)
        }
        Action::Check { folder, against, image, prompt } => {
            let prompt = PromptChoice::parse(prompt);
            match (against, image) {
                (Some(against), Some(image)) => check_against(folder, against, image, &prompt),
                _ => check(folder, image.as_deref(), prompt),
            }
        }
        Action::Quantize { folder, out, dtype } => run_quantize(folder, out, *dtype),
        Action::Bench(arguments) => super::bench::run(arguments),
        Action::Info { folder } => {
            let model = match folder {
                Some(folder) => Model::open(folder)?,
                None => Model::embedded()?,
            };
            let mut out = std::io::stdout().lock();
            describe(&mut out, model.manifest(), model.digest())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn run_import(source: &Path, out: &Path, image_tokens: ImageTokens) -> Outcome {
    let manifest = with_bar(|progress| import(source, out, image_tokens, progress))?;
    written(out, &manifest)
}

fn run_quantize(folder: &Path, out: &Path, dtype: WeightType) -> Outcome {
    let files = ModelFiles::open(folder)?;
    let manifest = with_bar(|progress| quantize(&files, out, dtype, progress))?;
    written(out, &manifest)
}

/// Shows how far `work` is.
fn with_bar<T>(work: impl FnOnce(&mut dyn FnMut(Progress<'_>)) -> T) -> T {
    let bar = ProgressBar::new(1);
    if let Ok(style) = ProgressStyle::with_template("{bar:32} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    let result = work(&mut |progress| {
        bar.set_length(progress.of);
        bar.set_position(progress.done);
        bar.set_message(progress.doing.to_owned());
    });
    bar.finish_and_clear();
    result
}

fn written(out: &Path, manifest: &Manifest) -> Outcome {
    let model = Model::open(out).context("the model just written cannot be opened")?;
    let mut stdout = std::io::stdout().lock();
    describe(&mut stdout, manifest, model.digest())?;
    writeln!(stdout, "written to {}", out.display())?;
    Ok(ExitCode::SUCCESS)
}

fn check_against(folder: &Path, against: &Path, image: &Path, prompt: &PromptChoice) -> Outcome {
    let model = Model::open(folder)?;
    let image = super::draft::read_image(image)?;
    let expected = candle_core::safetensors::load(against, &Device::Cpu)
        .with_context(|| format!("cannot read {}", against.display()))?;
    let rows = compare(&model, &image, prompt, &expected)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:<28} {:>12} {:>10}  result", "stage", "difference", "tolerance")?;
    for row in &rows {
        let result = if row.passed() { "equal" } else { "DIFFERENT" };
        let note = if row.note.is_empty() { String::new() } else { format!(" ({})", row.note) };
        writeln!(
            out,
            "{:<28} {:>12.2e} {:>10.0e}  {result}{note}",
            row.stage, row.difference, row.tolerance
        )?;
    }
    let wrong = rows.iter().filter(|row| !row.passed()).count();
    writeln!(out, "{} of {} stages equal", rows.len() - wrong, rows.len())?;
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check(folder: &Path, image: Option<&Path>, prompt: PromptChoice) -> Outcome {
    let model = Model::open(folder)?;
    let mut out = std::io::stdout().lock();
    describe(&mut out, model.manifest(), model.digest())?;
    writeln!(out, "files: digests equal; tensors: names and shapes equal")?;
    let image = match image {
        Some(path) => super::draft::read_image(path)?,
        None => ramp(model.manifest().image_encoder.image_size() as u32)?,
    };
    let draft = model.draft(&image, &DraftRequest { prompt, ..DraftRequest::default() })?;
    let seconds = draft.seconds;
    writeln!(
        out,
        "one draft: {} tokens, encode {:.3} s, prefill {:.3} s, decode {:.3} s",
        draft.token_ids.len(),
        seconds.encode,
        seconds.prefill,
        seconds.decode
    )?;
    writeln!(out, "{}", draft.text)?;
    Ok(ExitCode::SUCCESS)
}

/// A picture for want of a radiograph.
pub(super) fn ramp(side: u32) -> anyhow::Result<GreyImage> {
    let pixels = (0..side * side).map(|i| ((i % side) * 255 / side) as u8).collect();
    match GreyImage::new(side, side, pixels) {
        Some(image) => Ok(image),
        None => bail!("an image of {side} × {side} cannot be made"),
    }
}

fn describe(out: &mut impl Write, manifest: &Manifest, digest: &str) -> std::io::Result<()> {
    let (encoder, language) = (&manifest.image_encoder, &manifest.language_model);
    writeln!(out, "name          {}", manifest.name)?;
    writeln!(out, "version       {digest}")?;
    writeln!(out, "licence       {}", manifest.licence)?;
    writeln!(out, "source        {}", manifest.source)?;
    writeln!(out, "image encoder {encoder}")?;
    writeln!(
        out,
        "projection    linear, {} → {}, {} image token(s) ({})",
        manifest.projection_input(),
        language.hidden_size,
        manifest.image_positions(),
        manifest.projection.image_tokens
    )?;
    writeln!(
        out,
        "language      LLaMA, width {}, {} layers, {} heads ({} of keys and values), vocabulary {}, context {}",
        language.hidden_size,
        language.num_hidden_layers,
        language.num_attention_heads,
        language.kv_heads(),
        language.vocab_size,
        language.max_position_embeddings
    )?;
    if let Some(dtype) = manifest.dtype {
        writeln!(out, "weights       {dtype}")?;
    }
    match &manifest.scores {
        Some(scores) => writeln!(out, "scores        {}", scores.labels.join(", "))?,
        None => writeln!(out, "scores        none")?,
    }
    for (i, prompt) in manifest.prompts.iter().enumerate() {
        writeln!(out, "prompt {:<6} {prompt}", i + 1)?;
    }
    Ok(())
}
