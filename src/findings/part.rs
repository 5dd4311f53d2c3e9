//! Parts of the body and the states said of them: "the heart is enlarged", "clear lungs", "heart
//! size and mediastinal contours are normal".

use super::lexicon::{Claim, Lexicon, Part};
use super::phrase::Found;
use super::statement::{Mention, Statement};
use crate::vocabulary::Observation;

/// How far before its part a state may stand: "mild enlargement of the cardiac silhouette".
const BEFORE: usize = 4;
/// How far after it.
const AFTER: usize = 25;

/// Adds what a sentence says of the parts of the body.
pub(super) fn describe(
    statement: &mut Statement<'_>,
    lexicon: &Lexicon,
    distractors: &[Found<()>],
) {
    let mut subjects = lexicon.subjects.find(statement.tokens);
    subjects.sort_by_key(|subject| (subject.start, usize::MAX - subject.end));
    let mut described = Vec::new();
    let mut ends = vec![0; lexicon.parts.len()];
    for subject in &subjects {
        let Some(part) = lexicon.parts.get(subject.meaning) else { continue };
        let Some(end) = ends.get_mut(subject.meaning) else { continue };
        let other = |found: &Found<()>| found.start <= subject.start && subject.end <= found.end;
        if subject.start < *end || distractors.iter().any(other) || named(statement, subject, part)
        {
            continue;
        }
        *end = subject.end;
        let state =
            before(statement, part, subject).or_else(|| after(statement, lexicon, part, subject));
        if let Some(state) = state {
            described.push(Mention {
                observation: part.observation,
                claim: state.meaning,
                start: subject.start.min(state.start),
                end: subject.end.max(state.end),
                anchor: state.start,
                described: true,
                cues: Vec::new(),
            });
        }
    }
    // "Not normal" is said of the part then, not of the study.
    statement.mentions.retain(|mention| {
        let inside = |part: &Mention| part.start <= mention.start && mention.end <= part.end;
        mention.observation != Observation::NoFinding || !described.iter().any(inside)
    });
    statement.mentions.extend(described);
}

/// Whether the words already name an observation: "enlarged heart", "heart failure".
fn named(statement: &Statement<'_>, subject: &Found<usize>, part: &Part) -> bool {
    let mut names = statement.mentions.iter().filter(|m| m.observation != Observation::NoFinding);
    names.any(|mention| {
        let around = mention.start <= subject.start && subject.end <= mention.end;
        around
            || (mention.observation == part.observation
                && mention.start < subject.end
                && subject.start < mention.end)
    })
}

fn rank(claim: Claim) -> u8 {
    match claim {
        Claim::Present => 2,
        Claim::Normal => 1,
        _ => 0,
    }
}

/// The state of longest words at a token.
fn state_at(statement: &Statement<'_>, part: &Part, at: usize) -> Option<Found<Claim>> {
    let found = part.states.at(statement.tokens, at).into_iter();
    found.max_by_key(|state| (state.end, rank(state.meaning)))
}

fn before(statement: &Statement<'_>, part: &Part, subject: &Found<usize>) -> Option<Found<Claim>> {
    let nearest = (1..=BEFORE).map_while(|back| subject.start.checked_sub(back)).take_while(|at| {
        let role = statement.role(*at);
        !role.ends
            && !role.verb
            && !matches!(statement.word(*at), "," | ":" | "with" | "and" | "or" | "to")
    });
    nearest
        .filter_map(|at| state_at(statement, part, at))
        .filter(|state| state.end <= subject.start && !is_mention(statement, state.start))
        .max_by_key(|state| (rank(state.meaning), state.start))
}

fn is_mention(statement: &Statement<'_>, at: usize) -> bool {
    let mut mentions = statement.mentions.iter();
    mentions.any(|mention| (mention.start..mention.end).contains(&at))
}

fn after(
    statement: &Statement<'_>,
    lexicon: &Lexicon,
    part: &Part,
    subject: &Found<usize>,
) -> Option<Found<Claim>> {
    let mut best: Option<Found<Claim>> = None;
    let mut at = subject.end;
    while at < statement.tokens.len().min(subject.end + AFTER) {
        if let Some(state) = state_at(statement, part, at) {
            // "Clear of" and "free of" deny what follows; they are no state of the part.
            let of = matches!(statement.word(state.end), "of" | "from");
            if !of && best.is_none_or(|best| rank(best.meaning) < rank(state.meaning)) {
                best = Some(state);
            }
            at = state.end;
            continue;
        }
        let role = statement.role(at);
        let word = statement.word(at);
        let boundary =
            matches!(word, "," | "and" | "/") || (role.ends && matches!(word, "but" | "though"));
        if boundary {
            let next = (at + 1..=at + 3).any(|next| state_at(statement, part, next).is_some());
            let other = (at + 1..at + 4).any(|next| lexicon.subjects.has(statement.tokens, next));
            if best.is_some() && (!next || other) || (role.ends && !next) {
                break;
            }
        } else if role.ends
            || matches!(word, "with" | "without" | "no")
            || is_mention(statement, at)
        {
            break;
        }
        at += 1;
    }
    best
}
