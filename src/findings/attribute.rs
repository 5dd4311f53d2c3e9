//! On which side and how much: the words before a mention in its phrase, and those after it up to
//! the next phrase.

use super::lexicon::{Claim, Direction, Lexicon};
use super::statement::{Mention, Statement};
use super::{Laterality, Severity};

/// How far from its mention a word of side or severity may stand.
const REACH: usize = 25;

/// What is said of a mention beside its state.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Attributes {
    pub(super) side: Option<Laterality>,
    pub(super) severity: Option<Severity>,
    /// The words of its phrase, from the first to the last of them.
    pub(super) start: usize,
    pub(super) end: usize,
    /// Whether the side was said behind the mention.
    behind: bool,
}

/// The attributes of each mention of a sentence.
pub(super) fn attributes(statement: &Statement<'_>, lexicon: &Lexicon) -> Vec<Attributes> {
    let starts: Vec<usize> =
        statement.mentions.iter().map(|mention| phrase_start(statement, mention)).collect();
    let mut all = Vec::new();
    for (at, mention) in statement.mentions.iter().enumerate() {
        let start = starts.get(at).copied().unwrap_or(mention.start);
        // Names that overlap, as in "nodular opacity", share what stands around them.
        let next = statement.mentions.iter().zip(&starts).skip(at + 1);
        let next =
            next.filter(|(next, _)| next.start >= mention.end).map(|(_, start)| *start).next();
        let end = phrase_end(statement, mention, next.unwrap_or(statement.tokens.len()));
        all.push(read(statement, lexicon, mention, start, end));
    }
    inherit(statement, lexicon, &mut all);
    all
}

/// Where the phrase of a mention begins: its adjectives, and "amount of" and the like.
fn phrase_start(statement: &Statement<'_>, mention: &Mention) -> usize {
    let mut start = mention.start;
    for at in (mention.start.saturating_sub(REACH)..mention.start).rev() {
        let role = statement.role(at);
        // "On the left, small ...": what ends with a place is no adjective.
        let adjective = |at: usize| {
            let role = statement.role(at);
            let place = at
                .checked_sub(1)
                .is_some_and(|at| matches!(statement.word(at), "the" | "on" | "in" | "at"));
            (role.side || role.severity) && !place
        };
        let before = at.checked_sub(1);
        let inside = match statement.word(at) {
            "and" | "or" | "," | "to" | "greater" | "than" | ">" | "larger" | "/" => {
                before.is_some_and(adjective)
                    || matches!(statement.word(at), "than" | "greater" | "larger")
            }
            "in" | "at" | "on" | "with" | "within" | "from" | ":" | "for" | "by" | "(" | ")" => {
                false
            }
            _ => !role.verb && !statement.mentions.iter().any(|m| m.start <= at && at < m.end),
        };
        if role.ends || !inside {
            break;
        }
        start = at;
    }
    start
}

fn phrase_end(statement: &Statement<'_>, mention: &Mention, next: usize) -> usize {
    let limit = next.max(mention.end).min(mention.end + REACH).min(statement.tokens.len());
    let ends = (mention.end..limit).find(|at| statement.role(*at).ends);
    ends.unwrap_or(limit)
}

fn read(
    statement: &Statement<'_>,
    lexicon: &Lexicon,
    mention: &Mention,
    start: usize,
    end: usize,
) -> Attributes {
    let mut said = Attributes { start: mention.start, end: mention.end, ..Attributes::default() };
    let side_before = sides(statement, lexicon, start, mention.start);
    let side_inside = sides(statement, lexicon, mention.start, mention.end);
    // "The right lung shows opacities, the left is clear".
    let near = (mention.end..end).find(|at| {
        let next = matches!(statement.word(at + 1), "the" | "a" | "an");
        statement.word(*at) == "," || statement.word(*at) == "and" && next
    });
    let side_near = sides(statement, lexicon, mention.end, near.unwrap_or(end));
    let side_behind = sides(statement, lexicon, mention.end, end);
    let degrees = lexicon.not_degrees.find(statement.tokens);
    let other = |at: usize| degrees.iter().any(|words| (words.start..words.end).contains(&at));
    let severity = |from: usize, to: usize| {
        let found = (from..to)
            .filter(|at| !other(*at))
            .flat_map(|at| lexicon.severities.at(statement.tokens, at));
        found.max_by_key(|found| found.meaning)
    };
    let side_ahead = side_before.or(side_inside);
    let side_said = side_ahead.or(side_near).or_else(|| subject_side(statement, lexicon, start));
    let chosen = side_said.or(side_behind);
    if mention.observation.has_side()
        && let Some((side, first, last)) = chosen
    {
        said.side = Some(side);
        said.behind = first >= mention.end;
        said.start = said.start.min(first);
        said.end = said.end.max(last);
    }
    // Behind a mention a degree is said by a verb: "the effusion is now large".
    let said_behind = || {
        let verb = (mention.start..end).find(|at| {
            statement.role(*at).verb || matches!(statement.word(*at), "now" | "," | "which" | ":")
        })?;
        severity(verb, end)
    };
    let severity = severity(start, mention.end).or_else(said_behind);
    if let Some(found) = severity {
        said.severity = Some(found.meaning);
        said.start = said.start.min(found.start);
        said.end = said.end.max(found.end);
    }
    said
}

/// The side that a subject or a place before a phrase says: "the left base shows ...", "left apex:
/// ...", "on the left there is ...".
fn subject_side(
    statement: &Statement<'_>,
    lexicon: &Lexicon,
    phrase: usize,
) -> Option<(Laterality, usize, usize)> {
    let mut to = phrase.checked_sub(1)?;
    if !(statement.role(to).verb || statement.word(to) == ":") {
        return None;
    }
    let before = |to: usize| to.checked_sub(1).map_or("", |at| statement.word(at));
    let there = before(to) == "there";
    if there {
        to -= 1;
        to -= usize::from(before(to) == ",");
    }
    let mut from = to;
    while let Some(at) = from.checked_sub(1) {
        let role = statement.role(at);
        if role.verb && !role.marked {
            return None;
        }
        if role.ends || matches!(statement.word(at), "," | ":") {
            break;
        }
        from = at;
    }
    let mut words = (from..to).map(|at| statement.word(at));
    let place = words.any(|word| matches!(word, "in" | "on" | "at" | "over" | "within"));
    let other = statement.mentions.iter().any(|m| from <= m.start && m.start < to);
    if other || there && !place { None } else { sides(statement, lexicon, from, to) }
}

/// The side that some words say, with the first and last of these words.
fn sides(
    statement: &Statement<'_>,
    lexicon: &Lexicon,
    from: usize,
    to: usize,
) -> Option<(Laterality, usize, usize)> {
    let said = (from..to).filter(|at| !lexicon.not_sides.has(statement.tokens, *at));
    let found = said.flat_map(|at| lexicon.sides.at(statement.tokens, at));
    let one = |said: Option<(Laterality, usize, usize)>, next: super::phrase::Found<Laterality>| {
        Some(match said {
            None => (next.meaning, next.start, next.end),
            Some((side, start, _)) => (both(side, next.meaning), start, next.end),
        })
    };
    found.fold(None, one)
}

/// Two sides together.
pub(super) fn both(one: Laterality, other: Laterality) -> Laterality {
    if one == other { one } else { Laterality::Bilateral }
}

/// Gives a mention without a side that of the one before it, when a link joins the two ("opacity
/// in the left base, suspicious for pneumonia"), or of the one behind it in a list ("effusion and
/// atelectasis on the left").
fn inherit(statement: &Statement<'_>, lexicon: &Lexicon, all: &mut [Attributes]) {
    let free = |at: usize| {
        let mention = statement.mentions.get(at)?;
        let fit = mention.observation.has_side()
            && !matches!(mention.claim, Claim::Normal | Claim::Unsettled);
        fit.then_some((mention.start, mention.end))
    };
    let between =
        |from: usize, to: usize| (from..to).map(|at| (statement.word(at), statement.role(at)));
    for at in (1..all.len()).rev() {
        let (Some((_, end)), Some((start, _))) = (free(at - 1), free(at)) else { continue };
        let list = between(end, start).all(|(_, role)| !role.ends && !role.verb && !role.marked)
            && between(end, start).any(|(word, _)| matches!(word, "and" | "or" | "," | "/"));
        // "Atelectasis versus pneumonia at the left base".
        let mut marks = statement.marks.iter();
        let list = list
            || marks.any(|mark| {
                (mark.start, mark.end) == (end, start) && mark.direction == Direction::Around
            });
        let from = all.get(at).copied().unwrap_or_default();
        if let Some(said) = all.get_mut(at - 1)
            && said.side.is_none()
            && (list || end >= start)
            && from.behind
        {
            said.side = from.side;
        }
    }
    // "A line through the right eighth rib, in keeping with a fracture".
    if let (Some((start, _)), Some(first)) = (free(0), all.first_mut())
        && first.side.is_none()
        && (0..start).any(|at| statement.role(at).joined)
    {
        first.side = sides(statement, lexicon, 0, start).map(|(side, ..)| side);
    }
    for at in 1..all.len() {
        let (Some((_, end)), Some((start, _))) = (free(at - 1), free(at)) else { continue };
        // "The left opacity is atelectasis".
        let is = end < start && between(end, start).all(|(_, role)| role.verb || role.marked);
        let linked = is || between(end, start).any(|(_, role)| role.link) || end >= start;
        let linked = linked && !between(end, start).any(|(_, role)| role.ends && !role.link);
        let from = all.get(at - 1).copied().unwrap_or_default();
        if let Some(said) = all.get_mut(at)
            && said.side.is_none()
            && linked
        {
            said.side = from.side;
        }
    }
}
