//! The segments of a JPEG or JPEG-LS stream (T.81 §B, T.87 §C).

use super::RadiographError;
use super::header::StreamHeader;

const START_OF_SCAN: u8 = 0xDA;
const END_OF_IMAGE: u8 = 0xD9;

/// Reads the header of a stream: its first start of frame (T.81 §B.2.2).
pub(super) fn header(stream: &[u8]) -> Result<StreamHeader, RadiographError> {
    let mut segments = Segments::of(stream)?;
    while let Some((marker, segment)) = segments.next()? {
        // C0 to CF but for the tables C4, C8 and CC; F7 in JPEG-LS.
        if matches!(marker, 0xC0..=0xCF | 0xF7) && !matches!(marker, 0xC4 | 0xC8 | 0xCC) {
            let &[bits, r1, r0, c1, c0, components] =
                segment.first_chunk().ok_or_else(|| corrupt("the start of frame is cut"))?;
            return Ok(StreamHeader {
                columns: u16::from_be_bytes([c1, c0]).into(),
                rows: u16::from_be_bytes([r1, r0]).into(),
                components: components.into(),
                bits: bits.into(),
                frame: marker,
            });
        }
        if marker == START_OF_SCAN {
            break;
        }
    }
    Err(corrupt("the JPEG stream has no start of frame"))
}

/// The point transform of the first scan: the bits that a lossless process left out (T.81 §H.1.2.1).
pub(super) fn point_transform(stream: &[u8]) -> Result<u8, RadiographError> {
    let mut segments = Segments::of(stream)?;
    while let Some((marker, segment)) = segments.next()? {
        if marker == START_OF_SCAN {
            return Ok(segment.last().map_or(0, |approximation| approximation & 0x0F));
        }
    }
    Err(corrupt("the JPEG stream has no scan"))
}

/// Whether the stream goes on to its end of image: decoders fill what is missing with grey.
pub(super) fn is_whole(stream: &[u8]) -> bool {
    let Ok(mut segments) = Segments::of(stream) else { return false };
    loop {
        match segments.next() {
            Ok(Some((START_OF_SCAN, _))) => segments.skip_scan(),
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

fn corrupt(what: &str) -> RadiographError {
    RadiographError::Corrupt(what.to_owned())
}

/// What is left of a stream.
struct Segments<'a>(&'a [u8]);

impl<'a> Segments<'a> {
    fn of(stream: &'a [u8]) -> Result<Self, RadiographError> {
        let rest = stream.strip_prefix(&[0xFF, 0xD8]);
        rest.map(Self).ok_or_else(|| corrupt("no JPEG stream begins here"))
    }

    /// The next marker and its segment, without the length; none at the end of the image.
    fn next(&mut self) -> Result<Option<(u8, &'a [u8])>, RadiographError> {
        loop {
            let [0xFF, marker, rest @ ..] = self.0 else {
                return Err(corrupt("a JPEG marker is missing"));
            };
            match *marker {
                // What fills may stand before any marker.
                0xFF => self.0 = self.0.get(1..).unwrap_or_default(),
                END_OF_IMAGE => return Ok(None),
                0xD8 | 0x00..=0xBF => {
                    return Err(corrupt("a JPEG marker stands where none may"));
                }
                marker => {
                    let length =
                        rest.first_chunk().map_or(0, |b| usize::from(u16::from_be_bytes(*b)));
                    let segment = rest.get(2..length);
                    let segment = segment.ok_or_else(|| corrupt("a JPEG segment is cut"))?;
                    self.0 = rest.get(length..).unwrap_or_default();
                    return Ok(Some((marker, segment)));
                }
            }
        }
    }

    /// Passes over the coded data of a scan, to the marker behind it.
    fn skip_scan(&mut self) {
        let is_data = |next: u8| next == 0x00 || matches!(next, 0xD0..=0xD7);
        let marker = self
            .0
            .windows(2)
            .position(|pair| matches!(pair, [0xFF, next] if *next != 0xFF && !is_data(*next)));
        self.0 = marker.and_then(|at| self.0.get(at..)).unwrap_or_default();
    }
}
