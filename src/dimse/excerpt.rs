//! Hostile text in logs: escaped and cut.

use std::fmt;

/// Characters of a peer's text that a log line shows.
const SHOWN: usize = 64;

/// Shows a peer's text with control and non-ASCII characters escaped, at most 64 of them.
#[derive(Debug, Clone, Copy)]
pub struct Excerpt<'a>(pub &'a str);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars().take(SHOWN) {
            write!(f, "{}", character.escape_default())?;
        }
        if self.0.chars().nth(SHOWN).is_some() {
            f.write_str("…")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_length_are_tamed() {
        assert_eq!(Excerpt("A\n\u{1b}[31m").to_string(), "A\\n\\u{1b}[31m");
        assert_eq!(Excerpt(&"x".repeat(65)).to_string().chars().count(), 65);
    }
}
