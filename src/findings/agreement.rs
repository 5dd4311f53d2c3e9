//! How well labels agree with those held for true: precision, recall and F1, by observation and
//! state, and over all.

use std::collections::BTreeMap;

use serde::Serialize;

use super::State;
use crate::vocabulary::Observation;

/// Counts of labels; add the pairs, then ask for rates.
#[derive(Debug, Clone, Default)]
pub struct Agreement {
    counts: BTreeMap<(Observation, State), Counts>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    hit: usize,
    expected: usize,
    found: usize,
}

/// Precision, recall and F1 of one observation and state, or of several.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rates {
    /// Of those found, the part that was expected.
    pub precision: f64,
    /// Of those expected, the part that was found.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
    /// How many were expected.
    pub expected: usize,
}

impl Counts {
    fn add(self, other: Self) -> Self {
        Self {
            hit: self.hit + other.hit,
            expected: self.expected + other.expected,
            found: self.found + other.found,
        }
    }

    /// `None` where nothing was expected and nothing found.
    fn rates(self) -> Option<Rates> {
        let part = |of: usize| if of == 0 { 0.0 } else { self.hit as f64 / of as f64 };
        let both = self.expected + self.found;
        (both > 0).then(|| Rates {
            precision: part(self.found),
            recall: part(self.expected),
            f1: 2.0 * self.hit as f64 / both as f64,
            expected: self.expected,
        })
    }
}

impl Agreement {
    /// Adds what is expected of an observation in one text and what was found; `None` where
    /// nothing is said of it.
    pub fn add(&mut self, observation: Observation, expected: Option<State>, found: Option<State>) {
        let mut count = |state: Option<State>, hit: usize, expected: usize, found: usize| {
            if let Some(state) = state {
                let entry = self.counts.entry((observation, state)).or_default();
                *entry = entry.add(Counts { hit, expected, found });
            }
        };
        count(expected, usize::from(expected == found), 1, 0);
        count(found, 0, 0, 1);
    }

    /// The rates of one observation and state; `None` where it was neither expected nor found.
    pub fn of(&self, observation: Observation, state: State) -> Option<Rates> {
        self.counts.get(&(observation, state)).and_then(|counts| counts.rates())
    }

    /// The rates of an observation over its states.
    pub fn of_observation(&self, observation: Observation) -> Option<Rates> {
        self.sum(|(of, _)| *of == observation)
    }

    /// The rates of a state over all observations.
    pub fn of_state(&self, state: State) -> Option<Rates> {
        self.sum(|(_, of)| *of == state)
    }

    /// The rates over everything: each label counts the same.
    pub fn micro(&self) -> Option<Rates> {
        self.sum(|_| true)
    }

    /// The mean F1 of the observations that were expected at all: each observation counts the
    /// same.
    pub fn macro_f1(&self) -> Option<f64> {
        let each = Observation::ALL.into_iter().filter_map(|of| self.of_observation(of));
        let f1: Vec<f64> = each.filter(|rates| rates.expected > 0).map(|rates| rates.f1).collect();
        (!f1.is_empty()).then(|| f1.iter().sum::<f64>() / f1.len() as f64)
    }

    fn sum(&self, of: impl Fn(&(Observation, State)) -> bool) -> Option<Rates> {
        let chosen = self.counts.iter().filter(|(key, _)| of(key));
        chosen.fold(Counts::default(), |sum, (_, counts)| sum.add(*counts)).rates()
    }
}
