//! A report as sentences: list numbers and line ends undone, sections that are not about this image
//! left out.

use super::lexicon::Lexicon;
use super::words::Token;

/// Longer sentences are parted, so that no text takes more than linear time.
const LONGEST: usize = 120;
/// A line that is shorter than this and has no full stop may end a sentence.
const SHORT_LINE: usize = 50;
/// The tokens of an answer to a question, its full stop included, at most.
const SHORT_ANSWER: usize = 6;

/// A heading: its tokens, the colon included, and what it means for the text below it.
#[derive(Debug, Clone, Copy)]
struct Heading {
    end: usize,
    skipped: bool,
}

/// The sentences of a report that speak of this image, as ranges of its tokens, without full stops.
pub(super) fn sentences<'a>(tokens: &'a [Token], lexicon: &Lexicon) -> Vec<&'a [Token]> {
    let mut splitter = Splitter {
        tokens,
        lexicon,
        sentences: Vec::new(),
        start: 0,
        skipping: false,
        section: 0,
        // Without headings for what is found, an empty line is all that ends a history.
        open_ended: !(0..tokens.len())
            .any(|at| heading(tokens, at, true, lexicon).is_some_and(|found| !found.skipped)),
    };
    let mut at = 0;
    while at < tokens.len() {
        at = splitter.step(at);
    }
    splitter.finish(tokens.len(), tokens.len());
    splitter.sentences
}

struct Splitter<'a, 'l> {
    tokens: &'a [Token],
    lexicon: &'l Lexicon,
    sentences: Vec<&'a [Token]>,
    /// Of the sentence at hand.
    start: usize,
    skipping: bool,
    /// Where the text of the section at hand begins.
    section: usize,
    open_ended: bool,
}

impl Splitter<'_, '_> {
    /// Looks at one token; where to go on.
    fn step(&mut self, at: usize) -> usize {
        let Some(token) = self.tokens.get(at) else { return at + 1 };
        if at > self.start && self.line_ends_sentence(at) {
            self.finish(at, at);
        }
        if self.skipping && self.open_ended && at > self.section && self.new_paragraph(at) {
            self.finish(at, at);
            self.skipping = false;
        }
        if let Some(found) = heading(self.tokens, at, at == self.start, self.lexicon) {
            self.finish(at, at);
            self.skipping = found.skipped;
            self.section = found.end;
            if found.skipped {
                self.start = found.end;
            }
            return found.end;
        }
        if let Some(end) = self.list_mark(at) {
            self.finish(at, end);
            return end;
        }
        let question = token.text == "?" && self.word_follows_after_space(at);
        if question && self.denied(at + 1) {
            return at + 1;
        }
        if question {
            self.finish(at + 1, at + 1);
        } else if matches!(token.text.as_str(), "!" | ".") && !self.abbreviates(at) {
            self.finish(at, at + 1);
            // All of a report in one line: a history of one sentence loses less than the rest.
            self.skipping &= !self.open_ended;
        } else if at - self.start >= LONGEST {
            self.finish(at, at);
        }
        at + 1
    }

    /// Ends the sentence at hand before `end`; the next begins at `next`.
    fn finish(&mut self, end: usize, next: usize) {
        if let Some(sentence) = self.tokens.get(self.start..end)
            && !sentence.is_empty()
            && !self.skipping
        {
            self.sentences.push(sentence);
        }
        self.start = next;
    }

    /// After an empty line, or on a line of its own after a full stop.
    fn new_paragraph(&self, at: usize) -> bool {
        let stop = at.checked_sub(1).and_then(|at| self.tokens.get(at));
        self.tokens.get(at).is_some_and(|token| {
            token.breaks > 1 || (token.breaks == 1 && stop.is_some_and(|stop| stop.text == "."))
        })
    }

    fn line_ends_sentence(&self, at: usize) -> bool {
        let [Some(before), Some(token)] =
            [at.checked_sub(1), Some(at)].map(|at| at.and_then(|at| self.tokens.get(at)))
        else {
            return false;
        };
        if token.breaks > 1 || (token.breaks == 1 && token.text == "-") {
            return true;
        }
        let line = self.tokens.get(..at).unwrap_or_default().iter().rev();
        let first = line.take(SHORT_LINE).find(|token| token.breaks > 0);
        let line_start = first.map_or(0, |token| token.start);
        token.breaks == 1
            && token.title
            && before.end - line_start.min(before.end) < SHORT_LINE
            && before.is_word()
            && !matches!(
                before.text.as_str(),
                "the" | "of" | "and" | "or" | "with" | "without" | "no" | "in" | "a" | "for" | "to"
            )
    }

    /// The end of a list number or bullet that begins here.
    fn list_mark(&self, at: usize) -> Option<usize> {
        let token = self.tokens.get(at)?;
        let opens = at == self.start || token.breaks > 0;
        if token.text == "-" && opens {
            return Some(at + 1);
        }
        let number = token.text.len() < 3 && token.text.bytes().all(|byte| byte.is_ascii_digit());
        let mark = self.tokens.get(at + 1)?;
        let marked = match mark.text.as_str() {
            ")" => true,
            "." => opens,
            _ => false,
        };
        (number && marked && mark.start == token.end).then_some(at + 2)
    }

    fn word_follows_after_space(&self, at: usize) -> bool {
        let [mark, next] = [at, at + 1].map(|at| self.tokens.get(at));
        let before = at.checked_sub(1).and_then(|at| self.tokens.get(at));
        let touches = before.zip(mark).is_some_and(|(before, mark)| before.end == mark.start);
        touches && next.zip(mark).is_none_or(|(next, mark)| next.start > mark.end)
    }

    /// Whether the sentence that begins at a token says no and nothing else: "Pneumothorax? None."
    fn denied(&self, at: usize) -> bool {
        let rest = self.tokens.get(at..).unwrap_or_default();
        let end = rest.iter().take(SHORT_ANSWER).position(|token| token.text == ".");
        let end = end.or((rest.len() < SHORT_ANSWER).then_some(rest.len()));
        let answer = end.and_then(|end| rest.get(..end)).unwrap_or_default();
        self.lexicon.denials.at(answer, 0).iter().any(|found| found.end == answer.len())
    }

    fn abbreviates(&self, at: usize) -> bool {
        let Some(before) = at.checked_sub(1) else { return false };
        let ends_text = self.tokens.get(at + 1).is_none_or(|next| next.breaks > 1);
        !ends_text && self.lexicon.abbreviations.has(self.tokens, before)
    }
}

/// A heading that begins at a token: known words and a colon, or alone on their line; or capitals
/// and a colon at the start of a line.
fn heading(tokens: &[Token], at: usize, opens: bool, lexicon: &Lexicon) -> Option<Heading> {
    let token = tokens.get(at)?;
    let line_start = at == 0 || token.breaks > 0;
    if !opens && !line_start && !token.upper {
        return None;
    }
    let colon = |end: usize| tokens.get(end).is_some_and(|next| next.text == ":");
    let line_end = |end: usize| tokens.get(end).is_none_or(|next| next.breaks > 0);
    let known = lexicon.headings.at(tokens, at).into_iter();
    let known = known.filter(|found| colon(found.end) || (line_start && line_end(found.end)));
    if let Some(found) = known.max_by_key(|found| (found.end, found.meaning)) {
        let end = if colon(found.end) { found.end + 1 } else { found.end };
        return Some(Heading { end, skipped: found.meaning });
    }
    let capitals = tokens.get(at..)?.iter().take(5).take_while(|token| token.upper).count();
    let unknown = line_start && (1..=4).contains(&capitals) && colon(at + capitals);
    unknown.then_some(Heading { end: at + capitals + 1, skipped: false })
}

#[cfg(test)]
mod tests {
    use super::super::lexicon::LEXICON;
    use super::super::words::tokens;
    use super::sentences;

    fn split(text: &str) -> Vec<String> {
        let tokens = tokens(text);
        let joined = |sentence: &[super::Token]| {
            sentence.iter().map(|token| token.text.clone()).collect::<Vec<_>>().join(" ")
        };
        sentences(&tokens, &LEXICON).into_iter().map(joined).collect()
    }

    #[test]
    fn sections_lists_and_lines() {
        assert_eq!(
            split(
                "INDICATION: Cough. Fever.\nFINDINGS: A 1.2 cm nodule\nis seen. Clear otherwise."
            ),
            ["findings : a 1.2 cm nodule is seen", "clear otherwise"]
        );
        assert_eq!(split("1. One.\n2. Two"), ["one", "two"]);
        assert_eq!(split("No effusion\nMild edema"), ["no effusion", "mild edema"]);
        assert_eq!(split("NO EFFUSION OR\nPNEUMOTHORAX"), ["no effusion or pneumothorax"]);
        assert_eq!(split("History: cough\n\nClear lungs"), ["clear lungs"]);
        assert_eq!(split("Pneumonia? No effusion"), ["pneumonia ?", "no effusion"]);
        assert_eq!(split("Effusion? Not seen. Clear"), ["effusion ? not seen", "clear"]);
    }
}
