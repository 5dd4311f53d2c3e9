//! `thorascribe model bench`: how fast a model is on this machine.

mod drawn;
mod speed;
mod subject;

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use candle_core::DType;
use serde_json::{Value, json};

use self::speed::{Amount, Drafts};
use self::subject::Subject;
use super::Outcome;
use crate::config::Device;
use crate::model::device;

/// The variable that rayon and candle take the number of their threads from.
const THREADS: &str = "RAYON_NUM_THREADS";

/// What may be asked of `model bench`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A model directory; the GGUF file of a LLaMA; or a model's manifest alone, whose weights are
    /// drawn at random.
    #[arg(value_name = "DIR|FILE.gguf|FILE.toml")]
    model: PathBuf,
    /// Where it computes: auto, cpu or cuda:N.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Device,
    /// What drawn weights and the floats of a GGUF file compute in: f32, f16 or bf16.
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = ["f32", "f16", "bf16"])]
    dtype: String,
    /// Positions of the prompt; in a whole draft those of the image among them.
    #[arg(long, value_name = "N", default_value = "128", value_parser = clap::value_parser!(u32).range(1..=65536))]
    prefill: u32,
    /// Tokens to generate.
    #[arg(long, value_name = "N", default_value = "64", value_parser = clap::value_parser!(u32).range(1..=65536))]
    decode: u32,
    /// Sequences at a time.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=256))]
    batch: u32,
    /// Measurements, of which the median counts.
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(1..=100))]
    repeats: u32,
    /// Threads; absent: one a core.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    /// Measure the image encoder only.
    #[arg(long, conflicts_with = "drafts")]
    encoder: bool,
    /// Measure whole drafts too: image, prompt and tokens.
    #[arg(long)]
    drafts: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    fn amount(&self) -> Amount {
        Amount {
            prompt: self.prefill as usize,
            tokens: self.decode as usize,
            batch: self.batch as usize,
            repeats: self.repeats as usize,
        }
    }

    fn dtype(&self) -> DType {
        match self.dtype.as_str() {
            "f16" => DType::F16,
            "bf16" => DType::BF16,
            _ => DType::F32,
        }
    }
}

/// What was measured; absent what there was nothing to measure of.
#[derive(Debug, Default)]
struct Measured {
    encode_ms: Option<f64>,
    language: Option<speed::Language>,
    drafts: Option<Drafts>,
    copy: Option<f64>,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    if let Some(threads) = arguments.threads.map(|n| n.to_string())
        && std::env::var(THREADS).ok().as_deref() != Some(&threads)
    {
        // The pools take their size from the environment, at the start of the program.
        let program = std::env::current_exe().context("this program's own file")?;
        let mut again = Command::new(program);
        again.args(std::env::args_os().skip(1)).env(THREADS, threads);
        return Err(again.exec()).context("starting again with that number of threads");
    }
    let device = device::open(arguments.device)?;
    // Before the model takes room.
    let copy = device::copy_bandwidth(&device).context("copying within the GPU's memory")?;
    let subject = Subject::open(&arguments.model, arguments.dtype(), &device)?;
    let measured = Measured { copy, ..measure(&subject, arguments)? };
    let peak = peak_mib()?;
    let mut out = std::io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", in_json(&measured, peak, &subject, arguments))?;
    } else {
        write_text(&mut out, &measured, peak)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(subject: &Subject, arguments: &Arguments) -> anyhow::Result<Measured> {
    let amount = arguments.amount();
    let mut measured = Measured::default();
    if let Some(side) = &subject.image {
        measured.encode_ms = Some(speed::encode(subject, side, amount.repeats)?);
        if arguments.drafts {
            measured.drafts = Some(speed::drafts(subject, side, amount)?);
        }
    } else if arguments.encoder || arguments.drafts {
        bail!("{} has no image encoder", arguments.model.display());
    }
    if !arguments.encoder {
        measured.language = Some(speed::language(subject, amount)?);
    }
    Ok(measured)
}

fn in_json(measured: &Measured, peak: f64, subject: &Subject, arguments: &Arguments) -> Value {
    json!({
        "prefill_tokens_per_second": measured.language.as_ref().map(|speed| speed.prefill),
        "decode_tokens_per_second": measured.language.as_ref().map(|speed| speed.decode),
        "encode_ms": measured.encode_ms,
        "drafts_seconds": measured.drafts.as_ref().map(|drafts| drafts.seconds),
        "drafts_tokens_per_second": measured.drafts.as_ref().map(|drafts| drafts.decode),
        "copy_bytes_per_second": measured.copy,
        "peak_mib": peak,
        "parameters_per_token": subject.language.config().parameters_per_token(),
        "prefill": arguments.prefill,
        "decode": arguments.decode,
        "batch": arguments.batch,
        "threads": candle_core::utils::get_num_threads(),
    })
}

fn write_text(out: &mut impl Write, measured: &Measured, peak: f64) -> std::io::Result<()> {
    if let Some(speed) = &measured.language {
        writeln!(out, "prefill       {:.1} tokens/s", speed.prefill)?;
        writeln!(out, "decode        {:.2} tokens/s", speed.decode)?;
    }
    if let Some(ms) = measured.encode_ms {
        writeln!(out, "encode        {ms:.1} ms")?;
    }
    if let Some(drafts) = &measured.drafts {
        writeln!(out, "drafts        {:.3} s, {:.1} tokens/s", drafts.seconds, drafts.decode)?;
    }
    if let Some(copy) = measured.copy {
        writeln!(out, "GPU copies    {:.0} GB/s", copy / 1e9)?;
    }
    writeln!(out, "peak memory   {peak:.0} MiB")?;
    writeln!(out, "threads       {}", candle_core::utils::get_num_threads())
}

/// The most main memory that this process had at once, MiB.
fn peak_mib() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    Ok(kib.context("no VmHWM in /proc/self/status")? / 1024.0)
}
