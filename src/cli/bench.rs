//! `thorascribe model bench`: how fast a model is on this machine.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, bail};
use candle_core::{D, DType, Device};
use candle_nn::VarBuilder;
use serde_json::json;

use super::Outcome;
use crate::model::Model;
use crate::model::checkpoint::gguf::Gguf;
use crate::model::language::cache::Cache;
use crate::model::language::llama::{Llama, Segment};

/// The variable that rayon and candle take the number of their threads from.
const THREADS: &str = "RAYON_NUM_THREADS";

/// What may be asked of `model bench`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A model directory, or the GGUF file of a LLaMA.
    #[arg(value_name = "DIR|FILE.gguf")]
    model: PathBuf,
    /// Positions of the prompt.
    #[arg(long, value_name = "N", default_value = "128", value_parser = clap::value_parser!(u32).range(1..=65536))]
    prefill: u32,
    /// Tokens to generate.
    #[arg(long, value_name = "N", default_value = "64", value_parser = clap::value_parser!(u32).range(1..=65536))]
    decode: u32,
    /// Sequences at a time.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=256))]
    batch: u32,
    /// Threads; absent: one a core.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
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
    let (language, encode_ms) = load(&arguments.model)?;
    let speed = measure(&language, arguments)?;
    let peak = peak_mib()?;
    let threads = candle_core::utils::get_num_threads();
    let mut out = std::io::stdout().lock();
    if arguments.json {
        let line = json!({
            "prefill_tokens_per_second": speed.prefill,
            "decode_tokens_per_second": speed.decode,
            "encode_ms": encode_ms,
            "peak_mib": peak,
            "prefill": arguments.prefill,
            "decode": arguments.decode,
            "batch": arguments.batch,
            "threads": threads,
        });
        writeln!(out, "{line}")?;
    } else {
        writeln!(out, "prefill       {:.1} tokens/s", speed.prefill)?;
        writeln!(out, "decode        {:.2} tokens/s", speed.decode)?;
        if let Some(ms) = encode_ms {
            writeln!(out, "encode        {ms:.1} ms")?;
        }
        writeln!(out, "peak memory   {peak:.0} MiB")?;
        writeln!(out, "threads       {threads}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The language model, and the milliseconds that one image took to encode.
fn load(path: &Path) -> anyhow::Result<(Llama, Option<f64>)> {
    if path.is_dir() {
        let model = Model::open(path)?;
        let image = super::model::ramp(model.manifest().image_encoder.image_size() as u32)?;
        model.encode(&image)?;
        let start = Instant::now();
        model.encode(&image)?;
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        return Ok((model.chain().language.clone(), Some(milliseconds)));
    }
    let Gguf { config, stored } = Gguf::open(path)?;
    let source = VarBuilder::from_backend(Box::new(stored), DType::F32, Device::Cpu);
    let language = Llama::load(&config, &source)
        .with_context(|| format!("{} is no whole LLaMA", path.display()))?;
    Ok((language, None))
}

/// Tokens a second, over all sequences.
struct Speed {
    prefill: f64,
    decode: f64,
}

fn measure(language: &Llama, arguments: &Arguments) -> anyhow::Result<Speed> {
    const REPEATS: usize = 3;
    let (prompt, steps) = (arguments.prefill as usize, arguments.decode as usize);
    let batch = arguments.batch as usize;
    let context = language.config().max_position_embeddings;
    if prompt + steps > context {
        bail!("{prompt} + {steps} positions exceed the model's context of {context}");
    }
    let vocabulary = language.config().vocab_size as u32;
    let ids = (0..batch * prompt).map(|i| (i as u32 * 7919 + 1) % vocabulary).collect::<Vec<_>>();
    let room = || {
        let caches = (0..batch).map(|_| language.cache(prompt + steps));
        caches.collect::<candle_core::Result<Vec<_>>>()
    };
    // Once for the pages and the threads.
    forward(language, ids.get(..batch).unwrap_or_default(), &mut room()?)?;
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    for _ in 0..REPEATS {
        let mut caches = room()?;
        let start = Instant::now();
        let mut next = forward(language, &ids, &mut caches)?;
        prefill.push((batch * prompt) as f64 / start.elapsed().as_secs_f64());
        let start = Instant::now();
        for _ in 0..steps {
            next = forward(language, &next, &mut caches)?;
        }
        decode.push((batch * steps) as f64 / start.elapsed().as_secs_f64());
    }
    Ok(Speed { prefill: median(prefill), decode: median(decode) })
}

/// The next tokens of sequences that go on by equal shares of `ids`, as the engine takes a step of
/// its batch.
fn forward(language: &Llama, ids: &[u32], caches: &mut [Cache]) -> candle_core::Result<Vec<u32>> {
    let time = ids.len() / caches.len().max(1);
    let segments = caches.iter_mut().map(|cache| Segment { cache, time });
    let mut segments = segments.collect::<Vec<_>>();
    let logits = language.forward_ragged(&language.embed_tokens(ids)?, &mut segments)?;
    logits.argmax(D::Minus1)?.to_vec1()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The most main memory that this process had at once, MiB.
fn peak_mib() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    Ok(kib.context("no VmHWM in /proc/self/status")? / 1024.0)
}
