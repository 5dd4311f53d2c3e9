//! A data set in another encoding, for destinations that take no other (PS3.5 §7.1, §10.1).
//!
//! The node's own reports are written in implicit VR where that is all that is taken. What others
//! sent goes out byte for byte, but where its length is odd: DICOM's are even, and receivers end
//! the association at a fragment of odd length. Then values are padded as their VR wants.

use dicom_core::VR;

use crate::object::has_short_form;

/// What comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Implicit VR Little Endian.
    Implicit,
    /// Explicit VR Little Endian, or an encapsulated syntax.
    Explicit,
}

const ITEM: [u8; 4] = [0xFE, 0xFF, 0x00, 0xE0];
const ITEM_END: [u8; 4] = [0xFE, 0xFF, 0x0D, 0xE0];
const SEQUENCE_END: [u8; 4] = [0xFE, 0xFF, 0xDD, 0xE0];
const UNDEFINED: u32 = u32::MAX;

/// Rewrites a data set of explicit VR, little endian. Values stay as they are, save for the padding
/// to even length.
///
/// Sequences and items come out with undefined length. `None` when the data set is not whole, or
/// holds a sequence in another encoding (UN of undefined length).
pub(super) fn rewritten(explicit: &[u8], form: Form) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(explicit.len());
    // Where each open sequence or item of defined length ends, and what closes it.
    let mut open: Vec<(usize, [u8; 4])> = Vec::new();
    let mut at = 0;
    loop {
        while let Some((end, delimiter)) = open.last().copied().filter(|(end, _)| *end <= at) {
            (end == at).then_some(())?;
            mark(&mut out, delimiter, 0);
            open.pop();
        }
        if at == explicit.len() {
            return open.is_empty().then_some(out);
        }
        let tag: [u8; 4] = take(explicit, &mut at)?;
        if tag == ITEM_END || tag == SEQUENCE_END {
            let _: [u8; 4] = take(explicit, &mut at)?;
            mark(&mut out, tag, 0);
            continue;
        }
        if tag == ITEM {
            let length = u32::from_le_bytes(take(explicit, &mut at)?);
            mark(&mut out, tag, UNDEFINED);
            close_after(&mut open, at, length, ITEM_END)?;
            continue;
        }
        let vr: [u8; 2] = take(explicit, &mut at)?;
        let length = length_of(explicit, &mut at, vr)?;
        if &vr == b"SQ" {
            header(&mut out, form, (tag, vr), UNDEFINED)?;
            close_after(&mut open, at, length, SEQUENCE_END)?;
        } else if length == UNDEFINED {
            matches!(&vr, b"OB" | b"OW").then_some(())?;
            header(&mut out, form, (tag, vr), UNDEFINED)?;
            fragments(explicit, &mut at, &mut out)?;
        } else {
            let end = at.checked_add(usize::try_from(length).ok()?)?;
            header(&mut out, form, (tag, vr), length.checked_add(length % 2)?)?;
            out.extend_from_slice(explicit.get(at..end)?);
            if length % 2 == 1 {
                out.push(padding(vr));
            }
            at = end;
        }
    }
}

fn close_after(
    open: &mut Vec<(usize, [u8; 4])>,
    at: usize,
    length: u32,
    delimiter: [u8; 4],
) -> Option<()> {
    if length != UNDEFINED {
        open.push((at.checked_add(usize::try_from(length).ok()?)?, delimiter));
    }
    Some(())
}

/// Copies the fragments of a code stream with their end (PS3.5 §A.4).
fn fragments(explicit: &[u8], at: &mut usize, out: &mut Vec<u8>) -> Option<()> {
    loop {
        let tag: [u8; 4] = take(explicit, at)?;
        let length = u32::from_le_bytes(take(explicit, at)?);
        mark(out, tag, length);
        if tag == SEQUENCE_END {
            return Some(());
        }
        let end = at.checked_add(usize::try_from(length).ok()?)?;
        (tag == ITEM).then_some(())?;
        out.extend_from_slice(explicit.get(*at..end)?);
        *at = end;
    }
}

/// Whether the explicit length of a VR has 16 bits (PS3.5 §7.1.2).
fn is_short(vr: [u8; 2]) -> bool {
    VR::from_binary(vr).is_some_and(has_short_form)
}

/// The length of an explicit element whose VR was just read.
fn length_of(bytes: &[u8], at: &mut usize, vr: [u8; 2]) -> Option<u32> {
    if is_short(vr) {
        return Some(u32::from(u16::from_le_bytes(take(bytes, at)?)));
    }
    let _: [u8; 2] = take(bytes, at)?;
    Some(u32::from_le_bytes(take(bytes, at)?))
}

/// What brings a value to even length (PS3.5 §6.2): a space for text, else zero.
fn padding(vr: [u8; 2]) -> u8 {
    let text = [
        b"AE", b"AS", b"CS", b"DA", b"DS", b"DT", b"IS", b"LO", b"LT", b"PN", b"SH", b"ST", b"TM",
        b"UC", b"UR", b"UT",
    ];
    if text.contains(&&vr) { b' ' } else { 0 }
}

fn take<const N: usize>(bytes: &[u8], at: &mut usize) -> Option<[u8; N]> {
    let end = at.checked_add(N)?;
    let taken = bytes.get(*at..end)?.try_into().ok()?;
    *at = end;
    Some(taken)
}

/// The head of an item, or of what ends one: it has no VR.
fn mark(out: &mut Vec<u8>, tag: [u8; 4], length: u32) {
    out.extend_from_slice(&tag);
    out.extend_from_slice(&length.to_le_bytes());
}

fn header(out: &mut Vec<u8>, form: Form, (tag, vr): ([u8; 4], [u8; 2]), length: u32) -> Option<()> {
    out.extend_from_slice(&tag);
    match form {
        Form::Implicit => out.extend_from_slice(&length.to_le_bytes()),
        Form::Explicit if is_short(vr) => {
            out.extend_from_slice(&vr);
            out.extend_from_slice(&u16::try_from(length).ok()?.to_le_bytes());
        }
        Form::Explicit => {
            out.extend_from_slice(&vr);
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(&length.to_le_bytes());
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::{Form, rewritten};

    #[test]
    fn sequences_of_defined_length_come_out_with_delimiters() {
        let mut explicit = Vec::new();
        explicit.extend_from_slice(b"\x08\x00\x60\x00CS\x02\x00SR");
        explicit.extend_from_slice(b"\x08\x00\x11\x11SQ\x00\x00\x14\x00\x00\x00");
        explicit.extend_from_slice(b"\xFE\xFF\x00\xE0\x0C\x00\x00\x00");
        explicit.extend_from_slice(b"\x08\x00\x50\x11UI\x04\x001.2\x00");
        let mut wanted = Vec::new();
        wanted.extend_from_slice(b"\x08\x00\x60\x00\x02\x00\x00\x00SR");
        wanted.extend_from_slice(b"\x08\x00\x11\x11\xFF\xFF\xFF\xFF");
        wanted.extend_from_slice(b"\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF");
        wanted.extend_from_slice(b"\x08\x00\x50\x11\x04\x00\x00\x001.2\x00");
        wanted.extend_from_slice(b"\xFE\xFF\x0D\xE0\0\0\0\0\xFE\xFF\xDD\xE0\0\0\0\0");
        assert_eq!(rewritten(&explicit, Form::Implicit).unwrap(), wanted);
        assert!(rewritten(&explicit[..explicit.len() - 1], Form::Implicit).is_none());
    }
    #[test]
    fn values_of_odd_length_are_padded_as_their_vr_wants() {
        let odd = b"\x08\x00\x60\x00CS\x01\x00A\x09\x00\x01\x10UN\0\0\x03\0\0\0abc\
            \xE0\x7F\x10\x00OB\0\0\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\x02\0\0\0xy\
            \xFE\xFF\xDD\xE0\0\0\0\0";
        let even = b"\x08\x00\x60\x00CS\x02\x00A \x09\x00\x01\x10UN\0\0\x04\0\0\0abc\0\
            \xE0\x7F\x10\x00OB\0\0\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\x02\0\0\0xy\
            \xFE\xFF\xDD\xE0\0\0\0\0";
        assert_eq!(rewritten(odd, Form::Explicit).unwrap(), even);
        assert_eq!(rewritten(even, Form::Explicit).unwrap(), even);
        let unknown = b"\x09\x00\x01\x10UN\0\0\xFF\xFF\xFF\xFF\xFE\xFF\xDD\xE0\0\0\0\0";
        assert!(rewritten(unknown, Form::Explicit).is_none());
    }
}
