//! From object to grey image: against DCMTK, against digests of what pydicom and Pillow make, and
//! by the standard's formulas.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sha2::{Digest, Sha256};
use thorascribe::object::{ObjectError, StoredObject};
use thorascribe::radiograph::{
    GreyImage, RadiographError, View, WindowShape, WindowSource, eligibility, open_picture, render,
    resize,
};
use thorascribe::vocabulary::TransferSyntax;

use super::support::data_set::{DataSet, Tag, element};
use super::support::dcmtk::program;
use super::support::fixtures;
use super::support::objects::fixture;
use super::support::process::{run, succeed};

const WINDOW_CENTER: Tag = (0x0028, 0x1050);
const WINDOW_WIDTH: Tag = (0x0028, 0x1051);
const VOI_FUNCTION: Tag = (0x0028, 0x1056);
const PHOTOMETRIC: Tag = (0x0028, 0x0004);

fn digest(pixels: &[u8]) -> String {
    let digest = Sha256::digest(pixels);
    let (first, _) = digest.split_first_chunk::<16>().unwrap();
    format!("{:032x}", u128::from_be_bytes(*first))
}

fn object(data: &DataSet) -> StoredObject {
    StoredObject::from_data_set(data.bytes(), TransferSyntax::ExplicitLittle).unwrap()
}

fn grey(data: &DataSet) -> Vec<u8> {
    render(&object(data)).unwrap().image.pixels().to_vec()
}

/// What DCMTK makes of a file, with the object's own window or table, or with a given window.
fn by_dcmtk(file: &Path, syntax: &str, options: &[&str]) -> Vec<u8> {
    let name = match syntax.strip_prefix("1.2.840.10008.1.2.4.") {
        Some("80" | "81") => "dcml2pnm",
        Some(_) => "dcmj2pnm",
        None => "dcm2pnm",
    };
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("x.pgm");
    succeed(
        Command::new(program(name)).arg("--write-raw-pnm").args(options).arg(file).arg(&picture),
    );
    let bytes = std::fs::read(picture).unwrap();
    assert!(bytes.starts_with(b"P5"));
    // Three lines of header, comments apart; then the pixels.
    let mut rest = &bytes[..];
    for _ in 0..3 {
        loop {
            let end = rest.iter().position(|&b| b == b'\n').unwrap() + 1;
            let line = &rest[..end];
            rest = &rest[end..];
            if !line.starts_with(b"#") {
                break;
            }
        }
    }
    rest.to_vec()
}

/// Mean absolute difference, in grey levels.
#[track_caller]
fn difference(ours: &[u8], theirs: &[u8]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let sum: u64 = ours.iter().zip(theirs).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / ours.len() as f64
}

#[test]
fn fixtures_look_as_dcmtk_shows_them() {
    let jpeg_2000 = ["90", "91", "201", "202", "203"].map(|n| format!("1.2.840.10008.1.2.4.{n}"));
    let mut compared = 0;
    for fixture in fixtures() {
        if !fixture.decodable || jpeg_2000.contains(&fixture.transfer_syntax) {
            continue;
        }
        let rendered = render(&StoredObject::open(&fixture.path()).unwrap()).unwrap();
        let (center, width) = (rendered.window.center, rendered.window.width);
        let options = match rendered.window.source {
            WindowSource::Object => vec!["+Wi".to_owned(), "1".to_owned()],
            WindowSource::VoiLut => vec!["+Wl".to_owned(), "1".to_owned()],
            WindowSource::Percentile => {
                vec!["+Ww".to_owned(), center.to_string(), width.to_string()]
            }
        };
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let theirs = by_dcmtk(&fixture.path(), &fixture.transfer_syntax, &options);
        let mean = difference(rendered.image.pixels(), &theirs);
        assert!(mean <= 1.0, "{}: {mean}", fixture.file);
        compared += 1;
    }
    assert!(compared > 30, "{compared}");
}

/// The digests are of the same images rendered with pydicom's decoders (OpenJPEG, CharLS), whose
/// JPEG 2000 DCMTK does not have.
#[test]
fn fixtures_decode_to_the_very_pixels_of_pydicom() {
    for (name, expected) in [
        ("dx-ap-jpeg-2000", "c93026e2ab8d6e1bb9e03e4ff9fad4f8"),
        ("cr-pa-jpeg-2000-lossy", "8382256ed5a864415d03a2be6c082355"),
        ("dx-pa-htj2k", "7d9cda0af0111ba2075b52e3b601dbd1"),
        ("dx-ap-htj2k-rpcl", "82ef23160622b8bd04b6c65c943ccf17"),
        ("cr-ap-htj2k-lossy", "ab5e7cd99585ec3c90eeb29359427786"),
        ("dx-pa-jpeg-ls", "5cbd1c936772ae4fc939000a3f55fc61"),
        ("cr-ap-jpeg-ls-near", "0b7734912fbfdadfd37c5b50e15f86dc"),
    ] {
        let object = StoredObject::open(&fixture(name).path()).unwrap();
        assert_eq!(digest(render(&object).unwrap().image.pixels()), expected, "{name}");
    }
}

#[test]
fn made_images_look_as_dcmtk_shows_them() {
    let mut made: Vec<(&str, DataSet)> = Vec::new();
    let mut add = |name, change: fn(&mut DataSet)| {
        let mut data = DataSet::default();
        data.text(WINDOW_CENTER, "DS", "2000").text(WINDOW_WIDTH, "DS", "3000");
        change(&mut data);
        made.push((name, data));
    };
    add("linear", |_| {});
    add("narrow", |data| {
        data.text(WINDOW_WIDTH, "DS", "1");
    });
    add("sigmoid", |data| {
        data.text(VOI_FUNCTION, "CS", "SIGMOID");
    });
    add("the first of several windows", |data| {
        data.text(WINDOW_CENTER, "DS", "1000\\9").text(WINDOW_WIDTH, "DS", "900\\9");
    });
    add("inverse", |data| {
        data.text(PHOTOMETRIC, "CS", "MONOCHROME1");
    });
    add("rescaled", |data| {
        data.text((0x28, 0x1052), "DS", "-500").text((0x28, 0x1053), "DS", "1.5");
    });
    add("signed", |data| {
        data.numbers((0x28, 0x103), &[1]).text(WINDOW_CENTER, "DS", "-100");
    });
    add("in the upper bits, dirt below and above", |data| {
        data.numbers((0x28, 0x101), &[10]).numbers((0x28, 0x102), &[12]);
        data.pixels(&[0x0007, 0xE000, 0x1000, 0x1FFF, 0x0808, 0x8ABC, 0x0123, 0x1FF8]);
        data.text(WINDOW_CENTER, "DS", "500").text(WINDOW_WIDTH, "DS", "700");
    });
    add("eight bits", |data| {
        data.numbers((0x28, 0x100), &[8]).numbers((0x28, 0x101), &[8]).numbers((0x28, 0x102), &[7]);
        data.set((0x7FE0, 0x10), "OB", vec![0, 30, 60, 90, 120, 180, 220, 255]);
        data.text(WINDOW_CENTER, "DS", "128").text(WINDOW_WIDTH, "DS", "256");
    });
    let folder = tempfile::tempdir().unwrap();
    for (name, data) in &made {
        let path = folder.path().join("x.dcm");
        data.write(&path);
        let theirs = by_dcmtk(&path, "1.2.840.10008.1.2.1", &["+Wi", "1"]);
        let ours = grey(data);
        let mean = difference(&ours, &theirs);
        assert!(mean <= 1.0, "{name}: {mean}\n{ours:?}\n{theirs:?}");
    }
}

#[test]
fn padding_is_black_and_counts_for_no_window() {
    let mut data = DataSet::default();
    data.pixels(&[4000, 4095, 3999, 100, 200, 300, 400, 500]);
    data.numbers((0x28, 0x120), &[4095]).numbers((0x28, 0x121), &[4000]);
    // Percentiles of six values are the least and the greatest.
    let rendered = render(&object(&data)).unwrap();
    assert_eq!(rendered.window.source, WindowSource::Percentile);
    assert_eq!((rendered.window.center, rendered.window.width), (2049.5, 3899.0));
    assert_eq!(rendered.image.pixels(), [0, 0, 255, 0, 7, 13, 20, 26]);
    data.text(PHOTOMETRIC, "CS", "MONOCHROME1");
    assert_eq!(grey(&data), [0, 0, 0, 255, 248, 242, 235, 229]);
}

#[test]
fn either_attribute_inverts_and_both_invert_once() {
    let mut data = DataSet::default();
    data.text(WINDOW_CENTER, "DS", "2048").text(WINDOW_WIDTH, "DS", "4096");
    let upright = grey(&data);
    assert_eq!((upright[0], upright[7]), (0, 255));
    let inverse: Vec<u8> = upright.iter().map(|p| 255 - p).collect();
    data.text((0x2050, 0x0020), "CS", "INVERSE");
    assert_eq!(grey(&data), inverse);
    data.text(PHOTOMETRIC, "CS", "MONOCHROME1");
    assert_eq!(grey(&data), inverse);
    data.without((0x2050, 0x0020));
    assert_eq!(grey(&data), inverse);
}

#[test]
fn tables_of_the_object_are_applied() {
    let table = |first: u16, values: &[u16], bits: u16| {
        let entries = u16::try_from(values.len()).unwrap();
        let descriptor = [entries, first, bits].map(u16::to_le_bytes).concat();
        let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        [element((0x28, 0x3002), "US", &descriptor), element((0x28, 0x3006), "OW", &data)].concat()
    };
    let mut data = DataSet::default();
    data.pixels(&[0, 1, 2, 3, 4, 5, 6, 4095]);
    // Below the first entry the first, above the last the last.
    data.sequence((0x28, 0x3010), &table(2, &[0, 51, 102, 255], 8));
    data.text(WINDOW_CENTER, "DS", "1").text(WINDOW_WIDTH, "DS", "2");
    assert_eq!(grey(&data), [0, 0, 0, 51, 102, 255, 255, 255]);
    assert_eq!(render(&object(&data)).unwrap().window.source, WindowSource::VoiLut);
    // The modality's table comes first.
    data.sequence((0x28, 0x3000), &table(0, &[5, 4, 3, 2], 16));
    assert_eq!(grey(&data), [255, 102, 51, 0, 0, 0, 0, 0]);
    // A table of bytes, two in a word.
    let mut narrow = DataSet::default();
    narrow.pixels(&[0, 1, 2, 3, 4, 5, 6, 7]);
    let item = [
        element((0x28, 0x3002), "US", &[4, 0, 0, 0, 8, 0]),
        element((0x28, 0x3006), "OW", &[10, 20, 30, 40]),
    ];
    narrow.sequence((0x28, 0x3010), &item.concat());
    assert_eq!(grey(&narrow), [10, 20, 30, 40, 40, 40, 40, 40]);
}

#[test]
fn a_window_that_is_none_gives_way_to_the_pixels() {
    for (center, width, function) in [
        ("2000", "0", ""),
        ("2000", "-5", ""),
        ("x", "9", ""),
        ("1e400", "9", ""),
        ("9", "9", "CURVE"),
    ] {
        let mut data = DataSet::default();
        data.text(WINDOW_CENTER, "DS", center).text(WINDOW_WIDTH, "DS", width);
        if !function.is_empty() {
            data.text(VOI_FUNCTION, "CS", function);
        }
        let window = render(&object(&data)).unwrap().window;
        assert_eq!(window.source, WindowSource::Percentile, "{center} {width} {function}");
        assert_eq!((window.shape, window.width), (WindowShape::LinearExact, 4095.0));
    }
}

#[test]
fn colour_is_grey_only_when_its_channels_agree() {
    let mut data = DataSet::default();
    data.numbers((0x28, 2), &[3]).numbers((0x28, 6), &[0]).text(PHOTOMETRIC, "CS", "RGB");
    data.numbers((0x28, 0x100), &[8]).numbers((0x28, 0x101), &[8]).numbers((0x28, 0x102), &[7]);
    data.text(WINDOW_CENTER, "DS", "128").text(WINDOW_WIDTH, "DS", "256");
    let values = [0, 30, 60, 90, 120, 180, 220, 255];
    let pixels: Vec<u8> = values.iter().flat_map(|&v| [v; 3]).collect();
    data.set((0x7FE0, 0x10), "OB", pixels.clone());
    eligibility(&object(&data), false).unwrap();
    assert_eq!(grey(&data), values);
    let mut planar = data.clone();
    planar.numbers((0x28, 6), &[1]).set((0x7FE0, 0x10), "OB", values.repeat(3));
    assert_eq!(grey(&planar), values);
    let mut coloured = pixels;
    coloured[5] += 40;
    data.set((0x7FE0, 0x10), "OB", coloured);
    assert!(matches!(render(&object(&data)), Err(RadiographError::Colour)));
    let error = eligibility(&object(&data), false).unwrap_err();
    assert!(error.to_string().contains("colour"), "{error}");
}

#[test]
fn fixtures_are_eligible_as_their_index_says() {
    let views =
        [("PA", View::Pa), ("AP", View::Ap), ("LATERAL", View::Lateral), ("", View::Unknown)];
    let index =
        std::fs::read(fixture("dx-pa-explicit").path().with_file_name("index.json")).unwrap();
    let index: Vec<Value> = serde_json::from_slice(&index).unwrap();
    for (fixture, row) in fixtures().iter().zip(&index) {
        let judged = eligibility(&StoredObject::open(&fixture.path()).unwrap(), false);
        assert_eq!(judged.is_ok(), fixture.eligible && fixture.decodable, "{}", fixture.file);
        match judged {
            Ok(eligible) => {
                let view = views.iter().find(|(name, _)| row["view"] == *name).unwrap().1;
                assert_eq!(eligible.view, view, "{}", fixture.file);
                assert_eq!(row["columns"], eligible.columns);
                assert_eq!(row["rows"], eligible.rows);
            }
            Err(error) => assert!(error.to_string().contains(&fixture.reason), "{error}"),
        }
    }
}

#[test]
fn every_refusal_says_why() {
    let mut refused: Vec<(DataSet, &str)> = Vec::new();
    let mut add = |word, change: fn(&mut DataSet)| {
        let mut data = DataSet::default();
        change(&mut data);
        refused.push((data, word));
    };
    add("X-Ray Angiographic", |d| {
        d.text((8, 0x16), "UI", "1.2.840.10008.5.1.4.1.1.12.1");
    });
    add("modality is OT", |d| {
        d.text((8, 0x16), "UI", "1.2.840.10008.5.1.4.1.1.7").text((8, 0x60), "CS", "OT");
    });
    add("no pixel data", |d| {
        d.without((0x7FE0, 0x10));
    });
    add("2 frames", |d| {
        d.text((0x28, 8), "IS", "2").pixels(&[0; 16]);
    });
    add("PALETTE COLOR", |d| {
        d.text(PHOTOMETRIC, "CS", "PALETTE COLOR");
    });
    add("knee", |d| {
        d.text((0x18, 0x15), "CS", "KNEE");
    });
    add("foot", |d| {
        let code = [element((8, 0x100), "SH", b"56459004"), element((8, 0x104), "LO", b"Foot")];
        d.sequence((8, 0x2218), &code.concat());
    });
    add("body part unknown", |d| {
        d.text((0x18, 0x15), "CS", "UNKNOWN");
    });
    add("BitsStored is 13", |d| {
        d.numbers((0x28, 0x100), &[8]).numbers((0x28, 0x101), &[13]);
    });
    add("HighBit is 3", |d| {
        d.numbers((0x28, 0x102), &[3]);
    });
    for (data, word) in &refused {
        let error = eligibility(&object(data), false).unwrap_err().to_string();
        assert!(error.contains(word), "{word}: {error}");
    }
}

#[test]
fn chest_and_view_are_found_where_they_are_said() {
    let judge = |change: fn(&mut DataSet), assume| {
        let mut data = DataSet::default();
        data.without((0x18, 0x15)).without((0x18, 0x5101));
        change(&mut data);
        eligibility(&object(&data), assume).map(|eligible| eligible.view).ok()
    };
    assert_eq!(judge(|_| {}, false), None);
    assert_eq!(judge(|_| {}, true), Some(View::Unknown));
    assert_eq!(
        judge(
            |d| {
                d.text((8, 0x103E), "LO", "Thorax AP");
            },
            false
        ),
        Some(View::Ap)
    );
    assert_eq!(
        judge(
            |d| {
                d.text((8, 0x1030), "LO", "CHEST PA+LAT");
            },
            false
        ),
        Some(View::Unknown)
    );
    let chest = |d: &mut DataSet| {
        let code = [element((8, 0x100), "SH", b"51185008"), element((8, 0x104), "LO", b"Chest ")];
        d.sequence((8, 0x2218), &code.concat());
        let view = [element((8, 0x100), "SH", b"272479007 "), element((8, 0x102), "SH", b"SCT ")];
        d.sequence((0x54, 0x220), &view.concat());
    };
    assert_eq!(judge(chest, false), Some(View::Pa));
    let aside = |d: &mut DataSet| {
        d.text((0x18, 0x15), "CS", "CHEST").text((0x20, 0x20), "CS", "A\\F");
    };
    assert_eq!(judge(aside, false), Some(View::Lateral));
}

/// Rows and Columns of a header that lies about its code stream.
#[test]
fn a_header_that_lies_about_the_code_stream_is_refused() {
    for fixture in fixtures().iter().filter(|f| f.decodable) {
        let bytes = std::fs::read(fixture.path()).unwrap();
        let rows = bytes.windows(8).position(|w| w == *b"\x28\0\x10\0US\x02\0");
        let compressed = fixture.transfer_syntax.starts_with("1.2.840.10008.1.2.4.");
        let Some(at) = rows.filter(|_| compressed) else { continue };
        for lie in [1_u16, 255, 65_535] {
            let mut bytes = bytes.clone();
            bytes[at + 8..at + 10].copy_from_slice(&lie.to_le_bytes());
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x.dcm");
            std::fs::write(&path, bytes).unwrap();
            let result = render(&StoredObject::open(&path).unwrap());
            let told =
                matches!(result, Err(RadiographError::Mismatch(_) | RadiographError::Size { .. }));
            assert!(told, "{} {lie}: {result:?}", fixture.file);
        }
    }
}

#[test]
fn broken_code_streams_never_panic_through() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.dcm");
    let mut seed = 7_u32;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as usize % below
    };
    let mut tried = 0;
    for fixture in fixtures()
        .iter()
        .filter(|f| f.transfer_syntax.contains(".1.2.4.") || f.transfer_syntax.ends_with(".1.2.5"))
    {
        let whole = std::fs::read(fixture.path()).unwrap();
        let start = whole.windows(4).rposition(|w| w == [0xE0, 0x7F, 0x10, 0]).unwrap() + 28;
        for turn in 0..4 {
            let mut bytes = whole.clone();
            // Near the stream's headers at first, anywhere later.
            let reach = if turn < 2 { 120 } else { bytes.len() - start - 8 };
            for _ in 0..6 {
                bytes[start + random(reach)] = random(256) as u8;
            }
            std::fs::write(&path, bytes).unwrap();
            if let Ok(object) = StoredObject::open(&path) {
                drop(render(&object));
                drop(eligibility(&object, true));
                tried += 1;
            }
        }
    }
    assert!(tried > 30, "{tried}");
}

#[test]
fn rle_that_lies_is_an_error() {
    let mut head = DataSet::default();
    head.without((0x7FE0, 0x10));
    let segments = |count: u32, offsets: [u32; 2], data: &[u8]| {
        let mut stream =
            [count.to_le_bytes(), offsets[0].to_le_bytes(), offsets[1].to_le_bytes()].concat();
        stream.resize(64, 0);
        stream.extend_from_slice(data);
        let mut pixels =
            b"\xE0\x7F\x10\0OB\0\0\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\0\0\0\0\xFE\xFF\x00\xE0"
                .to_vec();
        pixels.extend_from_slice(&u32::try_from(stream.len()).unwrap().to_le_bytes());
        pixels.extend_from_slice(&stream);
        pixels.extend_from_slice(b"\xFE\xFF\xDD\xE0\0\0\0\0");
        let bytes = [head.bytes(), pixels].concat();
        let object = StoredObject::from_data_set(bytes, TransferSyntax::RleLossless).unwrap();
        render(&object).map(|rendered| rendered.image.pixels().to_vec())
    };
    // Eight high bytes 0, then eight low bytes 1 to 8.
    let good = [0xF9, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8, 0x80];
    assert_eq!(segments(2, [64, 66], &good).unwrap()[7], 255);
    assert!(matches!(segments(3, [64, 66], &good), Err(RadiographError::Mismatch(_))));
    for offsets in [[64, 75], [0, 66], [66, 64], [64, 4_000_000_000]] {
        assert!(
            matches!(segments(2, offsets, &good), Err(RadiographError::Corrupt(_))),
            "{offsets:?}"
        );
    }
}

/// Digests of Pillow's `resize(size, BICUBIC)` of the same pseudo-random images.
#[test]
fn bicubic_is_pillows_bit_for_bit() {
    for ([width, height], [new_width, new_height], expected) in [
        ([37, 53], [224, 224], "7ed84e809aa5945c954b23c59ff10989"),
        ([700, 450], [224, 224], "1b373b82bffdeef00db0c8755a8c640b"),
        ([224, 224], [224, 224], "698182400723dc24baca96f4d33f2faf"),
        ([3, 1], [5, 7], "d9dbbca8981048fa703e0dbb62ca2ea5"),
        ([224, 500], [224, 300], "6c1cd4d1c91ef619d2cd8b927b8cebc9"),
    ] {
        let mut state: u32 = width * 1000 + height;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let pixels = (0..width * height).map(|_| next()).collect();
        let image = GreyImage::new(width, height, pixels).unwrap();
        let small = resize::bicubic(&image, new_width, new_height);
        assert_eq!(digest(small.pixels()), expected, "{width} × {height}");
    }
}

#[test]
fn the_command_shows_what_it_makes_of_each_file() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.dcm");
    std::fs::write(&bad, "no DICOM").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_thorascribe"));
    command.args(["radiograph", "--json", "--out"]).arg(folder.path()).arg(&bad);
    command.arg(fixture("dx-pa-wide").path()).arg(fixture("cr-hand").path());
    let mut damaged = std::fs::read(fixture("two-views-pa").path()).unwrap();
    let (half, end) = (damaged.len() / 2, damaged.len() - 8);
    damaged[half..end].fill(0xff);
    let place = folder.path().join("damaged.dcm");
    std::fs::write(&place, damaged).unwrap();
    command.arg(&place);
    let output = run(&mut command);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(rows[0]["error"].as_str().unwrap().contains("not a DICOM file"));
    assert_eq!(rows[1]["eligible"], true);
    assert_eq!((&rows[1]["view"], &rows[1]["columns"]), (&"PA".into(), &512.into()));
    assert_eq!(rows[1]["window"]["source"], "object");
    assert_eq!(rows[2]["eligible"], false);
    assert!(rows[2]["reason"].as_str().unwrap().contains("hand"));
    assert!(rows[2]["pixels"].is_null());
    assert!(rows[3]["pixels"].as_str().unwrap().contains("cannot be decoded"), "{}", rows[3]);
    let again = folder.path().join("again/dx-pa-wide.dcm");
    std::fs::create_dir(folder.path().join("again")).unwrap();
    std::fs::copy(fixture("cr-hand").path(), &again).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_thorascribe"));
    command.args(["radiograph", "--out"]).arg(folder.path());
    succeed(command.arg(fixture("dx-pa-wide").path()).arg(again));
    assert!(folder.path().join("dx-pa-wide.dcm-2.png").is_file(), "files of one name are numbered");
    let picture = image::open(folder.path().join("dx-pa-wide.dcm.png")).unwrap().into_luma8();
    let object = StoredObject::open(&fixture("dx-pa-wide").path()).unwrap();
    assert_eq!(picture.as_raw(), render(&object).unwrap().image.pixels());
}

#[test]
fn an_object_that_no_scan_passed_is_never_rendered() {
    let mut data = DataSet::default();
    data.numbers((0x28, 0x10), &[65_535]);
    let refused = StoredObject::from_data_set(data.bytes(), TransferSyntax::ExplicitLittle);
    assert!(matches!(refused, Err(ObjectError::Malformed(_))));
}

#[test]
fn pictures_of_16_bits_are_cut_to_their_upper_8() {
    let folder = tempfile::tempdir().unwrap();
    let (deep, flat) = (folder.path().join("deep.png"), folder.path().join("flat.png"));
    let value = |x: u32, y: u32, channel: u32| (x * 4099 + y * 257 + channel * 20_011) as u16;
    let deeper = |x, y| image::Rgb([0, 1, 2].map(|channel| value(x, y, channel)));
    image::ImageBuffer::from_fn(64, 48, deeper).save(&deep).unwrap();
    let upper = |x, y| image::Rgb([0, 1, 2].map(|channel| (value(x, y, channel) >> 8) as u8));
    image::ImageBuffer::from_fn(64, 48, upper).save(&flat).unwrap();
    let (deep, flat) = (open_picture(&deep).unwrap(), open_picture(&flat).unwrap());
    assert!(flat.pixels().iter().any(|grey| *grey > 200));
    assert_eq!(deep.pixels(), flat.pixels());
}

#[test]
fn an_image_in_a_black_square_is_resized_as_if_the_square_were_there() {
    for (width, height, square, side) in
        [(300, 200, 300, 64), (200, 300, 300, 64), (40, 20, 64, 64), (33, 101, 224, 224)]
    {
        let value = |at: u32| (at * 37 % 251) as u8;
        let pixels: Vec<u8> = (0..width * height).map(value).collect();
        let (left, top) = ((square - width) / 2, (square - height) / 2);
        let mut padded = vec![0; (square * square) as usize];
        for (row, line) in pixels.chunks(width as usize).enumerate() {
            let at = (top as usize + row) * square as usize + left as usize;
            padded[at..at + line.len()].copy_from_slice(line);
        }
        let padded = GreyImage::new(square, square, padded).unwrap();
        let image = GreyImage::new(width, height, pixels).unwrap();
        let found = resize::bicubic_in_square(&image, (square, left, top), side);
        assert!(found == resize::bicubic(&padded, side, side), "{width} × {height} in {square}");
    }
}
