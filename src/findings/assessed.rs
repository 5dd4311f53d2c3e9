//! What text and scores together say of each observation.

use serde::{Deserialize, Serialize};

use super::{Findings, Laterality, Severity, State};
use crate::vocabulary::Observation;

/// The probability that a model gives an observation, and from which one on it counts as positive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Of what.
    pub observation: Observation,
    /// In [0, 1].
    pub value: f32,
    /// The model's own, where it has one.
    pub threshold: Option<f32>,
}

impl Score {
    /// Whether the score by itself says that the observation is there; unknown without a threshold.
    fn positive(self) -> Option<bool> {
        self.threshold.map(|threshold| self.value >= threshold)
    }
}

/// What is known of one observation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assessed {
    /// Of what.
    pub observation: Observation,
    /// What the text says; where it is silent, what the score says by its threshold.
    pub state: State,
    /// On which side, where the text says so.
    pub laterality: Option<Laterality>,
    /// How much of it, where the text says so.
    pub severity: Option<Severity>,
    /// The words that it rests on; empty where the text is silent.
    pub text: String,
    /// The model's probability, where it gives one.
    pub score: Option<f32>,
    /// How far the state can be relied on, by the score: its probability for a positive one, one
    /// less it for a negative one, halved when text and score disagree.
    pub confidence: Option<f32>,
    /// Whether text and score say the same; unknown where one of them says nothing, or the text
    /// is uncertain.
    pub agrees: Option<bool>,
}

/// Joins what a text says with a model's scores: an entry for every observation that either speaks
/// of, in the order of [`Observation`].
pub fn assess(said: &Findings, scores: &[Score]) -> Vec<Assessed> {
    let one = |observation| {
        let stated = said.get(observation);
        let score = scores.iter().find(|score| score.observation == observation).copied();
        let scored = score.and_then(Score::positive);
        let by_score = scored.map(|there| if there { State::Positive } else { State::Negative });
        let state = stated.map(|finding| finding.state).or(by_score)?;
        let agrees = match stated.map(|finding| finding.state) {
            Some(State::Positive) => scored,
            Some(State::Negative) => scored.map(|there| !there),
            Some(State::Uncertain) | None => None,
        };
        let confidence = score.map(|score| {
            let of_state = match state {
                State::Positive | State::Uncertain => score.value,
                State::Negative => 1.0 - score.value,
            };
            if agrees == Some(false) { of_state / 2.0 } else { of_state }
        });
        Some(Assessed {
            observation,
            state,
            laterality: stated.and_then(|finding| finding.laterality),
            severity: stated.and_then(|finding| finding.severity),
            text: stated.map(|finding| finding.text.clone()).unwrap_or_default(),
            score: score.map(|score| score.value),
            confidence,
            agrees,
        })
    };
    Observation::ALL.into_iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::label;

    fn score(observation: Observation, value: f32) -> Score {
        Score { observation, value, threshold: Some(0.4) }
    }

    fn of(observation: Observation, text: &str, value: f32) -> Assessed {
        assess(&label(text), &[score(observation, value)]).into_iter().next().unwrap()
    }

    #[test]
    fn text_and_score_that_disagree_lower_the_confidence() {
        let agreed = of(Observation::Pneumothorax, "Left pneumothorax.", 0.8);
        assert_eq!((agreed.state, agreed.agrees), (State::Positive, Some(true)));
        assert_eq!(agreed.confidence, Some(0.8));
        assert_eq!(agreed.laterality, Some(Laterality::Left));
        let denied = of(Observation::Pneumothorax, "No pneumothorax.", 0.8);
        assert_eq!((denied.state, denied.agrees), (State::Negative, Some(false)));
        assert!((denied.confidence.unwrap() - 0.1).abs() < 1e-6);
    }

    #[test]
    fn where_the_text_is_silent_the_threshold_decides() {
        let found = assess(&label(""), &[score(Observation::Edema, 0.4)]);
        assert_eq!((found[0].state, found[0].agrees), (State::Positive, None));
        assert_eq!(found[0].text, "");
        let bare = Score { threshold: None, ..score(Observation::Edema, 0.9) };
        assert!(assess(&label(""), &[bare]).is_empty());
    }
}
