//! A report in Implicit VR Little Endian, for destinations that take no other (PS3.5 §10.1).
//!
//! Only the node's own reports are written anew: what others sent goes out byte for byte.

/// Rewrites a data set from explicit to implicit VR, both little endian; values stay as they are.
///
/// Sequences and items come out with undefined length. `None` when the data set is not whole.
pub(super) fn implicit(explicit: &[u8]) -> Option<Vec<u8>> {
    const ITEM: [u8; 4] = [0xFE, 0xFF, 0x00, 0xE0];
    const ITEM_END: [u8; 4] = [0xFE, 0xFF, 0x0D, 0xE0];
    const SEQUENCE_END: [u8; 4] = [0xFE, 0xFF, 0xDD, 0xE0];
    const UNDEFINED: u32 = u32::MAX;
    let mut out = Vec::with_capacity(explicit.len());
    // Where each open sequence or item of defined length ends, and what closes it.
    let mut open: Vec<(usize, [u8; 4])> = Vec::new();
    let mut at = 0;
    loop {
        while let Some((end, delimiter)) = open.last().copied().filter(|(end, _)| *end <= at) {
            (end == at).then_some(())?;
            header(&mut out, delimiter, 0);
            open.pop();
        }
        if at == explicit.len() {
            return open.is_empty().then_some(out);
        }
        let tag: [u8; 4] = take(explicit, &mut at)?;
        if tag == ITEM_END || tag == SEQUENCE_END {
            let _: [u8; 4] = take(explicit, &mut at)?;
            header(&mut out, tag, 0);
            continue;
        }
        let (length, delimiter) = if tag == ITEM {
            (u32::from_le_bytes(take(explicit, &mut at)?), Some(ITEM_END))
        } else {
            let vr: [u8; 2] = take(explicit, &mut at)?;
            let length = length_of(explicit, &mut at, vr)?;
            (length, (&vr == b"SQ").then_some(SEQUENCE_END))
        };
        if let Some(delimiter) = delimiter {
            header(&mut out, tag, UNDEFINED);
            if length != UNDEFINED {
                open.push((at.checked_add(usize::try_from(length).ok()?)?, delimiter));
            }
        } else {
            let end = at.checked_add(usize::try_from(length).ok()?)?;
            header(&mut out, tag, length);
            out.extend_from_slice(explicit.get(at..end)?);
            at = end;
        }
    }
}

/// The length of an explicit element whose VR was just read (PS3.5 §7.1.2).
fn length_of(bytes: &[u8], at: &mut usize, vr: [u8; 2]) -> Option<u32> {
    const SHORT: [&[u8; 2]; 21] = [
        b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN",
        b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US",
    ];
    if SHORT.contains(&&vr) {
        return Some(u32::from(u16::from_le_bytes(take(bytes, at)?)));
    }
    let _: [u8; 2] = take(bytes, at)?;
    Some(u32::from_le_bytes(take(bytes, at)?))
}

fn take<const N: usize>(bytes: &[u8], at: &mut usize) -> Option<[u8; N]> {
    let end = at.checked_add(N)?;
    let taken = bytes.get(*at..end)?.try_into().ok()?;
    *at = end;
    Some(taken)
}

fn header(out: &mut Vec<u8>, tag: [u8; 4], length: u32) {
    out.extend_from_slice(&tag);
    out.extend_from_slice(&length.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::implicit;

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
        assert_eq!(implicit(&explicit).unwrap(), wanted);
        assert!(implicit(&explicit[..explicit.len() - 1]).is_none());
    }
}
