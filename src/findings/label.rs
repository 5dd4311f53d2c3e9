//! From a report to its findings: sentence by sentence, then one entry an observation.

use std::collections::BTreeMap;

use super::attribute::{Attributes, attributes, both};
use super::lexicon::{Claim, Cue, LEXICON, Lexicon};
use super::sentences::sentences;
use super::statement::{Mention, Statement};
use super::words::{Token, tokens};
use super::{Finding, Findings, State, scope};
use crate::vocabulary::Observation;

/// What one mention says.
#[derive(Debug, Clone)]
struct Said {
    finding: Finding,
    /// Counts only where the report does not name the observation.
    hint: bool,
    /// Counts only where it is not denied afterwards.
    past: bool,
}

/// What a report's text says of the observations.
pub fn label(text: &str) -> Findings {
    let lexicon = &*LEXICON;
    let tokens = tokens(text);
    let mut said = Vec::new();
    let mut abnormal = false;
    for sentence in sentences(&tokens, lexicon) {
        let mut statement = Statement::read(sentence, lexicon);
        scope::apply(&mut statement);
        abnormal |= other_abnormal(&statement, lexicon);
        let attributes = attributes(&statement, lexicon);
        for (mention, attributes) in statement.mentions.iter().zip(attributes) {
            let past = super::past::is_past(&statement, lexicon, mention);
            said.extend(read(text, &statement, mention, attributes).map(|s| Said { past, ..s }));
        }
    }
    let mut merged = merge(&said, lexicon);
    settle_no_finding(&mut merged, abnormal);
    Findings { findings: merged.into_values().collect() }
}

/// What is said of a mention in the end; nothing when it is not asserted.
fn state(mention: &Mention) -> Option<State> {
    let negated = mention.has(Cue::Negation);
    if mention.has(Cue::Unasserted) {
        return None;
    }
    if mention.has(Cue::DoubleNegation) {
        return Some(State::Uncertain);
    }
    match mention.claim {
        Claim::Normal | Claim::Unsettled if negated => None,
        Claim::Normal => Some(State::Negative),
        Claim::Contrary if negated => Some(State::Positive),
        _ if negated => Some(State::Negative),
        Claim::Unsettled | Claim::Hint => Some(State::Uncertain),
        _ if mention.has(Cue::Doubt) => Some(State::Uncertain),
        Claim::Contrary => Some(State::Negative),
        Claim::Present => Some(State::Positive),
    }
}

fn read(
    text: &str,
    statement: &Statement<'_>,
    mention: &Mention,
    said: Attributes,
) -> Option<Said> {
    let state = state(mention)?;
    let cues = mention.cues.iter().map(|(_, start, end)| (*start, *end));
    let (start, end) = cues.fold((said.start, said.end), |(start, end), (cue, cue_end)| {
        (start.min(cue), end.max(cue_end))
    });
    Some(Said {
        finding: Finding {
            observation: mention.observation,
            state,
            laterality: said.side,
            severity: said.severity,
            text: excerpt(text, statement.tokens, start, end),
        },
        hint: mention.claim == Claim::Hint,
        past: false,
    })
}

/// The words of the report from one token to another, on one line.
fn excerpt(text: &str, tokens: &[Token], start: usize, end: usize) -> String {
    let first = tokens.get(start).map_or(0, |token| token.start);
    let last = end.checked_sub(1).and_then(|at| tokens.get(at)).map_or(first, |token| token.end);
    let words = text.get(first..last).unwrap_or_default();
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// One entry an observation: the state that outranks the others, with all that is said of it.
fn merge(said: &[Said], lexicon: &Lexicon) -> BTreeMap<Observation, Finding> {
    let named =
        |of: Observation| said.iter().any(|said| !said.hint && said.finding.observation == of);
    // "Yesterday there was an effusion. The effusion is not seen today", or "the chest is normal".
    let gone = |at: usize, of: Observation| {
        said.iter().skip(at + 1).filter(|later| !later.past).any(|later| {
            let found = (later.finding.observation, later.finding.state);
            found == (of, State::Negative) || found == (Observation::NoFinding, State::Positive)
        })
    };
    let mut counted = Vec::new();
    for (at, one) in said.iter().enumerate() {
        let of = one.finding.observation;
        if one.hint && named(of) || one.past && gone(at, of) {
            continue;
        }
        counted.push(one.finding.clone());
        let also = lexicon.also.get(&of).into_iter().flatten();
        counted.extend(also.map(|of| Finding { observation: *of, ..one.finding.clone() }));
    }
    let mut merged: BTreeMap<Observation, Finding> = BTreeMap::new();
    for finding in counted {
        let Some(old) = merged.get_mut(&finding.observation) else {
            merged.insert(finding.observation, finding);
            continue;
        };
        if finding.state > old.state {
            *old = finding;
        } else if finding.state == old.state {
            old.severity = old.severity.max(finding.severity);
            old.laterality = match (old.laterality, finding.laterality) {
                (Some(one), Some(other)) => Some(both(one, other)),
                (one, other) => one.or(other),
            };
        }
    }
    merged
}

/// Whether a sentence affirms an abnormal thing that is none of the observations.
fn other_abnormal(statement: &Statement<'_>, lexicon: &Lexicon) -> bool {
    let mut probe = Statement {
        tokens: statement.tokens,
        roles: statement.roles.clone(),
        marks: statement.marks.clone(),
        mentions: Vec::new(),
    };
    let found = lexicon.other_abnormal.find(statement.tokens).into_iter();
    probe.mentions.extend(found.map(|found| Mention {
        observation: Observation::NoFinding,
        claim: Claim::Present,
        start: found.start,
        end: found.end,
        anchor: found.start,
        described: false,
        cues: Vec::new(),
    }));
    if probe.mentions.is_empty() {
        return false;
    }
    scope::apply(&mut probe);
    probe
        .mentions
        .iter()
        .any(|mention| matches!(state(mention), Some(State::Positive | State::Uncertain)))
}

/// "No finding" holds only where nothing but devices is found or suspected. It is said in so many
/// words, or by a report that calls lungs, heart and pleura normal.
fn settle_no_finding(merged: &mut BTreeMap<Observation, Finding>, other_abnormal: bool) {
    use Observation::{
        Cardiomegaly, EnlargedCardiomediastinum, LungOpacity, NoFinding, PleuralEffusion,
        Pneumothorax, SupportDevices,
    };
    let something = other_abnormal
        || merged.values().any(|finding| {
            !matches!(finding.observation, NoFinding | SupportDevices)
                && finding.state != State::Negative
        });
    if something {
        if merged.get(&NoFinding).is_some_and(|finding| finding.state == State::Positive) {
            merged.remove(&NoFinding);
        }
        return;
    }
    let denied = |of: Observation| merged.get(&of).filter(|found| found.state == State::Negative);
    let normal = denied(LungOpacity)
        .filter(|_| denied(Cardiomegaly).or(denied(EnlargedCardiomediastinum)).is_some())
        .filter(|_| denied(PleuralEffusion).or(denied(Pneumothorax)).is_some());
    if let Some(lungs) = normal
        && !merged.contains_key(&NoFinding)
    {
        let finding = Finding {
            observation: NoFinding,
            state: State::Positive,
            laterality: None,
            severity: None,
            text: lungs.text.clone(),
        };
        merged.insert(NoFinding, finding);
    }
}
