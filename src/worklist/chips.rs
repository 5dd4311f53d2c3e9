//! Findings as words in frames: what the text says, and how sure the model's score is.

use maud::{Markup, html};
use serde_json::Value;

use crate::findings::{Finding, Laterality, State, label};
use crate::vocabulary::Observation;

/// What a text finds or doubts, each with the model's score where it gives one.
pub(super) fn chips(text: &str, draft: &Value) -> Markup {
    let found = label(text);
    let told: Vec<&Finding> = found
        .findings
        .iter()
        .filter(|f| f.state != State::Negative && f.observation != Observation::NoFinding)
        .collect();
    let abnormal = draft.get("abnormal").and_then(Value::as_f64);
    html! {
        ul.chips aria-label="Findings" {
            @for finding in &told { (chip(finding, draft)) }
            @if told.is_empty() { li.chip.negative { "no finding" } }
            @if let Some(abnormal) = abnormal {
                li.chip.score title="The model's probability that the study is abnormal" {
                    "abnormal " (percent(abnormal))
                }
            }
        }
    }
}

fn chip(finding: &Finding, draft: &Value) -> Markup {
    let name = finding.observation.name().replace('_', " ");
    let side = match finding.laterality {
        Some(Laterality::Left) => "left ",
        Some(Laterality::Right) => "right ",
        Some(Laterality::Bilateral) => "bilateral ",
        None => "",
    };
    let state = finding.state.name();
    html! {
        li class={ "chip " (state) } title=(finding.text) {
            @if finding.state == State::Uncertain { span aria-hidden="true" { "? " } }
            (side) (name)
            span.unseen { ", " (state) }
            @if let Some(score) = score(draft, finding.observation) {
                " " span.share title="The model's score" { (percent(score)) }
            }
        }
    }
}

/// The model's probability of an observation, from the pairs that drafting keeps.
fn score(draft: &Value, observation: Observation) -> Option<f64> {
    let pairs = draft.get("scores")?.as_array()?;
    let pair =
        pairs.iter().find(|pair| pair.get(0).and_then(Value::as_str) == Some(observation.name()));
    pair?.get(1)?.as_f64()
}

fn percent(part: f64) -> String {
    format!("{:.0}%", part * 100.0)
}
