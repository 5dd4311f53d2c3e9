//! Text of the node's own in the character set of another's object (PS3.3 §C.12.1.1.2).
//!
//! What the set holds is kept, the rest is transliterated to ASCII; but of a text that is to be
//! signed no letter is. No escape sequence is ever written: of a set with code extensions only what
//! stands at its start is used, as ESC passes validators but not viewers.

use encoding_rs::Encoding;

/// The characters that may be written without a code extension.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Repertoire {
    /// ISO 646, as when nothing is declared.
    Ascii,
    /// ISO 646 with yen and overline, and half-width katakana above (ISO_IR 13).
    Katakana,
    /// ISO 8859-1.
    Latin1,
    /// ASCII below, another set of 96 above.
    Single(&'static Encoding),
    /// GB18030 and GBK.
    Multi(&'static Encoding),
    /// ISO_IR 192.
    Utf8,
}

impl Repertoire {
    /// Of a Specific Character Set (0008,0005) as it stands in an object.
    pub(crate) fn of(declared: Option<&[u8]>) -> Self {
        let declared = declared.unwrap_or_default();
        let first = declared.split(|byte| *byte == b'\\').next().unwrap_or_default();
        let first = String::from_utf8_lossy(first);
        let first = first.trim_matches([' ', '\0']);
        let number = first.strip_prefix("ISO_IR ").or_else(|| first.strip_prefix("ISO 2022 IR "));
        match number.unwrap_or(first) {
            "13" => Self::Katakana,
            "100" => Self::Latin1,
            "101" => Self::Single(encoding_rs::ISO_8859_2),
            "109" => Self::Single(encoding_rs::ISO_8859_3),
            "110" => Self::Single(encoding_rs::ISO_8859_4),
            "126" => Self::Single(encoding_rs::ISO_8859_7),
            "127" => Self::Single(encoding_rs::ISO_8859_6),
            "138" => Self::Single(encoding_rs::ISO_8859_8),
            "144" => Self::Single(encoding_rs::ISO_8859_5),
            // Equal to ISO 8859-9 and to TIS 620 from 0xA0 on.
            "148" => Self::Single(encoding_rs::WINDOWS_1254),
            "166" => Self::Single(encoding_rs::WINDOWS_874),
            "203" => Self::Single(encoding_rs::ISO_8859_15),
            "192" => Self::Utf8,
            "GB18030" => Self::Multi(encoding_rs::GB18030),
            "GBK" => Self::Multi(encoding_rs::GBK),
            _ => Self::Ascii,
        }
    }

    /// The letters of a text that would be transliterated, once each.
    pub(crate) fn lacks(self, text: &str) -> String {
        let mut lacking = String::new();
        for letter in text.chars().filter(|c| c.is_alphabetic()) {
            let mut bytes = Vec::new();
            if !self.push(letter, &mut bytes) && !lacking.contains(letter) {
                lacking.push(letter);
            }
        }
        lacking
    }

    /// A text as the value of an element: new lines are CR LF (PS3.5 §6.1.3), tabs are spaces,
    /// other control characters are left out.
    pub(crate) fn encode(self, text: &str) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(text.len());
        let mut after_cr = false;
        for character in text.trim().chars() {
            match character {
                '\n' if after_cr => {}
                '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                    trim_end(&mut bytes);
                    bytes.extend(b"\r\n");
                }
                '\t' | '\u{a0}' => bytes.push(b' '),
                '\u{ad}' | '\u{feff}' => {}
                control if control.is_control() => {}
                other => {
                    self.push(other, &mut bytes);
                }
            }
            after_cr = character == '\r';
        }
        trim_end(&mut bytes);
        bytes
    }

    /// Adds a character; false where it is transliterated.
    fn push(self, character: char, bytes: &mut Vec<u8>) -> bool {
        let mut utf8 = [0; 4];
        let text: &str = character.encode_utf8(&mut utf8);
        match self {
            Self::Katakana if matches!(character, '\\' | '~') => {
                bytes.push(if character == '~' { b'-' } else { b'/' });
            }
            Self::Katakana if matches!(character, '\u{ff61}'..='\u{ff9f}') => {
                bytes.push((u32::from(character) - 0xff61 + 0xa1) as u8);
            }
            _ if character.is_ascii() => bytes.push(character as u8),
            Self::Utf8 => bytes.extend_from_slice(text.as_bytes()),
            Self::Latin1 if matches!(character, '\u{a1}'..='\u{ff}') => {
                bytes.push(u32::from(character) as u8);
            }
            Self::Single(set) => match set.encode(text) {
                (encoded, _, false) if upper_half(set, &encoded) => bytes.extend(&*encoded),
                _ => return transliterate(character, bytes),
            },
            Self::Multi(set) => match set.encode(text) {
                (encoded, _, false) => bytes.extend(&*encoded),
                _ => return transliterate(character, bytes),
            },
            _ => return transliterate(character, bytes),
        }
        true
    }
}

/// Whether an encoded character stands in the set of 96 that DICOM means.
fn upper_half(set: &'static Encoding, encoded: &[u8]) -> bool {
    match encoded {
        // Euro, drachma and iota came to ISO 8859-7 in 2003; ISO_IR 126 is that of 1987.
        [0xa4 | 0xa5 | 0xaa] if set == encoding_rs::ISO_8859_7 => false,
        [byte] => *byte > 0xa0,
        _ => false,
    }
}

fn trim_end(bytes: &mut Vec<u8>) {
    while bytes.pop_if(|last| *last == b' ').is_some() {}
}

/// Always false: the character is not kept.
fn transliterate(character: char, bytes: &mut Vec<u8>) -> bool {
    let latin = deunicode::deunicode_char(character).unwrap_or("?");
    bytes.extend(latin.bytes().filter(|byte| matches!(byte, b' '..=b'~')));
    false
}

/// A text for a short attribute of ASCII: one line, no backslash, cut at `length`.
pub(crate) fn attribute(text: &str, length: usize) -> String {
    let latin = deunicode::deunicode_with_tofu(text, "?");
    let mut line: String = latin
        .chars()
        .map(|c| if c == '\\' { '/' } else { c })
        .filter(|c| matches!(c, ' '..='~'))
        .take(length)
        .collect();
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(set: &str, text: &str) -> Vec<u8> {
        Repertoire::of(Some(set.as_bytes())).encode(text)
    }

    #[test]
    fn what_the_set_holds_is_kept_and_the_rest_transliterated() {
        assert_eq!(encoded("", "Größe — 5 µm"), b"Grosse -- 5 um");
        assert_eq!(encoded("ISO_IR 100 ", "Größe — 5 µm"), b"Gr\xf6\xdfe -- 5 \xb5m");
        assert_eq!(encoded("ISO_IR 192", "Größe"), "Größe".as_bytes());
        assert_eq!(encoded("ISO_IR 144", "норма é"), b"\xdd\xde\xe0\xdc\xd0 e");
        assert_eq!(encoded("ISO_IR 126", "5 €"), b"5 EUR");
        assert_eq!(encoded("ISO 2022 IR 13\\ISO 2022 IR 87", "a\\b~ ｱ 山"), b"a/b- \xb1 Shan");
        assert_eq!(encoded("\\ISO 2022 IR 149", "폐 a"), b"pye a");
        assert_eq!(encoded("GB18030", "肺 a"), b"\xb7\xce a");
    }

    #[test]
    fn letters_that_a_set_lacks_are_named_once_and_marks_are_not() {
        let lacks = |set: &str, text| Repertoire::of(Some(set.as_bytes())).lacks(text);
        assert_eq!(lacks("", "Größe — “5” µm, Größe"), "öß\u{b5}");
        assert_eq!(lacks("ISO_IR 100", "Größe — “5” µm"), "");
        assert_eq!(lacks("ISO 2022 IR 6\\ISO 2022 IR 87", "心臓 ok"), "心臓");
        assert_eq!(lacks("ISO_IR 192", "心臓"), "");
    }

    #[test]
    fn control_characters_do_not_pass() {
        assert_eq!(
            encoded("ISO_IR 192", "\na\0b\x1b[c\r\n\td\re\u{2028}f \n"),
            b"ab[c\r\n d\r\ne\r\nf"
        );
        assert_eq!(attribute(" Modèle\\7B\n ", 8), " Modele/");
    }

    proptest::proptest! {
        #[test]
        fn any_text_comes_out_in_its_set(text in "(\\PC|[\\x00-\\x20\\x7f-\\xa0])*") {
            for set in ["", "ISO_IR 13", "ISO_IR 100", "ISO_IR 126", "ISO_IR 166", "GBK", "GB18030", "ISO_IR 192"] {
                let bytes = encoded(set, &text);
                let lines = bytes.split(|byte| *byte == b'\n');
                for line in lines {
                    let line = line.strip_suffix(b"\r").unwrap_or(line);
                    proptest::prop_assert!(!line.iter().any(u8::is_ascii_control), "{set}: {bytes:?}");
                    proptest::prop_assert!(!line.ends_with(b" "), "{set}: {bytes:?}");
                }
                let fits = match set {
                    "" => bytes.is_ascii(),
                    "ISO_IR 192" => std::str::from_utf8(&bytes).is_ok(),
                    "GBK" | "GB18030" => !encoding_rs::GB18030.decode(&bytes).2,
                    _ => !bytes.iter().any(|byte| (0x7f..=0xa0).contains(byte)),
                };
                proptest::prop_assert!(fits, "{set}: {bytes:?}");
            }
        }

        #[test]
        fn any_text_parts_into_sections_without_loss_of_all(text in "(\\PC|[.!?\n ]|impression:|overall)*") {
            let sections = crate::report::draft::Sections::of(&text);
            let nothing = sections.findings.is_none() && sections.impression.is_none();
            let words = text.to_ascii_lowercase().replace("impression:", "").replace("findings:", "");
            proptest::prop_assert!(!nothing || words.trim().is_empty(), "{text:?}");
        }
    }
}
