//! The scan: the only door to a peer's bytes. Lawful objects pass whole, hostile ones are errors.

use std::io::Write;

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use proptest::prelude::*;
use thorascribe::object::{Limits, ObjectError, PixelData, Reason, StoredObject};
use thorascribe::vocabulary::TransferSyntax;

use super::support::data_set::{DataSet, element, identity, implicit, part_10, stating};
use super::support::fixtures;

const ITEM: (u16, u16) = (0xFFFE, 0xE000);
const ITEM_END: (u16, u16) = (0xFFFE, 0xE00D);
const SEQUENCE_END: (u16, u16) = (0xFFFE, 0xE0DD);
const SEQUENCE: (u16, u16) = (0x0040, 0x0275);
const PIXELS: (u16, u16) = (0x7FE0, 0x0010);
const UNDEFINED: u32 = u32::MAX;

fn read(bytes: Vec<u8>) -> Result<StoredObject, ObjectError> {
    StoredObject::from_data_set(bytes, TransferSyntax::ExplicitLittle)
}

/// What the scan says of a data set that continues so after its UIDs.
#[track_caller]
fn reason(rest: &[u8]) -> Reason {
    match read([identity(), rest.to_vec()].concat()) {
        Err(ObjectError::Malformed(malformed)) => malformed.reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_fixture_passes_with_its_uids() {
    for fixture in fixtures() {
        let object =
            StoredObject::open(&fixture.path()).unwrap_or_else(|e| panic!("{}: {e}", fixture.file));
        assert_eq!(object.transfer_syntax().uid(), fixture.transfer_syntax);
        assert_eq!(object.sop_class_uid().as_str(), fixture.sop_class);
        assert_eq!(object.instance_uid().as_str(), fixture.instance);
        assert_eq!(object.study_uid().as_str(), fixture.study);
        assert_eq!(object.series_uid().as_str(), fixture.series);
    }
}

#[test]
fn values_are_given_exactly_and_decoded() {
    let mut data = DataSet::default();
    data.text((0x0008, 0x0005), "CS", "\\ISO 2022 IR 87");
    let name = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B".to_vec();
    data.set((0x0010, 0x0010), "PN", name.clone());
    data.text((0x0028, 0x1050), "DS", "10.5\\20").text((0x0020, 0x0013), "IS", " 7");
    let code = [element((8, 0x100), "SH", b"T-D3000 "), element((8, 0x104), "LO", b"Chest ")];
    data.sequence((0x0008, 0x2218), &code.concat());
    let object = read(data.bytes()).unwrap();
    assert_eq!(object.element(tags::PATIENT_NAME).unwrap().value, name);
    assert_eq!(object.text(tags::PATIENT_NAME).unwrap(), "Yamada^Tarou=山田^太郎");
    assert_eq!(object.person_name(tags::PATIENT_NAME).unwrap().ideographic, "山田^太郎");
    assert_eq!(object.decimals(tags::WINDOW_CENTER), [10.5, 20.0]);
    assert_eq!(object.integer(tags::INSTANCE_NUMBER), Some(7));
    assert_eq!(object.integer(tags::COLUMNS), Some(4));
    assert_eq!(object.value(tags::MODALITY).as_deref(), Some("CR"));
    assert_eq!(object.value(tags::PATIENT_ID), None);
    let region = object.items(tags::ANATOMIC_REGION_SEQUENCE);
    assert_eq!(region[0].value(tags::CODE_VALUE).as_deref(), Some("T-D3000"));
    assert_eq!(region[0].text(tags::CODE_MEANING).as_deref(), Some("Chest"));
    assert!(matches!(object.pixel_data(), Some(PixelData::Native(bytes)) if bytes.len() == 16));
    assert!(!format!("{object:?}").contains("Yamada"));
}

/// PS3.5 §6.2.2: an archive that does not know a private sequence writes it so.
#[test]
fn a_sequence_of_unknown_vr_is_read() {
    let inner = implicit((0x0009, 0x1002), 4, b"abcd");
    let item = [implicit(ITEM, UNDEFINED, &inner), implicit(ITEM_END, 0, b"")].concat();
    let unknown = [stating((9, 0x1001), "UN", UNDEFINED, &item), implicit(SEQUENCE_END, 0, b"")];
    let unknown = unknown.concat();
    let nested = [implicit(ITEM, u32::try_from(unknown.len()).unwrap(), &unknown)].concat();
    for rest in [unknown.clone(), element((9, 0x1000), "SQ", &nested)] {
        let mut data = identity();
        let at = data.windows(4).position(|w| w == [0x20, 0, 0x0D, 0]).unwrap();
        data.splice(at..at, rest.clone());
        let object = read(data).unwrap();
        assert_eq!(object.series_uid().as_str(), "1.2.3.1");
        if rest == unknown {
            let items = object.items(Tag(9, 0x1001));
            assert_eq!(items[0].element(Tag(9, 0x1002)).unwrap().value, b"abcd");
        }
    }
}

#[test]
fn lengths_beyond_the_bytes_are_errors() {
    for vr in ["OB", "OW", "UT", "UN", "SQ"] {
        for length in [2, 0x7FFF_FFFF, 0xFFFF_FFFE] {
            let bytes = stating((0x0050, 0x0010), vr, length, b"");
            assert!(matches!(reason(&bytes), Reason::Length { .. }), "{vr} {length:x}");
        }
    }
    assert!(matches!(reason(&stating((0x50, 0x10), "LO", 9, b"")), Reason::Length { .. }));
    // An item longer than its sequence, and an element longer than its item.
    let item = implicit(ITEM, 40, b"");
    assert!(matches!(reason(&element(SEQUENCE, "SQ", &item)), Reason::Length { .. }));
    let long = stating((0x0050, 0x0010), "LO", 40, b"");
    let item = implicit(ITEM, u32::try_from(long.len()).unwrap(), &long);
    let rest = [element(SEQUENCE, "SQ", &item), element((0x50, 0x10), "LO", &[b' '; 80])].concat();
    assert!(matches!(reason(&rest), Reason::Length { .. }));
    for cut in 1..8 {
        assert_eq!(reason(&element((0x50, 0x10), "LO", b"")[..cut]), Reason::Cut);
    }
}

#[test]
fn nesting_is_bounded_without_recursion() {
    let nest = |levels: usize| {
        let open =
            [stating(SEQUENCE, "SQ", UNDEFINED, b""), implicit(ITEM, UNDEFINED, b"")].concat();
        let close = [implicit(ITEM_END, 0, b""), implicit(SEQUENCE_END, 0, b"")].concat();
        [open.repeat(levels), close.repeat(levels)].concat()
    };
    assert_eq!(reason(&nest(20_000)), Reason::Depth(64));
    assert_eq!(reason(&nest(65)), Reason::Depth(64));
    read([identity(), nest(64)].concat()).unwrap();
}

#[test]
fn markers_stand_only_where_they_belong() {
    for tag in [ITEM, ITEM_END, SEQUENCE_END] {
        let group = Reason::Stray(Tag(tag.0, tag.1));
        assert_eq!(reason(&[implicit(tag, 0, b""), vec![0; 4]].concat()), group);
    }
    let stray = [implicit(ITEM_END, 0, b"")].concat();
    assert!(matches!(reason(&element(SEQUENCE, "SQ", &stray)), Reason::NotAnItem(_)));
    let bare = element((0x0050, 0x0010), "LO", b"");
    assert!(matches!(reason(&element(SEQUENCE, "SQ", &bare)), Reason::NotAnItem(_)));
    let heavy = [stating(SEQUENCE, "SQ", UNDEFINED, b""), implicit(SEQUENCE_END, 4, b"abcd")];
    assert!(matches!(reason(&heavy.concat()), Reason::DelimiterLength(_)));
    assert_eq!(reason(&stating(SEQUENCE, "SQ", UNDEFINED, b"")), Reason::NoDelimiter);
    assert!(matches!(reason(&stating((0x50, 0x10), "UT", UNDEFINED, b"")), Reason::Undefined(_)));
}

#[test]
fn tags_ascend_and_have_a_readable_vr() {
    let one = element((0x0050, 0x0010), "LO", b"");
    assert!(matches!(reason(&one.repeat(2)), Reason::Order { .. }));
    assert!(matches!(reason(&element((0x10, 0x10), "PN", b"")), Reason::Order { .. }));
    assert!(matches!(reason(&element((0x50, 0x10), "??", b"")), Reason::Vr(_)));
    let meta = element((0x0002, 0x0010), "UI", b"1.2 ");
    match read([meta, identity()].concat()) {
        Err(ObjectError::Malformed(malformed)) => {
            assert_eq!((malformed.offset, malformed.reason), (0, Reason::Group(Tag(2, 0x10))));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn pixel_data_must_be_all_there() {
    let mut short = DataSet::default();
    short.pixels(&[0; 7]);
    let malformed = |data: &DataSet| match read(data.bytes()) {
        Err(ObjectError::Malformed(malformed)) => malformed.reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(malformed(&short), Reason::PixelLength { expected: 16, found: 14 });
    let mut frames = DataSet::default();
    frames.text((0x28, 8), "IS", "2147483647");
    assert!(matches!(malformed(&frames), Reason::PixelLength { .. }));
    for (tag, name) in [((0x28, 0x10), "Rows"), ((0x28, 0x100), "BitsAllocated")] {
        let mut without = DataSet::default();
        without.without(tag);
        assert_eq!(malformed(&without), Reason::PixelAttribute(name));
        let mut zero = DataSet::default();
        zero.numbers(tag, &[0]);
        assert_eq!(malformed(&zero), Reason::PixelAttribute(name));
    }
}

#[test]
fn fragments_are_whole() {
    let mut head = DataSet::default();
    head.without(PIXELS);
    let end = implicit(SEQUENCE_END, 0, b"");
    let table = implicit(ITEM, 0, b"");
    let piece = implicit(ITEM, 4, b"abcd");
    let scan = |parts: &[&[u8]]| {
        let pixels = stating(PIXELS, "OB", UNDEFINED, &parts.concat());
        let bytes = [head.bytes(), pixels].concat();
        match StoredObject::from_data_set(bytes, TransferSyntax::JpegBaseline) {
            Ok(_) => None,
            Err(ObjectError::Malformed(malformed)) => Some(malformed.reason),
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(scan(&[&table, &piece, &end]), None);
    assert_eq!(scan(&[&table, &piece]), Some(Reason::NoDelimiter));
    assert_eq!(scan(&[&end]), Some(Reason::OffsetTable));
    assert_eq!(scan(&[&table, &end]), Some(Reason::NoFragments));
    assert_eq!(scan(&[&implicit(ITEM, 6, b"abcdef"), &piece, &end]), Some(Reason::OffsetTable));
    assert_eq!(scan(&[&table, &implicit(ITEM, 3, b"abc"), &end]), Some(Reason::Fragment));
    assert_eq!(scan(&[&table, &implicit(ITEM, UNDEFINED, b"abcd"), &end]), Some(Reason::Fragment));
    let endless = implicit(ITEM, 0xFFFF_FFFE, b"abcd");
    assert!(matches!(scan(&[&table, &endless]), Some(Reason::Length { .. })));
    let native =
        StoredObject::from_data_set(DataSet::default().bytes(), TransferSyntax::RleLossless);
    assert!(matches!(native, Err(ObjectError::Malformed(m)) if m.reason == Reason::Encapsulation));
}

#[test]
fn headers_are_counted() {
    let empty = |n: u16| element((0x0051, n), "LO", b"");
    let many: Vec<u8> = (0..=u16::MAX).flat_map(empty).collect();
    assert_eq!(reason(&many), Reason::Elements(65_536));
    let items = implicit(ITEM, 0, b"").repeat(1_000_001);
    assert_eq!(reason(&element(SEQUENCE, "SQ", &items)), Reason::Headers(1_000_000));
}

#[test]
fn a_deflate_bomb_is_cut_short() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bomb.dcm");
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&identity()).unwrap();
    encoder.write_all(&stating((0x0050, 0x0010), "OB", 64 << 20, b"")).unwrap();
    encoder.write_all(&vec![0; 64 << 20]).unwrap();
    let bomb = part_10("1.2.840.10008.1.2.1.99", &encoder.finish().unwrap());
    assert!(bomb.len() < 200_000);
    std::fs::write(&path, bomb).unwrap();
    let limits = Limits { inflated: 1 << 20, ..Limits::default() };
    let error = StoredObject::open_within(&path, &limits).unwrap_err();
    assert!(matches!(error, ObjectError::Inflate(_)), "{error}");
    StoredObject::open(&path).unwrap();
}

#[test]
fn uids_are_there_and_lawful() {
    let mut data = DataSet::default();
    data.without((0x20, 0x0D));
    let error = read(data.bytes()).unwrap_err();
    assert!(error.to_string().contains("StudyInstanceUID"), "{error}");
    let mut data = DataSet::default();
    data.text((0x08, 0x18), "UI", "../../etc/passwd");
    assert!(matches!(read(data.bytes()), Err(ObjectError::BadUid { .. })));
}

#[test]
fn what_is_no_object_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.dcm");
    let error = StoredObject::open(&path).unwrap_err();
    assert!(error.to_string().contains("x.dcm"), "{error}");
    for (bytes, expected) in [
        (b"hello".to_vec(), "not a DICOM file"),
        (Vec::new(), "not a DICOM file"),
        (part_10("1.2.840.10008.1.2.4.100", &identity()), "1.2.840.10008.1.2.4.100"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = StoredObject::open(&path).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert!(StoredObject::open(folder.path()).is_err());
}

const SYNTAXES: [TransferSyntax; 5] = [
    TransferSyntax::ExplicitLittle,
    TransferSyntax::ImplicitLittle,
    TransferSyntax::ExplicitBig,
    TransferSyntax::DeflatedLittle,
    TransferSyntax::JpegBaseline,
];

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        for syntax in SYNTAXES {
            drop(StoredObject::from_data_set(bytes.clone(), syntax));
            drop(StoredObject::from_data_set([identity(), bytes.clone()].concat(), syntax));
        }
    }

    #[test]
    fn a_changed_object_is_read_or_refused(
        place in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let mut data = DataSet::default();
        data.text((0x0008, 0x0005), "CS", "ISO 2022 IR 13\\ISO 2022 IR 87");
        data.set((0x0010, 0x0010), "PN", b"\xd4\xcf=\x1b$B;3ED".to_vec());
        data.sequence((0x0028, 0x3010), &element((0x28, 0x3006), "OW", &[1, 2, 3, 4]));
        let mut bytes = data.bytes();
        let at = place.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(bytes.len() - cut.index(bytes.len()) / 8);
        if let Ok(object) = read(bytes) {
            for element in object.elements() {
                drop((object.text(element.tag), object.decimals(element.tag)));
                drop((object.words(element.tag), object.integer(element.tag)));
                for item in object.items(element.tag) {
                    prop_assert!(item.elements().count() < 100);
                }
            }
            drop(thorascribe::radiograph::render(&object));
            drop(thorascribe::radiograph::eligibility(&object, true));
        }
    }
}
