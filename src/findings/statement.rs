//! A sentence with what is known of it before its scopes are read: which words name or describe an
//! observation, which words deny, doubt or end a statement.

use super::lexicon::{Claim, Cue, Direction, Lexicon, Meaning};
use super::phrase::Found;
use super::words::Token;
use crate::vocabulary::Observation;

/// A place where an observation is spoken of.
#[derive(Debug, Clone)]
pub(super) struct Mention {
    pub(super) observation: Observation,
    pub(super) claim: Claim,
    /// Tokens, the end not included.
    pub(super) start: usize,
    pub(super) end: usize,
    /// Where the word stands that a denial would have to precede.
    pub(super) anchor: usize,
    /// Whether it is a part of the body with its state, not a name.
    pub(super) described: bool,
    /// What the scopes say of it, with the words that say so.
    pub(super) cues: Vec<(Cue, usize, usize)>,
}

impl Mention {
    pub(super) fn has(&self, cue: Cue) -> bool {
        self.cues.iter().any(|(of, ..)| *of == cue)
    }
}

/// Where a cue stands and acts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) cue: Cue,
    pub(super) direction: Direction,
}

/// What one token is to the scopes.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "a word may be several of these at once")]
pub(super) struct Role {
    /// A statement ends before it.
    pub(super) ends: bool,
    /// A new statement may begin with it.
    pub(super) starts: bool,
    pub(super) verb: bool,
    /// Part of a cue, or of words that only look like one.
    pub(super) marked: bool,
    /// A cue that acts forward begins here.
    pub(super) cue: Option<Cue>,
    pub(super) side: bool,
    pub(super) severity: bool,
    /// A part of the body, of which a state is said, begins here.
    pub(super) subject: bool,
    pub(super) link: bool,
    pub(super) joined: bool,
}

/// A sentence, read.
#[derive(Debug)]
pub(super) struct Statement<'a> {
    pub(super) tokens: &'a [Token],
    pub(super) roles: Vec<Role>,
    pub(super) marks: Vec<Mark>,
    /// In the order of their place.
    pub(super) mentions: Vec<Mention>,
}

impl<'a> Statement<'a> {
    /// Reads a sentence; the scopes are still to be applied.
    pub(super) fn read(tokens: &'a [Token], lexicon: &Lexicon) -> Self {
        let mut statement = Self {
            tokens,
            roles: vec![Role::default(); tokens.len()],
            marks: Vec::new(),
            mentions: Vec::new(),
        };
        statement.read_roles(lexicon);
        statement.read_marks(lexicon);
        let distractors = lexicon.distractors.find(tokens);
        statement.read_names(lexicon, &distractors);
        super::part::describe(&mut statement, lexicon, &distractors);
        statement.mentions.sort_by_key(|mention| (mention.anchor, mention.end));
        statement.read_persisting();
        statement
    }

    /// The text of a token; empty beyond the ends.
    pub(super) fn word(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| token.text.as_str())
    }

    /// The role of a token; none beyond the ends.
    pub(super) fn role(&self, at: usize) -> Role {
        self.roles.get(at).copied().unwrap_or_default()
    }

    fn read_roles(&mut self, lexicon: &Lexicon) {
        let tokens = self.tokens;
        for (at, role) in self.roles.iter_mut().enumerate() {
            let text = tokens.get(at).map_or("", |token| token.text.as_str());
            role.ends = matches!(text, ";" | "-");
            role.starts =
                lexicon.starts.has(tokens, at) || text.starts_with(|c: char| c.is_ascii_digit());
            let to =
                at.checked_sub(1).and_then(|at| tokens.get(at)).is_some_and(|t| t.text == "to");
            role.verb = !to && lexicon.verbs.has(tokens, at);
            role.side = lexicon.sides.has(tokens, at);
            role.severity = lexicon.severities.has(tokens, at);
            role.subject = lexicon.subjects.has(tokens, at);
            role.link = lexicon.links.has(tokens, at);
            role.joined = lexicon.joined.has(tokens, at);
        }
    }

    /// Of phrases that overlap the longest counts, then the one of the greater meaning.
    fn read_marks(&mut self, lexicon: &Lexicon) {
        let mut found = lexicon.marks.find(self.tokens);
        found.sort_by(|a, b| {
            (b.end - b.start, b.meaning, a.start).cmp(&(a.end - a.start, a.meaning, b.start))
        });
        let all = found.clone();
        for Found { start, end, mut meaning } in found {
            // A phrase written among those before and those after acts where it can.
            let twin = |other: &Found<Meaning>| match (meaning, other.meaning) {
                (Meaning::Cue(one, from), Meaning::Cue(two, to)) => {
                    one == two && from != to && (other.start, other.end) == (start, end)
                }
                _ => false,
            };
            if let Meaning::Cue(cue, Direction::Before | Direction::After) = meaning
                && all.iter().any(twin)
            {
                meaning = Meaning::Cue(cue, Direction::Either);
            }
            if matches!(meaning, Meaning::Cue(Cue::Negation, direction) if direction != Direction::Before)
                && super::past::denies_the_past(self.tokens, lexicon, (start, end))
            {
                meaning = Meaning::Neutral;
            }
            let Some(roles) = self.roles.get_mut(start..end) else { continue };
            if roles.iter().any(|role| role.marked) {
                continue;
            }
            for role in roles.iter_mut() {
                role.marked = meaning != Meaning::End;
            }
            if let Some(first) = roles.first_mut() {
                first.marked = true;
            }
            match meaning {
                Meaning::End => {
                    let ends = !self.subordinate(start);
                    if let Some(first) = self.roles.get_mut(start) {
                        first.ends = ends;
                    }
                }
                Meaning::Neutral => {}
                Meaning::Cue(cue, mut direction) => {
                    // "There is a possible mass": what it speaks of comes behind.
                    let there = start.checked_sub(1).filter(|at| self.word(*at) == "there");
                    if there.is_some() && direction == Direction::After {
                        direction = Direction::Before;
                    }
                    let forward = (direction != Direction::After).then_some(cue);
                    if let Some(first) = self.roles.get_mut(start) {
                        first.cue = forward;
                    }
                    let there = there.filter(|at| !self.subordinate(*at));
                    if let Some(there) = there.and_then(|at| self.roles.get_mut(at)) {
                        there.ends = true;
                    }
                    self.marks.push(Mark { start, end, cue, direction });
                }
            }
        }
        self.marks.sort_by_key(|mark| mark.start);
    }

    /// "If there is a mass", "no sign that there is a mass": what stands before goes on.
    fn subordinate(&self, at: usize) -> bool {
        let before = at.checked_sub(1).map_or("", |before| self.word(before));
        self.word(at) == "there" && matches!(before, "if" | "whether" | "that" | "unless")
    }

    /// "No effusion is left on the right but persists on the left": the verb has no subject, so the
    /// first thing spoken of is there.
    fn read_persisting(&mut self) {
        let without_subject = |at: &usize| {
            let verb = self.word(at + 1);
            let next = self.role(at + 2);
            let there = matches!(
                self.word(at + 2),
                "present" | "visible" | "seen" | "evident" | "on" | "in" | "at"
            );
            let remains = verb.starts_with("remain") && (there || next.side || next.severity);
            self.role(*at).ends && (verb.starts_with("persist") || remains)
        };
        let Some(at) = (0..self.tokens.len()).find(without_subject) else { return };
        let subject = self.mentions.first().filter(|first| !first.described && first.end <= at);
        let Some(subject) = subject.cloned() else { return };
        self.mentions.push(Mention { start: at + 1, end: at + 2, anchor: at + 1, ..subject });
        self.mentions.sort_by_key(|mention| (mention.anchor, mention.end));
    }

    fn read_names(&mut self, lexicon: &Lexicon, distractors: &[Found<()>]) {
        let found = lexicon.names.find(self.tokens);
        let inside = |start: usize, end: usize| {
            move |other: &Found<()>| other.start <= start && end <= other.end
        };
        for name in &found {
            let longer = found.iter().any(|other| {
                // A nodular opacity is an opacity too.
                let kept = other.meaning.observation == Observation::Nodule;
                !(kept && name.meaning.observation == Observation::LungOpacity)
                    && (other.start..other.end) != (name.start..name.end)
                    && other.start <= name.start
                    && name.end <= other.end
            });
            if longer || distractors.iter().any(inside(name.start, name.end)) {
                continue;
            }
            // "The pleura is not thickened": a denial may stand inside the words of a name.
            let inner = self.marks.iter().rfind(|mark| {
                mark.cue == Cue::Negation
                    && mark.direction != Direction::After
                    && name.start < mark.start
                    && mark.end < name.end
            });
            self.mentions.push(Mention {
                observation: name.meaning.observation,
                claim: name.meaning.claim,
                start: name.start,
                end: name.end,
                anchor: inner.map_or(name.start, |mark| mark.end),
                described: false,
                cues: Vec::new(),
            });
        }
        self.mentions.dedup_by_key(|m| (m.observation, m.start, m.end));
    }
}
