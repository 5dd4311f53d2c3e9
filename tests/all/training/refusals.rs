//! What training refuses, by what name, and what it does not make up.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use thorascribe::train::data::{Row, Split, table};
use thorascribe::train::label::FINDINGS;

use super::{data, text, train, train_encoder, trained};

/// The arguments of a small encoder's training, without its data and its folder.
const SMALL: [&str; 11] =
    ["encoder", "--epochs", "1", "--size", "28", "--width", "8", "--depths", "1", "--batch", "8"];
/// Of a small language model's.
const LANGUAGE: [&str; 11] = [
    "lm",
    "--summaries",
    "16",
    "--pieces",
    "300",
    "--width",
    "16",
    "--layers",
    "1",
    "--heads",
    "2",
];

const ONCE: [&str; 2] = ["--epochs", "1"];

/// A data folder, and where runs may go.
fn folders() -> (TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (data(dir.path()), dir.path().join("out"));
    (dir, data, out)
}

/// Changes the lines of a table, the header with number 0.
fn edit(data: &Path, change: impl Fn(usize, &str) -> Option<String>) {
    let path = data.join("labels.csv");
    let table = fs::read_to_string(&path).unwrap();
    let lines = table.lines().enumerate().filter_map(|(number, line)| change(number, line));
    fs::write(&path, lines.map(|line| line + "\n").collect::<String>()).unwrap();
}

/// Asserts that training ends with an error that names these things.
fn refused(arguments: &[&str], more: &[&str], named: &[&str]) {
    let output = train(&[arguments, more].concat());
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(named.iter().all(|part| told.contains(part)), "{named:?} not all in: {told}");
    assert!(!told.contains("training step failed"), "{told}");
}

fn of_split(rows: &[Row], split: Split) -> Vec<String> {
    let rows = rows.iter().filter(|row| row.split == split);
    rows.map(|row| format!("{},", row.patient)).collect()
}

#[test]
fn a_table_with_nobody_to_train_on_or_nobody_kept_back_is_refused() {
    for (split, patients, named) in [
        (Split::Test, 100, "no row of split `train` is left"),
        (Split::Development, 100, "no row of split `train` is left"),
        (Split::Train, 1, "nobody of split `train` is kept back"),
    ] {
        let (_dir, data, out) = folders();
        let mut kept = of_split(&table(&data).unwrap(), split);
        kept.dedup();
        kept.truncate(patients);
        edit(&data, |n, line| {
            (n == 0 || kept.iter().any(|patient| line.contains(patient))).then(|| line.to_owned())
        });
        let places = ["--data", text(&data), "--out", text(&out)];
        refused(&SMALL, &places, &["labels.csv", named, "patients"]);
    }
}

/// Where the names put none of a few patients into the tenth.
#[test]
fn of_few_patients_one_is_kept_back_always_the_same() {
    let (_dir, data, _out) = folders();
    let trained = of_split(&table(&data).unwrap(), Split::Train);
    edit(&data, |n, line| {
        let few = trained.iter().take(8).any(|patient| line.contains(patient));
        (n == 0 || few).then(|| line.to_owned())
    });
    let kept = || of_split(&table(&data).unwrap(), Split::Development);
    let mut patients = kept();
    patients.dedup();
    assert_eq!(patients.len(), 1, "{patients:?}");
    assert_eq!(kept(), kept());
}

#[test]
fn a_cell_that_is_no_label_is_refused_with_its_line_and_column() {
    let column = FINDINGS.last().unwrap().column;
    for cell in ["True", "", "-1", "2", "yes"] {
        let (_dir, data, out) = folders();
        edit(&data, |n, line| {
            let last = line.strip_suffix(",0").filter(|_| n == 2);
            Some(last.map_or(line.to_owned(), |rest| format!("{rest},{cell}")))
        });
        let places = ["--data", text(&data), "--out", text(&out)];
        refused(&SMALL, &places, &["labels.csv", "line 3", column, "1 (present)"]);
        let path = data.join("labels.csv");
        let windows = fs::read_to_string(&path).unwrap().replace('\n', "\r\n");
        fs::write(path, windows).unwrap();
        refused(&SMALL, &places, &["line 3", column]);
    }
}

#[test]
fn labels_written_as_numbers_with_a_fraction_are_the_same_labels() {
    let (_dir, data, _) = folders();
    let labels = |data: &Path| {
        table(data).unwrap().into_iter().map(|row| (row.labels, row.split)).collect::<Vec<_>>()
    };
    let before = labels(&data);
    edit(&data, |n, line| {
        let cells: Vec<&str> = line.split(',').collect();
        let (first, flags) = cells.split_at(3);
        let flags = flags.iter().map(|flag| format!("{flag}.0")).collect::<Vec<_>>();
        Some(if n == 0 {
            line.to_owned()
        } else {
            format!("{},{}", first.join(","), flags.join(","))
        })
    });
    assert_eq!(labels(&data), before);
    // A column of that name beside the findings says nothing.
    edit(&data, |n, line| Some(format!("{line},{}", if n == 0 { "label" } else { "x" })));
    assert_eq!(labels(&data), before);
}

#[test]
fn normal_is_normal_in_any_case() {
    let dir = tempfile::tempdir().unwrap();
    let rows = "image,label\na_1.png,Normal\nb_1.png,NORMAL\nc_1.png,normal\nd_1.png,Pneumonia\n";
    fs::write(dir.path().join("labels.csv"), rows).unwrap();
    let rows = table(dir.path()).unwrap();
    let abnormal: Vec<bool> = rows.iter().map(|row| row.labels.is_abnormal()).collect();
    assert_eq!(abnormal, [false, false, false, true]);
}

#[test]
fn other_rates_labels_or_pictures_are_other_settings() {
    let (_dir, data, out) = folders();
    let places = ["--data", text(&data), "--out", text(&out)];
    trained(&[&SMALL[..], &places].concat());
    let other = |more: &[&str], named: &str| {
        refused(&SMALL, &[&places[..], more].concat(), &["other settings", named]);
    };
    other(&["--rate", "0.002"], "rate: \"0.001\" there, \"0.002\" here");
    other(&["--head-rate", "0.002"], "head_pace");
    other(&["--from", text(&out)], "from");
    let before = fs::read_to_string(data.join("labels.csv")).unwrap();
    edit(&data, |n, line| {
        let swap = line.strip_suffix(",0").filter(|_| n > 0);
        Some(swap.map_or(line.to_owned(), |rest| format!("{rest},1")))
    });
    other(&[], "radiographs");
    fs::write(data.join("labels.csv"), before).unwrap();
    trained(&[&SMALL[..], &places].concat());
    let language = out.join("language");
    let place = ["--out", text(&language)];
    trained(&[&LANGUAGE[..], &ONCE, &place].concat());
    let place = [&ONCE[..], &place].concat();
    refused(&LANGUAGE, &[&place[..], &["--rate", "0.1"]].concat(), &["other settings", "rate"]);
    let with_data = [&place[..], &["--data", text(&data)]].concat();
    refused(&LANGUAGE, &with_data, &["other settings", "label_sets"]);
}

#[test]
fn first_weights_that_cannot_be_taken_are_named_with_those_that_can() {
    let (dir, data, out) = folders();
    let swin = dir.path().join("swin");
    train_encoder(&data, &swin, "1");
    let picture = data.join("images/000.png");
    let places = ["--data", text(&data), "--out", text(&out)];
    let lite = ["encoder", "--architecture", "efficientnet-lite0", "--size", "32"];
    let weights = swin.join("encoder.safetensors");
    for from in [text(&picture), text(&weights), text(&swin), "nowhere"] {
        let named = [from, "--from takes", "efficientnet_lite0/weights.safetensors"];
        refused(&lite, &[&places[..], &["--from", from]].concat(), &named);
    }
    for from in [text(&picture), text(&data), "nowhere"] {
        let named = [from, "--from takes", "architecture swin"];
        refused(&SMALL, &[&places[..], &["--from", from]].concat(), &named);
    }
}

#[test]
fn sizes_that_cannot_be_are_named_with_what_to_choose() {
    let (_dir, data, out) = folders();
    let places = ["--data", text(&data), "--out", text(&out)];
    let swin = ["encoder", "--width", "8", "--depths", "1", "--size", "110"];
    refused(&swin, &places, &["--size 110", "multiple of 28"]);
    let three = ["lm", "--heads", "3", "--out", text(&out)];
    refused(&three, &[], &["160 does not divide by 3 heads", "--heads"]);
}

#[test]
fn a_picture_that_is_not_there_is_named_with_the_cause() {
    let (_dir, data, out) = folders();
    fs::remove_file(data.join("images/001.png")).unwrap();
    let places = ["--data", text(&data), "--out", text(&out)];
    refused(&SMALL, &places, &["001.png", "No such file"]);
}

#[test]
fn a_folder_that_another_training_writes_into_is_refused() {
    let (_dir, data, out) = folders();
    fs::create_dir(&out).unwrap();
    let held = File::create(out.join(".lock")).unwrap();
    held.lock().unwrap();
    let places = ["--data", text(&data), "--out", text(&out)];
    refused(&SMALL, &places, &[text(&out), "another training"]);
    refused(&LANGUAGE, &places[2..], &[text(&out), "another training"]);
    drop(held);
    trained(&[&SMALL[..], &places].concat());
}

#[test]
fn trained_weights_can_be_read_by_whoever_can_read_the_log() {
    let (_dir, data, out) = folders();
    let places = ["--data", text(&data), "--out", text(&out)];
    trained(&[&SMALL[..], &places].concat());
    let language = out.join("language");
    trained(&[&LANGUAGE[..], &ONCE, &["--out", text(&language)]].concat());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    let log = mode(&out.join("log.jsonl"));
    assert_eq!(mode(&out.join("encoder.safetensors")), log);
    assert_eq!(mode(&language.join("language.safetensors")), log);
}

#[test]
fn a_training_that_diverges_says_so_and_writes_no_model() {
    let (_dir, _data, out) = folders();
    let fast = ["--epochs", "20", "--rate", "1000000", "--out", text(&out)];
    refused(&LANGUAGE, &fast, &["diverged", "--rate"]);
    assert!(!out.join("language.safetensors").exists());
}
