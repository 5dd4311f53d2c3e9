//! The embedded model: how good it is on a committed sample, and what it is not made for.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use super::support::dcmtk;
use super::support::node::{Node, Settings, program};
use super::support::objects::{fixture, root};

fn thorascribe(arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    program(home.path()).args(arguments).output().unwrap()
}

/// PatientAge with its VR and length.
const AGE: &[u8] = b"\x10\x00\x10\x10AS\x04\x00";

/// A chest radiograph of the fixtures, its patient this old.
fn aged(folder: &Path, age: &str) -> PathBuf {
    let mut bytes = std::fs::read(fixture("dx-pa-explicit").path()).unwrap();
    let at = bytes.windows(AGE.len()).position(|window| window == AGE).unwrap() + AGE.len();
    bytes[at..at + 4].copy_from_slice(age.as_bytes());
    let path = folder.join(format!("{age}.dcm"));
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn the_embedded_model_tells_abnormal_from_normal_on_the_sample() {
    let sample = root().join("fixtures/nih");
    let (images, labels) = (sample.join("images"), sample.join("labels.csv"));
    let output = thorascribe(&[
        "evaluate",
        "--images",
        images.to_str().unwrap(),
        "--labels",
        labels.to_str().unwrap(),
        "--json",
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(figures["images"], 48);
    let abnormal = figures["auroc"]["abnormal"]["value"].as_f64().unwrap();
    assert!(abnormal >= 0.8, "AUROC of abnormal: {abnormal}");
}

#[test]
fn a_child_is_not_drafted_for_and_an_adult_is() {
    let folder = tempfile::tempdir().unwrap();
    let [child, adult] = ["007Y", "018Y"].map(|age| aged(folder.path(), age));
    let files = [child.to_str().unwrap(), adult.to_str().unwrap()];
    let output = thorascribe(&["draft", files[0], files[1], "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let error = lines[0]["error"].as_str().unwrap();
    assert!(error.contains("7 years") && error.contains("18"), "{error}");
    assert!(lines[1]["text"].as_str().unwrap().contains("Impression"), "{}", lines[1]);
}

#[test]
fn of_a_child_the_node_says_why_it_is_skipped() {
    let node = Node::start(&Settings::default());
    let folder = tempfile::tempdir().unwrap();
    let child = aged(folder.path(), "006M");
    assert_eq!(dcmtk::storescu(node.port(), &[&child]), 1);
    let job = node.wait_for_state(&fixture("dx-pa-explicit").study, "skipped");
    assert!(job["reason"].as_str().unwrap().contains("0 years old"), "{job}");
}

#[test]
fn of_an_image_that_is_no_chest_it_says_that_it_is_not_made_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("blank.png");
    image::GrayImage::from_pixel(300, 300, image::Luma([120])).save(&file).unwrap();
    let output = thorascribe(&["draft", file.to_str().unwrap(), "--json"]);
    assert!(output.status.success());
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = line["text"].as_str().unwrap();
    assert!(text.contains("not described"), "{text}");
    assert_eq!(line["findings"], serde_json::json!([]));
    assert_eq!(line["abnormal"], Value::Null);
}
