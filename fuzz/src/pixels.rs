//! Pixel data: every codec, behind a header that fits.

use thorascribe::object::StoredObject;
use thorascribe::radiograph::{render, render_in};
use thorascribe::vocabulary::TransferSyntax;

/// Larger images are not decoded: the time is better spent on code streams.
const MOST_PIXELS: usize = 1 << 16;

/// A byte that picks the codec, one of flags, a side each way, then the code stream. Where the
/// stream says its own size, the object says the same, or nothing would come as far as a codec.
pub fn pixels(bytes: &[u8]) {
    let Some((&[codec, flags, columns, rows], stream)) = bytes.split_first_chunk() else { return };
    let codecs: Vec<TransferSyntax> = TransferSyntax::ALL
        .iter()
        .copied()
        .filter(|syntax| syntax.is_encapsulated() || *syntax == TransferSyntax::ExplicitLittle)
        .collect();
    let syntax = codecs[usize::from(codec) % codecs.len()];
    let stated = stated(stream).unwrap_or(Shape {
        columns: columns.into(),
        rows: rows.into(),
        samples: if flags & 1 == 0 { 1 } else { 3 },
        bits: if flags & 2 == 0 { 8 } else { 16 },
    });
    if usize::from(stated.columns) * usize::from(stated.rows) > MOST_PIXELS {
        return;
    }
    let data_set = data_set(&stated, flags, stream, syntax.is_encapsulated());
    let Ok(object) = StoredObject::from_data_set(data_set, syntax) else { return };
    match render(&object) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(rendered) => {
            let size =
                (u16::try_from(rendered.image.width()), u16::try_from(rendered.image.height()));
            assert_eq!(size, (Ok(stated.columns), Ok(stated.rows)));
            assert!(render_in(&object, 0.0, 1.0).is_ok());
        }
    }
}

struct Shape {
    columns: u16,
    rows: u16,
    samples: u16,
    bits: u16,
}

/// What a JPEG, JPEG-LS or JPEG 2000 stream says of itself, where its header is found.
fn stated(stream: &[u8]) -> Option<Shape> {
    let allocated = |bits: u8| if bits <= 8 { 8 } else { 16 };
    if stream.starts_with(&[0xFF, 0xD8]) {
        let frame = stream
            .windows(10)
            .find(|at| at[0] == 0xFF && (matches!(at[1], 0xC0..=0xC3 | 0xF7)) && at[2] == 0)?;
        let &[_, _, _, _, bits, r1, r0, c1, c0, samples] = frame else { return None };
        return Some(Shape {
            columns: u16::from_be_bytes([c1, c0]),
            rows: u16::from_be_bytes([r1, r0]),
            samples: samples.into(),
            bits: allocated(bits),
        });
    }
    let start = stream.windows(4).position(|at| at == [0xFF, 0x4F, 0xFF, 0x51])?;
    let size = stream.get(start + 8..start + 43)?;
    let side = |at: usize| {
        let word = |at: usize| size[at..].first_chunk().map(|&b| u32::from_be_bytes(b));
        u16::try_from(word(at)?.checked_sub(word(at + 8)?)?).ok()
    };
    Some(Shape {
        columns: side(0)?,
        rows: side(4)?,
        samples: u16::from_be_bytes([size[32], size[33]]),
        bits: allocated((size[34] & 0x7F) + 1),
    })
}

/// The least data set that is an image, in Explicit VR Little Endian.
fn data_set(shape: &Shape, flags: u8, stream: &[u8], encapsulated: bool) -> Vec<u8> {
    let mut set = Set(Vec::new());
    set.put(0x0008, 0x0016, *b"UI", b"1.2.840.10008.5.1.4.1.1.1\0");
    set.put(0x0008, 0x0018, *b"UI", b"1.1\0");
    set.put(0x0020, 0x000D, *b"UI", b"1.2\0");
    set.put(0x0020, 0x000E, *b"UI", b"1.3\0");
    let photometric = match (shape.samples, flags & 4) {
        (3, 0) => &b"RGB "[..],
        (3, _) => b"YBR_FULL",
        (_, 0) => b"MONOCHROME2 ",
        _ => b"MONOCHROME1 ",
    };
    let stored = if shape.bits == 16 && flags & 8 != 0 { 12 } else { shape.bits };
    set.number(0x0002, shape.samples);
    set.put(0x0028, 0x0004, *b"CS", photometric);
    set.number(0x0006, u16::from(flags & 16 != 0));
    set.number(0x0010, shape.rows);
    set.number(0x0011, shape.columns);
    set.number(0x0100, shape.bits);
    set.number(0x0101, stored);
    set.number(0x0102, stored - 1);
    set.number(0x0103, u16::from(flags & 32 != 0));
    if flags & 64 != 0 {
        set.put(0x0028, 0x1050, *b"DS", b"40\\1e9 ");
        set.put(0x0028, 0x1051, *b"DS", b"400\\0 ");
        set.put(0x0028, 0x1052, *b"DS", b"-1024 ");
        set.put(0x0028, 0x1053, *b"DS", b"-2");
    }
    let Set(mut out) = set;
    let length = u32::try_from(stream.len()).unwrap_or_default();
    let even = stream.len() % 2;
    out.extend(b"\xE0\x7F\x10\x00OB\0\0");
    if encapsulated {
        // No offset table, one fragment, the end.
        out.extend(b"\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\0\0\0\0\xFE\xFF\x00\xE0");
        out.extend((length + even as u32).to_le_bytes());
        out.extend(stream);
        out.extend(&[0][..even]);
        out.extend(b"\xFE\xFF\xDD\xE0\0\0\0\0");
    } else {
        out.extend((length + even as u32).to_le_bytes());
        out.extend(stream);
        out.extend(&[0][..even]);
    }
    out
}

struct Set(Vec<u8>);

impl Set {
    fn put(&mut self, group: u16, element: u16, vr: [u8; 2], value: &[u8]) {
        self.0.extend(group.to_le_bytes());
        self.0.extend(element.to_le_bytes());
        self.0.extend(vr);
        self.0.extend(u16::try_from(value.len()).unwrap_or_default().to_le_bytes());
        self.0.extend(value);
    }

    /// An attribute of the Image Pixel module.
    fn number(&mut self, element: u16, value: u16) {
        self.put(0x0028, element, *b"US", &value.to_le_bytes());
    }
}
