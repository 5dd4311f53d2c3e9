//! A training run: steps over shuffled items, a log, checkpoints, and going on after a stop.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::Tensor;
use indicatif::ProgressBar;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::average::Average;
use super::chance::Chance;
use super::error::TrainError;
use super::optimise::{AdamW, Constants, Named, Schedule};
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
    /// What a checkpoint must share with the run that goes on from it, beside the plan.
    fn settings(&self) -> Value;
}

/// How long and how fast.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Passes over the items; `None` is without end and needs `steps` or `minutes`.
    pub epochs: Option<u64>,
    /// Steps in all, however many an epoch has.
    pub steps: Option<u64>,
    /// Wall-clock minutes, those before a resume included; the learning rate follows them.
    pub minutes: Option<f64>,
    /// Items a step.
    pub batch: usize,
    /// The highest learning rate.
    pub rate: f32,
    /// How it gets there and what comes after.
    pub schedule: Schedule,
    /// Of the optimiser.
    pub constants: Constants,
    /// After so many steps, too, a line is logged and a checkpoint kept, not only after an epoch.
    pub every: Option<u64>,
    /// Order, augmentation and first weights depend on it.
    pub seed: u64,
    /// Threads that share a batch.
    pub threads: usize,
}

impl Plan {
    /// What suits weights that another training left: a longer rise, and a second moment that
    /// remembers more steps. With those of [`Plan::default`] a large part of what ImageNet taught is
    /// lost in the first passes.
    pub fn tuning() -> Self {
        Self {
            schedule: Schedule::OneCycle { rise: 0.2 },
            constants: Constants { beta2: 0.999, ..Constants::default() },
            ..Self::default()
        }
    }

    /// What a checkpoint must share with the run that goes on from it: all but the length. Numbers
    /// with a fraction are texts, since those of JSON may change in their last digit.
    fn settings(&self) -> Map<String, Value> {
        Map::from_iter([
            ("batch".to_owned(), json!(self.batch)),
            ("seed".to_owned(), json!(self.seed)),
            ("rate".to_owned(), json!(self.rate.to_string())),
            ("schedule".to_owned(), json!(format!("{:?}", self.schedule))),
            ("optimiser".to_owned(), json!(format!("{:?}", self.constants))),
        ])
    }

    /// In the words of a card.
    pub(super) fn in_words(&self) -> String {
        format!("seed {}, batch {}, peak rate {}", self.seed, self.batch, self.rate)
    }
}

impl Default for Plan {
    /// What suits weights that begin at random, but for a length.
    fn default() -> Self {
        Self {
            epochs: None,
            steps: None,
            minutes: None,
            batch: 16,
            rate: 1e-3,
            schedule: Schedule::default(),
            constants: Constants::default(),
            every: None,
            seed: 1,
            threads: 1,
        }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    epoch: u64,
    step: u64,
    /// Steps of the epoch that has begun.
    #[serde(default)]
    within: u64,
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
    if task.items() == 0 {
        return Err(unfit(out, "nothing to train on"));
    }
    let workers = Workers::new(plan.threads)?;
    let mut optimiser = AdamW::new(task.variables(), plan.constants, |name| task.pace(name));
    let mut average = Average::new(task.averaging(), task.variables())?;
    let checkpoint = out.join("checkpoint.safetensors");
    let mut settings = plan.settings();
    settings.extend(task.settings().as_object().cloned().unwrap_or_default());
    let mut state = State { settings: Value::Object(settings), ..State::default() };
    if checkpoint.exists() {
        state = resume(&checkpoint, task, &state.settings, (&mut optimiser, &mut average))?;
    }
    let mut log = Log::open(out.join("log.jsonl"), state.step)?;
    let before = state.seconds;
    let started = Instant::now();
    let batches = task.items().div_ceil(plan.batch.max(1)) as u64;
    let progress = |state: &State| {
        let by_epochs = plan.epochs.map(|n| state.step as f64 / (n.max(1) * batches) as f64);
        let by_time = plan.minutes.map(|m| (before + started.elapsed().as_secs_f64()) / 60.0 / m);
        let by_steps = plan.steps.map(|n| state.step as f64 / n.max(1) as f64);
        [by_epochs, by_steps, by_time].into_iter().flatten().fold(0.0, f64::max)
    };
    bar.set_length(1000);
    let mut figures = Map::new();
    while progress(&state) < 1.0 {
        let order = Chance::of(plan.seed, state.epoch).shuffled(task.items());
        let mut since = Since::begin();
        for batch in order.chunks(plan.batch.max(1)).skip(state.within as usize) {
            let now = progress(&state);
            if now >= 1.0 {
                break;
            }
            let epoch = state.epoch;
            let (loss, gradients) =
                workers.gradients(task.variables(), batch, task.at_once(), |part| {
                    task.loss(part, epoch)
                })?;
            if !loss.is_finite() {
                return Err(TrainError::Diverged { step: state.step + 1 });
            }
            let rate = plan.schedule.rate(plan.rate, now, state.step);
            optimiser.step(task.variables(), &gradients, rate)?;
            average.follow(task.variables())?;
            state.step += 1;
            state.within += 1;
            since.add(loss, batch.len());
            bar.set_position((progress(&state) * 1000.0) as u64);
            bar.set_message(format!("epoch {} loss {loss:.3}", epoch + 1));
            let marked = plan.every.is_some_and(|every| state.step.is_multiple_of(every.max(1)));
            if marked && state.within < batches {
                state.seconds = before + started.elapsed().as_secs_f64();
                let epochs = state.epoch as f64 + state.within as f64 / batches as f64;
                log.line(&since.line(&state, &json!(epochs), since.pace(), None))?;
                save(&checkpoint, task.variables(), &optimiser, &average, &state)?;
                since = Since::begin();
            }
        }
        state.epoch += 1;
        state.within = 0;
        state.seconds = before + started.elapsed().as_secs_f64();
        let pace = since.pace();
        average.swap(task.variables())?;
        figures = task.evaluate(&workers)?;
        average.swap(task.variables())?;
        log.line(&since.line(&state, &json!(state.epoch), pace, Some(&figures)))?;
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

/// What was trained on since the last line of the log.
struct Since {
    total: f64,
    seen: usize,
    started: Instant,
}

impl Since {
    fn begin() -> Self {
        Self { total: 0.0, seen: 0, started: Instant::now() }
    }

    fn add(&mut self, loss: f32, items: usize) {
        self.total += f64::from(loss) * items as f64;
        self.seen += items;
    }

    /// Items a second.
    fn pace(&self) -> f64 {
        self.seen as f64 / self.started.elapsed().as_secs_f64()
    }

    /// A line of the log; without a loss where nothing was trained on.
    fn line(
        &self,
        state: &State,
        epoch: &Value,
        pace: f64,
        figures: Option<&Map<String, Value>>,
    ) -> Value {
        let loss = (self.seen > 0).then(|| self.total / self.seen as f64);
        json!({
            "epoch": epoch, "step": state.step, "seconds": state.seconds.round(),
            "items_per_second": (pace * 10.0).round() / 10.0, "loss": loss, "development": figures,
        })
    }
}

struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Opens it with the lines up to this step: what a stopped run did after its checkpoint is done
    /// again.
    fn open(path: PathBuf, step: u64) -> Result<Self, TrainError> {
        let old = if step > 0 && path.exists() { files::read(&path)? } else { vec![] };
        let old = String::from_utf8_lossy(&old);
        let kept = old.lines().filter(|line| {
            let line = serde_json::from_str::<Value>(line).ok();
            line.and_then(|line| line.get("step")?.as_u64()).is_some_and(|n| n <= step)
        });
        let kept = kept.flat_map(|line| [line, "\n"]).collect::<String>();
        let mut file = File::create(&path).map_err(|e| written(&path, e))?;
        file.write_all(kept.as_bytes()).map_err(|e| written(&path, e))?;
        Ok(Self { path, file })
    }

    fn line(&mut self, value: &Value) -> Result<(), TrainError> {
        writeln!(self.file, "{value}").map_err(|e| written(&self.path, e))
    }
}

fn written(path: &Path, source: std::io::Error) -> TrainError {
    TrainError::File { action: "write it", path: path.to_owned(), source }
}

/// Replaces the checkpoint.
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
    files::replace(path, &bytes)
}

/// Sets variables and moments to what the checkpoint holds.
fn resume(
    path: &Path,
    task: &impl Task,
    settings: &Value,
    (optimiser, average): (&mut AdamW, &mut Average),
) -> Result<State, TrainError> {
    let bytes = files::read(path)?;
    let bad = |error: safetensors::SafeTensorError| unfit(path, &error.to_string());
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(bad)?;
    let fact = |name: &str| header.metadata().as_ref().and_then(|m| m.get(name)).cloned();
    let state: State = fact("state")
        .and_then(|text| serde_json::from_str(&text).ok())
        .ok_or_else(|| unfit(path, "no state of a training run in it"))?;
    let mut told = Vec::new();
    differences("", &state.settings, settings, &mut told);
    if !told.is_empty() {
        let reason = format!(
            "this folder holds a run with other settings ({}); give those of then, or another --out, \
             or remove the folder",
            told.join("; ")
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
        let values = Tensor::from_vec(numbers("value", variable)?, var.shape(), var.device())?;
        var.set(&values)?;
        (*first, *second) = (numbers("first", variable)?, numbers("second", variable)?);
    }
    optimiser.steps = fact("optimiser_steps").and_then(|n| n.parse().ok()).unwrap_or_default();
    average.steps = optimiser.steps;
    Ok(state)
}

/// Each setting that a checkpoint has otherwise, with both values. One that an older version of the
/// program did not write, or wrote in another form, cannot be compared.
fn differences(name: &str, there: &Value, here: &Value, told: &mut Vec<String>) {
    if let (Value::Object(theirs), Value::Object(ours)) = (there, here) {
        for (part, value) in theirs {
            let Some(own) = ours.get(part) else { continue };
            let full = if name.is_empty() { part.clone() } else { format!("{name}.{part}") };
            differences(&full, value, own, told);
        }
    } else if there != here && !is_of_another_form(there, here) {
        told.push(format!("{name}: {there} there, {here} here"));
    }
}

fn is_of_another_form(there: &Value, here: &Value) -> bool {
    !there.is_null()
        && !here.is_null()
        && std::mem::discriminant(there) != std::mem::discriminant(here)
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn unfit(path: &Path, reason: &str) -> TrainError {
    TrainError::Run { path: path.to_owned(), reason: reason.to_owned() }
}
