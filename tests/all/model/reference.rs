//! A checkpoint in the paper's architecture, stage by stage against the published implementation.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use candle_core::{DType, Device, Tensor};
use thorascribe::model::checkpoint::Tensors;
use thorascribe::model::checkpoint::compare::compare;
use thorascribe::model::checkpoint::expect::shapes;
use thorascribe::model::checkpoint::import::{ImportOptions, import};
use thorascribe::model::checkpoint::manifest::{ImageTokens, Manifest};
use thorascribe::model::checkpoint::torch;
use thorascribe::model::engine::Engine;
use thorascribe::model::{DraftRequest, Model, ModelError, PromptChoice, Sampling};
use thorascribe::radiograph::{GreyImage, open_picture};

use super::torch_file;
use crate::support::objects::root;

/// The folder of the reference checkpoint.
pub(crate) fn reference() -> PathBuf {
    root().join("fixtures/reference/medclip")
}

/// The options of an import with these image tokens.
pub(super) fn of(tokens: ImageTokens) -> ImportOptions {
    ImportOptions { image_tokens: Some(tokens), ..ImportOptions::default() }
}

/// The model directory made of it; made once a run.
pub(crate) fn imported(tokens: ImageTokens) -> &'static Path {
    static MODELS: [OnceLock<tempfile::TempDir>; 2] = [OnceLock::new(), OnceLock::new()];
    let at = usize::from(tokens == ImageTokens::Patches);
    let folder = MODELS[at].get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        import(&reference(), folder.path(), &of(tokens), &mut |_| {}).unwrap();
        folder
    });
    folder.path()
}

/// A copy of that model whose manifest `change` has changed.
pub(crate) fn changed(tokens: ImageTokens, change: impl FnOnce(&mut Manifest)) -> Model {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(imported(tokens)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let place = folder.path().join("manifest.toml");
    let mut manifest = Manifest::parse(&std::fs::read_to_string(&place).unwrap()).unwrap();
    change(&mut manifest);
    std::fs::write(&place, manifest.to_text().unwrap()).unwrap();
    Model::open(folder.path()).unwrap()
}

fn expected() -> Tensors {
    candle_core::safetensors::load(reference().join("expected.safetensors"), &Device::Cpu).unwrap()
}

fn image() -> GreyImage {
    open_picture(&reference().join("image.png")).unwrap()
}

const STAGES: [&str; 10] = [
    "image_u8",
    "pixel_values",
    "swin_last_hidden",
    "swin_pooled",
    "image_embedding",
    "image_tokens",
    "prompt_before_ids",
    "prompt_after_ids",
    "prompt_logits_last",
    "greedy_ids",
];

#[test]
fn every_stage_equals_the_published_implementation() {
    for tokens in [ImageTokens::Pooled, ImageTokens::Patches] {
        let model = Model::open(imported(tokens)).unwrap();
        let rows = compare(&model, &image(), &PromptChoice::Number(1), &expected()).unwrap();
        let named = |stage: &str| stage.trim_start_matches(&format!("{tokens}.")).to_owned();
        let stages = rows.iter().map(|row| named(&row.stage)).collect::<Vec<_>>();
        assert_eq!(stages, STAGES);
        for row in &rows {
            println!("{tokens}: {} {:.2e}", row.stage, row.difference);
            assert!(row.passed(), "{tokens}: {row:?}");
        }
    }
}

/// The second reference, of other sizes in every part; `fixtures/generate/model.py` made it.
fn small() -> PathBuf {
    root().join("fixtures/reference/small")
}

/// Imports `source` and holds it to the second reference's outputs.
fn equals_small(source: &Path, tokens: ImageTokens) -> Manifest {
    let out = tempfile::tempdir().unwrap();
    let manifest = import(source, out.path(), &of(tokens), &mut |_| {}).unwrap();
    let model = Model::open(out.path()).unwrap();
    let expected = small().join("expected.safetensors");
    let expected = candle_core::safetensors::load(expected, &Device::Cpu).unwrap();
    let image = open_picture(&small().join("image.png")).unwrap();
    let rows = compare(&model, &image, &PromptChoice::Number(1), &expected).unwrap();
    assert_eq!(rows.len(), STAGES.len());
    for row in &rows {
        assert!(row.passed(), "{tokens}: {row:?}");
    }
    manifest
}

#[test]
fn every_stage_of_other_sizes_equals_the_published_implementation() {
    for tokens in [ImageTokens::Pooled, ImageTokens::Patches] {
        let manifest = equals_small(&small(), tokens);
        // The base stands where transformers 5 writes it, and there are two ends of sequence.
        assert!((manifest.language_model.rope_theta - 500.0).abs() < 1e-9);
        assert_eq!(manifest.tokenizer.eos, 2);
        assert!(manifest.conversation.stop_tokens.contains(&vec![321]));
    }
}

#[test]
fn an_encoder_under_the_names_of_transformers_5_is_the_same_encoder() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["swin_config.json", "projection.safetensors", "vicuna"] {
        std::os::unix::fs::symlink(small().join(file), folder.path().join(file)).unwrap();
    }
    let file = "medclip_pytorch_model.bin";
    let tensors = torch::read(&small().join(file), |name| !name.ends_with("_index")).unwrap();
    let renamed = |name: &str| {
        name.replace(".attention.self.query.", ".attention.q_proj.")
            .replace(".attention.self.key.", ".attention.k_proj.")
            .replace(".attention.self.value.", ".attention.v_proj.")
            .replace(".attention.output.dense.", ".attention.o_proj.")
            .replace(".attention.self.", ".attention.relative_position_bias.")
            .replace(".intermediate.dense.", ".mlp.fc1.")
            .replace(".output.dense.", ".mlp.fc2.")
    };
    let numbers = |tensor: &Tensor| {
        let wide = tensor.to_dtype(DType::F32).and_then(|t| t.flatten_all()).unwrap();
        wide.to_vec1::<f32>().unwrap()
    };
    let tensors = tensors.iter().map(|(name, t)| (renamed(name), t.dims().to_vec(), numbers(t)));
    torch_file::save(&folder.path().join(file), &tensors.collect::<Vec<_>>());
    equals_small(folder.path(), ImageTokens::Pooled);
}

#[test]
fn whole_weights_are_taken_before_the_index_of_others() {
    let folder = copy();
    let index = r#"{"weight_map": {"lm_head.weight": "pytorch_model-00001-of-00002.bin"}}"#;
    std::fs::write(folder.path().join("vicuna/pytorch_model.bin.index.json"), index).unwrap();
    let out = tempfile::tempdir().unwrap();
    import(folder.path(), out.path(), &of(ImageTokens::Pooled), &mut |_| {}).unwrap();
}

#[test]
fn a_stage_that_differs_is_found() {
    let model = Model::open(imported(ImageTokens::Pooled)).unwrap();
    for stage in ["image_u8", "swin_pooled", "pooled.prompt_logits_last", "pooled.greedy_ids"] {
        let mut expected = expected();
        let tensor = &expected[stage];
        let moved = (tensor.to_dtype(DType::F32).unwrap() * 1.02).unwrap();
        let moved = moved.to_dtype(tensor.dtype()).unwrap();
        expected.insert(stage.to_owned(), moved);
        let rows = compare(&model, &image(), &PromptChoice::Number(1), &expected).unwrap();
        let wrong = rows.iter().filter(|row| !row.passed()).map(|row| row.stage.as_str());
        assert_eq!(wrong.collect::<Vec<_>>(), [stage]);
    }
    let other = compare(&model, &image(), &PromptChoice::Number(2), &expected()).unwrap();
    let wrong = other.iter().filter(|row| !row.passed()).map(|row| row.stage.as_str());
    assert_eq!(
        wrong.collect::<Vec<_>>(),
        ["prompt_after_ids", "pooled.prompt_logits_last", "pooled.greedy_ids"]
    );
    let error = compare(&model, &image(), &PromptChoice::Number(1), &Tensors::new()).unwrap_err();
    assert!(error.to_string().contains("no stage"), "{error}");
}

#[test]
fn a_greedy_draft_is_the_reference_s() {
    for tokens in [ImageTokens::Pooled, ImageTokens::Patches] {
        let model = Model::open(imported(tokens)).unwrap();
        let want = expected()[&format!("{tokens}.greedy_ids")].clone();
        let want = want.to_vec1::<i64>().unwrap();
        let sampling = Sampling { max_tokens: want.len(), ..Sampling::default() };
        let request = DraftRequest { sampling, ..DraftRequest::default() };
        let draft = model.draft(&image(), &request).unwrap();
        let got = draft.token_ids.iter().map(|id| i64::from(*id)).collect::<Vec<_>>();
        assert_eq!(got, want);
        assert_eq!(draft.text, model.tokenizer().decode(&draft.token_ids).unwrap().trim());
        assert_eq!((draft.abnormal, draft.scores.len()), (None, 20));
        assert_eq!(draft.prompt, "Describe the given chest x-ray image in detail.");
    }
}

#[test]
fn sampling_follows_its_seed_and_its_limits() {
    let model = Model::open(imported(ImageTokens::Pooled)).unwrap();
    let features = model.encode(&image()).unwrap();
    let draft = |sampling: Sampling| {
        let request = DraftRequest { sampling, ..DraftRequest::default() };
        model.draft_from(&features, &request).map(|draft| draft.token_ids)
    };
    let warm = |seed| Sampling { temperature: 1.0, max_tokens: 12, seed, ..Sampling::default() };
    assert_eq!(draft(warm(1)).unwrap(), draft(warm(1)).unwrap());
    assert_ne!(draft(warm(1)).unwrap(), draft(warm(2)).unwrap());
    // The likeliest token alone is the greedy choice.
    let greedy = draft(Sampling { max_tokens: 12, ..Sampling::default() }).unwrap();
    assert_eq!(draft(Sampling { top_p: 1e-6, ..warm(3) }).unwrap(), greedy);
    // A penalty no token outlives: none comes twice.
    let penalty = Sampling { repetition_penalty: 1e6, max_tokens: 60, ..Sampling::default() };
    let mut ids = draft(penalty).unwrap();
    let length = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), length);
    for wrong in [
        Sampling { temperature: -1.0, ..warm(1) },
        Sampling { temperature: f64::NAN, ..warm(1) },
        Sampling { top_p: 0.0, ..warm(1) },
        Sampling { repetition_penalty: 0.0, ..warm(1) },
        Sampling { max_tokens: 0, ..warm(1) },
    ] {
        assert!(matches!(draft(wrong), Err(ModelError::Request(_))));
    }
}

#[test]
fn a_prompt_that_does_not_exist_or_does_not_fit_is_an_error() {
    let model = Model::open(imported(ImageTokens::Patches)).unwrap();
    let ask = |prompt| {
        let request = DraftRequest { prompt, ..DraftRequest::default() };
        model.draft(&image(), &request).unwrap_err()
    };
    for number in [0, 13] {
        let error = ask(PromptChoice::Number(number));
        assert!(matches!(error, ModelError::Prompt { count: 12, .. }), "{error}");
    }
    let error = ask(PromptChoice::Text("chest ".repeat(3000)));
    assert!(matches!(error, ModelError::Context { context: 2048, .. }), "{error}");
}

/// The reference checkpoint's folder in links, to change files of.
pub(super) fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("vicuna")).unwrap();
    for file in [
        "medclip_pytorch_model.bin",
        "swin_config.json",
        "projection.safetensors",
        "vicuna/config.json",
        "vicuna/model.safetensors",
        "vicuna/tokenizer.model",
    ] {
        std::os::unix::fs::symlink(reference().join(file), folder.path().join(file)).unwrap();
    }
    folder
}

/// Puts another file in the place of a link.
fn replace(folder: &Path, file: &str, write: impl FnOnce(&Path)) {
    let path = folder.join(file);
    std::fs::remove_file(&path).unwrap();
    write(&path);
}

fn refused(folder: &Path) -> String {
    let out = tempfile::tempdir().unwrap();
    let place = out.path().join("model");
    let error = import(folder, &place, &of(ImageTokens::Patches), &mut |_| {}).unwrap_err();
    assert!(!place.exists(), "a failed import left something");
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0, "a failed import left something");
    error.to_string()
}

#[test]
fn an_import_names_every_tensor_that_does_not_fit() {
    let folder = copy();
    let file = "vicuna/model.safetensors";
    let mut tensors = candle_core::safetensors::load(reference().join(file), &Device::Cpu).unwrap();
    tensors.remove("model.norm.weight");
    tensors.remove("model.layers.1.mlp.up_proj.weight");
    let head = tensors["lm_head.weight"].narrow(0, 0, 31_999).unwrap();
    tensors.insert("lm_head.weight".to_owned(), head);
    let extra = Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap();
    tensors.insert("model.layers.2.mlp.up_proj.weight".to_owned(), extra);
    replace(folder.path(), file, |path| candle_core::safetensors::save(&tensors, path).unwrap());
    let error = refused(folder.path());
    for part in [
        "missing: model.norm.weight [64]",
        "missing: model.layers.1.mlp.up_proj.weight [172, 64]",
        "shape: lm_head.weight is [31999, 64], the architecture has [32000, 64]",
        "unexpected: model.layers.2.mlp.up_proj.weight",
    ] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
}

#[test]
fn an_import_says_what_it_cannot_use() {
    for (file, text, says) in [
        ("swin_config.json", "{\"embed_dim\": 16, \"depths\": [2], \"num_heads\": [3]}", "divide"),
        ("swin_config.json", "{\"embed_dim\": 16", "EOF"),
        ("vicuna/tokenizer.model", "nonsense", "tokenizer.model"),
        ("projection.safetensors", "nonsense", "projection.safetensors"),
        ("medclip_pytorch_model.bin", "nonsense", "not a zip archive"),
    ] {
        let folder = copy();
        replace(folder.path(), file, |path| std::fs::write(path, text).unwrap());
        let error = refused(folder.path());
        assert!(error.contains(says), "{error}");
    }
    let config = std::fs::read_to_string(reference().join("vicuna/config.json")).unwrap();
    let scaled = config.replacen('{', "{\"rope_scaling\": {\"type\": \"linear\"},", 1);
    let folder = copy();
    replace(folder.path(), "vicuna/config.json", |path| std::fs::write(path, scaled).unwrap());
    assert!(refused(folder.path()).contains("rope_scaling"));
    let folder = copy();
    let small = config.replace("32000", "31999");
    replace(folder.path(), "vicuna/config.json", |path| std::fs::write(path, small).unwrap());
    assert!(refused(folder.path()).contains("32000 ids for a language model of 31999"));
    let empty = tempfile::tempdir().unwrap();
    assert!(refused(empty.path()).contains("no known layout"));
    let occupied = import(&reference(), root(), &of(ImageTokens::Pooled), &mut |_| {}).unwrap_err();
    assert!(matches!(occupied, ModelError::Occupied { .. }), "{occupied}");
}

#[test]
fn a_model_whose_files_changed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(imported(ImageTokens::Pooled)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let weights = folder.path().join("projection.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let error = Model::open(folder.path()).unwrap_err();
    assert!(matches!(error, ModelError::Digest { .. }), "{error}");
}

/// Another geometry in the same layout: three stages, windows that need padding, shared keys.
#[test]
fn a_checkpoint_of_other_sizes_is_imported_by_its_own_configuration() {
    let folder = copy();
    let swin = r#"{"image_size": 90, "patch_size": 3, "num_channels": 3, "embed_dim": 12,
        "depths": [1, 3, 2], "num_heads": [2, 3, 4], "window_size": 4, "mlp_ratio": 3.0,
        "qkv_bias": true, "layer_norm_eps": 1e-6, "hidden_act": "gelu"}"#;
    let llama = r#"{"vocab_size": 32000, "hidden_size": 24, "intermediate_size": 40,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5, "rope_theta": 5000.0, "max_position_embeddings": 256,
        "hidden_act": "silu", "tie_word_embeddings": true}"#;
    replace(folder.path(), "swin_config.json", |path| std::fs::write(path, swin).unwrap());
    replace(folder.path(), "vicuna/config.json", |path| std::fs::write(path, llama).unwrap());
    let model = Model::open(imported(ImageTokens::Patches)).unwrap();
    let manifest = Manifest {
        image_encoder: serde_json::from_str(swin).unwrap(),
        language_model: serde_json::from_str(llama).unwrap(),
        ..model.manifest().clone()
    };
    let shapes = shapes(&manifest).unwrap();
    assert_eq!(shapes["projection.weight"], [24, 48]);
    let random = |name: &str, shape: &[usize]| {
        let norm = name.contains("norm") && name.ends_with("weight");
        let middle = if norm { 1.0 } else { 0.0 };
        let value = |i: usize| middle + ((i * 7919 + name.len() * 31) % 199) as f32 / 990.0 - 0.1;
        (0..shape.iter().product()).map(value).collect::<Vec<_>>()
    };
    let (vision, rest) =
        shapes.iter().partition::<Vec<_>, _>(|(name, _)| name.starts_with("vision_model."));
    let vision = vision.into_iter().map(|(n, s)| (n.clone(), s.clone(), random(n, s)));
    let vision = vision.chain([("text_model.x".to_owned(), vec![1], vec![0.0])]);
    replace(folder.path(), "medclip_pytorch_model.bin", |path| {
        torch_file::save(path, &vision.collect::<Vec<_>>());
    });
    let tensor = |n: &str, s: &[usize]| Tensor::from_vec(random(n, s), s, &Device::Cpu).unwrap();
    let (projection, language) =
        rest.into_iter().partition::<Vec<_>, _>(|(name, _)| name.starts_with("projection."));
    let renamed = |n: &str| n.replace("projection.", "projection.patches.");
    let projection = projection.into_iter().map(|(n, s)| (renamed(n), tensor(n, s)));
    let language = language.into_iter().map(|(n, s)| (n.clone(), tensor(n, s)));
    for (file, tensors) in [
        ("projection.safetensors", projection.collect::<Tensors>()),
        ("vicuna/model.safetensors", language.collect::<Tensors>()),
    ] {
        replace(folder.path(), file, |p| candle_core::safetensors::save(&tensors, p).unwrap());
    }
    let out = tempfile::tempdir().unwrap();
    let manifest =
        import(folder.path(), out.path(), &of(ImageTokens::Patches), &mut |_| {}).unwrap();
    // 90 / 3 = 30 patches a side, 15 and 8 after merging.
    assert_eq!(manifest.image_positions(), 64);
    let model = Model::open(out.path()).unwrap();
    let sampling = Sampling { max_tokens: 500, ..Sampling::default() };
    let draft = model.draft(&image(), &DraftRequest { sampling, ..DraftRequest::default() });
    let draft = draft.unwrap();
    // 8 + 64 + 21 positions of the prompt leave 163 of the context of 256.
    assert!((1..=163).contains(&draft.token_ids.len()), "{} tokens", draft.token_ids.len());
}

#[tokio::test]
async fn the_engine_answers_each_request_and_says_why_it_has_no_model() {
    let folder = imported(ImageTokens::Pooled);
    let engine = Engine::start(|| Model::open(folder)).await.unwrap();
    assert!(engine.is_ready());
    assert_eq!(engine.identity().name, "xraygpt-medclip-pooled");
    let sampling = Sampling { max_tokens: 4, ..Sampling::default() };
    let request = DraftRequest { sampling, ..DraftRequest::default() };
    let direct = Model::open(folder).unwrap().draft(&image(), &request).unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (engine, request) = (engine.clone(), request.clone());
        waiting.spawn(async move { engine.draft(image(), request).await });
    }
    while let Some(draft) = waiting.join_next().await {
        assert_eq!(draft.unwrap().unwrap().token_ids, direct.token_ids);
    }
    let wrong = DraftRequest { prompt: PromptChoice::Number(99), ..request.clone() };
    assert!(engine.draft(image(), wrong).await.is_err());
    assert!(engine.draft(image(), request).await.is_ok());

    let absent = Engine::start(|| Model::open(Path::new("/nonexistent"))).await.unwrap_err();
    assert!(matches!(absent, ModelError::Read { .. }), "{absent}");
    let panicked = Engine::start(|| panic!("no weights today")).await.unwrap_err();
    assert!(panicked.to_string().contains("no weights today"), "{panicked}");
}
