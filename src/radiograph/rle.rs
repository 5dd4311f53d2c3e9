//! RLE (PS3.5 annex G): a segment a byte of each sample, the most significant first.

use super::RadiographError;
use super::header::PixelHeader;

const HEADER: usize = 64;

/// Decodes to little-endian samples, the channels of a pixel side by side.
pub(super) fn decode(stream: &[u8], header: &PixelHeader) -> Result<Vec<u8>, RadiographError> {
    let corrupt = |what: &str| RadiographError::Corrupt(what.to_owned());
    let word = |at: usize| {
        let bytes = stream.get(4 * at..).and_then(<[u8]>::first_chunk);
        bytes
            .map(|&b| u32::from_le_bytes(b) as usize)
            .ok_or_else(|| corrupt("the RLE header is cut"))
    };
    let width = header.bits_allocated as usize / 8;
    let segments = width * header.samples as usize;
    if word(0)? != segments {
        let text = format!("{} RLE segments where {segments} are needed", word(0)?);
        return Err(RadiographError::Mismatch(text));
    }
    let mut samples = vec![0; header.area() * segments];
    for segment in 0..segments {
        let start = word(segment + 1)?;
        let end = if segment + 1 < segments { word(segment + 2)? } else { stream.len() };
        let packed = stream.get(start..end).filter(|_| start >= HEADER);
        let packed =
            packed.ok_or_else(|| corrupt("an RLE segment lies outside of the fragment"))?;
        // Where the segment's bytes go: channel by channel, and in it from high byte to low.
        let first = segment / width * width + (width - 1 - segment % width);
        let places = samples.iter_mut().skip(first).step_by(segments);
        unpack(packed, places).ok_or_else(|| corrupt("an RLE segment is cut"))?;
    }
    Ok(samples)
}

/// PackBits (PS3.5 §G.3.2); none when the bytes end before the places do.
fn unpack<'a>(mut packed: &[u8], mut places: impl Iterator<Item = &'a mut u8>) -> Option<()> {
    let mut place = places.next();
    while place.is_some() {
        let (&control, rest) = packed.split_first()?;
        packed = rest;
        match control.cast_signed() {
            -128 => {}
            repeat @ ..0 => {
                let (&byte, rest) = packed.split_first()?;
                packed = rest;
                for _ in 0..=repeat.unsigned_abs() {
                    let Some(target) = place else { return Some(()) };
                    *target = byte;
                    place = places.next();
                }
            }
            literal => {
                let (bytes, rest) = packed.split_at_checked(literal as usize + 1)?;
                packed = rest;
                for &byte in bytes {
                    let Some(target) = place else { return Some(()) };
                    *target = byte;
                    place = places.next();
                }
            }
        }
    }
    Some(())
}
