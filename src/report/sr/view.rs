//! One way to look at an object and at an item of its sequences.

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::codes::Code;
use super::data_set::is_plain;
use crate::object::{Item, StoredObject};

pub(crate) trait View {
    /// The exact bytes of a value.
    fn bytes(&self, tag: Tag) -> Option<&[u8]>;
    /// The items of a sequence.
    fn nested(&self, tag: Tag) -> Vec<Item<'_>>;

    /// A value without padding, nothing when it is absent or empty.
    fn trimmed(&self, tag: Tag) -> Option<&[u8]> {
        self.bytes(tag).map(trim).filter(|value| !value.is_empty())
    }

    /// A trimmed value of ASCII, with whatever else shown as `?`.
    fn ascii(&self, tag: Tag) -> String {
        let shown = |byte: &u8| if byte.is_ascii() { char::from(*byte) } else { '?' };
        self.trimmed(tag).unwrap_or_default().iter().map(shown).collect()
    }

    /// The items of a code sequence that can stand wherever a code is asked for: short value,
    /// scheme and meaning are there, no longer than the standard allows, and not in characters of the
    /// item's own: readers of content items do not look for such.
    fn codes(&self, tag: Tag) -> Vec<Code> {
        self.nested(tag).iter().filter_map(code).collect()
    }
}

impl View for StoredObject {
    fn bytes(&self, tag: Tag) -> Option<&[u8]> {
        self.element(tag).map(|element| element.value)
    }
    fn nested(&self, tag: Tag) -> Vec<Item<'_>> {
        self.items(tag)
    }
}

impl View for Item<'_> {
    fn bytes(&self, tag: Tag) -> Option<&[u8]> {
        self.element(tag).map(|element| element.value)
    }
    fn nested(&self, tag: Tag) -> Vec<Item<'_>> {
        self.items(tag)
    }
}

fn code(item: &Item<'_>) -> Option<Code> {
    let short = |tag, most| {
        item.trimmed(tag).filter(|value| value.len() <= most).map(|value| value.to_vec().into())
    };
    let own_characters = item.trimmed(tags::SPECIFIC_CHARACTER_SET).is_some();
    if own_characters && !is_plain(item.trimmed(tags::CODE_MEANING)?) {
        return None;
    }
    Some(Code {
        value: short(tags::CODE_VALUE, 16)?,
        scheme: short(tags::CODING_SCHEME_DESIGNATOR, 16)?,
        version: short(tags::CODING_SCHEME_VERSION, 16),
        meaning: short(tags::CODE_MEANING, 64)?,
    })
}

fn trim(value: &[u8]) -> &[u8] {
    let padding = |byte: &u8| matches!(byte, b' ' | 0);
    let end = value.iter().rposition(|byte| !padding(byte)).map_or(0, |last| last + 1);
    let value = value.get(..end).unwrap_or_default();
    let start = value.iter().position(|byte| !padding(byte)).unwrap_or(0);
    value.get(start..).unwrap_or_default()
}
