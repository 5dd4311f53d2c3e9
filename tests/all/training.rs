//! Training: every variable learns, runs go on after a stop, and the three steps end in a model
//! directory that drafts.

mod refusals;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use candle_core::{DType, Device, Tensor, Var};
use thorascribe::model::language::llama::{Llama, LlamaConfig};
use thorascribe::model::vision::encoder::ImageEncoderConfig;
use thorascribe::model::vision::swin::SwinConfig;
use thorascribe::model::{DraftRequest, Model};
use thorascribe::radiograph::open_picture;
use thorascribe::train::chance::Chance;
use thorascribe::train::encoder::{Encoder, read};
use thorascribe::train::grammar::Grammar;
use thorascribe::train::label::{FINDINGS, LabelSet, SCORES};
use thorascribe::train::variables::fresh;

#[test]
fn the_grammar_gives_the_same_text_for_the_same_labels_and_seed() {
    let grammar = Grammar::embedded().unwrap();
    let labels = LabelSet::from_flags((0..SCORES).map(|i| i % 3 == 0));
    assert_eq!(grammar.write(labels, 5), grammar.write(labels, 5));
    let mut texts: Vec<String> = (0..200).map(|seed| grammar.write(labels, seed)).collect();
    texts.sort();
    texts.dedup();
    assert!(texts.len() > 100, "only {} different texts of 200", texts.len());
}

#[test]
fn a_summary_names_every_positive_label_and_claims_no_other() {
    let grammar = Grammar::embedded().unwrap();
    let mut chance = Chance::new(1);
    for seed in 0..2000 {
        let share = [0.2, 0.7][seed as usize % 2];
        let labels = LabelSet::from_flags((0..SCORES).map(|_| chance.happens(share)));
        let text = grammar.write(labels, seed);
        for index in 0..FINDINGS.len() {
            let name = grammar.name(index).unwrap();
            assert!(
                !labels.contains(index) || text.to_lowercase().contains(name),
                "{name}: {text}"
            );
        }
        assert_eq!(grammar.read(&text), labels, "{text}");
    }
}

#[test]
fn many_findings_of_the_lungs_share_a_sentence() {
    let grammar = Grammar::embedded().unwrap();
    let sentences = |many: usize| {
        // Atelectasis, infiltrate, mass, nodule, pneumonia: all of the lungs.
        let lungs = [0, 3, 4, 5, 6];
        let labels = LabelSet::from_flags((0..SCORES).map(|i| lungs[..many].contains(&i)));
        grammar.write(labels, 7).split(". ").count()
    };
    assert_eq!(sentences(3), sentences(2) + 1);
    assert!(sentences(4) < sentences(3) && sentences(5) == sentences(4));
}

#[test]
fn a_summary_speaks_neither_of_sides_nor_of_earlier_studies() {
    let grammar = Grammar::embedded().unwrap();
    let mut chance = Chance::new(2);
    for seed in 0..2000 {
        let labels = LabelSet::from_flags((0..SCORES).map(|_| chance.happens(0.3)));
        let text = grammar.write(labels, seed).to_lowercase();
        for word in ["left", "right", "bilateral", "prior", "previous", "interval", "unchanged"] {
            assert!(!text.split(|c: char| !c.is_alphabetic()).any(|w| w == word), "{word}: {text}");
        }
    }
}

/// Compares each variable's gradient with the change of the loss along one random direction.
pub(crate) fn gradients_agree(variables: &[(String, Var)], loss: impl Fn() -> Tensor) {
    let gradients = loss().backward().unwrap();
    let value = || f64::from(loss().to_scalar::<f32>().unwrap());
    let mut chance = Chance::new(3);
    for (name, var) in variables {
        let gradient = gradients.get(var).unwrap_or_else(|| panic!("{name} gets no gradient"));
        let start = var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let direction: Vec<f32> = start.iter().map(|_| chance.normal()).collect();
        let step = 4e-3 / (start.len() as f32).sqrt();
        let moved = |sign: f32| {
            let values: Vec<f32> =
                start.iter().zip(&direction).map(|(x, d)| x + sign * step * d).collect();
            var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap()).unwrap();
            value()
        };
        let numeric = (moved(1.0) - moved(-1.0)) / (2.0 * f64::from(step));
        moved(0.0);
        let slopes = gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let along: f64 =
            slopes.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
        let tolerance = 0.02 * along.abs().max(numeric.abs()) + 0.02;
        assert!((numeric - along).abs() <= tolerance, "{name}: {along} by backward, {numeric}");
        // A key's bias shifts every score of a row alike: its gradient is 0 by nature.
        let still = slopes.iter().all(|g| *g == 0.0);
        assert!(!still || name.ends_with("key.bias"), "{name} stands still");
    }
}

fn numbers(chance: &mut Chance, count: usize) -> Vec<f32> {
    (0..count).map(|_| chance.normal()).collect()
}

#[test]
fn every_variable_of_the_image_encoder_has_the_gradient_of_finite_differences() {
    let config = ImageEncoderConfig::Swin(SwinConfig {
        image_size: 56,
        patch_size: 4,
        num_channels: 1,
        embed_dim: 8,
        depths: vec![2, 1],
        num_heads: vec![2, 2],
        window_size: 7,
        mlp_ratio: 2.0,
        qkv_bias: true,
        layer_norm_eps: 1e-5,
        hidden_act: "gelu".to_owned(),
        use_absolute_embeddings: false,
    });
    let (encoder, variables) = fresh(1, |source| Encoder::load(&config, source)).unwrap();
    let mut chance = Chance::new(4);
    let pixels =
        Tensor::from_vec(numbers(&mut chance, 2 * 56 * 56), (2, 1, 56, 56), &Device::Cpu).unwrap();
    let weights =
        Tensor::from_vec(numbers(&mut chance, 2 * SCORES), (2, SCORES), &Device::Cpu).unwrap();
    gradients_agree(&variables, || {
        let (_, logits) = encoder.forward(&pixels).unwrap();
        (logits * &weights).unwrap().sum_all().unwrap()
    });
}

#[test]
fn every_variable_of_the_language_model_has_the_gradient_of_finite_differences() {
    let config = LlamaConfig {
        vocab_size: 20,
        hidden_size: 16,
        intermediate_size: 24,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: Some(2),
        head_dim: None,
        rms_norm_eps: 1e-6,
        rope_theta: 10_000.0,
        max_position_embeddings: 32,
        tie_word_embeddings: false,
    };
    let (llama, variables) = fresh(1, |source| Ok(Llama::load(&config, source)?)).unwrap();
    let mut chance = Chance::new(5);
    let ids: Vec<u32> = (0..2 * 9).map(|i| (i * 7 + i / 9) % 20).collect();
    let ids = Tensor::from_vec(ids, (2, 9), &Device::Cpu).unwrap();
    let weights =
        Tensor::from_vec(numbers(&mut chance, 2 * 9 * 20), (2, 9, 20), &Device::Cpu).unwrap();
    gradients_agree(&variables, || {
        // The image's slot, and the embeddings of 20 numbers: both must lead back.
        let embeds = llama.embed(&ids).unwrap();
        let logits = llama.forward_embeds(&(embeds * 10.0).unwrap(), None).unwrap();
        (logits * &weights).unwrap().sum_all().unwrap()
    });
}

/// A data folder of small pictures: a bright spot below for effusions, a wide one for
/// cardiomegaly.
fn data(dir: &Path) -> PathBuf {
    let data = dir.join("data");
    std::fs::create_dir_all(data.join("images")).unwrap();
    let columns: Vec<&str> = FINDINGS.iter().map(|f| f.column).collect();
    let mut table = format!("image,patient,split,{}\n", columns.join(","));
    let mut chance = Chance::new(6);
    for number in 0..72 {
        let (effusion, heart) = (number % 2 == 0, number % 3 == 0);
        let mut image = image::GrayImage::from_pixel(40, 40, image::Luma([60]));
        for (x, y, pixel) in image.enumerate_pixels_mut() {
            let spot =
                effusion && y > 28 || heart && (12..28).contains(&x) && (12..28).contains(&y);
            pixel.0[0] = if spot { 190 } else { 60 } + chance.below(30) as u8;
        }
        let name = format!("{number:03}.png");
        image.save(data.join("images").join(&name)).unwrap();
        let split = ["train", "train", "train", "train", "test", "findings_test"][number % 6];
        let flags: Vec<&str> = FINDINGS
            .iter()
            .map(|f| match f.observation.name() {
                "pleural_effusion" if effusion => "1",
                "cardiomegaly" if heart => "1",
                _ => "0",
            })
            .collect();
        let row = format!("{name},patient {number},{split},{}\n", flags.join(","));
        table.push_str(&row);
    }
    std::fs::write(data.join("labels.csv"), table).unwrap();
    data
}

fn train(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_thorascribe");
    Command::new(program).arg("train").args(arguments).output().unwrap()
}

#[test]
fn numbers_that_no_training_can_use_are_usage_errors() {
    for wrong in [
        ["--batch", "0"],
        ["--epochs", "0"],
        ["--summaries", "0"],
        ["--threads", "0"],
        ["--rate", "nan"],
        ["--rate", "inf"],
        ["--minutes", "nan"],
    ] {
        let output = train(&["lm", "--out", "nowhere", wrong[0], wrong[1]]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {error}");
        assert!(error.contains(wrong[0]), "{wrong:?}: {error}");
    }
}

fn trained(arguments: &[&str]) -> serde_json::Value {
    let output = train(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn train_encoder(data: &Path, out: &Path, epochs: &str) -> serde_json::Value {
    trained(&[
        "encoder",
        "--data",
        text(data),
        "--out",
        text(out),
        "--epochs",
        epochs,
        "--size",
        "28",
        "--width",
        "8",
        "--depths",
        "1",
        "--batch",
        "8",
        "--rate",
        "0.01",
    ])
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn epochs(log: &Path) -> Vec<u64> {
    let log = std::fs::read_to_string(log).unwrap();
    let epoch = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["epoch"].as_u64().unwrap()
    };
    log.lines().map(epoch).collect()
}

#[test]
fn encoder_language_model_and_alignment_end_in_a_model_that_drafts() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(dir.path());
    let at = |name: &str| dir.path().join(name);
    let (encoder, language, aligned) = (at("encoder"), at("language"), at("aligned"));
    let figures = train_encoder(&data, &encoder, "4");
    assert!(figures["pleural_effusion"].as_f64().unwrap() > 0.7, "{figures}");
    trained(&[
        "lm",
        "--data",
        text(&data),
        "--out",
        text(&language),
        "--epochs",
        "2",
        "--summaries",
        "64",
        "--pieces",
        "400",
        "--width",
        "32",
        "--layers",
        "1",
        "--heads",
        "2",
    ]);
    let weights = |path: PathBuf| std::fs::read(path).unwrap();
    let frozen = weights(language.join("language.safetensors"));
    trained(&[
        "align",
        "--encoder",
        text(&encoder),
        "--language",
        text(&language),
        "--data",
        text(&data),
        "--out",
        text(&aligned),
        "--epochs",
        "1",
        "--test",
    ]);
    assert_eq!(frozen, weights(language.join("language.safetensors")));
    let model = Model::open(&aligned.join("model")).unwrap();
    let image = open_picture(&data.join("images/000.png")).unwrap();
    let draft = model.draft(&image, &DraftRequest::default()).unwrap();
    assert_eq!(draft.scores.len(), FINDINGS.len());
    assert!(draft.abnormal.is_some_and(|p| (0.0..=1.0).contains(&p)));
    let card = std::fs::read_to_string(aligned.join("model/CARD.md")).unwrap();
    assert!(card.contains("radiographs of the folder") && !card.contains("NIH"), "{card}");
    let stored =
        candle_core::safetensors::load(aligned.join("model/weights.safetensors"), &Device::Cpu)
            .unwrap();
    assert!(stored.values().all(|t| t.dtype() == DType::F16));
}

#[test]
fn the_recipe_runs_every_step_and_goes_on_where_it_was_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(dir.path());
    let out = dir.path().join("run");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let imagenet = root.join("fixtures/reference/efficientnet_lite0/weights.safetensors");
    let recipe = || {
        trained(&[
            "default",
            "--data",
            text(&data),
            "--from",
            text(&imagenet),
            "--out",
            text(&out),
            "--size",
            "32",
            "--encoders",
            "2",
            "--encoder-epochs",
            "1",
            "--language-epochs",
            "1",
            "--summaries",
            "32",
        ])
    };
    let figures = recipe();
    assert!(figures["development"]["abnormal"].as_f64().is_some(), "{figures}");
    let model = Model::open(&out.join("aligned/model")).unwrap();
    let image = open_picture(&data.join("images/000.png")).unwrap();
    model.draft(&image, &DraftRequest::default()).unwrap();
    let weights = |run: &str| std::fs::read(out.join(run).join("encoder.safetensors")).unwrap();
    assert!(weights("encoder-1") != weights("encoder-2"));
    // Without its last step the recipe makes the same again, and nothing before it.
    std::fs::remove_dir_all(out.join("aligned")).unwrap();
    assert_eq!(recipe(), figures);
    assert_eq!(epochs(&out.join("encoder-1/log.jsonl")), [1]);
}

#[test]
fn an_efficientnet_lite_is_tuned_from_imagenet_weights_and_from_an_earlier_run() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(dir.path());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let imagenet = root.join("fixtures/reference/efficientnet_lite0/weights.safetensors");
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    let run = |from: &Path, out: &Path, rate: &str| {
        trained(&[
            "encoder",
            "--architecture",
            "efficientnet-lite0",
            "--from",
            text(from),
            "--data",
            text(&data),
            "--out",
            text(out),
            "--epochs",
            "3",
            "--size",
            "32",
            "--batch",
            "8",
            "--rate",
            rate,
        ])
    };
    let figures = run(&imagenet, &first, "0.001");
    assert!(figures["pleural_effusion"].as_f64().unwrap() > 0.7, "{figures}");
    // Without learning the second run gives what the first gave.
    let again = run(&first, &second, "0");
    let (encoder, _) = read(&first).unwrap();
    let (other, card) = read(&second).unwrap();
    assert_eq!(figures["pleural_effusion"], again["pleural_effusion"]);
    let side = card.encoder.image_size();
    let grey = numbers(&mut Chance::new(7), side * side);
    let pixels = Tensor::from_vec(grey, (1, 1, side, side), &Device::Cpu).unwrap();
    let features = |encoder: &Encoder| encoder.forward(&pixels).unwrap().0;
    let gap = (features(&encoder) - features(&other)).unwrap().abs().unwrap().max_all().unwrap();
    assert!(gap.to_scalar::<f32>().unwrap() < 1e-3);
}

#[test]
fn a_run_goes_on_from_its_last_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(dir.path());
    let out = dir.path().join("encoder");
    train_encoder(&data, &out, "1");
    train_encoder(&data, &out, "3");
    assert_eq!(epochs(&out.join("log.jsonl")), [1, 2, 3]);
}

#[test]
fn a_run_with_other_settings_does_not_go_on_in_the_same_folder() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(dir.path());
    let out = dir.path().join("encoder");
    train_encoder(&data, &out, "1");
    let output = train(&[
        "encoder",
        "--data",
        text(&data),
        "--out",
        text(&out),
        "--epochs",
        "2",
        "--size",
        "56",
        "--width",
        "8",
        "--depths",
        "1",
        "--batch",
        "8",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("other settings"), "{told}");
}

#[test]
fn the_same_seed_gives_the_same_encoder() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(dir.path());
    let outs = ["one", "other"].map(|name| dir.path().join(name));
    let weights = outs.map(|out| {
        train_encoder(&data, &out, "1");
        std::fs::read(out.join("encoder.safetensors")).unwrap()
    });
    assert!(weights[0] == weights[1]);
}

#[test]
fn a_table_without_the_needed_columns_is_refused_with_their_names() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("labels.csv"), "image,patient\na.png,1\n").unwrap();
    let data = text(dir.path());
    let output = train(&["encoder", "--data", data, "--out", text(&dir.path().join("out"))]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("labels.csv") && told.contains("Atelectasis"), "{told}");
}

/// NIH's table of the whole release beside the labels: patients 1 to 500, one in five with both
/// findings of [`data`].
fn release(data: &Path, more: &str) {
    let names = ["No Finding", "No Finding", "No Finding", "No Finding", "Effusion|Cardiomegaly"];
    let rows = (0..500).map(|i| format!("{:08}_000.png,{},0,{}\n", i + 1, names[i % 5], i + 1));
    let rows: String = rows.collect();
    let text = format!("Image Index,Finding Labels,Follow-up #,Patient ID\n{rows}{more}");
    let folder = data.join("metadata");
    std::fs::create_dir_all(&folder).unwrap();
    let file = std::fs::File::create(folder.join("Data_Entry_2017_v2020.csv.gz")).unwrap();
    let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, text.as_bytes()).unwrap();
    packed.finish().unwrap();
}

#[test]
fn scores_take_in_what_nihs_table_says_of_findings() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(dir.path());
    let labels = data.join("labels.csv");
    let table = std::fs::read_to_string(&labels).unwrap();
    std::fs::write(&labels, table.replace(",patient ", ",00")).unwrap();
    let trained_on = table.lines().filter(|line| line.contains(",train,")).count();
    let (without, with) = (dir.path().join("without"), dir.path().join("with"));
    train_encoder(&data, &without, "2");
    release(&data, "");
    train_encoder(&data, &with, "2");
    let [(alone, card), (together, told)] = [&without, &with].map(|out| read(out).unwrap());
    assert!(card.release.is_none());
    let release = told.release.unwrap();
    // Without the 24 tested on and those kept back; patient 0 is none of the table's.
    let aside = 500 - release.radiographs;
    assert!((24..24 + trained_on / 3).contains(&aside), "{aside} left out");
    assert!((release.abnormal - 0.2).abs() < 0.02, "{told:?}");
    let of = |encoder: &Encoder, seed: u64| {
        let grey = numbers(&mut Chance::new(seed), 28 * 28);
        let pixels = Tensor::from_vec(grey, (1, 1, 28, 28), &Device::Cpu).unwrap();
        encoder.forward(&pixels).unwrap().1.get(0).unwrap().to_vec1::<f32>().unwrap()
    };
    // The two always come together there: between any pictures both move alike, as their sum did.
    let [effusion, heart] = ["Effusion", "Cardiomegaly"]
        .map(|column| FINDINGS.iter().position(|f| f.column == column).unwrap());
    let pictures: Vec<_> = (8..12).map(|seed| of(&together, seed)).collect();
    let moved = |score: usize, i: usize| pictures[i][score] - pictures[0][score];
    let ratio = |i: usize| moved(effusion, i) / moved(heart, i);
    for i in 2..4 {
        assert!((ratio(i) / ratio(1) - 1.0).abs() < 0.01, "{} and {}", ratio(i), ratio(1));
    }
    let apart: Vec<_> = (8..12).map(|seed| of(&alone, seed)).collect();
    let ratio =
        |i: usize| (apart[i][effusion] - apart[0][effusion]) / (apart[i][heart] - apart[0][heart]);
    assert!((2..4).any(|i| (ratio(i) / ratio(1) - 1.0).abs() > 0.05), "they moved alike before");
    let abnormal = |encoder: &Encoder| of(encoder, 8)[FINDINGS.len()];
    assert!(abnormal(&together) < abnormal(&alone) - 0.5, "more of those kept back are abnormal");
}

#[test]
fn an_encoder_learns_who_is_shown_without_telling_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(dir.path());
    let table = |age: fn(usize) -> usize| {
        let row = |i| format!("{i:03}.png,No Finding,{i},{},M,PA\n", age(i));
        let rows: String = (0..72).map(row).collect();
        let columns = "Image Index,Finding Labels,Patient ID,Patient Age,Patient Gender";
        let text = format!("{columns},View Position\n{rows}");
        std::fs::write(data.join("Data_Entry_2017_v2020.csv"), text).unwrap();
    };
    let tensors = |name: &str| {
        let out = dir.path().join(name);
        train_encoder(&data, &out, "1");
        candle_core::safetensors::load(out.join("encoder.safetensors"), &Device::Cpu).unwrap()
    };
    let without = tensors("without");
    table(|_| 50);
    let same_age = tensors("same");
    table(|i| if i % 2 == 0 { 20 } else { 80 });
    let by_effusion = tensors("age");
    let names = |t: &HashMap<String, Tensor>| t.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&by_effusion), names(&without));
    let first = "vision_model.model.embeddings.patch_embeddings.projection.weight";
    let values =
        |t: &HashMap<String, Tensor>| t[first].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(values(&same_age) != values(&by_effusion), "the ages taught nothing");
}

#[test]
fn a_release_table_with_an_unknown_finding_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(dir.path());
    release(&data, "00000501_000.png,Efusion,0,501\n");
    let output = train(&["lm", "--data", text(&data), "--out", text(&dir.path().join("out"))]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    let named = ["Data_Entry_2017_v2020.csv.gz", "row 501", "Efusion"];
    assert!(named.iter().all(|part| told.contains(part)), "{told}");
}
