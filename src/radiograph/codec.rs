//! From pixel data to cells: one number a pixel, as it was stored.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use dicom_core::VR;
use dicom_dictionary_std::tags;
use dicom_encoding::TransferSyntax;
use dicom_encoding::adapters::{PixelDataObject, RawPixelData};
use dicom_encoding::transfer_syntax::{Codec as Registered, TransferSyntaxIndex};
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;

use super::RadiographError;
use super::header::{self, Codec, PixelHeader, StreamHeader};
use super::{jpeg, jpeg_ls, rle};
use crate::object::{PixelData, StoredObject};

/// The first frame.
#[derive(Debug)]
pub(super) struct Cells {
    /// One a pixel, without a sign.
    pub(super) values: Vec<u16>,
    /// Bits of a cell by the code stream; by Bits Allocated where there is none.
    pub(super) bits: u32,
}

/// Decodes the first frame of an object. Colour passes when its channels agree.
pub(super) fn decode(
    object: &StoredObject,
    header: &PixelHeader,
) -> Result<Cells, RadiographError> {
    let (samples, bits) = match object.pixel_data().ok_or(RadiographError::NoPixelData)? {
        PixelData::Native(bytes) => (native(object, bytes, header)?, header.bits_allocated),
        PixelData::Encapsulated { fragments, .. } => {
            let stream = fragments.concat();
            let read = stream_header(object, &stream, header)?;
            (decompress(object, &stream, header, &read)?, read.bits)
        }
    };
    let values = one_channel(samples, header, object)?;
    if values.len() != header.area() {
        let text = format!("{} of {} pixels came out", values.len(), header.area());
        return Err(RadiographError::Corrupt(text));
    }
    Ok(Cells { values, bits })
}

/// Checks, without decoding, that the pixels can be decoded.
pub(super) fn check(object: &StoredObject, header: &PixelHeader) -> Result<(), RadiographError> {
    match object.pixel_data().ok_or(RadiographError::NoPixelData)? {
        PixelData::Native(_) => Ok(()),
        PixelData::Encapsulated { fragments, .. } => {
            stream_header(object, &beginning(&fragments), header).map(drop)
        }
    }
}

/// As much of a code stream as its header may take.
fn beginning(fragments: &[&[u8]]) -> Vec<u8> {
    const MOST: usize = 1 << 20;
    let bytes = fragments.iter().flat_map(|fragment| fragment.iter().copied());
    bytes.take(MOST).collect()
}

/// The code stream's header, held against the object's.
fn stream_header(
    object: &StoredObject,
    stream: &[u8],
    header: &PixelHeader,
) -> Result<StreamHeader, RadiographError> {
    let read = match Codec::of(object.transfer_syntax()) {
        Some(Codec::Jpeg | Codec::JpegLs) => jpeg::header(stream)?,
        Some(Codec::Jpeg2000) => header::jpeg_2000(stream)?,
        Some(Codec::Rle) | None => StreamHeader {
            columns: header.columns,
            rows: header.rows,
            components: header.samples,
            bits: header.bits_allocated,
            frame: 0,
        },
    };
    header.check(&read)?;
    match (Codec::of(object.transfer_syntax()), read.frame) {
        (Some(Codec::Jpeg), 0xC0..=0xC2) if read.bits != 8 => {
            Err(undecodable("the image is in 12-bit JPEG"))
        }
        (Some(Codec::Jpeg), 0xC3) if jpeg::point_transform(stream)? != 0 => {
            Err(undecodable("the image is in lossless JPEG with a point transform"))
        }
        (Some(Codec::Jpeg), 0xC0..=0xC3) | (Some(Codec::JpegLs), 0xF7) => {
            if read.frame == 0xF7 && read.components != 1 {
                return Err(undecodable("the image is in JPEG-LS in colour"));
            }
            Ok(read)
        }
        (Some(Codec::Jpeg | Codec::JpegLs), _) => {
            Err(undecodable("the code stream is of a rare kind of JPEG"))
        }
        _ => Ok(read),
    }
}

fn undecodable(what: &'static str) -> RadiographError {
    RadiographError::Undecodable(what.into())
}

/// Samples in the order of their pixels.
fn decompress(
    object: &StoredObject,
    stream: &[u8],
    header: &PixelHeader,
    read: &StreamHeader,
) -> Result<Vec<u16>, RadiographError> {
    let guarded = || match Codec::of(object.transfer_syntax()) {
        Some(Codec::JpegLs) => jpeg_ls::decode(stream, read),
        Some(Codec::Rle) => {
            rle::decode(stream, header).map(|b| cells(&b, header.bits_allocated, false))
        }
        _ => registered(object, stream, read),
    };
    // The codecs are other people's code on a peer's bytes.
    catch_unwind(AssertUnwindSafe(guarded))
        .unwrap_or_else(|_panic| Err(RadiographError::Corrupt("the decoder gave up".to_owned())))
}

/// JPEG and JPEG 2000, by the adapters of dicom-rs.
fn registered(
    object: &StoredObject,
    stream: &[u8],
    read: &StreamHeader,
) -> Result<Vec<u16>, RadiographError> {
    let uid = object.transfer_syntax().uid();
    let frame = OneFrame { uid, stream, read };
    let mut bytes = Vec::new();
    match TransferSyntaxRegistry.get(uid).map(TransferSyntax::codec) {
        Some(Registered::EncapsulatedPixelData(Some(reader), _)) => reader
            .decode_frame(&frame, 0, &mut bytes)
            .map_err(|error| RadiographError::Corrupt(error.to_string()))?,
        _ => {
            return Err(undecodable("the image is in a syntax without a decoder"));
        }
    }
    Ok(cells(&bytes, u32::from(frame.bits()), false))
}

/// A code stream in the form that the adapters take: one fragment, described by itself.
struct OneFrame<'a> {
    uid: &'static str,
    stream: &'a [u8],
    read: &'a StreamHeader,
}

impl OneFrame<'_> {
    fn bits(&self) -> u16 {
        if self.read.bits <= 8 { 8 } else { 16 }
    }
}

impl PixelDataObject for OneFrame<'_> {
    fn transfer_syntax_uid(&self) -> &str {
        self.uid
    }
    fn rows(&self) -> Option<u16> {
        u16::try_from(self.read.rows).ok()
    }
    fn cols(&self) -> Option<u16> {
        u16::try_from(self.read.columns).ok()
    }
    fn samples_per_pixel(&self) -> Option<u16> {
        u16::try_from(self.read.components).ok()
    }
    fn bits_allocated(&self) -> Option<u16> {
        Some(self.bits())
    }
    fn bits_stored(&self) -> Option<u16> {
        Some(self.bits())
    }
    fn photometric_interpretation(&self) -> Option<&str> {
        Some(if self.read.components == 1 { "MONOCHROME2" } else { "RGB" })
    }
    fn number_of_frames(&self) -> Option<u32> {
        Some(1)
    }
    fn number_of_fragments(&self) -> Option<u32> {
        Some(1)
    }
    fn fragment(&self, fragment: usize) -> Option<Cow<'_, [u8]>> {
        (fragment == 0).then_some(Cow::Borrowed(self.stream))
    }
    fn offset_table(&self) -> Option<Cow<'_, [u32]>> {
        Some(Cow::Borrowed(&[]))
    }
    fn raw_pixel_data(&self) -> Option<RawPixelData> {
        let fragments = std::iter::once(self.stream.to_vec()).collect();
        Some(RawPixelData { fragments, offset_table: std::iter::empty().collect() })
    }
}

/// The samples of the first frame of native pixel data.
fn native(
    object: &StoredObject,
    bytes: &[u8],
    header: &PixelHeader,
) -> Result<Vec<u16>, RadiographError> {
    let halves = is_halved(object, header);
    let length = if halves {
        header.area().div_ceil(2) * 4
    } else {
        header.area() * (header.samples * header.bits_allocated / 8) as usize
    };
    let big = object.transfer_syntax().is_big_endian();
    // Bytes in big-endian words stand in pairs, the second first (PS3.5 §8.2).
    let swapped = big
        && header.bits_allocated == 8
        && object.element(tags::PIXEL_DATA).is_some_and(|e| e.vr == VR::OW);
    let even = if swapped { length.next_multiple_of(2).min(bytes.len()) } else { length };
    let frame = bytes.get(..even).ok_or(RadiographError::NoPixelData)?;
    if swapped {
        let pairs = frame.chunks(2).flat_map(|pair| pair.iter().rev());
        let bytes: Vec<u8> = pairs.take(length).copied().collect();
        return Ok(if halves { halved(&bytes, header) } else { cells(&bytes, 8, big) });
    }
    if halves {
        return Ok(halved(frame, header));
    }
    Ok(cells(frame, header.bits_allocated, big))
}

/// Whether chrominance stands once for two pixels of a row (YBR_FULL_422, PS3.3 §C.7.6.3.1.2).
fn is_halved(object: &StoredObject, header: &PixelHeader) -> bool {
    header.samples == 3
        && header.bits_allocated == 8
        && object.value(tags::PHOTOMETRIC_INTERPRETATION).is_some_and(|p| p == "YBR_FULL_422")
}

/// Two of luminance, one of each chrominance, as three samples a pixel.
fn halved(bytes: &[u8], header: &PixelHeader) -> Vec<u16> {
    let pixels = bytes
        .as_chunks()
        .0
        .iter()
        .flat_map(|&[one, other, blue, red]| [one, blue, red, other, blue, red].map(u16::from));
    pixels.take(header.area() * 3).collect()
}

fn cells(bytes: &[u8], bits: u32, big: bool) -> Vec<u16> {
    if bits == 8 {
        return bytes.iter().map(|&b| b.into()).collect();
    }
    let read = if big { u16::from_be_bytes } else { u16::from_le_bytes };
    bytes.as_chunks().0.iter().map(|&pair| read(pair)).collect()
}

/// One sample a pixel: of colour, the one that all channels agree on.
fn one_channel(
    samples: Vec<u16>,
    header: &PixelHeader,
    object: &StoredObject,
) -> Result<Vec<u16>, RadiographError> {
    if header.samples == 1 {
        return Ok(samples);
    }
    let native = Codec::of(object.transfer_syntax()).is_none();
    let photometric = object.value(tags::PHOTOMETRIC_INTERPRETATION).unwrap_or_default();
    let pixels: Vec<[u16; 3]> = if native && header.planar {
        let (red, rest) = samples.split_at_checked(header.area()).ok_or(RadiographError::Colour)?;
        let (green, blue) = rest.split_at_checked(header.area()).ok_or(RadiographError::Colour)?;
        red.iter().zip(green).zip(blue).map(|((&r, &g), &b)| [r, g, b]).collect()
    } else {
        samples.as_chunks().0.to_vec()
    };
    // Luminance with neutral chrominance, where the samples are not red, green and blue.
    let apart = (native || Codec::of(object.transfer_syntax()) == Some(Codec::Rle))
        && photometric.starts_with("YBR");
    let neutral = 1_u16 << (header.bits_stored - 1);
    let grey = |&[a, b, c]: &[u16; 3]| {
        if apart { b == neutral && c == neutral } else { a.abs_diff(b) <= 1 && a.abs_diff(c) <= 1 }
    };
    if pixels.iter().all(grey) {
        return Ok(pixels.iter().map(|&[a, b, _]| if apart { a } else { b }).collect());
    }
    Err(RadiographError::Colour)
}
