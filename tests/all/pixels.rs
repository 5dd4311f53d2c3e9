//! Pixels that are not square, halved in colour, shifted or cut; pictures that are no objects.

use std::path::Path;
use std::process::Command;

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageBuffer, ImageEncoder, Luma};
use tempfile::TempDir;
use thorascribe::object::StoredObject;
use thorascribe::radiograph::{GreyImage, RadiographError, open_picture, render};
use thorascribe::vocabulary::TransferSyntax;

use super::support::data_set::{DataSet, Tag};
use super::support::dcmtk::program;
use super::support::objects::fixture;
use super::support::process::succeed;

fn rendered(data: &DataSet) -> GreyImage {
    let object = StoredObject::from_data_set(data.bytes(), TransferSyntax::ExplicitLittle).unwrap();
    render(&object).unwrap().image
}

#[test]
fn pixels_that_are_not_square_are_made_square() {
    const SPACINGS: [(Tag, &str); 4] = [
        ((0x28, 0x34), "IS"),
        ((0x28, 0x30), "DS"),
        ((0x18, 0x1164), "DS"),
        ((0x18, 0x2010), "DS"),
    ];
    let size = |tag, vr, value| {
        let mut data = DataSet::default();
        data.text(tag, vr, value);
        let image = rendered(&data);
        (image.width(), image.height())
    };
    for (tag, vr) in SPACINGS {
        // Vertical first: pixels twice as high as wide.
        assert_eq!(size(tag, vr, "2\\1"), (4, 4), "{tag:?}");
        assert_eq!(size(tag, vr, "1\\3"), (12, 2), "{tag:?}");
        for as_it_is in ["1\\1", "0\\1", "1", "400\\1", "x\\1", ""] {
            assert_eq!(size(tag, vr, as_it_is), (4, 2), "{tag:?} {as_it_is:?}");
        }
    }
    assert_eq!(size((0x28, 0x30), "DS", "0.1430\\0.1431"), (4, 2), "rounding");
    // Rows go on as columns did: each is the mean of what it lies in.
    let mut data = DataSet::default();
    data.text((0x28, 0x34), "IS", "2\\1").text((0x28, 0x1050), "DS", "2048");
    data.text((0x28, 0x1051), "DS", "4096");
    let pixels = rendered(&data).pixels().to_vec();
    assert!(pixels[..4].is_sorted() && pixels[0] <= pixels[4] && pixels[8] < pixels[12]);
}

#[test]
fn chrominance_may_stand_once_for_two_pixels() {
    let mut data = DataSet::default();
    data.numbers((0x28, 2), &[3]).numbers((0x28, 6), &[0]).text((0x28, 4), "CS", "YBR_FULL_422");
    data.numbers((0x28, 0x100), &[8]).numbers((0x28, 0x101), &[8]).numbers((0x28, 0x102), &[7]);
    data.text((0x28, 0x1050), "DS", "128").text((0x28, 0x1051), "DS", "256");
    let pairs = |blue: u8| {
        let of = |pair: [u8; 2]| [pair[0], pair[1], blue, 128];
        [[0, 30], [60, 90], [120, 180], [220, 255]].map(of).concat()
    };
    data.set((0x7FE0, 0x10), "OB", pairs(128));
    assert_eq!(rendered(&data).pixels(), [0, 30, 60, 90, 120, 180, 220, 255]);
    data.set((0x7FE0, 0x10), "OB", pairs(140));
    let object = StoredObject::from_data_set(data.bytes(), TransferSyntax::ExplicitLittle).unwrap();
    assert!(matches!(render(&object), Err(RadiographError::Colour)));
}

/// DCMTK 3.6.7 makes such streams; the codec behind dicom-rs would make noise of them.
#[test]
fn a_lossless_jpeg_with_a_point_transform_is_refused_and_one_without_is_not() {
    let folder = TempDir::new().unwrap();
    let compressed = |transform: &str| {
        let path = folder.path().join(format!("{transform}.dcm"));
        let options = ["+el", "+sv", "6", "+pt", transform];
        let mut dcmcjpeg = Command::new(program("dcmcjpeg"));
        succeed(dcmcjpeg.args(options).arg(fixture("dx-pa-explicit").path()).arg(&path));
        render(&StoredObject::open(&path).unwrap())
    };
    compressed("0").unwrap();
    let error = compressed("1").unwrap_err();
    assert!(error.to_string().contains("point transform"), "{error}");
}

fn jpeg(width: u32, height: u32) -> Vec<u8> {
    let pixels: Vec<u8> = (0..width * height).map(|at| (at * 7 % 251) as u8).collect();
    let mut bytes = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, 90);
    encoder.write_image(&pixels, width, height, ExtendedColorType::L8).unwrap();
    bytes
}

fn picture(folder: &TempDir, name: &str, bytes: &[u8]) -> std::path::PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_jpeg_file_that_is_cut_is_no_picture() {
    let folder = TempDir::new().unwrap();
    let whole = jpeg(64, 48);
    open_picture(&picture(&folder, "whole.jpg", &whole)).unwrap();
    for length in [whole.len() - 2, whole.len() * 7 / 10, whole.len() / 3] {
        let error = open_picture(&picture(&folder, "cut.jpg", &whole[..length])).unwrap_err();
        assert!(error.to_string().contains("cut"), "{length} bytes: {error}");
    }
    // A preview in the header has an end of its own.
    let preview = [&[0xFF, 0xE1, 0, 8][..], b"\xFF\xD8\xFF\xD9..", &[]].concat();
    let with_preview = [&whole[..2], &preview, &whole[2..whole.len() - 40]].concat();
    open_picture(&picture(&folder, "preview.jpg", &with_preview)).unwrap_err();
}

#[test]
fn a_picture_that_was_taken_sideways_is_turned() {
    let folder = TempDir::new().unwrap();
    let whole = jpeg(64, 48);
    // TIFF in APP1: one entry, Orientation (0x0112), SHORT, 6: rows are the right side.
    let tiff = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let length = u16::try_from(tiff.len() + 2).unwrap().to_be_bytes();
    let turned = [&whole[..2], &[0xFF, 0xE1], &length, tiff, &whole[2..]].concat();
    let image = open_picture(&picture(&folder, "turned.jpg", &turned)).unwrap();
    assert_eq!((image.width(), image.height()), (48, 64));
}

#[test]
fn deep_pictures_are_read_by_the_bits_that_they_use() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("deep.png");
    let open = |values: [u16; 4], path: &Path| {
        let image = ImageBuffer::<Luma<u16>, _>::from_raw(2, 2, values.to_vec()).unwrap();
        image.save(path).unwrap();
        open_picture(path).unwrap().pixels().to_vec()
    };
    for bits in [8, 10, 12, 14, 16] {
        let values = [0, 64, 128, 255].map(|value: u16| value << (bits - 8));
        assert_eq!(open(values, &path), [0, 64, 128, 255], "{bits} bits");
    }
}
