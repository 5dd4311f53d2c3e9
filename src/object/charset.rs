//! Text for display: Specific Character Set (0008,0005) and its code extensions (PS3.5 §6.1.2).
//!
//! What goes into an object is copied as bytes; decoding serves the worklist alone, so what
//! cannot be decoded becomes U+FFFD instead of an error.

use dicom_core::VR;
use encoding_rs as rs;

const ESCAPE: u8 = 0x1B;

/// A character set that one or two bytes choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    /// ISO-IR 6, and nothing above.
    Ascii,
    /// Latin alphabet No. 1: each byte is its code point.
    Latin1,
    /// The upper half of a single-byte set, by an encoding that agrees with it from 0xA0 up.
    Single(&'static rs::Encoding),
    /// JIS X 0201: katakana above, and a yen sign and an overline below where it is designated so.
    JisX0201,
    /// Two 7-bit bytes in G0.
    JisX0208,
    JisX0212,
    /// Two 8-bit bytes in G1.
    KsX1001,
    Gb2312,
    /// Sets without code extensions.
    Whole(&'static rs::Encoding),
}

/// The values of Specific Character Set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CharacterSets {
    first: Set,
    /// Whether escape sequences may stand in the text.
    extended: bool,
}

impl Default for CharacterSets {
    /// The default repertoire, ISO-IR 6. Bytes above it, which are not lawful there, show as
    /// Latin-1.
    fn default() -> Self {
        Self { first: Set::Latin1, extended: false }
    }
}

impl CharacterSets {
    /// Reads the value of (0008,0005). Terms that are not known count as the default repertoire.
    pub fn parse(value: &[u8]) -> Self {
        let text = String::from_utf8_lossy(value);
        let terms: Vec<&str> =
            text.split('\\').map(|term| term.trim_matches(['\0', ' '])).collect();
        let first = terms.first().map_or(Set::Latin1, |term| set(term));
        let extended = terms.len() > 1 || text.contains("2022");
        Self { first, extended: extended && !matches!(first, Set::Whole(_)) }
    }

    /// Decodes a value of the VRs that (0008,0005) governs.
    pub fn decode(&self, value: &[u8], vr: VR) -> String {
        if let Set::Whole(encoding) = self.first {
            return encoding.decode_without_bom_handling(value).0.into_owned();
        }
        let mut state = State { g0: self.g0(), g1: self.first };
        let mut text = String::with_capacity(value.len());
        let mut rest = value;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            if byte == ESCAPE && self.extended {
                match state.designate(after) {
                    Some(length) => rest = after.get(length..).unwrap_or_default(),
                    None => text.push(char::REPLACEMENT_CHARACTER),
                }
                continue;
            }
            let delimits = delimits(byte, vr) && state.is_single_byte();
            let (decoded, took) = if delimits {
                (Some(char::from(byte)), 0)
            } else {
                state.decode(byte, rest.first())
            };
            text.push(decoded.unwrap_or(char::REPLACEMENT_CHARACTER));
            rest = rest.get(took..).unwrap_or_default();
            if delimits {
                state = State { g0: self.g0(), g1: self.first };
            }
        }
        text
    }

    /// What the lower half means at the start of a value.
    fn g0(&self) -> Set {
        if self.first == Set::JisX0201 { Set::JisX0201 } else { Set::Ascii }
    }
}

/// Whether designations end here: with a line, a value, and a part of a person name (PS3.5
/// §6.1.2.5.3).
fn delimits(byte: u8, vr: VR) -> bool {
    match byte {
        b'\n' | b'\r' | 0x0C | b'\t' => true,
        b'\\' => !matches!(vr, VR::ST | VR::LT | VR::UT),
        b'^' | b'=' => vr == VR::PN,
        _ => false,
    }
}

/// The set of a defined term (PS3.3 §C.12.1.1.2).
fn set(term: &str) -> Set {
    let bare = term.replace("ISO 2022 IR ", "ISO_IR ");
    match bare.as_str() {
        "ISO_IR 101" => Set::Single(rs::ISO_8859_2),
        "ISO_IR 109" => Set::Single(rs::ISO_8859_3),
        "ISO_IR 110" => Set::Single(rs::ISO_8859_4),
        "ISO_IR 144" => Set::Single(rs::ISO_8859_5),
        "ISO_IR 127" => Set::Single(rs::ISO_8859_6),
        "ISO_IR 126" => Set::Single(rs::ISO_8859_7),
        "ISO_IR 138" => Set::Single(rs::ISO_8859_8),
        // They differ from windows-1254 and windows-874 below 0xA0 only.
        "ISO_IR 148" => Set::Single(rs::WINDOWS_1254),
        "ISO_IR 166" => Set::Single(rs::WINDOWS_874),
        "ISO_IR 203" => Set::Single(rs::ISO_8859_15),
        "ISO_IR 13" => Set::JisX0201,
        "ISO_IR 149" => Set::KsX1001,
        "ISO_IR 58" => Set::Gb2312,
        "ISO_IR 192" => Set::Whole(rs::UTF_8),
        "GB18030" => Set::Whole(rs::GB18030),
        "GBK" => Set::Whole(rs::GBK),
        // Latin-1, the default repertoire, and the two-byte sets of G0, which are only ever
        // designated by an escape sequence.
        _ => Set::Latin1,
    }
}

/// What the two halves of the code table mean at a place in a text.
struct State {
    g0: Set,
    g1: Set,
}

impl State {
    /// Follows an escape sequence, given the bytes after ESC; its length (PS3.3 table C.12-3, -4).
    fn designate(&mut self, after: &[u8]) -> Option<usize> {
        let (g0, g1, length) = match after {
            [b'$', b'B', ..] => (Some(Set::JisX0208), None, 2),
            [b'$', b'(', b'D', ..] => (Some(Set::JisX0212), None, 3),
            [b'$', b')', b'C', ..] => (None, Some(Set::KsX1001), 3),
            [b'$', b')', b'A', ..] => (None, Some(Set::Gb2312), 3),
            [b'(', b'B', ..] => (Some(Set::Ascii), None, 2),
            [b'(', b'J', ..] => (Some(Set::JisX0201), None, 2),
            [b')', b'I', ..] => (None, Some(Set::JisX0201), 2),
            [b'-', last, ..] => (None, Some(upper_half(*last)?), 2),
            _ => return None,
        };
        self.g0 = g0.unwrap_or(self.g0);
        self.g1 = g1.unwrap_or(self.g1);
        Some(length)
    }

    /// Whether the lower half takes one byte a character.
    fn is_single_byte(&self) -> bool {
        !matches!(self.g0, Set::JisX0208 | Set::JisX0212)
    }

    /// The character of a byte, or of a byte and the next, and how many bytes beyond it were taken.
    fn decode(&self, byte: u8, next: Option<&u8>) -> (Option<char>, usize) {
        match byte {
            0x21..=0x7E => match self.g0 {
                Set::JisX0208 => pair(rs::EUC_JP, &[byte | 0x80], next, 0x80),
                Set::JisX0212 => pair(rs::EUC_JP, &[0x8F, byte | 0x80], next, 0x80),
                Set::JisX0201 if byte == b'\\' => (Some('¥'), 0),
                Set::JisX0201 if byte == b'~' => (Some('‾'), 0),
                _ => (Some(char::from(byte)), 0),
            },
            0xA0.. => match self.g1 {
                Set::Single(encoding) => (one(encoding, &[byte]), 0),
                Set::JisX0201 => (half_width(byte), 0),
                Set::KsX1001 => pair(rs::EUC_KR, &[byte], next, 0),
                Set::Gb2312 => pair(rs::GBK, &[byte], next, 0),
                _ => (Some(char::from(byte)), 0),
            },
            _ => (Some(char::from(byte)), 0),
        }
    }
}

/// The single-byte sets by the last byte of `ESC - F`.
fn upper_half(last: u8) -> Option<Set> {
    Some(match last {
        b'A' => Set::Latin1,
        b'B' => Set::Single(rs::ISO_8859_2),
        b'C' => Set::Single(rs::ISO_8859_3),
        b'D' => Set::Single(rs::ISO_8859_4),
        b'L' => Set::Single(rs::ISO_8859_5),
        b'G' => Set::Single(rs::ISO_8859_6),
        b'F' => Set::Single(rs::ISO_8859_7),
        b'H' => Set::Single(rs::ISO_8859_8),
        b'M' => Set::Single(rs::WINDOWS_1254),
        b'T' => Set::Single(rs::WINDOWS_874),
        b'b' => Set::Single(rs::ISO_8859_15),
        _ => return None,
    })
}

/// A two-byte character in the EUC form of its set. A first byte without its second, or a pair
/// that is none, takes the first byte alone.
fn pair(
    encoding: &'static rs::Encoding,
    lead: &[u8],
    next: Option<&u8>,
    high: u8,
) -> (Option<char>, usize) {
    let Some(&next) = next.filter(|&b| (0x21..=0x7E).contains(&(b & 0x7F))) else {
        return (None, 0);
    };
    let mut bytes = lead.to_vec();
    bytes.push(next | high);
    match one(encoding, &bytes) {
        Some(c) => (Some(c), 1),
        None => (None, usize::from(high != 0)),
    }
}

fn one(encoding: &'static rs::Encoding, bytes: &[u8]) -> Option<char> {
    let text = encoding.decode_without_bom_handling_and_without_replacement(bytes)?;
    let mut chars = text.chars();
    let first = chars.next();
    if chars.next().is_some() { None } else { first }
}

/// Half-width katakana of JIS X 0201.
fn half_width(byte: u8) -> Option<char> {
    if !(0xA1..=0xDF).contains(&byte) {
        return None;
    }
    char::from_u32(0xFF61 + u32::from(byte) - 0xA1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(sets: &str, value: &[u8]) -> String {
        CharacterSets::parse(sets.as_bytes()).decode(value, VR::PN)
    }

    /// The examples of PS3.5 annexes H to K.
    #[test]
    fn the_examples_of_the_standard() {
        let yamada =
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B";
        assert_eq!(name("\\ISO 2022 IR 87", yamada), "Yamada^Tarou=山田^太郎=やまだ^たろう");
        let half = b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J";
        assert_eq!(name("ISO 2022 IR 13\\ISO 2022 IR 87", half), "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう");
        let hong = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf";
        assert_eq!(name("\\ISO 2022 IR 149", hong), "Hong^Gildong=洪^吉洞=홍^길동");
        let wang = "Wang^XiaoDong=王^小东";
        assert_eq!(name("ISO_IR 192", wang.as_bytes()), wang);
        assert_eq!(
            name("GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab="),
            "Wang^XiaoDong=王^小东="
        );
        let zhang = b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=";
        assert_eq!(name("\\ISO 2022 IR 58", zhang), "Zhang^XiaoDong=张^小东=");
    }

    #[test]
    fn single_byte_sets() {
        assert_eq!(name("ISO_IR 144", b"\xbb\xee\xda\xd5"), "Люке");
        assert_eq!(name("ISO_IR 126", b"\xc4\xe9\xef\xed"), "Διον");
        assert_eq!(name("ISO_IR 100", b"\xc4neas"), "Äneas");
        assert_eq!(name("ISO_IR 148", b"\xc7\xd0\x80"), "ÇĞ\u{80}");
        assert_eq!(name("\\ISO 2022 IR 127", b"\x1b-G\xe2\xc8"), "قب");
    }

    #[test]
    fn a_second_byte_that_looks_like_a_delimiter_is_none() {
        // 0x5C and 0x5E within GB18030 pairs; 0x5E and 0x3D within JIS X 0208 pairs.
        assert_eq!(name("GB18030", b"\x81\x5c\x81\x5e").chars().count(), 2);
        assert_eq!(name("\\ISO 2022 IR 87", b"\x1b$B=^0=\x1b(B"), "殉綾");
    }

    #[test]
    fn broken_text_is_shown_as_far_as_it_goes() {
        assert_eq!(name("\\ISO 2022 IR 87", b"a\x1b$B;"), "a\u{fffd}");
        assert_eq!(name("\\ISO 2022 IR 149", b"\x1b$)C\xfb"), "\u{fffd}");
        assert_eq!(name("ISO_IR 192", b"a\xff"), "a\u{fffd}");
    }
}
