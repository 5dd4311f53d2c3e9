//! Beam search: several answers at once, of which the likeliest stays.

use std::cmp::Ordering;

use super::answer::{Ended, Rules};
use super::{Feed, Lane, Outcome};
use crate::model::error::{ModelError, Step};
use crate::model::language::cache::Cache;
use crate::model::sample::{Logits, log_sum};
use crate::model::tokenizer::Tokenizer;

/// The search's state: a beam a lane, in the order of the lanes, the likeliest first.
#[derive(Debug)]
pub(super) struct Beams {
    rules: Rules,
    followed: Vec<Beam>,
    finished: Vec<(f64, Outcome)>,
    spare: Vec<Cache>,
}

#[derive(Clone, Debug, Default)]
struct Beam {
    ids: Vec<u32>,
    log_probabilities: Vec<f32>,
    sum: f64,
}

/// A beam with one token more.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    parent: usize,
    token: u32,
    log_probability: f32,
    sum: f64,
}

impl Beams {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, followed: vec![Beam::default()], finished: vec![], spare: vec![] }
    }

    /// The answers' length-normalised score.
    fn score(&self, sum: f64, length: usize) -> f64 {
        sum / (length.max(1) as f64).powf(self.rules.sampling.length_penalty)
    }

    /// Goes on by the logits of each beam; true when the search is over.
    pub(super) fn advance(
        &mut self,
        lanes: &mut Vec<Lane>,
        logits: &[Logits],
        tokenizer: &Tokenizer,
    ) -> Result<bool, ModelError> {
        let wanted = self.rules.beams();
        let (mut next, mut rank) = (Vec::with_capacity(wanted), 0);
        // Each beam's end can take one place, so twice as many leave enough that go on.
        for candidate in self.candidates(logits, 2 * wanted)? {
            let Some(parent) = self.followed.get(candidate.parent) else { continue };
            let mut beam = parent.clone();
            beam.ids.push(candidate.token);
            beam.log_probabilities.push(candidate.log_probability);
            beam.sum = candidate.sum;
            match self.rules.end(&beam.ids, tokenizer)? {
                Some(Err(_too_short)) => continue,
                // An end that does not stand among the likeliest is none, as in Hugging Face's
                // search.
                Some(Ok(length)) if rank < wanted => self.close(beam, length, Ended::Stop),
                None if next.len() < wanted => next.push((candidate, beam)),
                Some(Ok(_)) | None => {}
            }
            rank += 1;
        }
        let length = next.first().map_or(0, |(_, beam)| beam.ids.len());
        if next.is_empty() || length >= self.rules.most {
            for (_, beam) in next {
                let length = beam.ids.len();
                self.close(beam, length, self.rules.bound);
            }
            return self.over();
        }
        if self.settled(next.iter().map(|(candidate, _)| candidate.sum), length) {
            return self.over();
        }
        let parents = next.iter().map(|(candidate, _)| candidate.parent).collect::<Vec<_>>();
        let caches = self.caches(lanes, &parents)?;
        let feeds = next.iter().map(|(candidate, _)| Feed::Token(candidate.token));
        *lanes = caches.into_iter().zip(feeds).map(|(cache, feed)| Lane { cache, feed }).collect();
        self.followed = next.into_iter().map(|(_, beam)| beam).collect();
        Ok(false)
    }

    /// The likeliest continuations of all beams, the likeliest first.
    fn candidates(&self, logits: &[Logits], most: usize) -> Result<Vec<Candidate>, ModelError> {
        let falling = |a: &Candidate, b: &Candidate| -> Ordering {
            b.sum.total_cmp(&a.sum).then((a.parent, a.token).cmp(&(b.parent, b.token)))
        };
        let mut all = Vec::with_capacity(2 * most * self.followed.len());
        for (parent, (beam, logits)) in self.followed.iter().zip(logits).enumerate() {
            let choices = self.rules.sampler.penalized(logits, &beam.ids)?;
            let (own, chosen_from) = (logits.log_sum(), log_sum(&choices));
            let candidates = choices.iter().zip(logits.iter()).enumerate();
            let mut candidates = candidates
                .filter(|(_, (choice, _))| choice.is_finite())
                .map(|(token, (choice, logit))| Candidate {
                    parent,
                    token: token as u32,
                    log_probability: logit - own,
                    sum: beam.sum + f64::from(choice - chosen_from),
                })
                .collect::<Vec<_>>();
            // Ends that would come too early fall out later: as many more as can be.
            let most = most + self.early(beam);
            if most < candidates.len() {
                candidates.select_nth_unstable_by(most, falling);
                candidates.truncate(most);
            }
            all.append(&mut candidates);
        }
        if all.is_empty() {
            let reason = "the model gave no finite number: its weights are broken";
            return Err(ModelError::Request(reason.to_owned()));
        }
        all.sort_unstable_by(falling);
        let early = self.followed.iter().map(|beam| self.early(beam)).max().unwrap_or(0);
        all.truncate(most + early * self.followed.len());
        Ok(all)
    }

    /// How many more continuations to look at while an answer may not end yet.
    fn early(&self, beam: &Beam) -> usize {
        if beam.ids.len() < self.rules.sampling.min_tokens { 16 } else { 0 }
    }

    fn close(&mut self, mut beam: Beam, length: usize, ended: Ended) {
        let score = self.score(beam.sum, beam.ids.len());
        beam.ids.truncate(length);
        beam.log_probabilities.truncate(length);
        let Beam { ids, log_probabilities, .. } = beam;
        self.finished.push((score, Outcome { ids, log_probabilities, ended }));
        self.finished.sort_by(|a, b| b.0.total_cmp(&a.0));
        self.finished.truncate(self.rules.beams());
    }

    /// Whether no beam can still beat the finished answers, were it to end now.
    fn settled(&self, sums: impl Iterator<Item = f64>, length: usize) -> bool {
        let best = sums.map(|sum| self.score(sum, length)).fold(f64::NEG_INFINITY, f64::max);
        self.finished.len() >= self.rules.beams()
            && self.finished.last().is_some_and(|(worst, _)| best <= *worst)
    }

    fn over(&self) -> Result<bool, ModelError> {
        if self.finished.is_empty() {
            let reason = "the beam search found no answer; ask for a shorter shortest answer";
            return Err(ModelError::Request(reason.to_owned()));
        }
        Ok(true)
    }

    /// A cache for each new beam with what its parent's holds: the first child of a beam takes its
    /// cache, the others copy it.
    fn caches(
        &mut self,
        lanes: &mut Vec<Lane>,
        parents: &[usize],
    ) -> Result<Vec<Cache>, ModelError> {
        let mut old = lanes.drain(..).map(|lane| Some(lane.cache)).collect::<Vec<_>>();
        let mut new = Vec::with_capacity(parents.len());
        for parent in parents {
            new.push(old.get_mut(*parent).and_then(Option::take));
        }
        self.spare.extend(old.into_iter().flatten());
        let mut caches = Vec::<Cache>::with_capacity(parents.len());
        let first = |parent: usize| parents.iter().position(|p| *p == parent);
        for (parent, cache) in parents.iter().zip(new) {
            let cache = match (cache, first(*parent).and_then(|at| caches.get(at))) {
                (Some(cache), _) => cache,
                (None, Some(model)) => {
                    let mut cache = match self.spare.pop() {
                        Some(cache) => cache,
                        None => model.empty_like().step("making room for a beam")?,
                    };
                    cache.copy_from(model).step("copying a beam")?;
                    cache
                }
                (None, None) => {
                    return Err(ModelError::Engine("a beam without its parent".to_owned()));
                }
            };
            caches.push(cache);
        }
        Ok(caches)
    }

    /// The likeliest answer.
    pub(super) fn finish(self) -> Outcome {
        let ended = self.rules.bound;
        let best = self.finished.into_iter().next().map(|(_, outcome)| outcome);
        best.unwrap_or(Outcome { ids: vec![], log_probabilities: vec![], ended })
    }
}
