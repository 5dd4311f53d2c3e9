//! JPEG-LS (ITU-T T.87), one component.

use super::RadiographError;
use super::header::StreamHeader;

/// Decodes a stream whose header is checked.
pub(super) fn decode(stream: &[u8], header: &StreamHeader) -> Result<Vec<u16>, RadiographError> {
    let stream = without_fill(stream);
    let (pixels, _, _) = jpegls::decode(&stream, header.columns, header.rows)
        .map_err(|error| RadiographError::Corrupt(error.to_string()))?;
    Ok(pixels)
}

/// The stream up to its end marker, without the 0xFF fill bytes before it, which are lawful
/// (T.81 §B.1.1.2), which DCMTK writes, and which the decoder refuses.
fn without_fill(stream: &[u8]) -> Vec<u8> {
    let Some(end) = stream.windows(2).rposition(|pair| pair == [0xFF, 0xD9]) else {
        return stream.to_vec();
    };
    let mut kept = stream.get(..end).unwrap_or_default();
    while let Some((0xFF, before)) = kept.split_last() {
        kept = before;
    }
    [kept, &[0xFF, 0xD9]].concat()
}
