//! The embedded model: how good it is on a committed sample, and what it is not made for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Output;

use candle_core::Device;
use serde_json::Value;
use sha2::{Digest, Sha256};
use thorascribe::findings::{State, label};
use thorascribe::model::{DraftRequest, Manifest, Model};
use thorascribe::object::StoredObject;
use thorascribe::radiograph::{GreyImage, render};
use thorascribe::train::grammar::Grammar;
use thorascribe::train::label::FINDINGS;
use thorascribe::vocabulary::{Observation, hexadecimal};

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

#[test]
fn model_check_has_it_write_of_an_image_that_it_is_not_made_for() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["manifest.toml", "tokenizer.json", "weights.safetensors"] {
        std::fs::copy(root().join("src/model/embedded").join(name), at(name)).unwrap();
    }
    let check = || thorascribe(&["model", "check", folder.path().to_str().unwrap()]);
    let output = check();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("all the same") && told.contains("Impression"), "{told}");
    // A language model without numbers does not pass behind the refusal of the image.
    let weights = at("weights.safetensors");
    let mut tensors = candle_core::safetensors::load(&weights, &Device::Cpu).unwrap();
    let norm = tensors.get_mut("model.norm.weight").unwrap();
    *norm = (norm.zeros_like().unwrap() / 0.0).unwrap();
    let manifest = std::fs::read_to_string(at("manifest.toml")).unwrap();
    let digest = || hexadecimal(&Sha256::digest(std::fs::read(&weights).unwrap()));
    let before = digest();
    candle_core::safetensors::save(&tensors, &weights).unwrap();
    std::fs::write(at("manifest.toml"), manifest.replace(&before, &digest())).unwrap();
    let output = check();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("weights are broken"), "{told}");
}

#[test]
fn a_manifest_whose_norms_or_angles_are_not_above_zero_is_refused() {
    let text = std::fs::read_to_string(root().join("src/model/embedded/manifest.toml")).unwrap();
    for (key, value) in [("rms_norm_eps", -1e-6), ("rope_theta", 0.0), ("rope_theta", -1.0)] {
        let line = text.lines().find(|line| line.starts_with(key)).unwrap();
        let error =
            Manifest::parse(&text.replace(line, &format!("{key} = {value:?}"))).unwrap_err();
        assert!(error.contains(key) && error.contains("above 0"), "{error}");
    }
    let line = text.lines().find(|line| line.starts_with("farthest")).unwrap();
    assert!(Manifest::parse(&text.replace(line, "farthest = -1.0")).is_err());
}

/// The frontal radiographs of the fixtures as the model gets them, one a picture.
fn fixtures() -> Vec<GreyImage> {
    let names = ["dx-pa-explicit", "dx-ap-voi-lut", "cr-ap-implicit", "cr-pa-japanese-name"];
    let more = ["dx-pa-16-bit", "cr-ap-signed-16", "two-views-pa", "dx-ap-processing"];
    let image = |name: &str| {
        let object = StoredObject::open(&fixture(name).path()).unwrap();
        render(&object).unwrap().image
    };
    names.into_iter().chain(more).map(image).collect()
}

#[test]
fn the_embedded_model_writes_what_the_features_of_the_image_say() {
    let model = Model::embedded().unwrap();
    let request = DraftRequest::default();
    let images = fixtures();
    let text = |image: &GreyImage| model.draft(image, &request).unwrap().text;
    let texts: Vec<String> = images.iter().map(text).collect();
    assert!(texts.iter().any(|t| *t != texts[0]), "every radiograph gets: {}", texts[0]);
    let features: Vec<_> = images.iter().map(|i| model.encode(i).unwrap()).collect();
    for (a, b) in (0..images.len()).flat_map(|a| (0..a).map(move |b| (a, b))) {
        // The features of two studies exchanged: so are their texts.
        let exchanged = [b, a].map(|i| model.draft_from(&features[i], &request).unwrap().text);
        assert_eq!(exchanged, [texts[b].clone(), texts[a].clone()]);
    }
}

#[test]
fn the_embedded_model_says_what_its_scores_say() {
    let model = Model::embedded().unwrap();
    let grammar = Grammar::embedded().unwrap();
    let thresholds = &model.manifest().scores.as_ref().unwrap().thresholds;
    let (mut same, mut all) = (0, 0);
    for image in fixtures() {
        let draft = model.draft(&image, &DraftRequest::default()).unwrap();
        let said = grammar.read(&draft.text);
        for (index, (name, score)) in draft.scores.iter().enumerate() {
            assert_eq!(name, FINDINGS[index].observation.name());
            same += usize::from(said.contains(index) == (*score >= thresholds[name]));
            all += 1;
        }
        assert!(draft.text.contains("Impression:"), "{}", draft.text);
    }
    assert!(same * 10 >= all * 9, "text and score agree in {same} of {all} cases");
}

/// What each sentence states of each observation, one after the other.
fn statements(text: &str) -> Vec<(Observation, State)> {
    let sentences = text.split_inclusive(". ").map(label);
    sentences.flat_map(|s| s.findings).map(|f| (f.observation, f.state)).collect()
}

#[test]
fn the_embedded_model_neither_contradicts_nor_repeats_itself() {
    let model = Model::embedded().unwrap();
    let grammar = Grammar::embedded().unwrap();
    let mut most = 0;
    for image in fixtures() {
        let text = model.draft(&image, &DraftRequest::default()).unwrap().text;
        let sentences: Vec<&str> = text.split(". ").collect();
        let distinct: BTreeSet<&str> = sentences.iter().copied().collect();
        assert_eq!(distinct.len(), sentences.len(), "a sentence twice: {text}");
        let impression = text.split("Impression: ").nth(1).unwrap().to_lowercase();
        let said = statements(&text);
        let labels = grammar.read(&text);
        most = most.max(labels.findings().count());
        for index in (0..FINDINGS.len()).filter(|index| labels.contains(*index)) {
            let name = grammar.name(index).unwrap();
            assert_eq!(impression.matches(name).count(), 1, "{name} twice: {text}");
            let denied = (FINDINGS[index].observation, State::Negative);
            assert!(!said.contains(&denied), "{name} is there and not: {text}");
        }
        for place in ["The lungs are clear", "Both lungs are clear", "lung fields are clear"] {
            let lungs = labels.findings().any(|f| f.observation == Observation::Nodule);
            assert!(!(lungs && text.contains(place)), "{place}: {text}");
        }
    }
    assert!(most >= 4, "no radiograph here has many findings");
}

#[test]
fn the_embedded_model_names_its_data_and_terms() {
    let card = include_str!("../../src/model/embedded/CARD.md");
    for needed in ["NIH Clinical Center", "Wang et al.", "Licence of the weights", "findings_test"]
    {
        assert!(card.contains(needed), "the card lacks {needed:?}");
    }
}

#[test]
fn scores_and_thresholds_that_cannot_be_are_refused_with_the_remedy() {
    let text = std::fs::read_to_string(root().join("src/model/embedded/manifest.toml")).unwrap();
    let (head, tail) = text.split_once("[scores]").unwrap();
    let (_, tail) = tail.split_once("\n[scope]").unwrap();
    let asked = |finding: &str, more: &str| {
        format!("[questions]\nask = {{ {finding} = \"Is there one?\" }}\n{more}")
    };
    let scored = |labels: &str, more: &str| format!("[scores]\nlabels = {labels}\n{more}");
    let heads = "[\"abnormal\", \"edema\"]";
    let of = |part: &str| Manifest::parse(&format!("{head}{part}\n[scope]{tail}"));
    assert!(of(&scored(heads, "thresholds = { edema = 1.0, abnormal = 0.0 }")).is_ok());
    assert!(of(&asked("edema", "thresholds = { edema = 0.5 }")).is_ok());
    // What no observation is called is a model's own.
    assert!(of(&asked("gout", "thresholds = { gout = 0.5 }")).is_ok());
    for (part, told) in [
        (scored(heads, "thresholds = { edema = -0.2 }"), "edema = -0.2 is no probability; write"),
        (scored(heads, "thresholds = { edema = 7.0 }"), "from 0 to 1"),
        (scored(heads, "thresholds = { edema = nan }"), "edema = NaN is no probability"),
        (scored(heads, "thresholds = { mass = 0.5 }"), "\"mass\" is not scored; remove it"),
        (scored("[\"edema\", \"edema\"]", ""), "\"edema\" is there twice"),
        (scored("[\"Effusion\"]", ""), "\"Effusion\" is \"pleural_effusion\" here; write that"),
        (scored("[\" \"]", ""), "a score needs a name"),
        (asked("\"Pleural effusion\"", ""), "\"Pleural effusion\" is \"pleural_effusion\" here"),
        (asked("edema", "thresholds = { edema = 1.5 }"), "[questions] thresholds: edema = 1.5"),
        (asked("edema", "temperatures = { edema = 0.0 }"), "edema = 0 is not above 0; write 1.0"),
        (asked("edema", "temperatures = { mass = 1.0 }"), "no question is asked for \"mass\""),
    ] {
        let error = of(&part).unwrap_err();
        assert!(error.contains(told), "{part}: {error}");
    }
}
