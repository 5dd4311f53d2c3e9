//! Pixel data that lie, sent in raw bytes: the object is kept, its job ends, the node goes on.

use serde_json::Value;

use super::super::support::data_set::{DataSet, element, implicit};
use super::super::support::{Node, Settings, fixtures, wait_for};
use super::raw::{CR, EXPLICIT, Peer, c_store, data_set_of};

const BASELINE: &str = "1.2.840.10008.1.2.4.50";

fn node() -> Node {
    let tables = "[model]\nmax_tokens = 4\n".to_owned();
    Node::start(&Settings { tables, ..Settings::default() })
}

#[track_caller]
fn store(node: &Node, class: &str, syntax: &str, instance: &str, data: &[u8]) -> u16 {
    let mut peer = Peer::associated(node.dicom, &[(1, class, &[syntax])]);
    let status = peer.store(&c_store(Some(class), Some(instance)), data).status.0;
    peer.release();
    status
}

/// The row of a study once nothing more is done about it.
#[track_caller]
fn end_of(node: &Node, study: &str) -> Value {
    wait_for("the end of a job", || node.jobs(study).pop().filter(|row| row["state"] != "received"))
}

fn chest(uid: &str) -> DataSet {
    let mut data = DataSet::default();
    data.text((0x0008, 0x0018), "UI", uid).text((0x0020, 0x000D), "UI", uid);
    data
}

/// A data set that ends with one fragment of encapsulated pixel data.
fn encapsulated(data: &mut DataSet, stream: &[u8]) -> Vec<u8> {
    let mut bytes = data.without((0x7FE0, 0x0010)).bytes();
    let head = element((0x7FE0, 0x0010), "OB", b"");
    bytes.extend_from_slice(&head[..head.len() - 4]);
    bytes.extend_from_slice(&[0xFF; 4]);
    bytes.extend(implicit((0xFFFE, 0xE000), 0, b""));
    bytes.extend(implicit((0xFFFE, 0xE000), stream.len() as u32, stream));
    bytes.extend(implicit((0xFFFE, 0xE0DD), 0, b""));
    bytes
}

#[test]
fn corrupt_fragments_of_every_codec_end_their_own_job() {
    let folder = tempfile::tempdir().unwrap();
    let node = node();
    let mut sent = Vec::new();
    let coded = fixtures().iter().filter(|f| f.drafted && f.transfer_syntax.contains(".1.2.4."));
    for (number, fixture) in coded.enumerate() {
        let copy = fixture.copy(folder.path(), &format!("{number:02}"));
        let mut data = data_set_of(&copy.path);
        let start = data.windows(4).rposition(|w| w == [0xE0, 0x7F, 0x10, 0]).unwrap() + 28;
        // Behind the headers, so that a codec has to meet it.
        let length = data.len() - start;
        for step in 0..40 {
            data[start + length / 4 + step * length / 80] ^= 0x5A;
        }
        let syntax = &fixture.transfer_syntax;
        let status = store(&node, &fixture.sop_class, syntax, &copy.instance, &data);
        assert_eq!(status, 0, "{}", fixture.file);
        sent.push(copy);
    }
    assert!(sent.len() >= 8, "{}", sent.len());
    for copy in &sent {
        let row = end_of(&node, &copy.study);
        let state = row["state"].as_str().unwrap();
        assert!(["drafted", "failed", "skipped"].contains(&state), "{row:#}");
        assert_ne!((state, row["reason"].is_string()), ("failed", false), "{row:#}");
    }
    assert!(!node.log().contains("panicked"), "{}", node.log());
}

#[test]
fn dimensions_that_overflow_and_tables_that_are_too_short_end_their_own_job() {
    let node = node();
    // 65535 by 65535 in 16 bits, and none of it there: native data are refused at the door.
    let vast = |uid| {
        let mut data = chest(uid);
        data.numbers((0x0028, 0x0010), &[65_535]).numbers((0x0028, 0x0011), &[65_535]);
        data
    };
    assert_eq!(store(&node, CR, EXPLICIT, "1.2.9.1", &vast("1.2.9.1").bytes()), 0xC000);
    // Encapsulated they are as long as they say; the code stream agrees with the header.
    let jpeg = [
        &[0xFF, 0xD8, 0xFF, 0xC0, 0, 11, 8, 0xFF, 0xFF, 0xFF, 0xFF, 1, 1, 0x11, 0][..],
        &[0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 63, 0, 0, 0, 0xFF, 0xD9, 0],
    ]
    .concat();
    let data = encapsulated(&mut vast("1.2.9.2"), &jpeg);
    assert_eq!(store(&node, CR, BASELINE, "1.2.9.2", &data), 0);
    let row = end_of(&node, "1.2.9.2");
    assert!(row["reason"].as_str().unwrap().contains("65535 × 65535"), "{row:#}");
    // Zero, and a number of frames beyond any.
    let mut none = chest("1.2.9.3");
    none.numbers((0x0028, 0x0010), &[0]);
    assert_eq!(store(&node, CR, EXPLICIT, "1.2.9.3", &none.bytes()), 0xC000);
    let mut frames = chest("1.2.9.4");
    frames.text((0x0028, 0x0008), "IS", "9223372036854775807");
    assert_eq!(store(&node, CR, EXPLICIT, "1.2.9.4", &frames.bytes()), 0xC000);

    // A VOI LUT of 65,535 entries of which two are there, from an index beyond the pixels on.
    for (uid, first) in [("1.2.9.5", 0), ("1.2.9.6", 60_000)] {
        let mut data = chest(uid);
        let words = |words: &[u16]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<_>>();
        let item = [
            element((0x0028, 0x3002), "US", &words(&[65_535, first, 16])),
            element((0x0028, 0x3006), "US", &words(&[0, 65_535])),
        ];
        data.sequence((0x0028, 0x3010), &item.concat());
        assert_eq!(store(&node, CR, EXPLICIT, uid, &data.bytes()), 0);
        let state = end_of(&node, uid)["state"].clone();
        assert!(state == "drafted" || state == "failed", "{state}");
    }
    assert!(!node.log().contains("panicked"), "{}", node.log());
    Peer::storing(node.dicom).release();
}
