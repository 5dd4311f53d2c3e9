//! Objects made byte by byte, lawful and not.

use std::collections::BTreeMap;
use std::path::Path;

/// Group and element.
pub(crate) type Tag = (u16, u16);

/// The four UIDs that every object has, in explicit VR little endian; (0020,000E) is the last.
pub(crate) fn identity() -> Vec<u8> {
    let mut data = DataSet::default();
    data.elements.retain(|_, (vr, _)| *vr == "UI");
    data.bytes()
}

/// An element in explicit VR little endian whose header says the truth.
pub(crate) fn element(tag: Tag, vr: &str, value: &[u8]) -> Vec<u8> {
    stating(tag, vr, u32::try_from(value.len()).unwrap(), value)
}

/// An element whose header states a length of its own.
pub(crate) fn stating((group, number): Tag, vr: &str, length: u32, value: &[u8]) -> Vec<u8> {
    let mut bytes = [group.to_le_bytes(), number.to_le_bytes()].concat();
    bytes.extend_from_slice(vr.as_bytes());
    if ["OB", "OW", "SQ", "UN", "UT", "OF", "UC", "UR"].contains(&vr) {
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&length.to_le_bytes());
    } else {
        bytes.extend_from_slice(&u16::try_from(length).unwrap().to_le_bytes());
    }
    bytes.extend_from_slice(value);
    bytes
}

/// An element in implicit VR, an item, or a delimiter.
pub(crate) fn implicit((group, number): Tag, length: u32, value: &[u8]) -> Vec<u8> {
    let head = [group.to_le_bytes(), number.to_le_bytes()].concat();
    [&head, &length.to_le_bytes()[..], value].concat()
}

/// A Part 10 file.
pub(crate) fn part_10(syntax: &str, data_set: &[u8]) -> Vec<u8> {
    let mut syntax = syntax.as_bytes().to_vec();
    syntax.resize(syntax.len().next_multiple_of(2), 0);
    let meta = element((2, 0x10), "UI", &syntax);
    let length = u32::try_from(meta.len()).unwrap().to_le_bytes();
    [&[0; 128], &b"DICM"[..], &element((2, 0), "UL", &length), &meta, data_set].concat()
}

/// A chest radiograph in explicit VR little endian, to be changed element by element.
#[derive(Debug, Clone)]
pub(crate) struct DataSet {
    pub(crate) elements: BTreeMap<Tag, (&'static str, Vec<u8>)>,
}

impl Default for DataSet {
    /// 4 × 2 pixels of 12 bits in 16: 0, 585, 1170 … 4095.
    fn default() -> Self {
        let mut data = Self { elements: BTreeMap::new() };
        for (tag, uid) in [
            ((0x0008, 0x0016), "1.2.840.10008.5.1.4.1.1.1"),
            ((0x0008, 0x0018), "1.2.3.4"),
            ((0x0020, 0x000D), "1.2.3"),
            ((0x0020, 0x000E), "1.2.3.1"),
        ] {
            data.text(tag, "UI", uid);
        }
        data.text((0x0008, 0x0060), "CS", "CR").text((0x0018, 0x0015), "CS", "CHEST");
        data.text((0x0018, 0x5101), "CS", "PA").text((0x0028, 0x0004), "CS", "MONOCHROME2");
        data.numbers((0x0028, 0x0002), &[1]).numbers((0x0028, 0x0010), &[2]);
        data.numbers((0x0028, 0x0011), &[4]).numbers((0x0028, 0x0100), &[16]);
        data.numbers((0x0028, 0x0101), &[12]).numbers((0x0028, 0x0102), &[11]);
        data.numbers((0x0028, 0x0103), &[0]);
        data.pixels(&[0, 585, 1170, 1755, 2340, 2925, 3510, 4095]);
        data
    }
}

impl DataSet {
    pub(crate) fn set(&mut self, tag: Tag, vr: &'static str, value: Vec<u8>) -> &mut Self {
        self.elements.insert(tag, (vr, value));
        self
    }

    pub(crate) fn text(&mut self, tag: Tag, vr: &'static str, value: &str) -> &mut Self {
        let mut value = value.as_bytes().to_vec();
        let pad = if vr == "UI" { 0 } else { b' ' };
        value.resize(value.len().next_multiple_of(2), pad);
        self.set(tag, vr, value)
    }

    pub(crate) fn numbers(&mut self, tag: Tag, values: &[u16]) -> &mut Self {
        self.set(tag, "US", values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    pub(crate) fn pixels(&mut self, values: &[u16]) -> &mut Self {
        self.set((0x7FE0, 0x0010), "OW", values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    pub(crate) fn without(&mut self, tag: Tag) -> &mut Self {
        self.elements.remove(&tag);
        self
    }

    /// A sequence of one item that holds these elements.
    pub(crate) fn sequence(&mut self, tag: Tag, item: &[u8]) -> &mut Self {
        let length = u32::try_from(item.len()).unwrap();
        self.set(tag, "SQ", implicit((0xFFFE, 0xE000), length, item))
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.elements.iter().flat_map(|(tag, (vr, value))| element(*tag, vr, value)).collect()
    }

    pub(crate) fn write(&self, path: &Path) {
        std::fs::write(path, part_10("1.2.840.10008.1.2.1", &self.bytes())).unwrap();
    }
}
