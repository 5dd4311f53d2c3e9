//! The one thread that owns the device.
//!
//! Comes in: images and requests, through a bounded channel. Goes out: drafts. Promises: nothing
//! else touches the model; several drafts go on at once, each as if it were alone; a panic within
//! one draft fails that draft alone; a draft nobody waits for any more is dropped at the next
//! step; a full channel makes the caller wait.

mod batch;
mod pulse;

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::draft::{DraftRequest, Model, ModelDraft};
use super::error::ModelError;
use super::generate::Watch;
use super::vision::preprocess::{Fitted, Shape};
use crate::radiograph::GreyImage;
use batch::Batch;
use pulse::Beat;
pub use pulse::Pulse;

/// How much the engine takes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineLimits {
    /// Drafts that go on at once; each beam of a search counts.
    pub slots: usize,
    /// Drafts that may wait for a slot, beside those whose callers wait.
    pub waiting: usize,
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self { slots: 8, waiting: 4 }
    }
}

/// Starts the engine's thread.
#[derive(Debug)]
pub struct Engine;

/// The door to the engine; clones lead to the same thread, which ends when all are gone.
#[derive(Clone, Debug)]
pub struct EngineHandle {
    jobs: mpsc::Sender<Job>,
    identity: Arc<EngineModel>,
    shape: Shape,
    beat: Arc<Beat>,
}

/// An image to draft from.
#[derive(Clone, Debug)]
pub enum Picture {
    /// As it is; it waits for the engine in its full size.
    Whole(GreyImage),
    /// As the engine needs it; see [`EngineHandle::fitted`].
    Fitted(Fitted),
}

impl From<GreyImage> for Picture {
    fn from(image: GreyImage) -> Self {
        Self::Whole(image)
    }
}

impl From<Fitted> for Picture {
    fn from(image: Fitted) -> Self {
        Self::Fitted(image)
    }
}

/// What model the engine has.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineModel {
    /// What the model is called.
    pub name: String,
    /// SHA-256 of its manifest, hexadecimal.
    pub digest: String,
    /// The questions it was aligned on.
    pub prompts: Vec<String>,
    /// The age in years from which on it is made for patients.
    pub youngest: Option<u32>,
    /// From which score on an observation counts as positive, by its name.
    pub thresholds: BTreeMap<String, f32>,
}

struct Job {
    image: Picture,
    request: DraftRequest,
    watch: Option<Watch>,
    answer: oneshot::Sender<Result<ModelDraft, ModelError>>,
}

impl Engine {
    /// Starts the thread and waits until `load` has given it a model.
    pub async fn start(
        load: impl FnOnce() -> Result<Model, ModelError> + Send + 'static,
    ) -> Result<EngineHandle, ModelError> {
        Self::start_with(EngineLimits::default(), load).await
    }

    /// The same with limits of one's own.
    pub async fn start_with(
        limits: EngineLimits,
        load: impl FnOnce() -> Result<Model, ModelError> + Send + 'static,
    ) -> Result<EngineHandle, ModelError> {
        let (jobs, queue) = mpsc::channel(limits.waiting.max(1));
        let (loaded, identity) = oneshot::channel();
        let beat = Arc::new(Beat::default());
        let own = beat.clone();
        std::thread::Builder::new()
            .name("model-engine".to_owned())
            .spawn(move || work(limits, load, loaded, queue, &own))
            .map_err(|e| ModelError::Engine(format!("cannot start the engine's thread: {e}")))?;
        let (identity, shape) = identity.await.unwrap_or_else(|_| Err(ended()))?;
        Ok(EngineHandle { jobs, identity: Arc::new(identity), shape, beat })
    }
}

impl EngineHandle {
    /// What the engine needs of an image: little, however large the image is.
    pub fn fitted(&self, image: &GreyImage) -> Fitted {
        self.shape.fitted(image)
    }

    /// Drafts the text for an image, beside other drafts. Dropping the future gives the draft up.
    pub async fn draft(
        &self,
        image: impl Into<Picture>,
        request: DraftRequest,
    ) -> Result<ModelDraft, ModelError> {
        self.submit(image.into(), request, None).await
    }

    /// The same; `watch` is given the text as it comes, on the engine's thread.
    pub async fn watched(
        &self,
        image: impl Into<Picture>,
        request: DraftRequest,
        watch: Watch,
    ) -> Result<ModelDraft, ModelError> {
        self.submit(image.into(), request, Some(watch)).await
    }

    async fn submit(
        &self,
        image: Picture,
        request: DraftRequest,
        watch: Option<Watch>,
    ) -> Result<ModelDraft, ModelError> {
        let (answer, result) = oneshot::channel();
        let job = Job { image, request, watch, answer };
        if self.jobs.send(job).await.is_err() {
            return Err(ended());
        }
        result.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Whether the engine still takes work.
    pub fn is_ready(&self) -> bool {
        !self.jobs.is_closed()
    }

    /// What it does; `None` once its thread has ended.
    pub fn pulse(&self) -> Option<Pulse> {
        let waiting = self.jobs.capacity() < self.jobs.max_capacity();
        self.is_ready().then(|| self.beat.pulse(waiting))
    }

    /// Its model.
    pub fn identity(&self) -> &EngineModel {
        &self.identity
    }
}

fn ended() -> ModelError {
    ModelError::Engine("the model's thread has ended; restart the node".to_owned())
}

fn work(
    limits: EngineLimits,
    load: impl FnOnce() -> Result<Model, ModelError>,
    loaded: oneshot::Sender<Result<(EngineModel, Shape), ModelError>>,
    mut queue: mpsc::Receiver<Job>,
    beat: &Beat,
) {
    let model = guarded("loading the model", load);
    let model = match model {
        Ok(model) => model,
        Err(error) => {
            if loaded.send(Err(error)).is_err() {
                tracing::debug!("the model was no longer waited for");
            }
            return;
        }
    };
    let identity = EngineModel {
        name: model.name().to_owned(),
        digest: model.digest().to_owned(),
        prompts: model.prompts().to_vec(),
        youngest: model.youngest(),
        thresholds: model.thresholds(),
    };
    if loaded.send(Ok((identity, model.shape()))).is_err() {
        return;
    }
    // A fault outside of any one draft fails those under way; the next ones start afresh.
    while let Err(panic) =
        catch_unwind(AssertUnwindSafe(|| drafts(&model, limits, &mut queue, beat)))
    {
        let reason = reason(panic.as_ref());
        tracing::error!(reason, "the engine broke off and starts anew");
    }
}

/// Drafts until nobody can ask any more.
fn drafts(model: &Model, limits: EngineLimits, queue: &mut mpsc::Receiver<Job>, beat: &Beat) {
    let mut batch = Batch::new(model, limits.slots, beat);
    let mut next = None;
    loop {
        if batch.is_empty() && next.is_none() {
            beat.busy(false);
            next = queue.blocking_recv();
            beat.busy(true);
            if next.is_none() {
                return;
            }
        }
        // One image a step: those under way go on between two encodings.
        next = next.or_else(|| queue.try_recv().ok());
        if let Some(job) = next.take_if(|job| batch.fits(job)) {
            batch.admit(job);
        }
        batch.step();
        beat.step();
    }
}

/// Runs one step; its panic is an error.
fn guarded<T>(step: &str, run: impl FnOnce() -> Result<T, ModelError>) -> Result<T, ModelError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let reason = reason(panic.as_ref());
        Err(ModelError::Engine(format!("{step} panicked: {reason}")))
    })
}

fn reason(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given")
}
