//! Measurements: against the Python packages whose figures the field quotes, against sums done by
//! hand, and through the command.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Output;

use flate2::read::GzDecoder;
use serde_json::Value;
use thorascribe::evaluate::auroc::auroc;
use thorascribe::evaluate::bootstrap::{Groups, Ranked};
use thorascribe::evaluate::calibration::{bins, calibrate, ece, ece_by_chance};
use thorascribe::evaluate::f1::Counts;
use thorascribe::evaluate::plot::{Series, loss_curve, reliability};
use thorascribe::evaluate::table::{self, Choice};
use thorascribe::evaluate::text::{Overlap, bleu4, compare, rouge_l, rouge_n, words};
use thorascribe::model::Manifest;
use thorascribe::model::checkpoint::manifest::Scores;
use thorascribe::vocabulary::Observation;

use super::support::node::program;
use super::support::objects::root;

#[derive(serde::Deserialize)]
struct Pair {
    hypothesis: String,
    reference: String,
    bleu4: String,
    rouge1: [String; 3],
    rouge2: [String; 3],
    #[serde(rename = "rougeL")]
    rouge_l: [String; 3],
}

#[test]
fn rouge_is_that_of_the_python_package_and_bleu_that_of_sacrebleu() {
    let file = std::fs::File::open(root().join("fixtures/reference/rouge.jsonl.gz")).unwrap();
    let mut pairs = 0;
    for line in BufReader::new(GzDecoder::new(file)).lines() {
        let pair: Pair = serde_json::from_str(&line.unwrap()).unwrap();
        let (said, so) = (words(&pair.hypothesis), words(&pair.reference));
        let exact = |o: Overlap, expected: [String; 3], name: &str| {
            let expected = expected.map(|number| number.parse::<f64>().unwrap().to_bits());
            let found = [o.precision, o.recall, o.f1].map(f64::to_bits);
            assert_eq!(found, expected, "{name}: {:?}", pair.hypothesis);
        };
        exact(rouge_n(&said, &so, 1), pair.rouge1, "ROUGE-1");
        exact(rouge_n(&said, &so, 2), pair.rouge2, "ROUGE-2");
        exact(rouge_l(&said, &so), pair.rouge_l, "ROUGE-L");
        let bleu = bleu4(&said, &so);
        let expected = pair.bleu4.parse::<f64>().unwrap();
        assert!((bleu - expected).abs() < 1e-12, "{bleu} {expected}: {:?}", pair.hypothesis);
        pairs += 1;
    }
    assert!(pairs >= 500, "{pairs}");
}

#[test]
fn means_and_intervals_of_texts_are_the_same_each_time() {
    let said = ["no effusion", "the heart is large", ""];
    let so = ["no effusion", "the lungs are clear", "normal"];
    let figures = compare(&said, &so, 0).unwrap();
    assert_eq!(figures.pairs, 3);
    assert!((figures.rouge1.f1 - (1.0 + 0.25) / 3.0).abs() < 1e-12, "{}", figures.rouge1.f1);
    let interval = figures.intervals.get("rouge1").unwrap().unwrap();
    assert!(interval.low < figures.rouge1.f1 && figures.rouge1.f1 < interval.high);
    let again = compare(&said, &so, 0).unwrap();
    assert_eq!(serde_json::to_value(figures).unwrap(), serde_json::to_value(again).unwrap());
    let error = compare(&said, &so[..2], 0).unwrap_err().to_string();
    assert!(error.contains("3 hypotheses but 2 references"), "{error}");
}

#[test]
fn a_resample_counts_as_the_items_it_repeats() {
    let scores = [0.1, 0.3, 0.3, 0.4, 0.2];
    let truth = [false, true, false, true, false];
    let both = || scores.iter().zip(&truth).map(|(s, t)| (Some(*s), Some(*t)));
    let ranked = Ranked::new(both());
    assert_eq!(ranked.auroc(&[1; 5]), auroc(&scores, &truth));
    let repeated = [0.1, 0.1, 0.3, 0.4, 0.4, 0.4, 0.2];
    let so = [false, false, false, true, true, true, false];
    assert_eq!(ranked.auroc(&[2, 0, 1, 3, 1]), auroc(&repeated, &so));
    assert_eq!(ranked.auroc(&[1, 0, 1, 0, 1]), None, "no positive is drawn");
    let unknown = Ranked::new(both().chain([(Some(0.9), None), (None, Some(true))]));
    assert_eq!(unknown.auroc(&[1; 7]), auroc(&scores, &truth));
}

#[test]
fn a_patient_is_drawn_as_a_whole() {
    let groups = Groups::named([Some("a"), Some("b"), Some("a"), None, None]);
    let seen = std::sync::Mutex::new(Vec::new());
    groups.interval(1, |times| {
        seen.lock().unwrap().push(times.to_vec());
        Some(0.0)
    });
    let seen = seen.into_inner().unwrap();
    assert!(seen.iter().all(|times| times[0] == times[2]));
    assert!(seen.iter().all(|times| times[0] + times[1] + times[3] + times[4] == 4));
    assert!(seen.iter().any(|times| times[3] != times[4]), "those without a name stand alone");
}

#[test]
fn an_interval_of_a_mean_is_that_of_theory() {
    let values: Vec<f64> = (0..400).map(|i| f64::from(i % 2)).collect();
    let interval = Groups::single(400).interval(0, |times| {
        Some(values.iter().zip(times).map(|(v, t)| v * f64::from(*t)).sum::<f64>() / 400.0)
    });
    let interval = interval.unwrap();
    // 0.5 ± 1.96 · 0.5 / 20
    assert!((interval.low - 0.451).abs() < 0.008, "{interval:?}");
    assert!((interval.high - 0.549).abs() < 0.008, "{interval:?}");
}

#[test]
fn f1_pools_or_means_and_knows_the_best_constant_text() {
    use Observation::{Edema, Mass, Nodule};
    let case = |so: &[Observation], said: &[Observation]| {
        Counts::of([Edema, Mass, Nodule].map(|o| (o, said.contains(&o), Some(so.contains(&o)))))
    };
    let cases = [
        case(&[Edema], &[Edema]),
        case(&[Edema, Mass], &[Mass, Nodule]),
        case(&[Edema], &[]),
        case(&[], &[Nodule]),
    ];
    let all = Counts::sum(&cases, &[1; 4]);
    assert_eq!(all.micro(), Some(2.0 * 2.0 / 8.0));
    assert_eq!(all.one(Edema), Some(0.5));
    assert_eq!(all.one(Nodule), Some(0.0));
    assert_eq!(all.macro_(), Some(0.75), "a nodule is never there, so it does not count");
    // Always edema: 3 hits of 4 said and 4 so; with mass besides: 4 of 8 and 4.
    assert_eq!(all.best_constant(|_| 4), Some((vec![Edema], 6.0 / 8.0)));
    // Known in one case and so there: saying it always is right wherever it can be judged.
    let sparse = [Counts::of([(Edema, false, Some(true))]), Counts::of([(Edema, false, None)])];
    let all = Counts::sum(&sparse, &[1; 2]);
    assert_eq!(all.best_constant(|_| 1), Some((vec![Edema], 1.0)));
}

/// Scores three times too sure: a logit of 3 t where t would be right.
fn too_sure() -> Vec<(f32, bool)> {
    let mut items = Vec::new();
    for logit in [-2.0_f32, -1.0, 0.0, 1.0, 2.0] {
        let right = 1.0 / (1.0 + (-logit).exp());
        let positives = (right * 200.0).round() as usize;
        let said = 1.0 / (1.0 + (-3.0 * logit).exp());
        items.extend((0..200).map(|i| (said, i < positives)));
    }
    items
}

#[test]
fn a_temperature_makes_scores_as_frequent_as_they_say() {
    let found = calibrate(&too_sure()).unwrap();
    assert!((found.temperature - 3.0).abs() < 0.05, "{}", found.temperature);
    assert!(found.ece_before > 0.1 && found.ece_after < 0.01, "{found:?}");
    assert!(found.nll_after < found.nll_before);
    assert!(found.threshold > 0.2 && found.threshold < 0.9, "{}", found.threshold);
    assert!(!found.temperature_at_bound);
    let certain = calibrate(&[(0.9, true), (0.8, true), (0.1, false), (0.2, false)]).unwrap();
    assert!(certain.temperature_at_bound && certain.temperature < 0.051, "{certain:?}");
    assert!((0.0..=1.0).contains(&certain.threshold), "{certain:?}");
    assert_eq!(calibrate(&[(0.5, true), (0.2, true)]), None);
}

#[test]
fn bins_hold_equally_many_and_their_error_is_their_distance() {
    let mut items: Vec<(f32, bool)> =
        (0..100_u8).map(|i| (f32::from(i) / 100.0, i % 4 != 0)).collect();
    let parts = bins(&items);
    assert!(parts.len() == 10 && parts.iter().all(|bin| bin.items == 10));
    items.reverse();
    assert_eq!(bins(&items), parts);
    let sure: Vec<(f32, bool)> = (0..40).map(|i| (1.0, i % 2 == 0)).collect();
    assert!((ece(&sure).unwrap() - 0.5).abs() < 1e-12);
    assert_eq!(ece(&[]), None);
}

#[test]
fn few_studies_show_an_error_of_calibration_where_there_is_none() {
    let alike = |many: usize| vec![(0.5, true); many];
    // Ten bins of ten: the mean distance of ten coins from a half is 0.123 (63 / 512).
    let few = ece_by_chance(&apart(100), 1).unwrap();
    assert!((few - 0.123).abs() < 0.01, "{few}");
    assert!(ece_by_chance(&apart(10_000), 1).unwrap() < 0.02);
    // Equal probabilities are one bin, and its distance is smaller.
    assert!(ece_by_chance(&alike(100), 1).unwrap() < 0.06);
    assert_eq!(ece_by_chance(&[(1.0, true), (0.0, true)], 1), Some(0.0), "sure, and right");
    assert_eq!(ece_by_chance(&[], 1), None);
}

/// Items of a probability of a half, hardly different, so that each has a place of its own.
fn apart(many: usize) -> Vec<(f32, bool)> {
    (0..many).map(|i| (0.5 + i as f32 * 1e-7, true)).collect()
}

/// How many pixels of a part of a picture are not white.
fn drawn(path: &Path, columns: std::ops::Range<u32>, rows: std::ops::Range<u32>) -> usize {
    let picture = image::open(path).unwrap().into_luma8();
    let part =
        picture.enumerate_pixels().filter(|(x, y, _)| columns.contains(x) && rows.contains(y));
    part.filter(|(_, _, pixel)| pixel.0[0] < 200).count()
}

#[test]
fn plots_have_lines_and_text_without_a_font_of_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    let curve = |name: &str, from: f64| Series {
        name: name.to_owned(),
        points: (0..50).map(|i| (f64::from(i), from / f64::from(i + 1))).collect(),
    };
    let path = folder.path().join("loss.png");
    loss_curve(&[curve("training", 3.0), curve("development", 4.0)], "epoch", &path).unwrap();
    assert!(drawn(&path, 0..900, 0..600) > 3000);
    assert!(drawn(&path, 400..560, 555..600) > 30, "the name of the axis");
    assert!(loss_curve(&[], "epoch", &path).is_err());
    let path = folder.path().join("reliability.png");
    reliability(&[("abnormal".to_owned(), bins(&too_sure()))], &path).unwrap();
    assert!(drawn(&path, 0..900, 0..600) > 3000);
}

#[test]
fn evaluate_without_anything_to_measure_is_a_usage_error() {
    for arguments in [&[][..], &["--json"], &["--hypotheses", "a.txt"], &["calibrate"], &["boxes"]]
    {
        assert_eq!(evaluate(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

fn evaluate(arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    program(home.path()).arg("evaluate").args(arguments).output().unwrap()
}

fn json(output: &Output) -> Value {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_string_lossy().into_owned()
}

#[test]
fn the_command_measures_texts_and_prints_the_papers_table_beside() {
    let folder = tempfile::tempdir().unwrap();
    let said = write(folder.path(), "said.txt", "The heart is enlarged.\n\nNo effusion.\n");
    let so = write(folder.path(), "so.txt", "The heart is enlarged.\nClear lungs.\nNo effusion.\n");
    let figures = json(&evaluate(&["--hypotheses", &said, "--references", &so, "--json"]));
    assert_eq!(figures["pairs"], 3);
    assert!((figures["rouge1"]["f1"].as_f64().unwrap() - 2.0 / 3.0).abs() < 1e-12);
    assert!(figures["findings_f1"].as_object().unwrap().contains_key("micro"));
    let table = evaluate(&["--hypotheses", &said, "--references", &so]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("| XrayGPT | 0.3213 | 0.0912 | 0.1997 |"), "{table}");
    assert!(table.contains("| MiniGPT-4 | 0.1313 | 0.0221 | 0.0896 |"), "{table}");
    let short = write(folder.path(), "short.txt", "One.\n");
    let error = refused(&evaluate(&["--hypotheses", &said, "--references", &short]));
    assert!(error.contains("3 hypotheses but 1 references"), "{error}");
    let empty = write(folder.path(), "empty.txt", "");
    let error = refused(&evaluate(&["--hypotheses", &empty, "--references", &empty]));
    assert!(error.contains("nothing to compare"), "{error}");
}

const LABELS: &str = "\
image,patient,split,view,Cardiomegaly,Pleural_Thickening,edema
dx-pa-explicit.dcm,1,test,PA,1,0,0
cr-ap-rle.dcm,1,test,AP,0,0,0
cr-ap-implicit.dcm,2,test,AP,0,1,1
dx-pa-jpeg-ls.dcm,3,train,PA,0,0,
";

fn images() -> String {
    root().join("fixtures/dicom").to_string_lossy().into_owned()
}

#[test]
fn the_command_measures_a_model_on_labelled_images() {
    let folder = tempfile::tempdir().unwrap();
    let (images, labels) = (images(), write(folder.path(), "labels.csv", LABELS));
    let run = |more: &[&str]| {
        let mut arguments = vec!["--images", &images, "--labels", &labels];
        arguments.extend(more);
        evaluate(&arguments)
    };
    let mut figures = json(&run(&["--split", "test", "--json"]));
    assert_eq!((&figures["images"], &figures["resampled_by"]), (&3.into(), &"patient".into()));
    assert_eq!(figures["auroc"]["abnormal"]["positives"], 2);
    assert_eq!(figures["within"]["view"]["AP"]["images"], 2);
    assert!(figures["auroc"]["pleural_thickening"]["value"].is_number());
    assert!(figures["f1"].as_object().unwrap().contains_key("macro"));
    assert!(figures["ece"]["abnormal"].is_number());
    assert_eq!(figures["constant_text"]["micro"], 0.5);
    let mut again = json(&run(&["--split", "test", "--json"]));
    for run in [&mut figures, &mut again] {
        run["seconds"] = Value::Null;
    }
    assert_eq!(figures, again);
    let table = String::from_utf8(run(&[]).stdout).unwrap();
    assert!(table.contains("| score | AUROC |") && table.contains("4 images"), "{table}");
    let error = refused(&run(&["--split", "none"]));
    assert!(error.contains("\"none\""), "{error}");
}

#[test]
fn other_showings_of_an_image_are_measured_and_pages_stand_alone() {
    let folder = tempfile::tempdir().unwrap();
    let text = "image,abnormal,report\ndx-pa-explicit.dcm,0,<Clear> lungs.\n";
    let (images, labels) = (images(), write(folder.path(), "labels.csv", text));
    let pages = folder.path().join("pages");
    let html = pages.to_string_lossy().into_owned();
    let figures = json(&evaluate(&[
        "--images",
        &images,
        "--labels",
        &labels,
        "--changes",
        "--html",
        &html,
        "--json",
    ]));
    let rows = figures["changes"].as_array().unwrap();
    let moved = |change: &str| {
        let row = rows.iter().find(|row| row["change"] == change);
        row.unwrap_or_else(|| panic!("{change}"))["mean_difference"].as_f64().unwrap()
    };
    assert!(moved("none") <= 0.0);
    assert!(moved("stored as MONOCHROME1") <= 0.0, "reading undoes it");
    // Half the size is the model's own, so it changes nothing here.
    for change in ["double size", "rotated by 5 degrees", "gamma 0.8", "pixels inverted"] {
        assert!(moved(change) > 0.0, "{change}");
    }
    let page = std::fs::read_to_string(pages.join("00001.html")).unwrap();
    assert!(page.contains("&lt;Clear&gt; lungs.") && page.contains("not verified"));
    assert!(!page.contains("http"), "a page needs nothing from outside");
    let picture = page.split("base64,").nth(1).unwrap().split('"').next().unwrap();
    assert!(picture.starts_with("iVBORw0KGgo"), "the mark of a PNG");
    assert!(std::fs::read_to_string(pages.join("index.html")).unwrap().contains("00001.html"));
}

#[test]
fn a_missing_image_is_named_or_passed_over_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("{LABELS}lost.png,9,test,PA,0,0,0\n");
    let (images, labels) = (images(), write(folder.path(), "labels.csv", &text));
    let error = refused(&evaluate(&["--images", &images, "--labels", &labels]));
    assert!(error.contains("lost.png") && error.contains("line 6"), "{error}");
    let choice = Choice { skip_missing: true, ..Choice::default() };
    let table = table::read(Path::new(&labels), Path::new(&images), &choice).unwrap();
    assert_eq!((table.studies.len(), table.skipped), (4, 1));
}

#[test]
fn a_table_says_what_is_known_and_what_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let labels = PathBuf::from(write(folder.path(), "labels.csv", LABELS));
    let table = table::read(&labels, Path::new(&images()), &Choice::default()).unwrap();
    let abnormal: Vec<_> = table.studies.iter().map(|study| study.abnormal).collect();
    assert_eq!(abnormal, [Some(true), Some(false), Some(true), None]);
    let last = &table.studies[3].truth;
    let expected = [(Observation::Cardiomegaly, false), (Observation::PleuralThickening, false)];
    assert_eq!(*last, BTreeMap::from(expected));
    std::fs::write(&labels, "image,edema\na.png,maybe\n").unwrap();
    let error = table::read(&labels, folder.path(), &Choice::default()).unwrap_err().to_string();
    assert!(error.contains("line 2") && error.contains("\"maybe\""), "{error}");
    std::fs::write(&labels, "image,colour\na.png,red\n").unwrap();
    let error = table::read(&labels, folder.path(), &Choice::default()).unwrap_err().to_string();
    assert!(error.contains("no label column"), "{error}");
    std::fs::write(&labels, "image,Effusion,edema,pleural effusion\na.png,1,0,0\n").unwrap();
    let error = table::read(&labels, folder.path(), &Choice::default()).unwrap_err().to_string();
    let twice = "columns 2 (\"Effusion\") and 4 (\"pleural effusion\") are both pleural_effusion";
    assert!(error.contains(twice), "{error}");
}

#[test]
fn no_finding_is_no_positive_finding_and_what_is_not_known_counts_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let text = "image,No Finding,edema,mass\ndx-pa-explicit.dcm,1,1,\ncr-ap-rle.dcm,1,,\n";
    let (images, labels) = (images(), write(folder.path(), "labels.csv", text));
    let figures = json(&evaluate(&["--images", &images, "--labels", &labels, "--json"]));
    assert_eq!(figures["constant_text"]["findings"], serde_json::json!(["edema"]));
    assert_eq!(figures["constant_text"]["micro"], 1.0);
    assert!(figures["f1"].as_object().unwrap().contains_key("no_finding"));
    assert_eq!(figures["f1"]["micro"], figures["f1"]["edema"]);
}

#[test]
fn what_cannot_be_written_or_measured_is_said_before_an_image_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let bad = write(folder.path(), "bad.png", "no picture");
    let (folder_name, bad) = (folder.path().to_string_lossy().into_owned(), bad);
    let labels = write(folder.path(), "labels.csv", "image,edema\nbad.png,1\n");
    let run = |first: &[&str], more: &[&str]| {
        let data = ["--images", &folder_name, "--labels", &labels];
        refused(&evaluate(&[first, &data, more].concat()))
    };
    assert!(run(&[], &["--by", "age"]).contains("--by age"));
    assert!(run(&[], &["--html", &bad]).contains("cannot make the folder"));
    let nowhere = folder.path().join("none/plot.png").to_string_lossy().into_owned();
    assert!(run(&["calibrate"], &["--plot", &nowhere]).contains("cannot draw the plot"));
    let error = run(&[], &[]);
    assert!(error.contains("bad.png") && error.contains("--skip-missing"), "{error}");
}

#[test]
fn an_image_that_does_not_serve_is_passed_over_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let text = "image,edema\ndx-pa-explicit.dcm,1\ncr-hand.dcm,0\ncr-ap-rle.dcm,0\n";
    let (images, labels) = (images(), write(folder.path(), "labels.csv", text));
    let data = ["--images", &images, "--labels", &labels, "--json"];
    let error = refused(&evaluate(&data));
    assert!(error.contains("cr-hand.dcm") && error.contains("--skip-missing"), "{error}");
    let output = evaluate(&[&data[..], &["--skip-missing"]].concat());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains("passed over: cr-hand.dcm: ") && told.matches("passed over").count() == 2,
        "{told}"
    );
    let figures = json(&output);
    assert_eq!((&figures["images"], &figures["skipped"]), (&2.into(), &1.into()));
}

#[test]
fn what_calibrate_prints_for_a_model_with_heads_fits_its_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let (images, labels) = (images(), write(folder.path(), "labels.csv", LABELS));
    let output = evaluate(&["calibrate", "--images", &images, "--labels", &labels]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        printed.contains("takes no temperatures") && printed.contains("# edema: "),
        "{printed}"
    );
    let text = std::fs::read_to_string(root().join("src/model/embedded/manifest.toml")).unwrap();
    let before = Manifest::parse(&text).unwrap().scores.unwrap();
    let (head, rest) = text.split_once("[scores.thresholds]").unwrap();
    let (_, tail) = rest.split_once("\n[").unwrap();
    let after = Manifest::parse(&format!("{head}{printed}\n[{tail}")).unwrap().scores.unwrap();
    assert!(after.thresholds.keys().eq(before.thresholds.keys()));
    let threshold = |scores: &Scores, of: &str| scores.thresholds[of].to_bits();
    assert_eq!(threshold(&after, "hernia"), threshold(&before, "hernia"), "not in the table");
    assert_ne!(threshold(&after, "edema"), threshold(&before, "edema"));
    let scored = evaluate(&["calibrate", "--images", &images, "--labels", &labels, "--json"]);
    let found = &json(&scored)["scores"]["edema"];
    let given = found["threshold_as_given"].as_f64().unwrap() as f32;
    assert_eq!(given.to_bits(), threshold(&after, "edema"));
}

#[test]
fn calibrate_prints_thresholds_and_draws_the_plot() {
    let folder = tempfile::tempdir().unwrap();
    let (images, labels) = (images(), write(folder.path(), "labels.csv", LABELS));
    let plot = folder.path().join("reliability.png");
    let plot_name = plot.to_string_lossy().into_owned();
    let output = evaluate(&[
        "calibrate",
        "--images",
        &images,
        "--labels",
        &labels,
        "--plot",
        &plot_name,
        "--json",
    ]);
    let found = json(&output);
    assert_eq!(found["temperatures"], serde_json::json!({}), "the model has heads");
    assert!(found["scores"]["abnormal"]["temperature"].as_f64().unwrap() > 0.0);
    assert!(found["scores"]["cardiomegaly"]["ece_after"].is_number());
    assert!(drawn(&plot, 0..900, 0..600) > 1000);
}
