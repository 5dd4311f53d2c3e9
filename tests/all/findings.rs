//! What the rules say of sentences whose findings are known, and of any text at all.

use std::process::Command;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::Value;
use thorascribe::findings::labelled::{self, Case};
use thorascribe::findings::{Agreement, Laterality, Severity, State, label};
use thorascribe::vocabulary::Observation;

use super::support::objects::root;
use super::support::process::succeed;

fn cases(name: &str) -> Vec<Case> {
    let path = root().join("fixtures/findings").join(name);
    labelled::parse(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn micro(cases: &[Case]) -> f64 {
    let mut agreement = Agreement::default();
    for case in cases {
        case.compare(&label(&case.text), &mut agreement);
    }
    agreement.micro().unwrap().f1
}

#[test]
fn labels_agree_with_those_given_by_hand() {
    let all = cases("labelled.jsonl");
    assert!(all.len() >= 220);
    for observation in Observation::ALL {
        let spoken_of = all.iter().filter(|case| case.expected.contains_key(&observation)).count();
        assert!(spoken_of >= 4, "{observation} stands in {spoken_of} cases");
    }
    let f1 = micro(&all);
    assert!(f1 >= 0.93, "micro-F1 {f1:.3}; see `evaluate findings`");
}

#[test]
fn labels_of_another_style_agree_too() {
    let f1 = micro(&cases("second_style.jsonl"));
    assert!(f1 >= 0.93, "micro-F1 {f1:.3}; see `evaluate findings`");
}

#[test]
fn a_third_style_agrees_with_its_sides_and_degrees() {
    let all = cases("third_style.jsonl");
    let f1 = micro(&all);
    assert!(f1 >= 0.93, "micro-F1 {f1:.3}; see `evaluate findings`");
    let mut wrong = Vec::new();
    for case in all {
        let found = label(&case.text);
        for (observation, expected) in case.expected {
            let Some(finding) = found.get(observation) else { continue };
            let said = (finding.laterality, finding.severity);
            let denied = finding.state == State::Negative;
            if !denied && said != (expected.laterality, expected.severity) {
                wrong.push((case.text.clone(), observation, said));
            }
        }
    }
    assert!(wrong.len() < 3, "sides and degrees: {wrong:#?}");
}

#[test]
fn a_denial_reaches_back_only_where_it_has_no_subject_of_its_own() {
    let state = |text: &str| label(text).state(Observation::PleuralEffusion);
    for (text, expected) in [
        ("Yesterday there was an effusion. The effusion is not seen today.", State::Negative),
        ("The effusion was seen on the prior film.", State::Positive),
        ("The effusion was larger on the prior film; the tube is gone.", State::Positive),
        ("Effusion on the left, but not seen on the right.", State::Positive),
        ("No pneumothorax, and there is a possible effusion.", State::Uncertain),
        ("There is no evidence that there is an effusion.", State::Negative),
    ] {
        assert_eq!(state(text), Some(expected), "{text}");
    }
    let both = label("No pneumothorax, and there is a possible effusion.");
    assert_eq!(both.state(Observation::Pneumothorax), Some(State::Negative));
}

#[test]
fn what_another_study_lacked_is_here() {
    for text in [
        "A small right pneumothorax, not present on the prior examination.",
        "A pneumothorax is present which was absent on the prior study.",
        "New pneumothorax, not seen previously.",
        "The pneumothorax was not present yesterday.",
    ] {
        assert_eq!(label(text).state(Observation::Pneumothorax), Some(State::Positive), "{text}");
    }
    let gone = label("The pneumothorax of the prior study is not seen today.");
    assert_eq!(gone.state(Observation::Pneumothorax), Some(State::Negative));
    for text in [
        "The pneumothorax has not recurred in the last week.",
        "Pneumothorax is not seen previously or currently.",
    ] {
        assert_eq!(label(text).state(Observation::Pneumothorax), Some(State::Negative), "{text}");
    }
    let removed = label("The chest tube was removed yesterday.");
    assert_eq!(removed.state(Observation::SupportDevices), Some(State::Negative));
}

#[test]
fn denials_in_other_words() {
    use Observation::{Edema, LungLesion, PleuralEffusion, PleuralThickening, Pneumothorax};
    for (text, of) in [
        ("Nothing to suggest pneumothorax.", Pneumothorax),
        ("Nil pneumothorax.", Pneumothorax),
        ("The study fails to show any pneumothorax.", Pneumothorax),
        ("Nothing suspicious for malignancy.", LungLesion),
        ("The pleura is not thickened.", PleuralThickening),
        ("The costophrenic angles are not blunted.", PleuralEffusion),
        ("The pulmonary vasculature is not engorged.", Edema),
        ("There is fluid in neither pleural space.", PleuralEffusion),
        ("Pneumothorax - no.", Pneumothorax),
        ("Pneumothorax, no.", Pneumothorax),
        ("Pneumothorax: nil.", Pneumothorax),
        ("Pneumothorax (-).", Pneumothorax),
    ] {
        assert_eq!(label(text).state(of), Some(State::Negative), "{text}");
    }
}

#[test]
fn requests_history_and_what_only_looks_like_it_state_nothing() {
    for text in [
        "Please exclude pneumothorax.",
        "Prior pneumothorax.",
        "Cardiac failure history.",
        "Skin fold mimicking pneumothorax.",
        "Sensitivity for pneumothorax is limited on the supine radiograph.",
        "CLINICAL: pneumothorax.",
    ] {
        assert_eq!(label(text).findings, [], "{text}");
    }
    let either = label("Either pneumonia or aspiration in the left base.");
    let pneumonia = either.get(Observation::Pneumonia).unwrap();
    assert_eq!((pneumonia.state, pneumonia.laterality), (State::Uncertain, Some(Laterality::Left)));
    let sides = label("Effusions on either side.");
    let effusion = sides.get(Observation::PleuralEffusion).unwrap();
    assert_eq!(
        (effusion.state, effusion.laterality),
        (State::Positive, Some(Laterality::Bilateral))
    );
}

/// What the embedded model writes is judged by these rules.
#[test]
fn the_summary_grammar_is_read_as_it_was_meant() {
    let text = std::fs::read_to_string(root().join("src/train/phrases.toml")).unwrap();
    let grammar: toml::Table = toml::from_str(&text).unwrap();
    for (name, entry) in grammar["finding"].as_table().unwrap() {
        let observation: Observation = name.parse().unwrap();
        for sentence in entry["present"].as_array().unwrap() {
            let sentence = sentence.as_str().unwrap();
            assert_eq!(label(sentence).state(observation), Some(State::Positive), "{sentence}");
        }
        let word = entry["name"].as_str().unwrap();
        for sentence in [format!("There is no {word}."), format!("No {word} is seen.")] {
            assert_eq!(label(&sentence).state(observation), Some(State::Negative), "{sentence}");
        }
    }
    let names: Vec<(Observation, &str)> = grammar["finding"]
        .as_table()
        .unwrap()
        .iter()
        .filter(|(_, entry)| entry["place"].as_str() == Some("lungs"))
        .map(|(name, entry)| (name.parse().unwrap(), entry["name"].as_str().unwrap()))
        .collect();
    let list = names.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(", ");
    for phrase in grammar["lungs"]["many"].as_array().unwrap() {
        let sentence = phrase.as_str().unwrap().replace("{list}", &list);
        let found = label(&sentence);
        for (observation, _) in &names {
            assert_eq!(found.state(*observation), Some(State::Positive), "{sentence}");
        }
    }
    let positive = |text: &str| {
        let found = label(text).findings;
        found
            .into_iter()
            .filter(|f| f.state == State::Positive)
            .map(|f| f.observation)
            .collect::<Vec<_>>()
    };
    for place in ["lungs", "pleura", "heart", "mediastinum", "bones"] {
        for sentence in grammar[place]["clear"].as_array().unwrap() {
            assert_eq!(positive(sentence.as_str().unwrap()), [], "{sentence}");
        }
    }
    for sentence in grammar["impression"]["normal"].as_array().unwrap() {
        assert_eq!(positive(sentence.as_str().unwrap()), [Observation::NoFinding], "{sentence}");
    }
}

#[test]
fn what_is_not_assessed_is_not_stated() {
    for text in [
        "Lines, tubes and devices are not assessed.",
        "Rib fractures cannot be assessed.",
        "Pleural effusion was not evaluated.",
    ] {
        assert_eq!(label(text).findings, [], "{text}");
    }
}

#[test]
fn positive_outranks_uncertain_outranks_negative() {
    let state = |text: &str| label(text).state(Observation::PleuralEffusion);
    assert_eq!(state("No effusion. Possible effusion."), Some(State::Uncertain));
    assert_eq!(state("Effusion. No effusion. Possible effusion."), Some(State::Positive));
    assert_eq!(state("The trachea is midline."), None);
}

#[test]
fn side_severity_and_words_are_those_of_the_text() {
    let found = label("The lungs are clear.\nThere is a small\nleft-sided pleural effusion.");
    let effusion = found.get(Observation::PleuralEffusion).unwrap();
    assert_eq!(effusion.laterality, Some(Laterality::Left));
    assert_eq!(effusion.severity, Some(Severity::Small));
    assert_eq!(effusion.text, "small left-sided pleural effusion");
    let found = label("No evidence of pneumothorax or effusion.");
    assert_eq!(found.get(Observation::Pneumothorax).unwrap().text, "No evidence of pneumothorax");
}

#[test]
fn the_command_prints_one_entry_an_observation() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.txt");
    std::fs::write(&file, "Cannot exclude a small right pneumothorax. Heart size is normal.")
        .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_thorascribe"));
    let json: Value =
        serde_json::from_str(&succeed(command.arg("findings").arg(&file).arg("--json"))).unwrap();
    let expected = serde_json::json!({"findings": [
        {"observation": "cardiomegaly", "state": "negative", "laterality": null, "severity": null,
         "text": "Heart size is normal"},
        {"observation": "pneumothorax", "state": "uncertain", "laterality": "right",
         "severity": "small", "text": "Cannot exclude a small right pneumothorax"},
    ]});
    assert_eq!(json, expected);
}

#[test]
fn a_text_in_the_place_of_a_file_is_told_where_it_goes() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thorascribe"));
    let output = command.args(["findings", "No pleural effusion."]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("No pleural effusion.") && told.contains("standard input"), "{told}");
    // A folder is there, but no file.
    let mut command = Command::new(env!("CARGO_BIN_EXE_thorascribe"));
    let output = command.arg("findings").arg(root()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && !told.contains("standard input"), "{told}");
}

#[test]
fn bytes_that_are_no_text_are_refused_and_latin_1_is_read() {
    let findings = |bytes: &[u8]| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_thorascribe"));
        command.arg("findings").arg(file.path()).output().unwrap()
    };
    let object = std::fs::read(root().join("fixtures/dicom/dx-pa-explicit.dcm")).unwrap();
    for bytes in [&object, b"\xFF\xFEN\0o\0".as_slice()] {
        let output = findings(bytes);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && told.contains("is no text"), "{told}");
    }
    let output = findings(b"Caf\xE9. Small left pneumothorax.");
    assert!(String::from_utf8_lossy(&output.stdout).contains("Pneumothorax"));
}

#[test]
fn evaluate_prints_rates_by_observation() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thorascribe"));
    let set = root().join("fixtures/findings/labelled.jsonl");
    command.args(["evaluate", "findings", "--json", "--labelled"]).arg(set);
    let json: Value = serde_json::from_str(&succeed(&mut command)).unwrap();
    assert!(json["micro"]["f1"].as_f64().unwrap() >= 0.93);
    assert!(json["observations"]["pneumothorax"]["negative"]["expected"].as_u64().unwrap() > 5);
}

#[test]
fn columns_of_nih_and_chexpert_are_observations() {
    let read = |text: &str| text.parse::<Observation>().unwrap();
    assert_eq!(read("Pleural_Thickening"), Observation::PleuralThickening);
    assert_eq!(read("Effusion"), Observation::PleuralEffusion);
    assert_eq!(read("Enlarged Cardiomediastinum"), Observation::EnlargedCardiomediastinum);
    assert!("Finding Labels".parse::<Observation>().is_err());
}

#[test]
fn time_grows_with_the_text_and_not_faster() {
    let texts = [
        "No evidence of pneumothorax, effusion, ".repeat(26_000),
        "lung nodule or mass and ".repeat(43_000),
        "heart no ( ".repeat(90_000),
        "1. FINDINGS:\n".repeat(80_000),
        "cannot be excluded, ".repeat(50_000),
        "a".repeat(1 << 20),
        ".".repeat(1 << 20),
    ];
    for text in texts {
        let start = Instant::now();
        drop(label(&text));
        let taken = start.elapsed();
        let head: String = text.chars().take(20).collect();
        assert!(taken < Duration::from_secs(8), "{} bytes of {head:?}: {taken:?}", text.len());
    }
}

/// Words of reports in any order, with any marks between them.
fn report() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "no",
        "pneumothorax",
        "effusion",
        "or",
        "and",
        ",",
        ".",
        "\n",
        "left",
        "small",
        "heart",
        "is",
        "enlarged",
        "FINDINGS:",
        "1.",
        "cannot be excluded",
        "possible",
        "but",
        "?",
        "lungs",
        "clear",
        "History:",
        "\n\n",
        "with",
        "may represent",
        "nodule",
        "(",
        "-",
        "É",
        "resolved",
    ]);
    prop::collection::vec(word, 0..40).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn any_text_has_labels(text in any::<String>()) {
        label(&text);
    }

    #[test]
    fn line_ends_make_no_difference(text in report()) {
        let unix = label(&text);
        prop_assert_eq!(&unix, &label(&text.replace('\n', "\r\n")));
        for finding in unix.findings {
            prop_assert!(!finding.text.is_empty());
        }
    }
}
