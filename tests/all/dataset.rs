//! Training pairs out of archives of reports.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use thorascribe::dataset::clean::clean;
use thorascribe::dataset::sections::{Sections, sections};
use thorascribe::dataset::split::{Shares, Split};
use thorascribe::dataset::summary::summarise;

use super::support::http_server::HttpServer;
use super::support::objects::root;
use super::support::process::{self, succeed};

/// A sentence, and what is left of it.
const CLEANED: [(&str, &str); 55] = [
    ("The heart is enlarged.", "The heart is enlarged."),
    ("Small left pleural effusion, unchanged.", "Small left pleural effusion."),
    ("Stable mild cardiomegaly.", "Mild cardiomegaly."),
    ("Mild cardiomegaly appears stable.", "Mild cardiomegaly."),
    ("The mediastinum is stable.", ""),
    ("The heart is normal in size and stable.", "The heart is normal in size."),
    ("Moderate edema has increased since the prior study.", "Moderate edema."),
    ("Small effusion, increased compared to the prior radiograph of the chest.", "Small effusion."),
    ("Compared to the prior study, there is a small effusion.", "There is a small effusion."),
    (
        "In comparison with the study of ___, there is a small effusion.",
        "There is a small effusion.",
    ),
    ("There has been interval development of bibasilar opacities.", "Bibasilar opacities."),
    (
        "There is persistent elevation of the right hemidiaphragm.",
        "There is elevation of the right hemidiaphragm.",
    ),
    ("Healed left rib fractures are again noted.", "Healed left rib fractures."),
    ("Again seen is a nodule in the left upper lobe.", "A nodule in the left upper lobe."),
    ("Previously seen pneumothorax has resolved.", ""),
    ("Interval removal of the chest tube.", ""),
    ("No significant interval change.", ""),
    ("No significant change compared to the prior examination.", ""),
    ("There is no relevant change since the previous study.", ""),
    ("This is unchanged from the previous study.", ""),
    ("Comparison is made to the prior radiograph.", ""),
    ("No prior studies are available for comparison.", ""),
    ("No acute process or significant interval change.", "No acute process."),
    ("New right lower lobe consolidation.", "Right lower lobe consolidation."),
    ("The cardiomediastinal silhouette is stable in size and appearance.", ""),
    ("Degenerative changes of the spine.", "Degenerative changes of the spine."),
    ("Decreased lung volumes.", "Decreased lung volumes."),
    ("The lungs remain clear.", "The lungs remain clear."),
    ("No fracture visualized.", "No fracture visualized."),
    ("PA and lateral views of the chest were obtained.", ""),
    ("Frontal and lateral views of the chest.", ""),
    ("Single portable AP view of the chest is provided.", ""),
    ("A nodule is seen on the lateral view.", "A nodule is seen."),
    (
        "Round opacity in the left base, best seen on the frontal view.",
        "Round opacity in the left base.",
    ),
    ("Frontal and lateral views of the chest demonstrate clear lungs.", "Clear lungs."),
    ("Findings were discussed with the referring clinician by telephone.", ""),
    ("There is no XXXX consolidation.", "There is no consolidation."),
    ("The XXXX are intact.", ""),
    ("Tip of the catheter is in the XXXX.", ""),
    ("There are no XXXX of a large pleural effusion.", ""),
    ("Degenerative changes of the XXXX with dislocation of the left humerus.", ""),
    ("The tip of the catheter is at the XXXX which is normal.", ""),
    ("No XXXX infiltrates.", "No infiltrates."),
    ("Heart size is XXXX within normal limits.", "Heart size is within normal limits."),
    ("Normal chest x-XXXX.", "Normal chest."),
    ("No x-XXXX evidence of metastatic disease.", "No evidence of metastatic disease."),
    ("Compared with prior, unchanged.", ""),
    ("Compared with the prior study, grossly stable.", ""),
    ("Unchanged since the prior study.", ""),
    ("Compared with prior, unchanged small effusion.", "Small effusion."),
    ("Enlarged heart. XXXX XXXX XXXX. Clear lungs.", "Enlarged heart. Clear lungs."),
    ("1. Cardiomegaly. 2. No effusion.", "Cardiomegaly. No effusion."),
    ("A 1.2 cm nodule in the right lung.", "A 1.2 cm nodule in the right lung."),
    ("opacity in the left base", "Opacity in the left base."),
    ("...", ""),
];

#[test]
fn a_sentence_loses_what_an_image_cannot_show_and_nothing_else() {
    let wrong: Vec<_> = CLEANED
        .iter()
        .map(|(text, expected)| (*text, clean(text).unwrap().0.join(" "), *expected))
        .filter(|(_, found, expected)| found != expected)
        .collect();
    assert!(wrong.is_empty(), "text, found, expected: {wrong:#?}");
}

#[test]
fn what_was_taken_out_is_counted_by_its_reason() {
    let (left, removed) =
        clean("Stable heart size. No XXXX effusion. PA view of the chest.").unwrap();
    assert_eq!(left, ["No effusion."]);
    assert_eq!((removed.comparisons, removed.marks, removed.views), (1, 1, 1));
}

#[test]
fn a_report_is_parted_at_its_headings() {
    let report = "                 FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n \n INDICATION:  \
                  ___ with cough\n \n TECHNIQUE:  Two views.\n \n FINDINGS: \n \n The lungs are \
                  clear.\n Heart: normal in size.\n \n IMPRESSION: \n \n No pneumonia.\n \n \
                  NOTIFICATION: None.\n";
    let parted = Sections {
        findings: "The lungs are clear. Heart: normal in size.".to_owned(),
        impression: "No pneumonia.".to_owned(),
    };
    assert_eq!(sections(report).unwrap(), parted);
    assert_eq!(sections("No heading at all.").unwrap(), Sections::default());
}

#[test]
fn a_summary_says_nothing_twice() {
    let parts = Sections {
        findings: "The heart is enlarged. No effusion.".to_owned(),
        impression: "1. No effusion. 2. Cardiomegaly.".to_owned(),
    };
    assert_eq!(
        summarise(&parts).unwrap().summary,
        "The heart is enlarged. No effusion. Cardiomegaly."
    );
}

#[test]
fn a_patient_is_in_one_split_and_the_shares_are_kept() {
    let shares = Shares { development: 0.2, test: 0.3 };
    let mut counts = BTreeMap::new();
    for patient in 0..4000 {
        let name = format!("p{patient}");
        assert_eq!(shares.of(&name), shares.of(&name));
        *counts.entry(shares.of(&name)).or_insert(0) += 1;
    }
    let share = |split| f64::from(counts[&split]) / 4000.0;
    assert!((share(Split::Development) - 0.2).abs() < 0.03, "{counts:?}");
    assert!((share(Split::Test) - 0.3).abs() < 0.03, "{counts:?}");
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_thorascribe"))
}

fn write(path: &Path, text: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

const FINDINGS: &str =
    "The heart is mildly enlarged. There is a small left pleural effusion, unchanged.";
const IMPRESSION: &str = "Small left pleural effusion.";

/// Six reports shaped as MIMIC-CXR's, one for each reason to drop and one to keep.
fn mimic(dir: &Path) {
    let report = |patient: u32, study: u32, text: &str, images: usize| {
        let folder = dir.join(format!("files/p1{}/p{patient}", patient % 10));
        write(&folder.join(format!("s{study}.txt")), text);
        for image in 0..images {
            write(&folder.join(format!("s{study}/{study}-{image}.jpg")), b"a picture");
        }
    };
    report(
        10_000_001,
        50_000_001,
        &format!(" FINDINGS:\n {FINDINGS}\n IMPRESSION: {IMPRESSION}\n"),
        2,
    );
    report(10_000_001, 50_000_002, &format!(" IMPRESSION: {IMPRESSION}\n"), 1);
    report(10_000_002, 50_000_003, &format!(" FINDINGS: {FINDINGS}\n"), 1);
    report(10_000_002, 50_000_004, " FINDINGS: Clear lungs.\n IMPRESSION: No pneumonia.\n", 1);
    report(10_000_003, 50_000_005, &format!(" FINDINGS: {FINDINGS}\n IMPRESSION: Normal.\n"), 1);
    report(
        10_000_003,
        50_000_006,
        &format!(" FINDINGS: {FINDINGS}\n IMPRESSION: {IMPRESSION}\n"),
        0,
    );
    let compared = "Comparison is made to the prior radiograph of the chest from last week there.";
    report(10_000_004, 50_000_007, &format!(" FINDINGS: {compared}\n IMPRESSION: No change.\n"), 1);
    let views = "dicom_id,subject_id,study_id,ViewPosition\n50000001-0,10000001,50000001,PA\n";
    write(&dir.join("mimic-cxr-2.0.0-metadata.csv"), views);
}

/// The command's manifest and the pairs that it wrote.
fn built(source: &Path, out: &Path, more: &[&str]) -> (Value, Vec<Value>) {
    let mut command = program();
    command.args(["dataset", "build", "--json", "--out"]).arg(out).arg(source).args(more);
    let manifest = serde_json::from_str(&succeed(&mut command)).unwrap();
    let lines = fs::read_to_string(out.join("dataset.jsonl")).unwrap();
    (manifest, lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[test]
fn mimic_cxr_gives_pairs_and_every_drop_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("mimic"), dir.path().join("out"));
    mimic(&source);
    let (manifest, pairs) = built(&source, &out, &[]);
    assert_eq!(manifest["layout"], "mimic-cxr");
    assert_eq!((&manifest["reports"], &manifest["kept"]), (&7.into(), &1.into()));
    let reasons = [
        "no_findings",
        "no_impression",
        "short_findings",
        "short_impression",
        "no_image",
        "nothing_left",
    ];
    for reason in reasons {
        assert_eq!(manifest["dropped"][reason], 1, "{reason}");
    }
    let pair = &pairs[0];
    assert_eq!(pair["id"], "s50000001");
    assert_eq!(pair["patient"], "p10000001");
    let expected = "The heart is mildly enlarged. There is a small left pleural effusion. Small left \
                    pleural effusion.";
    assert_eq!(pair["summary"], expected);
    assert_eq!(pair["images"][0]["file"], "files/p11/p10000001/s50000001/50000001-0.jpg");
    assert_eq!(
        (&pair["images"][0]["view"], &pair["images"][1]["view"]),
        (&"PA".into(), &Value::Null)
    );
}

#[test]
fn the_published_split_of_mimic_cxr_goes_before_the_draw() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("mimic");
    mimic(&source);
    let header = "dicom_id,study_id,subject_id,split\n";
    for (published, split) in [("validate", "development"), ("test", "test"), ("train", "train")] {
        let table = format!("{header}50000001-0,50000001,10000001,{published}\n");
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, table.as_bytes()).unwrap();
        write(&source.join("mimic-cxr-2.0.0-split.csv.gz"), packed.finish().unwrap());
        let (manifest, pairs) = built(&source, &dir.path().join(split), &[]);
        assert_eq!(pairs[0]["split"], split);
        assert_eq!(manifest["splits"][split], 1);
    }
    fs::remove_file(source.join("mimic-cxr-2.0.0-split.csv.gz")).unwrap();
    let table = format!("{header}50000001-0,50000001,10000001,trian\n");
    write(&source.join("mimic-cxr-2.0.0-split.csv"), table);
    let mut command = program();
    command.args(["dataset", "build", "--out"]).arg(dir.path().join("wrong")).arg(&source);
    let output = process::run(&mut command);
    let told = process::text(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("split.csv: row 1: split \"trian\""), "{told}");
}

#[test]
fn reports_and_images_may_lie_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (source, images) = (dir.path().join("reports"), dir.path().join("jpg"));
    mimic(&source);
    fs::create_dir_all(&images).unwrap();
    fs::rename(source.join("files/p11/p10000001/s50000001"), images.join("elsewhere")).unwrap();
    write(&images.join("files/p11/p10000001/s50000001/a.jpg"), b"a picture");
    let (_, pairs) =
        built(&source, &dir.path().join("out"), &["--images", images.to_str().unwrap()]);
    let file = pairs[0]["images"][0]["file"].as_str().unwrap();
    assert!(file.ends_with("jpg/files/p11/p10000001/s50000001/a.jpg"), "{file}");
}

#[test]
fn the_same_archive_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("mimic");
    mimic(&source);
    let bytes = |out: &str| {
        let out = dir.path().join(out);
        built(&source, &out, &[]);
        ["dataset.jsonl", "dataset.json"].map(|name| fs::read(out.join(name)).unwrap())
    };
    assert_eq!(bytes("one"), bytes("two"));
}

#[test]
fn open_i_is_read_from_xml_and_from_csv_alike() {
    let dir = tempfile::tempdir().unwrap();
    let (xml, csv) = (dir.path().join("xml"), dir.path().join("csv"));
    for uid in 1..=12 {
        let document = format!(
            "<?xml version=\"1.0\"?><eCitation><Abstract>\
             <AbstractText Label=\"FINDINGS\">{FINDINGS}</AbstractText>\
             <AbstractText Label=\"IMPRESSION\">{IMPRESSION}</AbstractText></Abstract>\
             <parentImage id=\"CXR{uid}_1\"/><parentImage id=\"CXR{uid}_gone\"/></eCitation>"
        );
        write(&xml.join(format!("ecgen-radiology/{uid}.xml")), document);
        write(&xml.join(format!("NLMCXR_png/CXR{uid}_1.png")), b"a picture");
        write(&csv.join(format!("images/{uid}_1.dcm.png")), b"a picture");
    }
    let rows = |row: fn(u32) -> String| (1..=12).map(row).collect::<Vec<_>>().join("\n");
    let reports = rows(|uid| format!("{uid},\"{FINDINGS}\",{IMPRESSION}"));
    write(&csv.join("indiana_reports.csv"), format!("uid,findings,impression\n{reports}\n"));
    let projections = rows(|uid| format!("{uid},{uid}_1.dcm.png,Frontal"));
    write(
        &csv.join("indiana_projections.csv"),
        format!("uid,filename,projection\n{projections}\n"),
    );
    let (of_xml, first) = built(&xml, &dir.path().join("a"), &[]);
    let (of_csv, second) = built(&csv, &dir.path().join("b"), &[]);
    assert_eq!(
        (&of_xml["layout"], &of_csv["layout"]),
        (&"open-i-xml".into(), &"open-i-csv".into())
    );
    let ids: Vec<_> = first.iter().map(|pair| pair["id"].as_str().unwrap()).collect();
    assert_eq!((ids.len(), ids[1], ids[9]), (12, "CXR2", "CXR10"));
    for (one, other) in first.iter().zip(&second) {
        for key in ["id", "split", "summary", "patient"] {
            assert_eq!(one[key], other[key]);
        }
        assert_eq!(one["images"].as_array().unwrap().len(), 1);
        assert_eq!(other["images"][0]["view"], "Frontal");
    }
}

#[test]
fn a_folder_of_dicom_pairs_images_with_texts_and_no_patient_number_gets_out() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("dicom");
    let image = root().join("fixtures/dicom/dx-pa-explicit.dcm");
    fs::create_dir_all(&source).unwrap();
    fs::copy(&image, source.join("image.dcm")).unwrap();
    let object = thorascribe::object::StoredObject::open(&image).unwrap();
    let study = object.study_uid().to_string();
    let report = format!("FINDINGS: {FINDINGS}\nIMPRESSION: {IMPRESSION}\n");
    write(&source.join(format!("{study}.txt")), report);
    let (manifest, pairs) = built(&source, &dir.path().join("out"), &[]);
    assert_eq!((&manifest["layout"], &manifest["kept"]), (&"dicom".into(), &1.into()));
    assert_eq!(pairs[0]["images"][0]["file"], "image.dcm");
    let number = object.value(dicom_dictionary_std::tags::PATIENT_ID).unwrap();
    assert!(!pairs[0].to_string().contains(&number), "{number} in {}", pairs[0]);
}

#[test]
fn a_folder_of_something_else_is_named_with_what_was_expected() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("a.docx"), b"a letter");
    let mut command: Command = program();
    command.args(["dataset", "build", "--out", "out"]).arg(dir.path()).current_dir(dir.path());
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("MIMIC-CXR") && error.contains("Open-i"), "{error}");
}

#[test]
fn an_endpoint_rewords_each_summary_once_and_a_refusal_for_now_is_waited_out() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("mimic"), dir.path().join("out"));
    mimic(&source);
    let server = HttpServer::answering(|number, request| {
        assert!(request.contains("POST /v1/chat/completions"), "{request}");
        assert!(request.contains("small left pleural effusion"), "{request}");
        if number == 0 {
            return (429, "{}".to_owned());
        }
        (200, r#"{"choices": [{"message": {"content": " A reworded\nsummary. "}}]}"#.to_owned())
    });
    let url = format!("http://{}/v1", server.address());
    let more = ["--endpoint", &url, "--endpoint-model", "small", "--per-minute", "6000"];
    let (manifest, pairs) = built(&source, &out, &more);
    assert_eq!(manifest["rewriter"], "endpoint, model small");
    assert_eq!(pairs[0]["summary"], "A reworded summary.");
    assert_eq!(server.requests(), 2);
    let (_, again) = built(&source, &out, &more);
    assert_eq!(again, pairs);
    assert_eq!(server.requests(), 2, "what is known was asked again");
    // A crash cuts the file anywhere, also within a character.
    let kept = out.join("rewrites.jsonl");
    let mut bytes = fs::read(&kept).unwrap();
    bytes.extend(b"{\"key\":\"0\",\"text\":\"38\xC2");
    fs::write(&kept, bytes).unwrap();
    let (_, again) = built(&source, &out, &more);
    assert_eq!((again, server.requests()), (pairs, 2));
}

#[test]
fn an_answer_that_was_cut_off_leaves_the_summary_of_the_rules() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("mimic"), dir.path().join("out"));
    mimic(&source);
    let (_, by_rules) = built(&source, &dir.path().join("rules"), &[]);
    let server = HttpServer::answering(|_, _| {
        let choice = r#"{"message": {"content": "There is a sm"}, "finish_reason": "length"}"#;
        (200, format!(r#"{{"choices": [{choice}]}}"#))
    });
    let url = format!("http://{}/v1", server.address());
    let more = ["--endpoint", &url, "--endpoint-model", "small", "--per-minute", "6000"];
    let (manifest, pairs) = built(&source, &out, &more);
    assert_eq!(pairs, by_rules);
    assert_eq!(manifest["not_reworded"], pairs.len());
}

#[test]
fn a_model_directory_rewords_without_an_image() {
    let dir = tempfile::tempdir().unwrap();
    let (source, model) = (dir.path().join("mimic"), dir.path().join("model"));
    mimic(&source);
    let reference = root().join("fixtures/reference/medclip");
    succeed(program().args(["model", "import", "--out"]).arg(&model).arg(reference));
    let more = ["--model", model.to_str().unwrap()];
    let (manifest, pairs) = built(&source, &dir.path().join("out"), &more);
    assert!(manifest["rewriter"].as_str().unwrap().starts_with("model "));
    assert!(!pairs[0]["summary"].as_str().unwrap().contains("mildly enlarged"), "{}", pairs[0]);
}
