//! Hostile text in logs and in the audit trail: escaped and cut.

use std::fmt;

/// Characters of a stranger's text that are shown.
const SHOWN: usize = 64;

/// Shows a stranger's text with all escaped that is not printed plainly, at most 64 characters.
#[derive(Debug, Clone, Copy)]
pub struct Excerpt<'a>(pub &'a str);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars().take(SHOWN) {
            write!(f, "{}", character.escape_debug())?;
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
        let forged = "A\nINFO forged\u{1b}[31m\u{202e}é";
        assert_eq!(Excerpt(forged).to_string(), "A\\nINFO forged\\u{1b}[31m\\u{202e}é");
        assert_eq!(Excerpt(&"x".repeat(65)).to_string().chars().count(), 65);
    }
}
