//! Phrases, and where they stand in a text. `phrases.toml` says how a phrase is written.

use std::collections::HashMap;

use super::words::Token;

/// A part of a phrase.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// One of these words.
    Word(Vec<Word>),
    /// One of these words, or nothing.
    Maybe(Vec<Word>),
    /// Up to [`GAP`] words.
    Gap,
    /// The end of the sentence.
    End,
}

/// The words that `~` stands for, at most.
const GAP: usize = 3;
/// The letters by which stems are looked up.
const STEM: usize = 3;

#[derive(Debug)]
struct Known<T> {
    parts: Vec<Part>,
    /// Only where a sentence begins.
    initial: bool,
    meaning: T,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    text: String,
    /// Whether any word that begins so will do.
    stem: bool,
}

/// A phrase that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the phrase {0:?} begins with no word, or with a stem of less than three letters")]
pub(super) struct PhraseError(String);

/// Phrases with what each means, found in one pass over a sentence.
#[derive(Debug)]
pub(super) struct Phrases<T> {
    known: Vec<Known<T>>,
    /// Phrases by their first word, and by the first letters of a first stem.
    words: HashMap<String, Vec<usize>>,
    stems: HashMap<String, Vec<usize>>,
}

/// Where a phrase stands: tokens of a sentence, the end not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found<T> {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) meaning: T,
}

impl<T> Default for Phrases<T> {
    fn default() -> Self {
        Self { known: Vec::new(), words: HashMap::new(), stems: HashMap::new() }
    }
}

impl<T: Copy> Phrases<T> {
    /// Adds a phrase. One that may begin with a word is two: one that does, one that does not.
    pub(super) fn add(&mut self, phrase: &str, meaning: T) -> Result<(), PhraseError> {
        let (initial, text) = match phrase.strip_prefix("^ ") {
            Some(text) => (true, text),
            None => (false, phrase),
        };
        let known = |parts: Vec<Part>| Known { parts, initial, meaning };
        let parts = parse(text);
        let mut rest = parts.as_slice();
        while let [Part::Maybe(words), tail @ ..] = rest {
            let with = [&[Part::Word(words.clone())], tail].concat();
            self.add_known(phrase, known(with))?;
            rest = tail;
        }
        self.add_known(phrase, known(rest.to_vec()))
    }

    fn add_known(&mut self, phrase: &str, known: Known<T>) -> Result<(), PhraseError> {
        let unreadable = || PhraseError(phrase.to_owned());
        let Some(Part::Word(first)) = known.parts.first() else { return Err(unreadable()) };
        let at = self.known.len();
        for word in first {
            let index = if word.stem {
                let stem = word.text.get(..STEM).ok_or_else(unreadable)?;
                self.stems.entry(stem.to_owned())
            } else {
                self.words.entry(word.text.clone())
            };
            index.or_default().push(at);
        }
        self.known.push(known);
        Ok(())
    }

    /// Every phrase that begins at a token, as long as it can be.
    pub(super) fn at(&self, tokens: &[Token], start: usize) -> Vec<Found<T>> {
        let Some(first) = tokens.get(start) else { return Vec::new() };
        let by_word = self.words.get(&first.text);
        let by_stem = first.text.get(..STEM).and_then(|stem| self.stems.get(stem));
        let candidates = by_word.into_iter().chain(by_stem).flatten();
        candidates
            .filter_map(|at| {
                let known = self.known.get(*at)?;
                if known.initial && start > 0 {
                    return None;
                }
                let end = longest(&known.parts, tokens, start)?;
                Some(Found { start, end, meaning: known.meaning })
            })
            .collect()
    }

    /// Every phrase of a sentence.
    pub(super) fn find(&self, tokens: &[Token]) -> Vec<Found<T>> {
        (0..tokens.len()).flat_map(|start| self.at(tokens, start)).collect()
    }

    /// Whether a phrase of one word is that of a token.
    pub(super) fn has(&self, tokens: &[Token], at: usize) -> bool {
        !self.at(tokens, at).is_empty()
    }
}

fn parse(phrase: &str) -> Vec<Part> {
    let words = |text: &str| {
        let word = |text: &str| match text.strip_suffix('*') {
            Some(stem) => Word { text: stem.to_owned(), stem: true },
            None => Word { text: text.to_owned(), stem: false },
        };
        text.split('|').map(word).collect()
    };
    let part = |text: &str| match text {
        "~" => Part::Gap,
        "$" => Part::End,
        _ => match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            Some(inner) => Part::Maybe(words(inner)),
            None => Part::Word(words(text)),
        },
    };
    phrase.split_whitespace().map(part).collect()
}

/// Where the phrase ends that begins at a token; the longest reading.
fn longest(parts: &[Part], tokens: &[Token], at: usize) -> Option<usize> {
    let Some((part, rest)) = parts.split_first() else { return Some(at) };
    let one = |words: &[Word]| {
        let fits = tokens.get(at).is_some_and(|token| words.iter().any(|word| word.fits(token)));
        fits.then(|| longest(rest, tokens, at + 1)).flatten()
    };
    match part {
        Part::Word(words) => one(words),
        Part::Maybe(words) => one(words).max(longest(rest, tokens, at)),
        Part::End => (at == tokens.len()).then(|| longest(rest, tokens, at)).flatten(),
        Part::Gap => (0..=GAP)
            .take_while(|skip| {
                let skipped = at.checked_add(*skip).and_then(|end| tokens.get(at..end));
                skipped.is_some_and(|gap| gap.iter().all(Token::is_word))
            })
            .find_map(|skip| longest(rest, tokens, at + skip)),
    }
}

impl Word {
    fn fits(&self, token: &Token) -> bool {
        if self.stem { token.text.starts_with(&self.text) } else { token.text == self.text }
    }
}
