//! `train align` on pairs of image and summary: what is learned, what is kept, what a stop costs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use tempfile::TempDir;
use thorascribe::model::checkpoint::ModelFiles;
use thorascribe::model::checkpoint::import::{ImportOptions, import};
use thorascribe::model::{DraftRequest, Model};
use thorascribe::radiograph::open_picture;
use thorascribe::train::chance::Chance;
use thorascribe::train::optimise::{AdamW, Constants};
use thorascribe::train::pairs::{Alignment, Features, Item, LowRankSettings, Stage, Trained};
use thorascribe::train::run::Task;
use thorascribe::train::workers::Workers;

use super::model::{reference, released, small};
use super::support::process::{Running, succeed, text};

const SUMMARIES: [&str; 8] =
    ["Clear", "Edema", "Fracture", "Normal", "Mass", "Air", "Left", "Heart"];

/// Eight pictures that an encoder of random weights tells apart.
fn pictures(folder: &Path) {
    let mut chance = Chance::new(9);
    for number in 0..8 {
        let image = image::GrayImage::from_fn(64, 64, |x, y| {
            let inside = (x.abs_diff(32).pow(2) + y.abs_diff(32).pow(2)) < 400;
            image::Luma([match number {
                0 => 0,
                1 => 255,
                2 => 255 * (x / 2 % 2) as u8,
                3 => 255 * (y / 2 % 2) as u8,
                4 => 255 * ((x / 8 + y / 8) % 2) as u8,
                5 => chance.below(256) as u8,
                6 => 2 * (x + y) as u8,
                _ => 255 * u8::from(inside),
            }])
        });
        image.save(folder.join(format!("{number}.png"))).unwrap();
    }
}

/// A data set of these many pairs in the split `train`.
fn pairs(folder: &Path, count: usize) -> PathBuf {
    pictures(folder);
    let line = |number: usize| {
        json!({
            "id": format!("report {number}"), "patient": format!("{number}"), "split": "train",
            "images": [
                {"file": format!("{number}.png"), "view": "PA"},
                {"file": "side.png", "view": "LATERAL"},
            ],
            "findings": "", "impression": "", "summary": SUMMARIES[number],
        })
    };
    let lines: Vec<String> = (0..count).map(|number| format!("{}\n", line(number))).collect();
    let path = folder.join("dataset.jsonl");
    std::fs::write(&path, lines.concat()).unwrap();
    path
}

fn align(model: &Path, folder: &Path, out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thorascribe"));
    command.args(["train", "align", "--model"]).arg(model);
    command.arg("--dataset").arg(folder.join("dataset.jsonl"));
    command.arg("--source").arg(folder).arg("--out").arg(out).args(more);
    command
}

fn aligned(command: &mut Command) -> Value {
    serde_json::from_str(&succeed(command)).unwrap()
}

/// A copy of a model directory with its first prompt alone.
fn asked_one_thing(model: &Path, out: &Path) -> Model {
    std::fs::create_dir_all(out).unwrap();
    let mut manifest = ModelFiles::open(model).unwrap().manifest().clone();
    for name in manifest.files.keys() {
        std::fs::copy(model.join(name), out.join(name)).unwrap();
    }
    manifest.prompts.truncate(1);
    std::fs::write(out.join("manifest.toml"), manifest.to_text().unwrap()).unwrap();
    Model::open(out).unwrap()
}

#[test]
fn eight_pairs_are_learned_to_their_exact_text_and_nothing_else_changes() {
    let folder = TempDir::new().unwrap();
    let start = folder.path().join("start");
    let tokenizer = asked_one_thing(released(), &start).tokenizer().clone();
    assert!(SUMMARIES.iter().all(|text| tokenizer.encode(text).unwrap().len() <= 8));
    pairs(folder.path(), 8);
    let out = folder.path().join("run");
    let settings = "--steps 700 --batch 8 --rate 0.2 --least-rate 0.002 --warm-up 10 --decay 0";
    let settings: Vec<&str> = settings.split(' ').collect();
    let figures = aligned(&mut align(&start, folder.path(), &out, &settings));
    assert_eq!((&figures["pairs"], &figures["images_encoded"]), (&json!(8), &json!(8)));
    let model = Model::open(&out.join("model")).unwrap();
    assert_eq!(figures["digest"], model.digest());
    for (number, summary) in SUMMARIES.iter().enumerate() {
        let image = open_picture(&folder.path().join(format!("{number}.png"))).unwrap();
        assert_eq!(model.draft(&image, &DraftRequest::default()).unwrap().text, *summary);
    }
    let [old, new] = [&start, &out.join("model")].map(|model| ModelFiles::open(model).unwrap());
    for (name, digest) in &old.manifest().files {
        assert_eq!(new.manifest().files[name] == *digest, name != "projection.safetensors");
    }
    assert!(out.join("loss.png").metadata().unwrap().len() > 1000);
}

/// A run of some steps with several epochs, a batch that does not divide the pairs.
const SHORT: [&str; 10] =
    ["--steps", "40", "--batch", "3", "--at-once", "2", "--every", "2", "--rate", "0.01"];

#[test]
fn a_run_killed_in_mid_epoch_and_resumed_ends_with_the_digest_of_one_that_was_not() {
    let folder = TempDir::new().unwrap();
    pairs(folder.path(), 8);
    let cache = folder.path().join("features");
    let more = [&SHORT[..], &["--cache", cache.to_str().unwrap()]].concat();
    let whole = aligned(&mut align(released(), folder.path(), &folder.path().join("whole"), &more));
    let out = folder.path().join("stopped");
    let mut command = align(released(), folder.path(), &out, &more);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = Running(command.spawn().unwrap());
    let checkpoint = out.join("checkpoint.safetensors");
    let patience = Instant::now() + Duration::from_mins(2);
    while !checkpoint.exists() {
        assert!(Instant::now() < patience, "no checkpoint came");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill();
    assert!(!out.join("model").exists(), "it had ended before it was killed");
    let stopped = std::fs::read(&checkpoint).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&stopped).unwrap();
    let state: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["state"]).unwrap();
    assert!(state["within"].as_u64().unwrap() > 0, "not in mid-epoch: {state}");
    let resumed = aligned(&mut align(released(), folder.path(), &out, &more));
    assert_eq!(resumed["digest"], whole["digest"]);
    assert_eq!(resumed["images_encoded"], 0, "the encoder ran again");
    let steps = |run: &str| {
        let log = std::fs::read_to_string(folder.path().join(run).join("log.jsonl")).unwrap();
        let field = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            (line["step"].as_u64().unwrap(), line["loss"].as_f64().map(f64::to_bits))
        };
        log.lines().map(field).collect::<Vec<_>>()
    };
    assert_eq!(steps("whole"), steps("stopped"));
}

#[test]
fn a_run_with_other_settings_or_another_model_does_not_go_on_in_the_same_folder() {
    let folder = TempDir::new().unwrap();
    pairs(folder.path(), 2);
    let out = folder.path().join("run");
    let one = ["--steps", "1", "--batch", "2"];
    aligned(&mut align(released(), folder.path(), &out, &one));
    let more = [&one[..], &["--beta2", "0.9"]].concat();
    let output = align(released(), folder.path(), &out, &more).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("other settings"), "{}", text(&output));
}

#[test]
fn an_image_that_is_not_there_is_named() {
    let folder = TempDir::new().unwrap();
    pairs(folder.path(), 2);
    std::fs::remove_file(folder.path().join("1.png")).unwrap();
    let output =
        align(released(), folder.path(), &folder.path().join("run"), &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("1.png"), "{}", text(&output));
}

/// The same command for the language model.
fn tune(model: &Path, folder: &Path, out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thorascribe"));
    command.args(["train", "lm", "--model"]).arg(model);
    command.arg("--dataset").arg(folder.join("dataset.jsonl"));
    command.arg("--source").arg(folder).arg("--out").arg(out).args(more);
    command
}

/// The mean loss of the pairs in a folder, by a model as it is written.
fn loss_of(model: &Path, folder: &Path) -> f32 {
    let task = task(model, folder, 8, &Trained::Projection);
    let (sum, tokens) = task.loss(&[0, 1, 2, 3, 4, 5, 6, 7], 0).unwrap();
    sum.to_scalar::<f32>().unwrap() / tokens
}

#[test]
fn the_language_model_is_tuned_whole_or_by_a_low_rank_change_that_is_merged() {
    let folder = TempDir::new().unwrap();
    let start = folder.path().join("start");
    asked_one_thing(released(), &start);
    pairs(folder.path(), 8);
    let before = loss_of(&start, folder.path());
    let common = "--batch 8 --warm-up 5 --steps 60 --least-rate 0.001 --longest 40 --rate";
    let common: Vec<&str> = common.split(' ').collect();
    let all = "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj";
    let ways: [(&str, &[&str]); 2] = [
        ("low_rank", &["0.02", "--rank", "4", "--alpha", "8", "--adapt", all]),
        ("full", &["0.01", "--full"]),
    ];
    for (name, more) in ways {
        let out = folder.path().join(name);
        let more = [&common[..], more].concat();
        let figures = aligned(&mut tune(&start, folder.path(), &out, &more));
        let model = out.join("model");
        assert_eq!(figures["digest"], Model::open(&model).unwrap().digest());
        // What the run said of its last step, the written model does alone.
        let after = loss_of(&model, folder.path());
        assert!(after < 0.5 * before, "{name}: {after} after {before}");
        let said = last_loss(&out);
        assert!((said - f64::from(after)).abs() < 0.15 * said.max(0.2), "{name}: {said} {after}");
        let [old, new] = [&start, &model].map(|model| ModelFiles::open(model).unwrap());
        for (file, digest) in &old.manifest().files {
            let kept = new.manifest().files[file] == *digest;
            assert_eq!(kept, file != "language_model.safetensors", "{name}: {file}");
        }
        let types = |files: &ModelFiles| {
            let stored = files.stored().unwrap();
            let types = stored.names().into_iter().map(|n| stored.describe(&n).unwrap().1);
            types.collect::<Vec<_>>()
        };
        assert_eq!(types(&old), types(&new), "{name}");
        assert!(new.manifest().source.contains("thorascribe train lm"));
    }
}

fn last_loss(out: &Path) -> f64 {
    let log = std::fs::read_to_string(out.join("log.jsonl")).unwrap();
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    last["loss"].as_f64().unwrap()
}

#[test]
fn a_low_rank_change_has_the_gradient_of_finite_differences_and_begins_as_none() {
    let folder = TempDir::new().unwrap();
    let layers = ["q_proj", "v_proj", "down_proj"].map(str::to_owned).to_vec();
    let trained = Trained::LowRank(LowRankSettings { rank: 2, alpha: 4.0, layers });
    let plain = task(released(), folder.path(), 4, &Trained::Projection);
    let task = task(released(), folder.path(), 4, &trained);
    let mean = |task: &Alignment| {
        let (sum, weight) = task.loss(&[0, 1, 2, 3], 0).unwrap();
        (sum / f64::from(weight)).unwrap()
    };
    let of = |task: &Alignment| mean(task).to_scalar::<f32>().unwrap();
    assert!((of(&plain) - of(&task)).abs() < 1e-5);
    // Beside a B of zeros A has no gradient.
    for (name, var) in task.variables() {
        if name.ends_with("lora_B.weight") {
            let mut chance = Chance::of(5, name.len() as u64);
            let numbers: Vec<f32> = (0..var.elem_count()).map(|_| chance.normal() * 0.1).collect();
            var.set(&Tensor::from_vec(numbers, var.shape(), &Device::Cpu).unwrap()).unwrap();
        }
    }
    super::training::gradients_agree(task.variables(), || mean(&task));
}

#[test]
fn what_cannot_be_tuned_is_said_at_once() {
    let folder = TempDir::new().unwrap();
    pairs(folder.path(), 2);
    let out = folder.path().join("run");
    let output =
        tune(released(), folder.path(), &out, &["--adapt", "q_proj,query"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("\"query\"") && text(&output).contains("o_proj"));
    let packed = folder.path().join("packed");
    let mut quantize = Command::new(env!("CARGO_BIN_EXE_thorascribe"));
    quantize.args(["model", "quantize"]).arg(released()).arg("--out").arg(&packed);
    succeed(quantize.args(["--dtype", "q8_0"]));
    for more in [&["--full"][..], &[]] {
        let output = tune(&packed, folder.path(), &out, more).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output).contains("is quantized"), "{}", text(&output));
    }
}

/// A task of these many pairs in this folder.
fn task(model: &Path, folder: &Path, count: usize, trained: &Trained) -> Alignment {
    pairs(folder, count);
    let files = ModelFiles::open(model).unwrap();
    let model = Model::open(model).unwrap();
    let features = Features::new(&model, &folder.join("features")).unwrap();
    let paths: Vec<PathBuf> = (0..count).map(|n| folder.join(format!("{n}.png"))).collect();
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let bar = indicatif::ProgressBar::hidden();
    let kept = features.keep(&paths, &Workers::new(1).unwrap(), &bar).unwrap();
    let items = kept.into_iter().zip(SUMMARIES).map(|((features, _), summary)| {
        let text = model.tokenizer().encode(&format!("{summary}###")).unwrap();
        Item { features, text }
    });
    let items = items.collect();
    Alignment::new(model, &files.stored().unwrap(), trained, [items, vec![]], 1).unwrap()
}

#[test]
fn the_projection_has_the_gradient_of_finite_differences() {
    // 16-bit weights and a token a query; f32 weights of the embedded kind, and one embedding.
    let embedded = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/model/embedded");
    for model in [released(), embedded.as_path()] {
        let folder = TempDir::new().unwrap();
        let task = task(model, folder.path(), 4, &Trained::Projection);
        super::training::gradients_agree(task.variables(), || {
            let (sum, weight) = task.loss(&[0, 1, 2, 3], 0).unwrap();
            (sum / f64::from(weight)).unwrap()
        });
    }
}

#[test]
fn parts_of_a_batch_add_up_to_its_gradient() {
    let folder = TempDir::new().unwrap();
    let task = task(released(), folder.path(), 7, &Trained::Projection);
    let all: Vec<usize> = (0..7).collect();
    let gradients = |threads: usize, at_once: usize| {
        let workers = Workers::new(threads).unwrap();
        workers.gradients(task.variables(), &all, at_once, |part| task.loss(part, 0)).unwrap()
    };
    let (loss, whole) = gradients(1, 7);
    for (threads, at_once) in [(1, 2), (2, 3)] {
        let (other, parts) = gradients(threads, at_once);
        assert!((loss - other).abs() < 1e-4, "{loss} {other}");
        for (a, b) in whole.iter().flatten().zip(parts.iter().flatten()) {
            assert!((a - b).abs() < 1e-4 * (1.0 + a.abs()), "{a} {b}");
        }
    }
}

#[test]
fn the_learning_rate_is_that_of_the_published_configurations() {
    for (stage, steps, rise, peak, least) in
        [(Stage::First, 20_000, 500, 1e-4, 8e-5), (Stage::Second, 2501, 200, 3e-5, 1e-5)]
    {
        let plan = stage.plan();
        let rate = |step: u64| {
            plan.schedule.rate(plan.rate, step as f64 / plan.steps.unwrap() as f64, step)
        };
        let near = |a: f32, b: f32| assert!((a - b).abs() < 2e-3 * b, "{stage:?}: {a} for {b}");
        assert_eq!(plan.steps, Some(steps));
        near(rate(0), 1e-6);
        near(rate(rise / 2), f32::midpoint(1e-6, peak));
        let turned = std::f32::consts::PI * rise as f32 / steps as f32;
        near(rate(rise), least + (peak - least) * f32::midpoint(1.0, turned.cos()));
        near(rate(steps / 2), f32::midpoint(peak, least));
        near(rate(steps - 1), least);
    }
}

#[test]
fn loss_gradients_and_three_steps_are_those_of_pytorch() {
    let folder = TempDir::new().unwrap();
    let place = folder.path().join("model");
    let whole = folder.path().join("whole");
    import(small().path(), &whole, &ImportOptions::default(), &mut |_| {}).unwrap();
    let model = asked_one_thing(&whole, &place);
    let expected = reference().parent().unwrap().join("minigpt4_small/align_steps.safetensors");
    let expected = candle_core::safetensors::load(expected, &Device::Cpu).unwrap();
    let floats = |name: &str| expected[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let items = (0..3).map(|number| {
        let features = folder.path().join(format!("{number}.f32"));
        let numbers = expected["features"].get(number).unwrap().flatten_all().unwrap();
        let numbers = numbers.to_vec1::<f32>().unwrap();
        let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        std::fs::write(&features, bytes).unwrap();
        let text = expected[&format!("text.{number}")].to_vec1::<i64>().unwrap();
        Item { features, text: text.into_iter().map(|id| id as u32).collect() }
    });
    let stored = ModelFiles::open(&place).unwrap().stored().unwrap();
    let items = [items.collect(), vec![]];
    let task = Alignment::new(model, &stored, &Trained::Projection, items, 1).unwrap();
    let variables = task.variables();
    let names: Vec<&str> = variables.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["projection.bias", "projection.weight"]);
    let constants = Constants { clip: 0.1, ..Stage::First.plan().constants };
    let mut optimiser = AdamW::new(variables, constants, |_| 1.0);
    let near = |name: &str, found: &[f32], tolerance: f32| {
        let all = floats(name);
        assert_eq!(all.len(), found.len(), "{name}");
        for (a, b) in found.iter().zip(&all) {
            assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{name}: {a} for {b}");
        }
    };
    let workers = Workers::new(2).unwrap();
    for (step, rate) in [1e-6, 2e-2, 8e-5].into_iter().enumerate() {
        let (loss, gradients) =
            workers.gradients(variables, &[0, 1, 2], 1, |part| task.loss(part, 0)).unwrap();
        near(&format!("{step}.loss"), &[loss], 1e-5);
        near(&format!("{step}.gradient.bias"), &gradients[0], 1e-4);
        near(&format!("{step}.gradient.weight"), &gradients[1], 1e-4);
        optimiser.step(variables, &gradients, rate).unwrap();
        for (part, (_, var)) in ["bias", "weight"].iter().zip(variables) {
            let values = var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            near(&format!("{step}.{part}"), &values, 1e-5);
        }
    }
}
