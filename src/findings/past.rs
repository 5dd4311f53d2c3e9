//! Statements about another time: "the earlier film showed a mass", "yesterday there was an effusion".

use super::lexicon::Lexicon;
use super::statement::{Mention, Statement};
use super::words::Token;

/// The words that may stand between a denial and its time, at most.
const LEADS: usize = 4;

/// Whether a mention stands in a statement of the past, which a later denial makes void: one with a
/// verb of the past and no other, that says when, or follows words that do.
pub(super) fn is_past(statement: &Statement<'_>, lexicon: &Lexicon, mention: &Mention) -> bool {
    let parts = |at: usize| statement.role(at).ends || statement.word(at) == ",";
    let begin = |before: usize| (0..before).rev().find(|at| parts(*at));
    let comma = begin(mention.start);
    let from = comma.map_or(0, |at| at + usize::from(statement.word(at) == ","));
    let to = (mention.end..statement.tokens.len()).find(|at| parts(*at));
    let to = to.unwrap_or(statement.tokens.len());
    let past = |at: usize| lexicon.past_verbs.has(statement.tokens, at);
    if !(from..to).any(past) || (from..to).any(|at| statement.role(at).verb && !past(at)) {
        return false;
    }
    let lead = comma.and_then(begin).unwrap_or(0);
    statement.word(from) == "when" || (lead..to).any(|at| lexicon.times.has(statement.tokens, at))
}

/// Whether the denial from one token to another is of another time, so that what it denies is new:
/// "a nodule, not seen on the prior study".
pub(super) fn denies_the_past(
    tokens: &[Token],
    lexicon: &Lexicon,
    (start, end): (usize, usize),
) -> bool {
    let leads = (end..end + LEADS).take_while(|at| lexicon.time_leads.has(tokens, *at)).count();
    // "Not seen previously or currently".
    let alone = |end: usize| {
        tokens.get(end).is_none_or(|next| !matches!(next.text.as_str(), "or" | "nor" | "and"))
    };
    (start..end).any(|at| lexicon.past_denials.has(tokens, at))
        && !(start..end).any(|at| lexicon.changes.has(tokens, at))
        && (end..=end + leads)
            .any(|at| lexicon.times.at(tokens, at).iter().any(|time| alone(time.end)))
}
