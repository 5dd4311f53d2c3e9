//! Decoding apart from the node: what an image does to its decoder, it does to nobody else.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use thorascribe::radiograph::{DecodeLimits, Decoder, RadiographError, render};

use super::support::data_set::{DataSet, element, implicit, part_10};
use super::support::node::program;
use super::support::objects::fixture;
use super::support::{Copy, Node, Settings, fixtures, modality, process};
use thorascribe::object::StoredObject;

fn decoder(limits: DecodeLimits) -> Decoder {
    Decoder::apart(env!("CARGO_BIN_EXE_thorascribe").into(), limits)
}

#[test]
fn an_image_decoded_apart_is_the_same() {
    let decoder = decoder(DecodeLimits::default());
    let mut compared = 0;
    for fixture in fixtures() {
        let here = StoredObject::open(&fixture.path()).map(|object| render(&object)).unwrap();
        let apart = decoder.render(&fixture.path());
        match (here, apart) {
            (Ok(here), Ok(apart)) => {
                assert!(here.image == apart.image, "{}", fixture.file);
                assert_eq!(here.window, apart.window, "{}", fixture.file);
                compared += 1;
            }
            (Err(here), Err(apart)) => assert_eq!(here, apart, "{}", fixture.file),
            (here, apart) => panic!("{}: {here:?} and {apart:?}", fixture.file),
        }
    }
    assert!(compared > 20, "{compared}");
    let chest = fixture("dx-pa-explicit").path();
    let object = StoredObject::open(&chest).unwrap();
    let (center, width) = (-500.5, 1234.0);
    let here = thorascribe::radiograph::render_in(&object, center, width).unwrap();
    assert!(decoder.render_in(&chest, center, width).unwrap() == here);
    assert!(matches!(decoder.render(Path::new("/nowhere")), Err(RadiographError::Unreadable(_))));
}

/// What decoding apart costs; printed for the README.
#[test]
fn decoding_apart_costs_milliseconds() {
    let (apart, here) = (decoder(DecodeLimits::default()), Decoder::here());
    let file = fixture("dx-pa-explicit").path();
    let median = |decoder: &Decoder| {
        let mut times: Vec<Duration> = (0..9)
            .map(|_| {
                let started = Instant::now();
                decoder.render(&file).unwrap();
                started.elapsed()
            })
            .collect();
        times.sort();
        times[times.len() / 2]
    };
    let (apart, here) = (median(&apart), median(&here));
    println!("here {here:?}, apart {apart:?}");
    assert!(apart < here + Duration::from_millis(500), "here {here:?}, apart {apart:?}");
}

/// A lawful chest radiograph of 96 million pixels in RLE, all of them black: 3 MB on the disk, and
/// far more than 256 MiB to decode.
pub(crate) fn huge(folder: &Path, uid: &str) -> Copy {
    const SIDES: (u16, u16) = (16_000, 6_000);
    let pixels = usize::from(SIDES.0) * usize::from(SIDES.1);
    let segment: Vec<u8> = [129, 0].repeat(pixels.div_ceil(128));
    let mut stream = Vec::new();
    for word in [2, 64, 64 + segment.len() as u32] {
        stream.extend_from_slice(&u32::to_le_bytes(word));
    }
    stream.resize(64, 0);
    stream.extend_from_slice(&segment);
    stream.extend_from_slice(&segment);
    let mut data = DataSet::default();
    data.text((0x0008, 0x0018), "UI", uid).text((0x0020, 0x000D), "UI", uid);
    data.numbers((0x0028, 0x0010), &[SIDES.1]).numbers((0x0028, 0x0011), &[SIDES.0]);
    data.without((0x7FE0, 0x0010));
    let mut bytes = data.bytes();
    let mut pixel_data = element((0x7FE0, 0x0010), "OB", b"");
    let at = pixel_data.len() - 4;
    pixel_data[at..].fill(0xFF);
    bytes.extend(pixel_data);
    bytes.extend(implicit((0xFFFE, 0xE000), 0, b""));
    bytes.extend(implicit((0xFFFE, 0xE000), stream.len() as u32, &stream));
    bytes.extend(implicit((0xFFFE, 0xE0DD), 0, b""));
    let path = folder.join(format!("{uid}.dcm"));
    std::fs::write(&path, part_10("1.2.840.10008.1.2.5", &bytes)).unwrap();
    Copy {
        path,
        study: uid.to_owned(),
        series: "1.2.3.1".to_owned(),
        instance: uid.to_owned(),
        transfer_syntax: "1.2.840.10008.1.2.5".to_owned(),
        drafted: true,
    }
}

#[track_caller]
pub(crate) fn send(node: &Node, copies: &[&Copy]) {
    let to = format!("THORASCRIBE@127.0.0.1:{}", node.port());
    let home = tempfile::tempdir().unwrap();
    let mut command = program(home.path());
    command.args(["send", "--to", &to]).args(copies.iter().map(|copy| &copy.path));
    process::succeed(&mut command);
}

#[test]
fn an_image_that_kills_its_decoder_twice_fails_its_job_alone() {
    let folder = tempfile::tempdir().unwrap();
    let tables = "[limits]\ndecode_memory = \"256 MiB\"\n[model]\nmax_tokens = 8\n".to_owned();
    let mut node = Node::start(&Settings { tables, ..Settings::default() });
    let killer = huge(folder.path(), "1.2.826.0.1.96");
    let chest = fixture("dx-pa-explicit").copy(folder.path(), "a");
    send(&node, &[&killer]);
    let answers = modality::send(node.port(), 1, &[&chest.path]);
    assert_eq!(answers[&chest.instance], Some(0));
    let resting = |row: &Value| row["attempts"] == 1 && row["reason"].is_string();
    node.wait_for_job(&killer.study, "its first death", resting);
    node.wait_for_state(&chest.study, "drafted");
    // The count outlasts the node.
    node.restart();
    let row = node.wait_for_state(&killer.study, "failed");
    assert_eq!(row["attempts"], 2, "{row:#}");
    let reason = row["reason"].as_str().unwrap();
    for part in ["2 times", "ended its process", "signal 6", "memory allocation"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    let log = node.log();
    assert!(!log.contains("panicked"), "{log}");

    let retry = node.command(&["queue", "retry", &killer.study]);
    assert!(retry.status.success(), "{}", process::text(&retry));
    node.wait_for_job(&killer.study, "another first death", resting);
    let other = fixture("cr-ap-rle").copy(folder.path(), "b");
    assert_eq!(modality::send(node.port(), 1, &[&other.path])[&other.instance], Some(0));
    node.wait_for_state(&other.study, "drafted");
    node.wait_for_state(&killer.study, "failed");
}

#[test]
fn a_decoder_that_takes_too_long_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let large = huge(folder.path(), "1.2.826.0.1.97");
    let time = Duration::from_millis(30);
    let started = Instant::now();
    let error = decoder(DecodeLimits { time, ..DecodeLimits::default() }).render(&large.path);
    let error = error.unwrap_err();
    assert!(
        matches!(&error, RadiographError::Killed(why) if why.contains("longer than 0.03 s")),
        "{error}"
    );
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[test]
fn how_long_decoding_may_take_is_what_the_configuration_says() {
    let folder = tempfile::tempdir().unwrap();
    let tables = "[limits]\ndecode_timeout = \"30ms\"\n".to_owned();
    let node = Node::start(&Settings { tables, ..Settings::default() });
    let large = huge(folder.path(), "1.2.826.0.1.98");
    send(&node, &[&large]);
    let row = node.wait_for_job(&large.study, "its end", |row| row["reason"].is_string());
    let reason = row["reason"].as_str().unwrap();
    assert!(reason.contains("it took longer than 0.03 s"), "{reason}");
}

#[test]
fn no_decoder_is_a_fault_of_the_node_and_not_of_the_image() {
    let file = fixture("dx-pa-explicit").path();
    let missing = Decoder::apart("/nowhere/thorascribe".into(), DecodeLimits::default());
    assert!(matches!(missing.render(&file), Err(RadiographError::Unstarted(_))));
    // A program that is no decoder says nothing that is believed.
    let other = Decoder::apart("/bin/true".into(), DecodeLimits::default());
    assert!(
        matches!(other.render(&file), Err(RadiographError::Killed(why)) if why.contains("whole"))
    );
}
