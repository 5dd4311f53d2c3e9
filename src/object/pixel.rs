//! Pixel data: what they are, and whether there are enough of them.

use dicom_dictionary_std::tags;

use super::index::Index;
use super::item::Item;
use super::scan::{Malformed, Reason};

/// The pixel data of an object.
#[derive(Debug, Clone)]
pub enum PixelData<'a> {
    /// Uncompressed, in the object's byte order.
    Native(&'a [u8]),
    /// Compressed, in fragments (PS3.5 §A.4).
    Encapsulated {
        /// The basic offset table, often empty.
        offset_table: &'a [u8],
        /// The code streams, in pieces.
        fragments: Vec<&'a [u8]>,
    },
}

/// The pixel data of a scanned data set.
pub(super) fn pixel_data<'a>(bytes: &'a [u8], index: &'a Index) -> Option<PixelData<'a>> {
    let (place, node) = index.top().find(|(_, node)| node.tag == tags::PIXEL_DATA)?;
    if !node.undefined {
        return bytes.get(node.start..node.end).map(PixelData::Native);
    }
    let mut fragments = index.children(place).filter_map(|(_, f)| bytes.get(f.start..f.end));
    let offset_table = fragments.next()?;
    Some(PixelData::Encapsulated { offset_table, fragments: fragments.collect() })
}

/// Holds the length of native pixel data against the attributes (PS3.5 §8).
pub(super) fn check(top: &Item<'_>, index: &Index) -> Result<(), Malformed> {
    let Some((_, node)) = index.top().find(|(_, node)| node.tag == tags::PIXEL_DATA) else {
        return Ok(());
    };
    let malformed = |reason| Malformed { offset: node.head(), reason };
    let positive = |tag, name| match top.integer(tag) {
        Some(n) if n > 0 => Ok(n.unsigned_abs()),
        _ => Err(malformed(Reason::PixelAttribute(name))),
    };
    let rows = positive(tags::ROWS, "Rows")?;
    let columns = positive(tags::COLUMNS, "Columns")?;
    let bits = positive(tags::BITS_ALLOCATED, "BitsAllocated")?;
    let samples = positive(tags::SAMPLES_PER_PIXEL, "SamplesPerPixel")?;
    let frames = match top.value(tags::NUMBER_OF_FRAMES) {
        None => 1,
        Some(_) => positive(tags::NUMBER_OF_FRAMES, "NumberOfFrames")?,
    };
    if node.undefined {
        return Ok(());
    }
    // Two of three samples are there when chrominance is halved (PS3.3 §C.7.6.3.1.2).
    let halved = top.value(tags::PHOTOMETRIC_INTERPRETATION).is_some_and(|p| p == "YBR_FULL_422");
    let samples = if halved && samples == 3 { 2 } else { samples };
    let expected = [rows, columns, samples, bits, frames]
        .into_iter()
        .try_fold(1_u64, u64::checked_mul)
        .map_or(u64::MAX, |bits| bits.div_ceil(8));
    let found = (node.end - node.start) as u64;
    if found < expected {
        return Err(malformed(Reason::PixelLength { expected, found }));
    }
    Ok(())
}
