//! A data set within an object, the top level or an item, and the values of its elements.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::charset::CharacterSets;
use super::index::{Index, Level, Node};
use super::scan::{Coding, dictionary_vr};

/// An element as it lies in the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawElement<'a> {
    /// Its tag.
    pub tag: Tag,
    /// Its VR: as stated, or by the dictionary where none is (implicit VR).
    pub vr: VR,
    /// The exact bytes of the value, padding included; of a sequence, all of its content.
    pub value: &'a [u8],
}

/// The groups of a person name, for display (PS3.5 §6.2.1.1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PersonName {
    /// In Latin letters, as a rule.
    pub alphabetic: String,
    /// In the characters of the person's own language.
    pub ideographic: String,
    /// As it is spoken.
    pub phonetic: String,
}

/// A data set: the top level of an object, or an item of a sequence.
#[derive(Debug, Clone)]
pub struct Item<'a> {
    bytes: &'a [u8],
    index: &'a Index,
    from: usize,
    to: usize,
    sets: CharacterSets,
}

impl<'a> Item<'a> {
    /// The top level.
    pub(super) fn top(bytes: &'a [u8], index: &'a Index) -> Self {
        let to = index.nodes.len();
        Self { bytes, index, from: 0, to, sets: CharacterSets::default() }.with_own_sets()
    }

    /// An item takes the character sets of what it lies in, unless it names its own.
    fn with_own_sets(mut self) -> Self {
        if let Some(stated) = self.element(tags::SPECIFIC_CHARACTER_SET) {
            self.sets = CharacterSets::parse(stated.value);
        }
        self
    }

    fn level(&self) -> Level<'a> {
        self.index.level(self.from, self.to)
    }

    fn find(&self, tag: Tag) -> Option<(usize, &'a Node)> {
        self.level().find(|(_, node)| node.tag == tag)
    }

    fn raw(&self, node: &Node) -> RawElement<'a> {
        let value = self.bytes.get(node.start..node.end).unwrap_or_default();
        RawElement { tag: node.tag, vr: node.vr, value }
    }

    /// All elements in their order.
    pub fn elements(&self) -> impl Iterator<Item = RawElement<'a>> + use<'_, 'a> {
        self.level().map(|(_, node)| self.raw(node))
    }

    /// An element, exactly.
    pub fn element(&self, tag: Tag) -> Option<RawElement<'a>> {
        self.find(tag).map(|(_, node)| self.raw(node))
    }

    /// The items of a sequence; none when it is absent, empty or no sequence.
    pub fn items(&self, tag: Tag) -> Vec<Item<'a>> {
        let Some((place, node)) = self.find(tag) else { return Vec::new() };
        if !matches!(node.vr, VR::SQ | VR::UN) {
            return Vec::new();
        }
        let item = |(place, node): (usize, &Node)| {
            let (from, to) = (place + 1, node.next);
            Item { bytes: self.bytes, index: self.index, from, to, sets: self.sets.clone() }
        };
        self.index.children(place).map(item).map(Item::with_own_sets).collect()
    }

    /// The value decoded by the character sets that hold here, for display: padding cut, values
    /// joined by a backslash as they stand.
    pub fn text(&self, tag: Tag) -> Option<String> {
        let (_, node) = self.find(tag)?;
        let value = self.raw(node).value;
        let text = match value_vr(node) {
            VR::SH | VR::LO | VR::ST | VR::LT | VR::UC | VR::UT | VR::PN => {
                self.sets.decode(value, value_vr(node))
            }
            VR::AE
            | VR::AS
            | VR::CS
            | VR::DA
            | VR::DS
            | VR::DT
            | VR::IS
            | VR::TM
            | VR::UI
            | VR::UR => value.iter().map(|&b| char::from(b)).collect(),
            _ => return None,
        };
        Some(text.trim_end_matches(['\0', ' ']).to_owned())
    }

    /// The first person name, decoded and split into its groups.
    pub fn person_name(&self, tag: Tag) -> Option<PersonName> {
        let text = self.text(tag)?;
        let mut groups = text.split('\\').next()?.split('=').map(|g| g.trim().to_owned());
        let mut next = || groups.next().unwrap_or_default();
        Some(PersonName { alphabetic: next(), ideographic: next(), phonetic: next() })
    }

    /// The first value of a short string (CS, UI, IS, DS, DA …), spaces and padding cut. None
    /// when absent, empty or not text.
    pub fn value(&self, tag: Tag) -> Option<String> {
        self.values(tag).into_iter().next().filter(|value| !value.is_empty())
    }

    /// All values of a short string, spaces and padding cut; none when absent.
    pub fn values(&self, tag: Tag) -> Vec<String> {
        let Some(text) = self.text(tag) else { return Vec::new() };
        text.split('\\').map(|value| value.trim_matches(['\0', ' ']).to_owned()).collect()
    }

    /// The first number of an integer element (US, SS, UL, SL, UV, SV, IS).
    pub fn integer(&self, tag: Tag) -> Option<i64> {
        let (_, node) = self.find(tag)?;
        let value = self.raw(node).value;
        let coding = value_coding(node);
        match value_vr(node) {
            VR::US => Some(coding.u16(*value.first_chunk()?).into()),
            VR::SS => Some(coding.u16(*value.first_chunk()?).cast_signed().into()),
            VR::UL => Some(coding.u32(*value.first_chunk()?).into()),
            VR::SL => Some(coding.u32(*value.first_chunk()?).cast_signed().into()),
            VR::UV | VR::SV => {
                let bytes = *value.first_chunk()?;
                Some(if coding.is_big() {
                    i64::from_be_bytes(bytes)
                } else {
                    i64::from_le_bytes(bytes)
                })
            }
            VR::IS => self.value(tag)?.parse().ok(),
            _ => None,
        }
    }

    /// The numbers of an element (DS, IS, FL, FD, US, SS); a value that is no number ends them.
    pub fn decimals(&self, tag: Tag) -> Vec<f64> {
        let Some((_, node)) = self.find(tag) else { return Vec::new() };
        let value = self.raw(node).value;
        let big = value_coding(node).is_big();
        match value_vr(node) {
            VR::DS | VR::IS => self.values(tag).iter().map_while(|v| v.parse().ok()).collect(),
            VR::FL => numbers(value, big, f32::from_le_bytes).map(f64::from).collect(),
            VR::FD => numbers(value, big, f64::from_le_bytes).collect(),
            VR::US => numbers(value, big, u16::from_le_bytes).map(f64::from).collect(),
            VR::SS => numbers(value, big, i16::from_le_bytes).map(f64::from).collect(),
            _ => Vec::new(),
        }
    }

    /// The 16-bit words of an element (US, SS, OW, and what has no VR of its own).
    pub fn words(&self, tag: Tag) -> Vec<u16> {
        let Some((_, node)) = self.find(tag) else { return Vec::new() };
        match value_vr(node) {
            VR::US | VR::SS | VR::OW | VR::OB | VR::UN => {
                numbers(self.raw(node).value, value_coding(node).is_big(), u16::from_le_bytes)
                    .collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The VR by which a value is read: an element that lost its VR on the way through a system that
/// did not know it has its VR in the dictionary still.
fn value_vr(node: &Node) -> VR {
    if node.vr == VR::UN { dictionary_vr(node.tag) } else { node.vr }
}

/// How a value is coded: that of unknown VR is little endian always (PS3.5 §6.2.2).
fn value_coding(node: &Node) -> Coding {
    if node.vr == VR::UN { Coding::ImplicitLittle } else { node.coding }
}

fn numbers<const N: usize, T>(
    value: &[u8],
    big: bool,
    read: impl Fn([u8; N]) -> T,
) -> impl Iterator<Item = T> {
    value.as_chunks::<N>().0.iter().map(move |&chunk| {
        let mut chunk = chunk;
        if big {
            chunk.reverse();
        }
        read(chunk)
    })
}
