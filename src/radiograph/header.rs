//! What the header says of the pixels, and what the code stream says of itself; held against each
//! other before a codec, which believes one or the other, sees them.

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::RadiographError;
use crate::object::StoredObject;
use crate::vocabulary::TransferSyntax;

/// Most columns, and most rows, that are read.
pub(super) const LARGEST_SIDE: u32 = 16_384;
/// Most pixels that are read.
pub(super) const LARGEST_AREA: u64 = 100_000_000;

/// The Image Pixel module (PS3.3 §C.7.6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PixelHeader {
    pub(super) columns: u32,
    pub(super) rows: u32,
    pub(super) samples: u32,
    pub(super) bits_allocated: u32,
    pub(super) bits_stored: u32,
    pub(super) high_bit: u32,
    pub(super) signed: bool,
    /// Whether the channels of colour lie one after the other.
    pub(super) planar: bool,
}

impl PixelHeader {
    /// Reads and checks the attributes.
    pub(super) fn of(object: &StoredObject) -> Result<Self, RadiographError> {
        let number = |tag: Tag, name: &'static str| {
            let wrong = |what| RadiographError::Attribute { name: name.into(), what };
            match object.integer(tag) {
                None => Err(wrong("is missing".to_owned())),
                Some(n) => u32::try_from(n).map_err(|_negative| wrong(format!("is {n}"))),
            }
        };
        let columns = number(tags::COLUMNS, "Columns")?;
        let rows = number(tags::ROWS, "Rows")?;
        check_size(columns, rows, LARGEST_SIDE, LARGEST_AREA)?;
        let samples = number(tags::SAMPLES_PER_PIXEL, "SamplesPerPixel")?;
        if samples != 1 && samples != 3 {
            return Err(attribute("SamplesPerPixel", samples, "1 or 3"));
        }
        let bits_allocated = number(tags::BITS_ALLOCATED, "BitsAllocated")?;
        if bits_allocated != 8 && bits_allocated != 16 {
            return Err(attribute("BitsAllocated", bits_allocated, "8 or 16"));
        }
        let bits_stored = number(tags::BITS_STORED, "BitsStored")?;
        if !(1..=bits_allocated).contains(&bits_stored) {
            return Err(attribute("BitsStored", bits_stored, "between 1 and BitsAllocated"));
        }
        let high_bit = object
            .integer(tags::HIGH_BIT)
            .map_or(Ok(bits_stored - 1), |_| number(tags::HIGH_BIT, "HighBit"))?;
        if !(bits_stored - 1..bits_allocated).contains(&high_bit) {
            return Err(attribute("HighBit", high_bit, "from BitsStored - 1 to BitsAllocated - 1"));
        }
        Ok(Self {
            columns,
            rows,
            samples,
            bits_allocated,
            bits_stored,
            high_bit,
            signed: object.integer(tags::PIXEL_REPRESENTATION) == Some(1),
            planar: object.integer(tags::PLANAR_CONFIGURATION) == Some(1),
        })
    }

    /// Pixels of one channel.
    pub(super) const fn area(&self) -> usize {
        self.columns as usize * self.rows as usize
    }

    /// Holds a code stream's own header against the object's.
    pub(super) fn check(&self, stream: &StreamHeader) -> Result<(), RadiographError> {
        let differ = |what: &str, header: u32, stream: u32| {
            let text = format!("{what} is {header} in the header and {stream} in the code stream");
            Err(RadiographError::Mismatch(text))
        };
        if self.columns != stream.columns {
            return differ("Columns", self.columns, stream.columns);
        }
        if self.rows != stream.rows {
            return differ("Rows", self.rows, stream.rows);
        }
        if self.samples != stream.components {
            return differ("SamplesPerPixel", self.samples, stream.components);
        }
        if stream.bits > self.bits_allocated {
            return differ("BitsAllocated", self.bits_allocated, stream.bits);
        }
        Ok(())
    }
}

fn attribute(name: &'static str, found: u32, wanted: &str) -> RadiographError {
    RadiographError::Attribute {
        name: name.into(),
        what: format!("is {found}, this node reads {wanted}"),
    }
}

/// Whether an image of this size is read at all.
pub(super) fn check_size(
    columns: u32,
    rows: u32,
    side: u32,
    pixels: u64,
) -> Result<(), RadiographError> {
    let sides = 1..=side;
    let area = u64::from(columns) * u64::from(rows);
    if sides.contains(&columns) && sides.contains(&rows) && area <= pixels {
        return Ok(());
    }
    Err(RadiographError::Size { columns, rows, side, pixels })
}

/// The families of code streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Jpeg,
    JpegLs,
    Jpeg2000,
    Rle,
}

impl Codec {
    /// The family of a transfer syntax; none for native pixel data.
    pub(super) const fn of(syntax: TransferSyntax) -> Option<Self> {
        use TransferSyntax as T;
        Some(match syntax {
            T::JpegBaseline | T::JpegExtended | T::JpegLossless | T::JpegLosslessAny => Self::Jpeg,
            T::JpegLsLossless | T::JpegLsNearLossless => Self::JpegLs,
            T::Jpeg2000Lossless
            | T::Jpeg2000
            | T::HtJpeg2000Lossless
            | T::HtJpeg2000LosslessRpcl
            | T::HtJpeg2000 => Self::Jpeg2000,
            T::RleLossless => Self::Rle,
            T::ExplicitLittle | T::ImplicitLittle | T::DeflatedLittle | T::ExplicitBig => {
                return None;
            }
        })
    }
}

/// What a code stream says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StreamHeader {
    pub(super) columns: u32,
    pub(super) rows: u32,
    pub(super) components: u32,
    pub(super) bits: u32,
    /// The JPEG start-of-frame marker; 0 for others.
    pub(super) frame: u8,
}

/// Reads the SIZ segment of a JPEG 2000 code stream (T.800 §A.5.1).
pub(super) fn jpeg_2000(stream: &[u8]) -> Result<StreamHeader, RadiographError> {
    let corrupt = |what: &str| RadiographError::Corrupt(what.to_owned());
    // Some encoders leave the boxes of a JP2 file around the code stream.
    let head = stream.get(..stream.len().min(4096)).unwrap_or_default();
    let start = head
        .windows(4)
        .position(|window| window == [0xFF, 0x4F, 0xFF, 0x51])
        .ok_or_else(|| corrupt("no JPEG 2000 code stream begins here"))?;
    let siz = stream.get(start + 6..).unwrap_or_default();
    let u32_at =
        |at: usize| siz.get(at..).and_then(<[u8]>::first_chunk).map(|&b| u32::from_be_bytes(b));
    let read = || {
        let columns = u32_at(2)?.checked_sub(u32_at(10)?)?;
        let rows = u32_at(6)?.checked_sub(u32_at(14)?)?;
        let &[c1, c0, ..] = siz.get(34..)?.first_chunk::<2>()?;
        let components = u32::from(u16::from_be_bytes([c1, c0]));
        // Depth less one, under the sign; the components of one image agree, or it is refused.
        let depths = siz.get(36..)?;
        let depth = depths.first()? & 0x7F;
        let agree = (0..components as usize)
            .all(|c| matches!(depths.get(3 * c..), Some(&[d, 1, 1, ..]) if d & 0x7F == depth));
        agree.then_some(StreamHeader {
            columns,
            rows,
            components,
            bits: u32::from(depth) + 1,
            frame: 0,
        })
    };
    read().ok_or_else(|| corrupt("the JPEG 2000 image size is cut or its components differ"))
}
