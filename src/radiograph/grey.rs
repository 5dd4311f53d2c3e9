//! From stored values to grey: sign, padding, modality, window, presentation (PS3.3 §C.7.6.3,
//! §C.11.1, §C.11.2; PS3.4 §N.2).
//!
//! A cell has at most 16 bits, so the whole way is worked out once for each of the 65,536 and
//! then looked up.

use dicom_dictionary_std::tags;

use super::RadiographError;
use super::codec::{self, Cells};
use super::decoder::DecodeLimits;
use super::header::{self, PixelHeader};
use super::image::GreyImage;
use super::lut::Lut;
use super::square::square;
use crate::object::StoredObject;

const CELLS: usize = 1 << 16;
/// The share of pixels left out at each end when the object names no window.
const TAIL: f64 = 0.005;

/// What comes of rendering.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// Full size, dark to bright.
    pub image: GreyImage,
    /// The values that it shows.
    pub window: Window,
}

/// Which values are shown from black to white, in the units of the Modality LUT's output.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Window {
    /// The middle.
    pub center: f64,
    /// From black to white.
    pub width: f64,
    /// The curve between them.
    pub shape: WindowShape,
    /// Where it comes from.
    pub source: WindowSource,
}

/// The VOI LUT Function (PS3.3 §C.11.2.1.3), or a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowShape {
    /// LINEAR: the default.
    Linear,
    /// LINEAR_EXACT.
    LinearExact,
    /// SIGMOID.
    Sigmoid,
    /// A VOI LUT.
    Table,
}

/// Where a window comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowSource {
    /// The object's window.
    Object,
    /// The object's VOI LUT Sequence.
    VoiLut,
    /// The pixels: the object has neither.
    Percentile,
}

/// Renders the first frame of an object: full size, after every table that the object names, the
/// first window where there are several. What the object marks as padding is black.
pub fn render(object: &StoredObject) -> Result<Rendered, RadiographError> {
    develop_within(object, None, &DecodeLimits::default())
}

/// [`render`] with the values around `center`, `width` of them, from black to white.
pub fn render_in(
    object: &StoredObject,
    center: f64,
    width: f64,
) -> Result<GreyImage, RadiographError> {
    Ok(develop_within(object, Some((center, width)), &DecodeLimits::default())?.image)
}

/// Either of them, of an image within the limits.
pub(super) fn develop_within(
    object: &StoredObject,
    window: Option<(f64, f64)>,
    limits: &DecodeLimits,
) -> Result<Rendered, RadiographError> {
    let header = PixelHeader::of(object)?;
    header::check_size(header.columns, header.rows, limits.side, limits.pixels)?;
    let (shape, source) = (WindowShape::LinearExact, WindowSource::Object);
    let chosen = window.map(|(center, width)| {
        let width = width.max(f64::MIN_POSITIVE);
        Window { center, width, shape, source }
    });
    let rendered = develop(object, &header, chosen)?;
    Ok(Rendered { image: square(object, rendered.image, limits), ..rendered })
}

fn develop(
    object: &StoredObject,
    header: &PixelHeader,
    chosen: Option<Window>,
) -> Result<Rendered, RadiographError> {
    let cells = codec::decode(object, header)?;
    let stored = Stored::of(header, &cells);
    let modality = Modality::of(object, &stored);
    let padding = Padding::of(object, header.signed);
    // What each cell stands for; none for padding.
    let values: Vec<Option<f64>> = (0..CELLS)
        .map(|cell| stored.value(cell as u16))
        .map(|value| (!padding.contains(value)).then(|| modality.apply(value)))
        .collect();
    let (window, voi) = match chosen {
        Some(window) => (window, Voi::Curve(window)),
        None => Voi::of(object, &values, &cells),
    };
    let inverse = is_inverse(object);
    let grey = |value: &Option<f64>| match value {
        None => 0,
        Some(value) => {
            let part = voi.apply(*value).clamp(0.0, 1.0);
            ((if inverse { 1.0 - part } else { part }) * 255.0).round() as u8
        }
    };
    let table: Vec<u8> = values.iter().map(grey).collect();
    let shade = |&cell: &u16| table.get(usize::from(cell)).copied().unwrap_or_default();
    let pixels = cells.values.iter().map(shade).collect();
    let image = GreyImage::new(header.columns, header.rows, pixels).ok_or_else(|| {
        RadiographError::Corrupt("there are not as many pixels as the header says".to_owned())
    })?;
    Ok(Rendered { image, window })
}

/// Whether small values are bright. Either attribute says so; where both are there, they say the
/// same thing (PS3.3 §C.8.11.3.1.2).
fn is_inverse(object: &StoredObject) -> bool {
    let says = |tag, word: &str| object.value(tag).is_some_and(|value| value == word);
    says(tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME1")
        || says(tags::PRESENTATION_LUT_SHAPE, "INVERSE")
}

/// How a stored value lies in its cell.
struct Stored {
    shift: u32,
    bits: u32,
    signed: bool,
}

impl Stored {
    fn of(header: &PixelHeader, cells: &Cells) -> Self {
        // A codec that took no more bits than are stored took them from the place of the value.
        let shift = header.high_bit + 1 - header.bits_stored;
        let shift = if cells.bits > header.bits_stored { shift } else { 0 };
        Self { shift, bits: header.bits_stored, signed: header.signed }
    }

    fn value(&self, cell: u16) -> i32 {
        let value = (i32::from(cell) >> self.shift) & ((1 << self.bits) - 1);
        let negative = self.signed && value >> (self.bits - 1) == 1;
        if negative { value - (1 << self.bits) } else { value }
    }
}

/// Pixel Padding Value and Range Limit (PS3.3 §C.7.5.1.1.2).
struct Padding(Option<(i32, i32)>);

impl Padding {
    fn of(object: &StoredObject, signed: bool) -> Self {
        let number = |tag| {
            let word = *object.words(tag).first()?;
            Some(if signed { i32::from(word.cast_signed()) } else { i32::from(word) })
        };
        let value = number(tags::PIXEL_PADDING_VALUE);
        let limit = number(tags::PIXEL_PADDING_RANGE_LIMIT);
        Self(value.map(|v| (v.min(limit.unwrap_or(v)), v.max(limit.unwrap_or(v)))))
    }

    fn contains(&self, value: i32) -> bool {
        self.0.is_some_and(|(low, high)| (low..=high).contains(&value))
    }
}

enum Modality {
    Table(Lut),
    Rescale { slope: f64, intercept: f64 },
}

impl Modality {
    fn of(object: &StoredObject, stored: &Stored) -> Self {
        let items = object.items(tags::MODALITY_LUT_SEQUENCE);
        if let Some(lut) = items.first().and_then(|item| Lut::of(item, stored.signed)) {
            return Self::Table(lut);
        }
        let number = |tag| object.decimals(tag).first().copied().filter(|n| n.is_finite());
        Self::Rescale {
            slope: number(tags::RESCALE_SLOPE).filter(|&slope| slope != 0.0).unwrap_or(1.0),
            intercept: number(tags::RESCALE_INTERCEPT).unwrap_or(0.0),
        }
    }

    fn apply(&self, value: i32) -> f64 {
        match self {
            Self::Table(lut) => lut.at(value.into()),
            Self::Rescale { slope, intercept } => f64::from(value) * slope + intercept,
        }
    }
}

enum Voi {
    Table(Lut),
    Curve(Window),
}

impl Voi {
    /// A table before a window, a window before what the pixels suggest.
    fn of(object: &StoredObject, values: &[Option<f64>], cells: &Cells) -> (Window, Self) {
        let negative = values.iter().flatten().any(|&value| value < 0.0);
        let items = object.items(tags::VOILUT_SEQUENCE);
        if let Some(lut) = items.first().and_then(|item| Lut::of(item, negative)) {
            let (first, entries) = lut.range();
            let (center, width) = (first + entries / 2.0, entries);
            let (shape, source) = (WindowShape::Table, WindowSource::VoiLut);
            return (Window { center, width, shape, source }, Self::Table(lut));
        }
        let window = stated(object).unwrap_or_else(|| percentile(values, cells));
        (window, Self::Curve(window))
    }

    /// The part of white, 0 to 1.
    fn apply(&self, value: f64) -> f64 {
        match self {
            Self::Table(lut) => lut.part_at(value),
            Self::Curve(Window { center, width, shape, .. }) => match shape {
                WindowShape::Sigmoid => 1.0 / (1.0 + (-4.0 * (value - center) / width).exp()),
                WindowShape::Linear if *width <= 1.0 => f64::from(value > center - 0.5),
                WindowShape::Linear => (value - (center - 0.5)) / (width - 1.0) + 0.5,
                WindowShape::LinearExact | WindowShape::Table => (value - center) / width + 0.5,
            },
        }
    }
}

/// The object's first window, if it is one; an unknown function makes it none.
fn stated(object: &StoredObject) -> Option<Window> {
    let number = |tag| object.decimals(tag).first().copied().filter(|n| n.is_finite());
    let center = number(tags::WINDOW_CENTER)?;
    let width = number(tags::WINDOW_WIDTH)?;
    let shape = match object.value(tags::VOILUT_FUNCTION).as_deref() {
        None | Some("LINEAR") => WindowShape::Linear,
        Some("LINEAR_EXACT") => WindowShape::LinearExact,
        Some("SIGMOID") => WindowShape::Sigmoid,
        Some(_) => return None,
    };
    let least = if shape == WindowShape::Linear { 1.0 } else { f64::MIN_POSITIVE };
    (width >= least).then_some(Window { center, width, shape, source: WindowSource::Object })
}

/// From the darkest to the brightest value, a few pixels at each end and padding left out.
fn percentile(values: &[Option<f64>], cells: &Cells) -> Window {
    let mut counts = vec![0_u64; CELLS];
    for &cell in &cells.values {
        if let Some(count) = counts.get_mut(usize::from(cell)) {
            *count += 1;
        }
    }
    let mut seen: Vec<(f64, u64)> = values
        .iter()
        .zip(counts)
        .filter(|(_, n)| *n > 0)
        .filter_map(|(v, n)| Some(((*v)?, n)))
        .collect();
    seen.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all: u64 = seen.iter().map(|(_, n)| n).sum();
    let at = |share: f64| {
        let mut before = 0;
        let reached = seen.iter().find(|(_, n)| {
            before += n;
            before as f64 > all as f64 * share
        });
        reached.or(seen.last()).map_or(0.0, |(value, _)| *value)
    };
    let (low, high) = (at(TAIL), at(1.0 - TAIL));
    Window {
        center: f64::midpoint(low, high),
        width: (high - low).max(f64::MIN_POSITIVE).max(1e-6),
        shape: WindowShape::LinearExact,
        source: WindowSource::Percentile,
    }
}
