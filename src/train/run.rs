//! A training run: steps over shuffled items, a log, checkpoints, and going on after a stop.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{Device, Tensor};
use indicatif::ProgressBar;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::average::Average;
use super::chance::Chance;
use super::error::TrainError;
use super::optimise::{AdamW, Named, rate};
use super::workers::{Loss, Workers};
use super::{curve, files};

/// What is trained.
pub trait Task: Sync {
    /// What the steps change.
    fn variables(&self) -> &[Named];
    /// How many items an epoch has.
    fn items(&self) -> usize;
    /// How many of them [`Task::loss`] takes at once.
    fn at_once(&self) -> usize {
        usize::MAX
    }
    /// The learning rate of a variable over that of the run.
    fn pace(&self, _variable: &str) -> f32 {
        1.0
    }
    /// How much of the average of the variables over the steps stays at each step; `None`: the run
    /// ends with the variables of its last step.
    fn averaging(&self) -> Option<f32> {
        None
    }
    /// The loss of some items in this epoch.
    fn loss(&self, items: &[usize], epoch: u64) -> Result<Loss, TrainError>;
    /// Figures on what is not trained on.
    fn evaluate(&self, workers: &Workers) -> Result<Map<String, Value>, TrainError>;
    /// What a checkpoint must share with the run that goes on from it.
    fn settings(&self) -> Value;
}

/// How long and how fast.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Passes over the items; `None` is without end and needs `minutes`.
    pub epochs: Option<u64>,
    /// Wall-clock minutes, those before a resume included; the learning rate follows them.
    pub minutes: Option<f64>,
    /// Items a step.
    pub batch: usize,
    /// The highest learning rate.
    pub rate: f32,
    /// Weight decay.
    pub decay: f32,
    /// Order, augmentation and first weights depend on it.
    pub seed: u64,
    /// Threads that share a batch.
    pub threads: usize,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    epoch: u64,
    step: u64,
    seconds: f64,
    settings: Value,
}

/// Trains until the plan is done, in the folder `out`; goes on from its checkpoint if it has one.
/// Gives the figures of the last evaluation.
pub fn fit(
    task: &impl Task,
    plan: &Plan,
    out: &Path,
    bar: &ProgressBar,
) -> Result<Map<String, Value>, TrainError> {
    let workers = Workers::new(plan.threads)?;
    let mut optimiser = AdamW::new(task.variables(), plan.decay, |name| task.pace(name));
    let mut average = Average::new(task.averaging(), task.variables())?;
    let checkpoint = out.join("checkpoint.safetensors");
    let mut state = State { settings: task.settings(), ..State::default() };
    if checkpoint.exists() {
        state = resume(&checkpoint, task, &mut optimiser, &mut average)?;
    }
    let mut log = Log::open(out.join("log.jsonl"), state.epoch > 0)?;
    let before = state.seconds;
    let started = Instant::now();
    let batches = task.items().div_ceil(plan.batch).max(1) as u64;
    let progress = |state: &State| {
        let by_epochs = plan.epochs.map(|n| state.step as f64 / (n.max(1) * batches) as f64);
        let by_time = plan.minutes.map(|m| (before + started.elapsed().as_secs_f64()) / 60.0 / m);
        by_epochs.unwrap_or(0.0).max(by_time.unwrap_or(0.0))
    };
    bar.set_length(1000);
    let mut figures = Map::new();
    while progress(&state) < 1.0 {
        let epoch_started = Instant::now();
        let order = Chance::of(plan.seed, state.epoch).shuffled(task.items());
        let (mut total, mut seen) = (0.0, 0_usize);
        for batch in order.chunks(plan.batch.max(1)) {
            let now = progress(&state);
            if now >= 1.0 {
                break;
            }
            let epoch = state.epoch;
            let (loss, gradients) =
                workers.gradients(task.variables(), batch, task.at_once(), |part| {
                    task.loss(part, epoch)
                })?;
            optimiser.step(task.variables(), &gradients, rate(plan.rate, now as f32))?;
            average.follow(task.variables())?;
            state.step += 1;
            total += f64::from(loss) * batch.len() as f64;
            seen += batch.len();
            bar.set_position((progress(&state) * 1000.0) as u64);
            bar.set_message(format!("epoch {} loss {loss:.3}", epoch + 1));
        }
        state.epoch += 1;
        state.seconds = before + started.elapsed().as_secs_f64();
        let pace = seen as f64 / epoch_started.elapsed().as_secs_f64();
        average.swap(task.variables())?;
        figures = task.evaluate(&workers)?;
        average.swap(task.variables())?;
        log.line(&json!({
            "epoch": state.epoch, "step": state.step, "seconds": state.seconds.round(),
            "items_per_second": (pace * 10.0).round() / 10.0,
            "loss": total / seen.max(1) as f64, "development": figures,
        }))?;
        save(&checkpoint, task.variables(), &optimiser, &average, &state)?;
    }
    average.swap(task.variables())?;
    if figures.is_empty() {
        figures = task.evaluate(&workers)?;
    }
    bar.finish_and_clear();
    curve::draw(&log.path)?;
    Ok(figures)
}

struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    fn open(path: PathBuf, append: bool) -> Result<Self, TrainError> {
        let mut how = File::options();
        how.create(true).write(true).append(append).truncate(!append);
        let file = how.open(&path).map_err(|e| written(&path, e))?;
        Ok(Self { path, file })
    }

    fn line(&mut self, value: &Value) -> Result<(), TrainError> {
        writeln!(self.file, "{value}").map_err(|e| written(&self.path, e))
    }
}

fn written(path: &Path, source: std::io::Error) -> TrainError {
    TrainError::File { action: "write it", path: path.to_owned(), source }
}

/// Replaces the checkpoint in one rename, so that a stop in mid-write leaves the older one.
fn save(
    path: &Path,
    variables: &[Named],
    optimiser: &AdamW,
    average: &Average,
    state: &State,
) -> Result<(), TrainError> {
    let mut parts: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for ((name, var), (first, second)) in variables.iter().zip(&optimiser.moments) {
        let values = var.flatten_all()?.to_vec1::<f32>()?;
        for (kind, numbers) in [("value", &values), ("first", first), ("second", second)] {
            let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
            parts.push((format!("{kind}.{name}"), var.dims().to_vec(), bytes));
        }
    }
    for ((name, var), numbers) in variables.iter().zip(average.values()) {
        let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        parts.push((format!("average.{name}"), var.dims().to_vec(), bytes));
    }
    let views = parts
        .iter()
        .map(|(name, shape, bytes)| {
            let view = TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
            view.map(|view| (name.as_str(), view)).map_err(|e| unfit(path, &e.to_string()))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let state = serde_json::to_string(state).map_err(|e| unfit(path, &e.to_string()))?;
    let facts = HashMap::from([
        ("state".to_owned(), state),
        ("optimiser_steps".to_owned(), optimiser.steps.to_string()),
    ]);
    let bytes = safetensors::serialize(views, Some(facts))
        .map_err(|error| unfit(path, &error.to_string()))?;
    let new = path.with_extension("new");
    files::write(&new, &bytes)?;
    std::fs::rename(&new, path).map_err(|e| written(path, e))
}

/// Sets variables and moments to what the checkpoint holds.
fn resume(
    path: &Path,
    task: &impl Task,
    optimiser: &mut AdamW,
    average: &mut Average,
) -> Result<State, TrainError> {
    let bytes = files::read(path)?;
    let bad = |error: safetensors::SafeTensorError| unfit(path, &error.to_string());
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(bad)?;
    let fact = |name: &str| header.metadata().as_ref().and_then(|m| m.get(name)).cloned();
    let state: State = fact("state")
        .and_then(|text| serde_json::from_str(&text).ok())
        .ok_or_else(|| unfit(path, "no state of a training run in it"))?;
    if state.settings != task.settings() {
        let reason = format!(
            "this folder holds a run with other settings ({}); give another --out or remove it",
            state.settings
        );
        return Err(unfit(path, &reason));
    }
    let file = SafeTensors::deserialize(&bytes).map_err(bad)?;
    let numbers = |kind: &str, (name, var): &Named| {
        let view = file.tensor(&format!("{kind}.{name}")).map_err(bad)?;
        if view.shape() != var.dims() {
            return Err(unfit(path, &format!("{name} has another shape")));
        }
        Ok(floats(view.data()))
    };
    for (average, variable) in average.values_mut().iter_mut().zip(task.variables()) {
        *average = numbers("average", variable)?;
    }
    for (variable, (first, second)) in task.variables().iter().zip(&mut optimiser.moments) {
        let var = &variable.1;
        let values = Tensor::from_vec(numbers("value", variable)?, var.shape(), &Device::Cpu)?;
        var.set(&values)?;
        (*first, *second) = (numbers("first", variable)?, numbers("second", variable)?);
    }
    optimiser.steps = fact("optimiser_steps").and_then(|n| n.parse().ok()).unwrap_or_default();
    average.steps = optimiser.steps;
    Ok(state)
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn unfit(path: &Path, reason: &str) -> TrainError {
    TrainError::Run { path: path.to_owned(), reason: reason.to_owned() }
}
