//! What a model says of each study of a table.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rayon::ThreadPoolBuilder;

use super::EvaluateError;
use super::table::Study;
use crate::findings;
use crate::model::{ABNORMAL, DraftRequest, Model};
use crate::radiograph::GreyImage;
use crate::vocabulary::Observation;

/// What a model says of one study.
#[derive(Debug, Clone)]
pub struct Seen {
    /// By label: a probability.
    pub scores: BTreeMap<String, f32>,
    /// The draft; empty when only scores were asked for.
    pub text: String,
    /// The positive findings that the draft states.
    pub said: Vec<Observation>,
    /// How long reading, encoding and drafting took.
    pub seconds: f64,
}

impl Seen {
    /// The score of an observation.
    pub fn score(&self, observation: Observation) -> Option<f32> {
        self.scores.get(observation.name()).copied()
    }

    /// The score of "abnormal".
    pub fn abnormal(&self) -> Option<f32> {
        self.scores.get(ABNORMAL).copied()
    }
}

/// Reads a file as a radiograph.
pub type Read<'a> =
    &'a (dyn Fn(&Path) -> Result<GreyImage, Box<dyn std::error::Error + Send + Sync>> + Sync);

/// Scores an image.
pub fn scores(
    model: &Model,
    image: &GreyImage,
) -> Result<BTreeMap<String, f32>, crate::model::ModelError> {
    let features = model.examine(image)?;
    Ok(named(features.scores(), features.abnormal()))
}

fn named(scores: &[(String, f32)], abnormal: Option<f32>) -> BTreeMap<String, f32> {
    let abnormal = abnormal.map(|score| (ABNORMAL.to_owned(), score));
    scores.iter().cloned().chain(abnormal).collect()
}

/// Scores a study, and drafts its text when asked to.
pub fn look(
    model: &Model,
    study: &Study,
    drafts: bool,
    read: Read<'_>,
) -> Result<Seen, EvaluateError> {
    let started = Instant::now();
    let image = open(study, read)?;
    let failed = |source| EvaluateError::Model { path: study.image.clone(), source };
    let mut seen =
        Seen { scores: BTreeMap::new(), text: String::new(), said: vec![], seconds: 0.0 };
    if drafts {
        let draft = model.draft(&image, &DraftRequest::default()).map_err(failed)?;
        seen.scores = named(&draft.scores, draft.abnormal);
        seen.said = findings::label(&draft.text).positive().collect();
        seen.text = draft.text;
    } else {
        seen.scores = scores(model, &image).map_err(failed)?;
    }
    seen.seconds = started.elapsed().as_secs_f64();
    Ok(seen)
}

/// The image of a study.
pub fn open(study: &Study, read: Read<'_>) -> Result<GreyImage, EvaluateError> {
    read(&study.image).map_err(|source| EvaluateError::Image { path: study.image.clone(), source })
}

/// Does something with each study, several at once, each on one core; results in the studies'
/// order. `done` is called after each.
pub fn each<T: Send>(
    studies: &[Study],
    work: impl Fn(&Study) -> Result<T, EvaluateError> + Sync,
    done: impl Fn() + Sync,
) -> Result<Vec<T>, EvaluateError> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = AtomicUsize::new(0);
    let worker = || {
        let pool = ThreadPoolBuilder::new().num_threads(1).build();
        let pool = pool.map_err(|error| EvaluateError::Thread(error.to_string()))?;
        let mut results = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(study) = studies.get(at) else { return Ok(results) };
            let result = pool.install(|| work(study));
            // The others need not go on.
            if result.is_err() {
                next.store(studies.len(), Ordering::Relaxed);
            }
            results.push((at, result?));
            done();
        }
    };
    let parts: Result<Vec<Vec<(usize, T)>>, EvaluateError> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let panicked = |_| Err(EvaluateError::Thread("it panicked".to_owned()));
        started.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    });
    let mut results: Vec<(usize, T)> = parts?.into_iter().flatten().collect();
    results.sort_by_key(|(at, _)| *at);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}
