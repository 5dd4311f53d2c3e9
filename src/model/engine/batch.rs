//! The drafts under way: one step of all of them at a time.

use tokio::sync::oneshot;

use super::pulse::Beat;
use super::{Job, Picture, guarded};
use crate::model::draft::{Model, ModelDraft};
use crate::model::error::{ModelError, Step};
use crate::model::generate::{DraftRun, Question, forward};
use crate::model::language::cache::Cache;

/// Different starts of prompts whose keys and values are kept.
const PREFIXES: usize = 4;

/// The drafts under way, and the room they take.
#[derive(Debug)]
pub(super) struct Batch<'m> {
    model: &'m Model,
    beat: &'m Beat,
    slots: usize,
    active: Vec<Active>,
    /// Caches that no draft uses now: room is taken once.
    free: Vec<Cache>,
    prefixes: Vec<(Vec<u32>, Cache)>,
}

#[derive(Debug)]
struct Active {
    run: DraftRun,
    lanes: usize,
    answer: oneshot::Sender<Result<ModelDraft, ModelError>>,
}

/// What became of a job that was taken in.
enum Started {
    Run(Box<DraftRun>),
    /// There is nothing to generate.
    Over(Box<ModelDraft>),
}

impl<'m> Batch<'m> {
    /// Room for `slots` answers at once; a beam search takes as many as it has beams.
    pub(super) fn new(model: &'m Model, slots: usize, beat: &'m Beat) -> Self {
        Self { model, beat, slots, active: vec![], free: vec![], prefixes: vec![] }
    }

    /// Whether nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// Whether there is room for this job. One alone may take more than there is.
    pub(super) fn fits(&self, job: &Job) -> bool {
        let taken = self.active.iter().map(|active| active.lanes).sum::<usize>();
        self.active.is_empty() || taken + job.request.sampling.beams.max(1) <= self.slots
    }

    /// Takes in a job: encodes its image and makes its prompt ready.
    pub(super) fn admit(&mut self, job: Job) {
        let Job { image, request, watch, answer } = job;
        // Whoever asked may be gone by now.
        if answer.is_closed() {
            return;
        }
        let lanes = request.sampling.beams.max(1);
        let started = guarded("drafting", || {
            let question = Question::new(self.model, &request)?;
            let image = match image {
                Picture::Whole(image) => self.model.shape().fitted(&image),
                Picture::Fitted(image) => image,
            };
            let features = self.model.features(&image, &request)?;
            self.beat.step();
            if !features.is_known() {
                return Ok(Started::Over(Box::new(features.not_made_for(question.text()))));
            }
            self.keep_prefix(question.before())?;
            self.beat.step();
            let kept = self.prefixes.iter().find(|(ids, _)| ids == question.before());
            let prefix = kept.map(|(_, cache)| cache);
            let free = self.free.pop();
            let run = DraftRun::start(self.model, question, features, prefix, free, watch)?;
            Ok(Started::Run(Box::new(run)))
        });
        match started {
            Ok(Started::Run(run)) => self.active.push(Active { run: *run, lanes, answer }),
            Ok(Started::Over(draft)) => tell(answer, Ok(*draft)),
            Err(error) => tell(answer, Err(error)),
        }
    }

    /// Sees to it that the start of a prompt is among the prefixes.
    fn keep_prefix(&mut self, before: &[u32]) -> Result<(), ModelError> {
        if self.prefixes.iter().any(|(ids, _)| ids == before) {
            return Ok(());
        }
        let language = &self.model.chain().language;
        let mut cache = language.cache(before.len()).step("making room for the prompt's start")?;
        language
            .embed_tokens(before)
            .and_then(|rows| language.prefill(&rows, &mut cache))
            .step("prefill of the prompt's start")?;
        if self.prefixes.len() >= PREFIXES {
            self.prefixes.remove(0);
        }
        self.prefixes.push((before.to_vec(), cache));
        Ok(())
    }

    /// Takes one step of every draft that is still waited for.
    pub(super) fn step(&mut self) {
        let (kept, given_up): (Vec<_>, Vec<_>) =
            self.active.drain(..).partition(|active| !active.answer.is_closed());
        self.active = kept;
        self.free.extend(given_up.into_iter().flat_map(|active| active.run.into_caches()));
        if self.active.is_empty() {
            return;
        }
        let logits = guarded("a step of the batch", || {
            let runs = self.active.iter_mut();
            let mut lanes = runs.flat_map(|active| active.run.lanes()).collect::<Vec<_>>();
            forward(&self.model.chain().language, &mut lanes)
        });
        let mut rows = match logits {
            Ok(rows) => Some(rows.into_iter()),
            Err(error) => {
                tracing::warn!(%error, "a step of the batch failed; each draft goes by itself");
                None
            }
        };
        let model = self.model;
        for mut active in std::mem::take(&mut self.active) {
            let own = rows.as_mut().map(|rows| {
                let lanes = active.run.lanes().len();
                rows.take(lanes).collect::<Vec<_>>()
            });
            let over = guarded("drafting", || match own {
                Some(own) => active.run.advance(model, &own),
                // A step that failed left the caches as they were.
                None => active.run.step(model),
            });
            match over {
                Ok(false) => self.active.push(active),
                Ok(true) => self.finish(active),
                Err(error) => {
                    self.free.extend(active.run.into_caches());
                    tell(active.answer, Err(error));
                }
            }
        }
    }

    fn finish(&mut self, active: Active) {
        let Active { run, answer, .. } = active;
        let draft = guarded("drafting", || {
            let (draft, cache) = run.finish(self.model)?;
            self.free.extend(cache);
            Ok(draft)
        });
        self.free.truncate(self.slots);
        tell(answer, draft);
    }
}

fn tell(
    answer: oneshot::Sender<Result<ModelDraft, ModelError>>,
    draft: Result<ModelDraft, ModelError>,
) {
    if answer.send(draft).is_err() {
        tracing::debug!("a draft was no longer waited for");
    }
}
