//! A copy of a data set that dicom-object can read: without pixel data, and with each sequence
//! of unknown VR and undefined length (CP-246, which dicom-object misreads) as one value of
//! defined length.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::index::{Index, Node};
use super::scan::Coding;

const PIXELS: [Tag; 3] = [tags::PIXEL_DATA, tags::FLOAT_PIXEL_DATA, tags::DOUBLE_FLOAT_PIXEL_DATA];

/// The copy, in the coding of the data set.
pub(super) fn readable(bytes: &[u8], index: &Index) -> Vec<u8> {
    let mut copy = Vec::new();
    let mut from = 0;
    for edit in edits(index) {
        copy.extend_from_slice(bytes.get(from..edit.from).unwrap_or_default());
        if let Some(length) = edit.length {
            copy.extend_from_slice(&length);
        }
        from = edit.to;
    }
    copy.extend_from_slice(bytes.get(from..).unwrap_or_default());
    copy
}

/// Bytes that are left out, and a length that stands in their place.
struct Edit {
    from: usize,
    to: usize,
    length: Option<[u8; 4]>,
}

fn edits(index: &Index) -> Vec<Edit> {
    let mut edits = Vec::new();
    // Sequences and items around the place, each with the bytes that it loses.
    let mut around: Vec<(&Node, usize)> = Vec::new();
    let mut place = 0;
    while let Some(node) = index.nodes.get(place) {
        close(&mut around, &mut edits, |outer| outer.next <= place);
        if around.is_empty() && PIXELS.contains(&node.tag) {
            edits.push(Edit { from: node.head(), to: node.tail(), length: None });
            place = node.next;
        } else if node.undefined
            && node.vr == VR::UN
            && node.coding != Coding::ImplicitLittle
            && node.header == 12
        {
            edits.push(length_edit(node, node.end - node.start));
            edits.push(Edit { from: node.end, to: node.tail(), length: None });
            for (_, lost) in &mut around {
                *lost += 8;
            }
            place = node.next;
        } else {
            if node.next > place + 1 {
                around.push((node, 0));
            }
            place += 1;
        }
    }
    close(&mut around, &mut edits, |_| true);
    edits.sort_by_key(|edit| edit.from);
    edits
}

/// Corrects the stated lengths of what has ended and lost something.
fn close(around: &mut Vec<(&Node, usize)>, edits: &mut Vec<Edit>, ended: impl Fn(&Node) -> bool) {
    while let Some(&(node, lost)) = around.last() {
        if !ended(node) {
            break;
        }
        if lost > 0 && !node.undefined {
            edits.push(length_edit(node, node.end - node.start - lost));
        }
        around.pop();
    }
}

fn length_edit(node: &Node, length: usize) -> Edit {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    let bytes = if node.coding.is_big() { length.to_be_bytes() } else { length.to_le_bytes() };
    Edit { from: node.start - 4, to: node.start, length: Some(bytes) }
}
