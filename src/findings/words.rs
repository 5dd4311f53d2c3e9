//! Text as words: lower case, hyphens between words dropped, each with its place in the text.

/// A word, a number or a mark of punctuation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// In lower case.
    pub(super) text: String,
    /// Bytes of the report.
    pub(super) start: usize,
    pub(super) end: usize,
    /// Line ends between the token before and this one.
    pub(super) breaks: usize,
    /// At least two letters, all of them capitals.
    pub(super) upper: bool,
    /// A capital, then a small letter.
    pub(super) title: bool,
}

impl Token {
    /// Whether it is a word or a number.
    pub(super) fn is_word(&self) -> bool {
        self.text.starts_with(char::is_alphanumeric)
    }
}

/// Words that a slash does not part.
const WITH_SLASH: [&str; 8] = ["w/o", "r/o", "b/l", "s/p", "c/w", "h/o", "d/t", "and/or"];

/// The tokens of a text, in their order.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut found: Vec<Token> = Vec::new();
    let mut breaks = 0;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let at = text.len() - rest.len();
        let length = if c.is_alphanumeric() { word_length(rest) } else { c.len_utf8() };
        let (taken, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        rest = after;
        // CR LF is one line end, and so is either alone.
        let line_end = c == '\n' || (c == '\r' && !after.starts_with('\n'));
        breaks += usize::from(line_end);
        let before = text.get(..at).and_then(|text| text.chars().next_back()).unwrap_or(' ');
        let Some(token) = read(c, taken, before, after) else { continue };
        let mut letters = taken.chars().filter(|c| c.is_alphabetic());
        found.push(Token {
            text: token,
            start: at,
            end: at + length,
            breaks,
            upper: taken.len() > 1 && letters.clone().all(char::is_uppercase) && c.is_alphabetic(),
            title: c.is_uppercase() && letters.nth(1).is_some_and(char::is_lowercase),
        });
        breaks = 0;
    }
    found
}

/// The token that a word or another character makes, if any.
fn read(first: char, taken: &str, before: char, after: &str) -> Option<String> {
    let spaced = before.is_ascii_whitespace();
    match first {
        c if c.is_alphanumeric() => Some(taken.to_lowercase().replace('\u{2019}', "'")),
        ',' | ';' | ':' | '.' | '?' | '!' | '(' | ')' | '/' | '>' => Some(taken.to_owned()),
        '&' => Some("and".to_owned()),
        '•' | '*' => Some("-".to_owned()).filter(|_| spaced),
        // "Effusion (-)".
        '-' | '–' if before == '(' && after.starts_with(')') => Some("negative".to_owned()),
        '-' | '–' | '—' => {
            let alone = spaced && after.starts_with(char::is_whitespace);
            (alone || first == '—').then(|| "-".to_owned())
        }
        _ => None,
    }
}

/// The bytes of the word at the start of `rest`, which begins with a letter or digit.
fn word_length(rest: &str) -> usize {
    for known in WITH_SLASH {
        let same = rest.get(..known.len()).is_some_and(|head| head.eq_ignore_ascii_case(known));
        let ends = |tail: &str| !tail.starts_with(char::is_alphanumeric);
        if same && rest.get(known.len()..).is_some_and(ends) {
            return known.len();
        }
    }
    let mut characters = rest.char_indices().peekable();
    let mut before = ' ';
    while let Some((at, c)) = characters.next() {
        let next = characters.peek().map_or(' ', |(_, next)| *next);
        let inside = match c {
            '.' | ',' => before.is_ascii_digit() && next.is_ascii_digit(),
            '\'' | '\u{2019}' => before.is_alphabetic() && next.is_alphabetic(),
            c => c.is_alphanumeric(),
        };
        if !inside {
            return at;
        }
        before = c;
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        tokens(text).into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn hyphens_numbers_and_abbreviations() {
        assert_eq!(
            texts("Right-sided 1.2 cm PTX, w/o"),
            ["right", "sided", "1.2", "cm", "ptx", ",", "w/o"]
        );
        assert_eq!(
            texts("can’t exclude atelectasis/PNA."),
            ["can't", "exclude", "atelectasis", "/", "pna", "."]
        );
        assert_eq!(texts("- edema - none"), ["-", "edema", "-", "none"]);
        let breaks = |text: &str| tokens(text).last().map(|token| token.breaks);
        assert_eq!(breaks("a\r\n\r\nb"), Some(2));
        assert_eq!(breaks("a\n\nb"), Some(2));
    }
}
