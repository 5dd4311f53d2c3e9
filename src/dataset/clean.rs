//! Takes out of a report what one image cannot show: comparison with earlier studies, marks of
//! de-identification, how the image was made.

use serde::Serialize;

use super::error::DatasetError;
use super::phrases::{Phrases, Removal, phrases};

/// How many sentences were changed or dropped, by the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Removed {
    /// For comparing with earlier studies.
    pub comparisons: usize,
    /// For a mark of de-identification.
    pub marks: usize,
    /// For speaking of views or of who was told.
    pub views: usize,
}

impl std::ops::AddAssign for Removed {
    fn add_assign(&mut self, other: Self) {
        self.comparisons += other.comparisons;
        self.marks += other.marks;
        self.views += other.views;
    }
}

/// The sentences of a text that are left, each with a full stop, and what was taken out.
pub fn clean(text: &str) -> Result<(Vec<String>, Removed), DatasetError> {
    let phrases = phrases()?;
    let mut removed = Removed::default();
    let sentences = split(text).into_iter().filter_map(|s| sentence(&s, phrases, &mut removed));
    Ok((sentences.collect(), removed))
}

/// One sentence without what does not belong; `None` when nothing is left.
fn sentence(text: &str, phrases: &Phrases, removed: &mut Removed) -> Option<String> {
    let mut left = Some(text.to_owned());
    let mut changed = false;
    for (removal, counter) in
        [(&phrases.views, &mut removed.views), (&phrases.comparison, &mut removed.comparisons)]
    {
        let Some(text) = left.take() else { break };
        let after = without(&text, removal);
        let differs = after.as_deref() != Some(text.as_str());
        *counter += usize::from(differs);
        changed |= differs;
        left = after;
    }
    let text = left?;
    let (text, marked) = match unmarked(&text, phrases) {
        Ok(None) => (text, false),
        Ok(Some(text)) => (text, true),
        Err(Incomplete) => {
            removed.marks += 1;
            return None;
        }
    };
    removed.marks += usize::from(marked);
    if (changed || marked) && phrases.rest.iter().any(|rest| rest.is_match(&text)) {
        return None;
    }
    capital(&text)
}

/// The sentence without what matches; `None` when it is dropped whole.
fn without(text: &str, removal: &Removal) -> Option<String> {
    if removal.sentences.iter().any(|pattern| pattern.is_match(text)) {
        return None;
    }
    let mut text = text.to_owned();
    for phrase in &removal.phrases {
        if phrase.is_match(&text) {
            text = tidy(&phrase.replace_all(&text, " "));
        }
    }
    Some(text)
}

/// A sentence that makes no sense without the word that a mark stands for.
struct Incomplete;

/// The sentence without marks of de-identification; `None` when it has none.
fn unmarked(text: &str, phrases: &Phrases) -> Result<Option<String>, Incomplete> {
    let mut marks = phrases.mark.find_iter(text).peekable();
    if marks.peek().is_none() {
        return Ok(None);
    }
    for mark in marks {
        let before = text.get(..mark.start()).unwrap_or_default().trim_end();
        let after = text.get(mark.end()..).unwrap_or_default();
        let after = after.trim_start();
        let begins = before.is_empty() && phrases.verb.is_match(after);
        let broken = phrases.needs.is_match(before) && phrases.verb.is_match(after);
        let again = phrases.mark.find(after).is_some_and(|next| next.start() == 0);
        if begins || broken || again {
            return Err(Incomplete);
        }
    }
    Ok(Some(tidy(&phrases.mark.replace_all(text, " "))))
}

/// White space and punctuation that a removal left behind, mended.
fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        let closing = word.starts_with([',', ';', ':', '.', ')']);
        if closing && out.ends_with([',', ';', ':', '(']) {
            out.pop();
        }
        if !out.is_empty() && !closing {
            out.push(' ');
        }
        out.push_str(word);
    }
    out.trim_matches(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | ':' | '-')).to_owned()
}

/// With a capital letter first and a full stop last; `None` without a letter.
fn capital(text: &str) -> Option<String> {
    let text = text.trim_end_matches(['.', ' ', ',', ';']);
    let first = text.chars().find(|c| c.is_alphanumeric())?;
    if !text.chars().any(char::is_alphabetic) {
        return None;
    }
    let at = text.find(first)?;
    let (lead, rest) = (text.get(..at)?, text.get(at + first.len_utf8()..)?);
    Some(format!("{lead}{}{rest}.", first.to_uppercase()))
}

/// The sentences of a text, without full stops and list numbers, white space single.
fn split(text: &str) -> Vec<String> {
    let text = text.replace("<BR>", " ");
    let mut sentences = Vec::new();
    let mut current: Vec<&str> = Vec::new();
    for word in text.split_whitespace() {
        if is_list_number(word) {
            sentences.push(current.join(" "));
            current.clear();
            continue;
        }
        current.push(word);
        if ends_sentence(word) {
            sentences.push(current.join(" "));
            current.clear();
        }
    }
    sentences.push(current.join(" "));
    let bare = |s: &String| {
        s.trim_end_matches(['.', '!', '?', ' ']).trim_start_matches(['-', '*', ' ']).to_owned()
    };
    sentences.iter().map(bare).filter(|s| !s.is_empty()).collect()
}

/// "1.", "2)" or "(3)".
fn is_list_number(word: &str) -> bool {
    let digits = word.trim_start_matches('(').trim_end_matches(['.', ')']);
    digits.len() < word.len()
        && (1..=2).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
}

/// A full stop that is not part of a number or an abbreviation.
fn ends_sentence(word: &str) -> bool {
    let Some(bare) = word.strip_suffix(['.', '!', '?']) else { return false };
    let bare = bare.trim_start_matches('(').to_lowercase();
    let abbreviation = matches!(
        bare.as_str(),
        "dr" | "mr" | "mrs" | "ms" | "vs" | "e.g" | "i.e" | "approx" | "no" | "a.m" | "p.m"
    ) && word.ends_with('.')
        && bare != "no";
    !abbreviation
}
