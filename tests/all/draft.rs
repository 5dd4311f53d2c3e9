//! The commands `draft` and `model` as scripts see them.

use std::path::Path;
use std::process::Output;

use serde_json::Value;
use thorascribe::model::checkpoint::manifest::ImageTokens;
use thorascribe::model::{DraftRequest, ImageFeatures, Model};
use thorascribe::object::StoredObject;
use thorascribe::radiograph::render;

use super::model::{imported, reference};
use super::support::node::program;
use super::support::objects::fixtures;

fn thorascribe(arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    program(home.path()).args(arguments).output().unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn draft_gives_a_json_line_a_file_in_order_and_goes_on_after_one_that_fails() {
    let model = imported(ImageTokens::Patches).to_str().unwrap();
    let image = reference().join("image.png");
    let image = image.to_str().unwrap();
    let output = thorascribe(&[
        "draft",
        image,
        "/nonexistent.png",
        image,
        "--model",
        model,
        "--max-tokens",
        "5",
        "--json",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let lines = lines(&output);
    let files = lines.iter().map(|line| line["file"].as_str().unwrap());
    assert_eq!(files.collect::<Vec<_>>(), [image, "/nonexistent.png", image]);
    let error = lines[1].as_object().unwrap();
    assert_eq!(error.keys().collect::<Vec<_>>(), ["error", "file"]);
    for line in [&lines[0], &lines[2]] {
        assert_eq!(line["token_ids"], serde_json::json!([4177, 15903, 9195, 25574, 8050]));
        assert_eq!(line["model"]["name"], "xraygpt-medclip-patches");
        assert_eq!(line["model"]["digest"].as_str().unwrap().len(), 64);
        assert_eq!(line["abnormal"], Value::Null);
        assert_eq!(line["findings"], serde_json::json!([]));
        assert_eq!(line["prompt"], "Describe the given chest x-ray image in detail.");
        assert!(!line["text"].as_str().unwrap().is_empty());
        for step in ["read", "encode", "prefill", "decode"] {
            assert!(line["seconds"][step].as_f64().unwrap() >= 0.0, "{step}");
        }
    }
}

#[test]
fn draft_takes_a_prompt_by_number_or_in_words() {
    let model = imported(ImageTokens::Pooled).to_str().unwrap();
    let image = reference().join("image.png");
    let ask = |prompt: &str| {
        let image = image.to_str().unwrap();
        let more = ["--model", model, "--max-tokens", "3", "--json", "--prompt", prompt];
        let output = thorascribe(&[&["draft", image][..], &more].concat());
        lines(&output).remove(0)
    };
    assert_eq!(ask("5")["prompt"], "What are the key findings in this chest x-ray image?");
    assert_eq!(ask("Is there an effusion?")["prompt"], "Is there an effusion?");
    assert!(ask("70")["error"].as_str().unwrap().contains("1 to 12"));
}

#[test]
fn model_check_ends_with_1_outside_the_tolerance() {
    let folder = imported(ImageTokens::Pooled).to_str().unwrap();
    let (image, expected) =
        (reference().join("image.png"), reference().join("expected.safetensors"));
    let check = |image: &str, expected: &str| {
        thorascribe(&["model", "check", folder, "--against", expected, "--image", image])
    };
    let good = check(image.to_str().unwrap(), expected.to_str().unwrap());
    let table = String::from_utf8(good.stdout).unwrap();
    assert_eq!(good.status.code(), Some(0), "{table}");
    assert!(table.contains("10 of 10 stages equal"), "{table}");
    // Another image: everything from the image on differs.
    let other = tempfile::Builder::new().suffix(".png").tempfile().unwrap();
    image::GrayImage::from_pixel(300, 200, image::Luma([90])).save(other.path()).unwrap();
    let bad = check(other.path().to_str().unwrap(), expected.to_str().unwrap());
    let table = String::from_utf8(bad.stdout).unwrap();
    assert_eq!(bad.status.code(), Some(1), "{table}");
    assert!(table.contains("image_u8") && table.contains("DIFFERENT"), "{table}");
    let plain = thorascribe(&["model", "check", folder]);
    assert_eq!(plain.status.code(), Some(0));
    assert!(String::from_utf8(plain.stdout).unwrap().contains("one draft"));
}

#[test]
fn model_import_refuses_a_folder_that_is_not_empty() {
    let out = tempfile::tempdir().unwrap();
    std::fs::write(out.path().join("notes.txt"), "mine").unwrap();
    let (source, place) = (reference(), out.path().to_str().unwrap());
    let arguments = ["model", "import", source.to_str().unwrap(), "--out", place];
    let output = thorascribe(&arguments);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("is not empty"));
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 1);
}

/// The embedded model's texts come from the image: with the features of two studies exchanged,
/// their texts are exchanged.
#[test]
fn exchanged_image_features_exchange_the_texts() {
    let model = Model::embedded().unwrap();
    let drafted = fixtures().iter().filter(|fixture| fixture.drafted);
    let mut seen: Vec<(String, ImageFeatures, String)> = Vec::new();
    for fixture in drafted {
        let object = StoredObject::open(&fixture.path()).unwrap();
        let image = render(&object).unwrap().image;
        let features = model.encode(&image).unwrap();
        let draft = model.draft(&image, &DraftRequest::default()).unwrap();
        assert!(!draft.text.is_empty(), "{}", fixture.file);
        assert_eq!(draft.abnormal, features.abnormal());
        seen.push((fixture.file.clone(), features, draft.text));
    }
    let mut texts = seen.iter().map(|(_, _, text)| text).collect::<Vec<_>>();
    texts.sort_unstable();
    texts.dedup();
    println!("{} texts of {} radiographs: {texts:#?}", texts.len(), seen.len());
    let (first, one, text) = &seen[0];
    let mut others = seen.iter().filter(|(_, _, other)| other != text);
    let (second, two, other) = others.next().expect("every radiograph got the same text");
    let again = |features| model.draft_from(features, &DraftRequest::default()).unwrap().text;
    println!("{first}: {text}\n{second}: {other}");
    let (mut a, mut b) = (one.clone(), two.clone());
    std::mem::swap(&mut a, &mut b);
    assert_eq!((&again(&a), &again(&b)), (other, text));
}

#[test]
fn draft_writes_the_report_of_an_object() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.dcm");
    let object = fixtures().iter().find(|fixture| fixture.drafted).unwrap().path();
    let (object, place) = (object.to_str().unwrap(), report.to_str().unwrap());
    let output = thorascribe(&["draft", object, "--sr", place, "--json"]);
    let line = lines(&output).remove(0);
    assert_eq!(output.status.code(), Some(0), "{line}");
    assert_eq!(line["sr"], place);
    assert!((0.0..=1.0).contains(&line["abnormal"].as_f64().unwrap()));
    let observations = line["findings"].as_array().unwrap();
    assert!(observations.iter().any(|f| f["observation"] == "pneumothorax"));
    let sr = StoredObject::open(&report).unwrap();
    let source = StoredObject::open(Path::new(object)).unwrap();
    assert_eq!(sr.study_uid(), source.study_uid());
    assert_ne!(sr.series_uid(), source.series_uid());
    // A picture belongs to no study.
    let picture = reference().join("image.png");
    let output = thorascribe(&["draft", picture.to_str().unwrap(), "--sr", place, "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(lines(&output)[0]["error"].as_str().unwrap().contains("DICOM"));
}

#[test]
fn reports_of_files_of_one_name_overwrite_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for fixture in fixtures().iter().filter(|fixture| fixture.drafted).take(2) {
        let place = folder.path().join(files.len().to_string());
        std::fs::create_dir(&place).unwrap();
        let file = place.join("image.dcm");
        std::fs::copy(fixture.path(), &file).unwrap();
        files.push(file.to_str().unwrap().to_owned());
    }
    let out = folder.path().join("out");
    let [first, second] = &files[..] else { panic!("{files:?}") };
    let arguments =
        ["draft", first, second, "--max-tokens", "5", "--sr", out.to_str().unwrap(), "--json"];
    let output = thorascribe(&arguments);
    assert_eq!(output.status.code(), Some(0));
    for (line, file) in lines(&output).iter().zip(&files) {
        let sr = StoredObject::open(Path::new(line["sr"].as_str().unwrap())).unwrap();
        let source = StoredObject::open(Path::new(file)).unwrap();
        assert_eq!(sr.study_uid(), source.study_uid(), "{line}");
    }
}

#[test]
fn a_report_never_takes_the_place_of_its_radiograph() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = fixtures().iter().find(|fixture| fixture.drafted).unwrap();
    let (file, other) = (folder.path().join("image.dcm"), folder.path().join("other.dcm"));
    std::fs::copy(fixture.path(), &file).unwrap();
    std::os::unix::fs::symlink(&file, &other).unwrap();
    for out in [&file, &other] {
        let out = out.to_str().unwrap();
        let output = thorascribe(&["draft", file.to_str().unwrap(), "--sr", out]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && told.contains("radiograph itself"), "{told}");
        assert_eq!(std::fs::read(&file).unwrap(), std::fs::read(fixture.path()).unwrap());
    }
}

#[test]
fn the_embedded_model_says_that_it_knows_its_own_prompts_alone() {
    let image = reference().join("image.png");
    let told = |prompt: &str| {
        let more = ["--max-tokens", "1", "--prompt", prompt];
        let output = thorascribe(&[&["draft", image.to_str().unwrap()][..], &more].concat());
        assert_eq!(output.status.code(), Some(0), "{prompt}");
        String::from_utf8(output.stderr).unwrap()
    };
    let warned = told("Is there an effusion?");
    assert!(warned.starts_with("warning: the embedded model") && warned.contains("1 to 4"));
    assert_eq!(told("2"), "");
}

#[test]
fn an_error_says_everything_once() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = fixtures().iter().find(|f| f.file == "dx-pa-explicit.dcm").unwrap();
    let cut = folder.path().join("cut.dcm");
    let bytes = std::fs::read(fixture.path()).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    for command in ["draft", "radiograph"] {
        let output = thorascribe(&[command, "--json", cut.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        let error = lines(&output)[0]["error"].as_str().unwrap().to_owned();
        assert_eq!(error.matches("bytes, ").count(), 1, "{error}");
    }
    let (text, nowhere) = (folder.path().join("text.dcm"), folder.path().join("nowhere"));
    std::fs::write(&text, "no image").unwrap();
    for (command, file, why) in [
        (&["draft"][..], &text, "neither a DICOM file"),
        (&["draft"], &nowhere, "No such file"),
        (&["route", "test"], &nowhere, "No such file"),
    ] {
        let output = thorascribe(&[command, &[file.to_str().unwrap()]].concat());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert_eq!(error.matches(why).count(), 1, "{error}");
    }
}
