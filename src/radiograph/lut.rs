//! Look-up tables of an object (PS3.3 §C.11.1, §C.11.2).

use dicom_core::VR;
use dicom_dictionary_std::tags;

use crate::object::Item;

/// A table from whole numbers to numbers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lut {
    first: f64,
    values: Vec<u16>,
    /// The largest value that an entry may have.
    largest: f64,
}

impl Lut {
    /// Reads the item of a Modality or VOI LUT Sequence. `negative`: whether the numbers that are
    /// looked up may be below zero. None when the item holds no table.
    pub(super) fn of(item: &Item<'_>, negative: bool) -> Option<Self> {
        let vr = item.element(tags::LUT_DESCRIPTOR)?.vr;
        let &[entries, first, bits] = item.words(tags::LUT_DESCRIPTOR).first_chunk::<3>()?;
        let entries = if entries == 0 { 65_536 } else { usize::from(entries) };
        // An explicit VR says whether the first value is signed; otherwise what is looked up does.
        let signed = vr == VR::SS || negative && first > 0x7FFF;
        let first = if signed { f64::from(first.cast_signed()) } else { f64::from(first) };
        let words = item.words(tags::LUT_DATA);
        let mut values: Vec<u16> = if words.len() < entries && words.len() >= entries.div_ceil(2) {
            // Entries of eight bits, two in a word.
            words.iter().flat_map(|word| word.to_le_bytes()).map(u16::from).collect()
        } else {
            words
        };
        values.truncate(entries);
        let greatest = *values.iter().max()?;
        let stated = (1_u32 << bits.clamp(1, 16)) - 1;
        Some(Self { first, values, largest: f64::from(stated.max(greatest.into())) })
    }

    /// The entry of a number; below and above the table its first and last.
    pub(super) fn at(&self, number: f64) -> f64 {
        let place = (number - self.first).max(0.0).round() as usize;
        let entry = self.values.get(place).or_else(|| self.values.last());
        entry.copied().unwrap_or_default().into()
    }

    /// The entry of a number as a part of one.
    pub(super) fn part_at(&self, number: f64) -> f64 {
        self.at(number) / self.largest
    }

    /// Where the table begins and how many entries it has.
    pub(super) fn range(&self) -> (f64, f64) {
        (self.first, self.values.len() as f64)
    }
}
