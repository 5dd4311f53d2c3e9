//! `thorascribe model`: import, check, quantize, measure and describe model directories.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use candle_core::Device;
use clap::{Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::Outcome;
use crate::config;
use crate::model::checkpoint::ModelFiles;
use crate::model::checkpoint::compare::{Limit, Row, compare, question_of};
use crate::model::checkpoint::import::{ImportOptions, Progress, import};
use crate::model::checkpoint::manifest::{ImageTokens, Manifest};
use crate::model::checkpoint::quantize::{WeightType, quantize};
use crate::model::{DraftRequest, Model, PromptChoice, device};
use crate::radiograph::GreyImage;

/// What may be asked of `model`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a model directory of a checkpoint: XrayGPT as released (EVA ViT-g, Q-Former, its
    /// alignment layer, Vicuna), or MedCLIP, projection and Vicuna.
    Import {
        /// The folder with the checkpoint's files.
        source: PathBuf,
        #[command(flatten)]
        into: Into,
        /// The language model's folder, a Hugging Face LLaMA; else vicuna/ in the source.
        #[arg(long, value_name = "DIR")]
        language_model: Option<PathBuf>,
    },
    /// The same of a checkpoint on a model hub, kept in the hub's cache.
    Pull(super::pull::Arguments),
    /// Check a model directory: its files, its tensors, and one draft, even where the model is not
    /// made for such an image; or each stage against another implementation's outputs.
    Check {
        /// The model directory.
        folder: PathBuf,
        /// The other implementation's outputs.
        #[arg(long, value_name = "SAFETENSORS", requires = "image")]
        against: Option<PathBuf>,
        /// The image that they were made from: DICOM, PNG or JPEG.
        #[arg(long, value_name = "FILE")]
        image: Option<PathBuf>,
        /// The question: a number of the model's own, or a text; else the one that the outputs
        /// were made with, else number 1.
        #[arg(long, value_name = "TEXT|N")]
        prompt: Option<String>,
        /// Where it computes: auto, cpu or cuda:N.
        #[arg(long, value_name = "DEVICE", default_value = "cpu")]
        device: config::Device,
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

/// The model directory that an import makes.
#[derive(Debug, clap::Args)]
pub(super) struct Into {
    /// The model directory to make; must be empty or absent.
    #[arg(long, value_name = "DIR")]
    pub(super) out: PathBuf,
    /// MedCLIP's layout: what of the image becomes tokens, its embedding (1) or its patches
    /// (default).
    #[arg(long, value_enum)]
    image_tokens: Option<Tokens>,
    /// What the weights are stored in: f32, f16, bf16; q8_0 or q4_k: the language model's matrices,
    /// others in 16 bits. Else each as it comes.
    #[arg(long, value_name = "TYPE")]
    dtype: Option<WeightType>,
}

impl Into {
    /// The choices of an import.
    pub(super) fn options(&self) -> ImportOptions {
        let image_tokens = self.image_tokens.map(|tokens| match tokens {
            Tokens::Pooled => ImageTokens::Pooled,
            Tokens::Patches => ImageTokens::Patches,
        });
        ImportOptions { image_tokens, dtype: self.dtype, ..ImportOptions::default() }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Tokens {
    Pooled,
    Patches,
}

pub(super) fn run(arguments: &Arguments, _config: Option<&Path>) -> Outcome {
    match &arguments.action {
        Action::Import { source, into, language_model } => {
            let language_model = language_model.clone();
            let options = ImportOptions { language_model, ..into.options() };
            run_import(source, &into.out, &options)
        }
        Action::Pull(arguments) => super::pull::run(arguments),
        Action::Check { folder, against, image, prompt, device } => {
            let prompt = prompt.as_deref().map(PromptChoice::parse);
            let model = Model::open_on(Some(folder), &device::open(*device)?)?;
            match (against, image) {
                (Some(against), Some(image)) => check_against(&model, against, image, prompt),
                _ => check(&model, image.as_deref(), prompt.unwrap_or(PromptChoice::Number(1))),
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

pub(super) fn run_import(source: &Path, out: &Path, options: &ImportOptions) -> Outcome {
    let manifest = with_bar(TENSORS, |progress| import(source, out, options, progress))?;
    written(out, &manifest)
}

fn run_quantize(folder: &Path, out: &Path, dtype: WeightType) -> Outcome {
    let files = ModelFiles::open(folder)?;
    let manifest = with_bar(TENSORS, |progress| quantize(&files, out, dtype, progress))?;
    written(out, &manifest)
}

/// A bar that counts tensors.
const TENSORS: &str = "{bar:32} {pos}/{len} {msg}";
/// A bar that counts bytes.
pub(super) const BYTES: &str = "{bar:32} {bytes}/{total_bytes} {bytes_per_sec} {msg}";

/// Shows how far `work` is.
pub(super) fn with_bar<T>(
    template: &str,
    work: impl FnOnce(&mut dyn FnMut(Progress<'_>)) -> T,
) -> T {
    let bar = ProgressBar::new(1);
    if let Ok(style) = ProgressStyle::with_template(template) {
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
    // Not loaded: that would take as much memory as the model has.
    let files = ModelFiles::open(out).context("the model just written cannot be opened")?;
    let mut stdout = std::io::stdout().lock();
    describe(&mut stdout, manifest, files.digest())?;
    writeln!(stdout, "written to {}", out.display())?;
    Ok(ExitCode::SUCCESS)
}

fn check_against(
    model: &Model,
    against: &Path,
    image: &Path,
    prompt: Option<PromptChoice>,
) -> Outcome {
    let image = super::draft::read_image(image)?;
    let expected = candle_core::safetensors::load(against, &Device::Cpu)
        .with_context(|| format!("cannot read {}", against.display()))?;
    let prompt = prompt.or_else(|| question_of(model, &expected));
    let prompt = prompt.unwrap_or(PromptChoice::Number(1));
    let rows = compare(model, &image, &prompt, &expected)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:<28} {:>10} {:>10} {:>15}  result", "stage", "difference", "cosine", "equal")?;
    for row in &rows {
        write_row(&mut out, row)?;
    }
    let wrong = rows.iter().filter(|row| !row.passed()).count();
    writeln!(out, "{} of {} stages equal", rows.len() - wrong, rows.len())?;
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn write_row(out: &mut impl Write, row: &Row) -> std::io::Result<()> {
    let (limit, result) = match row.limit {
        Limit::Difference(0.0) => ("all".to_owned(), row.passed()),
        Limit::Difference(most) => (format!("up to {most:.0e}"), row.passed()),
        Limit::Cosine(least) => (format!("cosine {least}"), row.passed()),
        Limit::Open => ("not judged".to_owned(), true),
    };
    let result = match (row.limit, result) {
        (Limit::Open, _) => "shown",
        (_, true) => "equal",
        (_, false) => "DIFFERENT",
    };
    let cosine = row.cosine.map(|cosine| format!("{cosine:.6}")).unwrap_or_default();
    let note = if row.note.is_empty() { String::new() } else { format!(" ({})", row.note) };
    let (stage, difference) = (&row.stage, row.difference);
    writeln!(out, "{stage:<28} {difference:>10.2e} {cosine:>10} {limit:>15}  {result}{note}")
}

fn check(model: &Model, image: Option<&Path>, prompt: PromptChoice) -> Outcome {
    let mut out = std::io::stdout().lock();
    describe(&mut out, model.manifest(), model.digest())?;
    writeln!(out, "files: digests equal; tensors: names and shapes equal")?;
    let image = match image {
        Some(path) => super::draft::read_image(path)?,
        None => ramp(model.manifest().image_encoder.image_size() as u32)?,
    };
    let features = model.examine(&image)?;
    if !features.is_known() {
        writeln!(out, "image: none that the model is made for; drafted all the same")?;
    }
    let request = DraftRequest { prompt, ..DraftRequest::default() };
    let draft = model.draft_from(&features.taken_as_known(), &request)?;
    if draft.scores.iter().map(|(_, score)| *score).chain(draft.abnormal).any(f32::is_nan) {
        bail!("a score is no number: the weights of the encoder or of its heads are broken");
    }
    if draft.token_ids.is_empty() {
        bail!("the draft has no token: do language model and projection belong together?");
    }
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
