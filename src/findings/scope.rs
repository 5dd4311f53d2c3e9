//! How far a denial or a doubt reaches.

use super::lexicon::{Claim, Cue, Direction};
use super::statement::{Mark, Statement};
use crate::vocabulary::Observation;

/// How far an "or" is looked for that makes a list of what commas part.
const LIST: usize = 40;

/// Gives each mention of a sentence the cues that reach it.
pub(super) fn apply(statement: &mut Statement<'_>) {
    for mark in statement.marks.clone() {
        let reached = match mark.direction {
            Direction::Before => forward(statement, &mark),
            Direction::After => behind(statement, &mark),
            Direction::Either => either(statement, &mark),
            Direction::Around => {
                let mut both = nearest(statement, &mark).into_iter().collect::<Vec<_>>();
                both.extend(forward(statement, &mark));
                both
            }
        };
        let earlier = reached.is_empty().then(|| earlier(statement, &mark)).flatten();
        for at in earlier.iter().flatten() {
            if let Some(mention) = statement.mentions.get_mut(*at) {
                // What was said of it before is not so any more.
                mention.cues.clear();
            }
        }
        for at in earlier.unwrap_or(reached) {
            if let Some(mention) = statement.mentions.get_mut(at) {
                mention.cues.push((mark.cue, mark.start, mark.end));
            }
        }
    }
    alternatives(statement);
}

/// Backward at the end of a statement, else forward; a denial that reaches nothing so, the other
/// way.
fn either(statement: &Statement<'_>, mark: &Mark) -> Vec<usize> {
    let back = at_end(statement, mark.end);
    let go = |back: bool| if back { backward(statement, mark) } else { forward(statement, mark) };
    let reached = go(back);
    if reached.is_empty() && mark.cue == Cue::Negation { go(!back) } else { reached }
}

/// Backward; a doubt that reaches nothing so, and that does not end its statement, forward: "in the
/// left base is a possible mass".
fn behind(statement: &Statement<'_>, mark: &Mark) -> Vec<usize> {
    let reached = backward(statement, mark);
    let falls = reached.is_empty() && mark.cue == Cue::Doubt && !at_end(statement, mark.end);
    if falls { forward(statement, mark) } else { reached }
}

/// What a denial without a subject denies: that of the statement before. "There was an effusion;
/// now there is none", "edema was present but is gone".
fn earlier(statement: &Statement<'_>, mark: &Mark) -> Option<Vec<usize>> {
    let closes =
        |at: usize| statement.role(at).ends || matches!(statement.word(at), "" | "," | ")");
    let now = |at: usize| matches!(statement.word(at), "now" | "today" | "currently" | "here");
    let acts_back = matches!(mark.direction, Direction::After | Direction::Either);
    let last = closes(mark.end) || now(mark.end) && closes(mark.end + 1);
    if mark.cue != Cue::Negation || !acts_back || !last {
        return None;
    }
    let mut parted = false;
    let mut start = mark.start;
    while let Some(at) = start.checked_sub(1) {
        let role = statement.role(at);
        let pronoun = matches!(
            statement.word(at),
            "," | "it" | "they" | "this" | "these" | "since" | "then" | "also" | "has" | "have"
        );
        if !(role.ends || role.verb || pronoun || now(at)) {
            break;
        }
        parted |= role.ends;
        start = at;
    }
    parted.then(|| backward(statement, &Mark { start, ..*mark }))
}

/// Whether a statement ends at a token, or goes on with where and why.
fn at_end(statement: &Statement<'_>, at: usize) -> bool {
    let ends = [
        "",
        ",",
        ")",
        "(",
        "and",
        "with",
        "in",
        "at",
        "on",
        "or",
        "by",
        "from",
        "given",
        "as",
        "since",
        "after",
        "following",
        "?",
    ];
    statement.role(at).ends || ends.contains(&statement.word(at))
}

/// The mentions after a cue that it reaches.
fn forward(statement: &Statement<'_>, mark: &Mark) -> Vec<usize> {
    let reach = reach(statement, mark);
    let mentions = statement.mentions.iter().enumerate();
    let reached = mentions.filter(|(_, mention)| {
        // What is said of a part of the body is denied only by words inside the saying.
        let near = match mention.claim {
            Claim::Normal | Claim::Unsettled => mention.described && mark.end == mention.anchor,
            _ => true,
        };
        near && mention.anchor >= mark.end && mention.anchor < reach
    });
    reached.map(|(at, _)| at).collect()
}

/// The token before which a cue that acts forward ends.
fn reach(statement: &Statement<'_>, mark: &Mark) -> usize {
    let mut verb = false;
    let mut at = mark.end;
    while at < statement.tokens.len() {
        let role = statement.role(at);
        if role.ends {
            return at;
        }
        match statement.word(at) {
            ":" => return at,
            "," if mark.cue == Cue::Unasserted && !listed(statement, at + 1) => return at,
            _ if mark.cue == Cue::Unasserted => {}
            "with" if at.checked_sub(1).is_some_and(|at| statement.role(at).joined) => {}
            "," | "(" | ")" | "and" | "with" => match goes_on(statement, mark, at, verb) {
                Some(next) => {
                    at = next;
                    continue;
                }
                None => return at,
            },
            _ => verb |= role.verb && !role.marked,
        }
        at += 1;
    }
    at
}

/// Where a cue goes on beyond a comma, "and" or "with"; `None` where it ends.
fn goes_on(statement: &Statement<'_>, mark: &Mark, at: usize, verb: bool) -> Option<usize> {
    let mut next = at;
    while matches!(statement.word(next), "," | "and" | "also" | "(" | ")") {
        next += 1;
    }
    if matches!(statement.word(next), "or" | "nor" | "and/or") {
        return Some(next + 1);
    }
    if verb || statement.word(at) == "with" {
        return None;
    }
    let role = statement.role(next);
    let list = statement.word(at) == "," && listed(statement, next);
    // "No acute, displaced fracture": nothing that it reaches stands before the comma.
    let adjectives = !statement.mentions.iter().any(|m| (mark.end..at).contains(&m.anchor));
    let differential = matches!(statement.word(mark.start), "differential" | "considerations");
    let comma_only =
        mark.cue == Cue::Doubt && !differential && statement.word(at) != "and" && !list;
    let new_thing = role.starts || role.cue.is_some() || ((role.side || role.severity) && !list);
    let new_part = (next..next + 3).any(|at| statement.role(at).subject) && !list;
    if new_thing || new_part || !adjectives && (comma_only || predicated(statement, next)) {
        return None;
    }
    Some(next)
}

/// Whether what follows is the rest of a list that ends with "or".
fn listed(statement: &Statement<'_>, from: usize) -> bool {
    for at in from..statement.tokens.len().min(from + LIST) {
        let role = statement.role(at);
        if matches!(statement.word(at), "or" | "nor" | "and/or") {
            return true;
        }
        if role.ends || role.cue.is_some() || (role.verb && !role.marked) {
            return false;
        }
    }
    false
}

/// Whether the words up to the next comma have a verb of their own.
fn predicated(statement: &Statement<'_>, from: usize) -> bool {
    for at in from..statement.tokens.len().min(from + LIST) {
        let role = statement.role(at);
        if role.ends || matches!(statement.word(at), "," | "or" | "nor" | "and") {
            return false;
        }
        if role.verb && !role.marked {
            return true;
        }
    }
    false
}

/// The last mention before a cue in its statement.
fn nearest(statement: &Statement<'_>, mark: &Mark) -> Option<usize> {
    let from = (0..mark.start).rev().find(|at| statement.role(*at).ends).unwrap_or(0);
    let inside = |at: &usize| {
        statement.mentions.get(*at).is_some_and(|m| m.start >= from && m.end <= mark.start)
    };
    let last = (0..statement.mentions.len()).rev().find(inside)?;
    let mention = statement.mentions.get(last)?;
    // "A mass, lymphoma not excluded" leaves the mass alone.
    let comma = (mention.end..mark.start).rev().find(|at| statement.word(*at) == ",");
    let other = |at: usize| {
        let role = statement.role(at);
        !(role.verb
            || role.marked
            || matches!(statement.word(at), "which" | "that" | "now" | "and"))
    };
    if comma.is_some_and(|comma| (comma + 1..mark.start).any(other)) {
        return None;
    }
    (!matches!(mention.claim, Claim::Normal | Claim::Unsettled)).then_some(last)
}

/// The mentions before a cue that it reaches: the nearest, and those joined to it as one subject.
fn backward(statement: &Statement<'_>, mark: &Mark) -> Vec<usize> {
    let Some(last) = nearest(statement, mark) else { return Vec::new() };
    let mut reached = vec![last];
    let mut current = last;
    let mut list = statement.word(mark.start) == "or";
    while let Some(before) = current.checked_sub(1) {
        let [Some(first), Some(second)] = [before, current].map(|at| statement.mentions.get(at))
        else {
            break;
        };
        let overlaps = first.end > second.start;
        // A comma alone joins only what is the rest of a list.
        list |= (first.end..second.start)
            .any(|at| matches!(statement.word(at), "and" | "or" | "nor" | "/" | "and/or" | "with"));
        if !(overlaps
            || list
                && joined(statement, first.end, second.start)
                && subject(statement, first.start))
        {
            break;
        }
        reached.push(before);
        current = before;
    }
    reached
}

/// Whether only words of a list stand between two mentions.
fn joined(statement: &Statement<'_>, from: usize, to: usize) -> bool {
    let mut joiner = false;
    for at in from..to {
        let role = statement.role(at);
        joiner |=
            matches!(statement.word(at), "," | "and" | "or" | "nor" | "/" | "and/or" | "with");
        if role.ends || role.marked || role.verb {
            return false;
        }
    }
    joiner
}

/// Whether no verb stands before a token in its statement.
fn subject(statement: &Statement<'_>, at: usize) -> bool {
    for before in (0..at).rev() {
        let role = statement.role(before);
        if role.ends && matches!(statement.word(before), "there") || role.verb {
            return false;
        }
        if role.ends {
            return true;
        }
    }
    true
}

/// Of two things joined by "or" neither is sure.
fn alternatives(statement: &mut Statement<'_>) {
    let mut unsure = Vec::new();
    for at in 0..statement.tokens.len() {
        if statement.word(at) != "or" {
            continue;
        }
        let mark = Mark { start: at, end: at + 1, cue: Cue::Doubt, direction: Direction::Around };
        let Some(left) = nearest(statement, &mark) else { continue };
        let right = statement.mentions.iter().position(|mention| mention.start > at);
        let Some(right) = right else { continue };
        let [Some(first), Some(second)] = [left, right].map(|at| statement.mentions.get(at)) else {
            continue;
        };
        let plain = |from: usize, to: usize| {
            (from..to).all(|at| {
                let role = statement.role(at);
                !role.ends && !role.verb && !role.marked && statement.word(at) != ","
            })
        };
        let both =
            [first, second].iter().all(|mention| mention.cues.is_empty() && !mention.described);
        if both && plain(first.end, at) && plain(at + 1, second.start) {
            unsure.push((right, at));
            // In "opacities, atelectasis or infiltrate" the opacities are sure.
            let causes = backward(statement, &mark).into_iter().filter(|reached| {
                let of = statement.mentions.get(*reached).map(|mention| mention.observation);
                *reached == left || of != Some(Observation::LungOpacity)
            });
            unsure.extend(causes.map(|left| (left, at)));
        }
    }
    for (mention, at) in unsure {
        if let Some(mention) = statement.mentions.get_mut(mention) {
            mention.cues.push((Cue::Doubt, at, at + 1));
        }
    }
}
