//! XrayGPT as released, imported from the files that its users hold, stage by stage.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use candle_core::{DType, Device, Tensor};
use tempfile::TempDir;
use thorascribe::model::checkpoint::compare::{Limit, Row, compare, question_of};
use thorascribe::model::checkpoint::import::{ImportOptions, import};
use thorascribe::model::checkpoint::manifest::{ImageTokens, Manifest};
use thorascribe::model::checkpoint::quantize::WeightType;
use thorascribe::model::checkpoint::{Tensors, torch};
use thorascribe::model::{Model, PromptChoice};
use thorascribe::radiograph::{GreyImage, open_picture};

use super::torch_file;
use crate::support::objects::root;

const EVA: &str = "eva_vit_g.pth";
const BLIP: &str = "blip2_pretrained_flant5xxl.pth";
const ALIGNED: &str = "xraygpt_checkpoint.pth";
const GEOMETRY: &str = "geometry.json";

fn fixture(name: &str) -> PathBuf {
    root().join("fixtures/reference").join(name)
}

/// A checkpoint's folder in links, to change files of: an image half, and a language model.
fn folder(image: &str, language: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    for file in [EVA, BLIP, ALIGNED, GEOMETRY] {
        symlink(fixture(image).join(file), folder.path().join(file)).unwrap();
    }
    let vicuna = folder.path().join("vicuna");
    std::fs::create_dir(&vicuna).unwrap();
    for entry in std::fs::read_dir(fixture(language)).unwrap() {
        let path = entry.unwrap().path();
        symlink(&path, vicuna.join(path.file_name().unwrap())).unwrap();
    }
    folder
}

/// A whole checkpoint of small sizes, in links.
pub(crate) fn small() -> TempDir {
    folder("minigpt4_small", "small/vicuna")
}

/// The released layout with images of 224 columns and LLaMA's vocabulary, imported; made once.
pub(crate) fn released() -> &'static Path {
    static MODEL: OnceLock<TempDir> = OnceLock::new();
    let make = || {
        let out = TempDir::new().unwrap();
        let source = folder("minigpt4", "medclip/vicuna");
        import(source.path(), out.path(), &ImportOptions::default(), &mut |_| {}).unwrap();
        out
    };
    MODEL.get_or_init(make).path()
}

fn expected(name: &str) -> Tensors {
    let path = fixture(name).join("expected.safetensors");
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

fn image() -> GreyImage {
    open_picture(&fixture("minigpt4_small/image.png")).unwrap()
}

fn imported(source: &Path, options: &ImportOptions) -> (TempDir, Manifest) {
    let out = TempDir::new().unwrap();
    let manifest = import(source, out.path(), options, &mut |_| {}).unwrap();
    (out, manifest)
}

/// The rows of the small reference.
fn rows(source: &Path, options: &ImportOptions) -> Vec<Row> {
    let (out, _) = imported(source, options);
    let model = Model::open(out.path()).unwrap();
    let expected = expected("minigpt4_small");
    let question = question_of(&model, &expected).unwrap();
    assert_eq!(
        question,
        PromptChoice::Text("Describe the given chest x-ray image in detail.".to_owned())
    );
    compare(&model, &image(), &question, &expected).unwrap()
}

#[track_caller]
fn equal(source: &Path) {
    for row in rows(source, &ImportOptions::default()) {
        assert!(row.passed(), "{row:?}");
    }
}

fn refused(source: &Path) -> String {
    let out = TempDir::new().unwrap();
    let place = out.path().join("model");
    let error = import(source, &place, &ImportOptions::default(), &mut |_| {}).unwrap_err();
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0, "a failed import left something");
    error.to_string()
}

fn read(path: &Path) -> Tensors {
    torch::read(path, |_| true).unwrap()
}

/// Puts a file of these tensors in the place of a link.
fn replace(path: &Path, tensors: &Tensors) {
    let numbers = |t: &Tensor| {
        let wide = t.to_dtype(DType::F32).and_then(|t| t.flatten_all()).unwrap();
        wide.to_vec1::<f32>().unwrap()
    };
    let mut all = tensors.iter().collect::<Vec<_>>();
    all.sort_by_key(|(name, _)| *name);
    let all = all.into_iter().map(|(n, t)| (n.clone(), t.dims().to_vec(), numbers(t)));
    drop(std::fs::remove_file(path));
    torch_file::save(path, &all.collect::<Vec<_>>());
}

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()
}

const STAGES: [&str; 11] = [
    "image_u8",
    "vit",
    "ln_vision",
    "qformer",
    "llama_proj",
    "prompt_before_ids",
    "prompt_after_ids",
    "inputs_embeds",
    "prompt_logits_last",
    "greedy_ids",
    "greedy_logits",
];

#[test]
fn every_stage_of_an_imported_checkpoint_equals_the_reference() {
    let rows = rows(small().path(), &ImportOptions::default());
    assert_eq!(rows.iter().map(|row| row.stage.as_str()).collect::<Vec<_>>(), STAGES);
    for row in rows {
        assert!(matches!(row.limit, Limit::Difference(_)) && row.passed(), "{row:?}");
    }
}

#[test]
fn the_image_half_of_the_reference_equals_the_published_implementation() {
    let model = Model::open(released()).unwrap();
    let image = open_picture(&fixture("medclip/image.png")).unwrap();
    let expected = expected("minigpt4");
    let rows = compare(&model, &image, &PromptChoice::Number(2), &expected).unwrap();
    let stages = rows.iter().map(|row| row.stage.as_str()).collect::<Vec<_>>();
    assert_eq!(stages, ["image_u8", "vit", "ln_vision", "qformer", "llama_proj"]);
    for row in rows {
        assert!(row.passed(), "{row:?}");
    }
}

#[test]
fn weights_are_stored_as_asked_and_each_stage_stays_near() {
    let source = small();
    for dtype in
        [WeightType::F32, WeightType::F16, WeightType::Bf16, WeightType::Q8_0, WeightType::Q4K]
    {
        let options = ImportOptions { dtype: Some(dtype), ..ImportOptions::default() };
        let (out, manifest) = imported(source.path(), &options);
        assert_eq!(manifest.dtype, Some(dtype));
        let model = Model::open(out.path()).unwrap();
        let expected = expected("minigpt4_small");
        let rows = compare(&model, &image(), &PromptChoice::Number(1), &expected).unwrap();
        for row in &rows {
            assert!(row.passed(), "{dtype}: {row:?}");
            let exact = dtype == WeightType::F32;
            let least = if exact { 0.999_999 } else { 0.999 };
            let weights = !["inputs_embeds", "prompt_logits_last", "greedy_logits"]
                .contains(&row.stage.as_str())
                || !matches!(dtype, WeightType::Q8_0 | WeightType::Q4K);
            assert!(row.cosine.is_none_or(|c| c >= least) || !weights, "{dtype}: {row:?}");
        }
    }
}

#[test]
fn the_same_files_give_the_same_model() {
    let source = small();
    let options = ImportOptions { dtype: Some(WeightType::Bf16), ..ImportOptions::default() };
    let [one, other] = [0, 1].map(|_| imported(source.path(), &options).1);
    assert_eq!(one, other);
}

#[test]
fn the_encoder_and_its_images_are_described_by_the_manifest() {
    let manifest = Model::open(released()).unwrap().manifest().clone();
    let text = manifest.to_text().unwrap();
    for line in [
        "architecture = \"eva-qformer-linear-llama\"",
        "kind = \"eva-qformer\"",
        "fit = \"stretch\"",
        "colour = true",
        "mean = [0.48145466, 0.4578275, 0.40821073]",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    assert_eq!(Manifest::parse(&text).unwrap(), manifest);
    assert_eq!((manifest.name.as_str(), manifest.image_positions()), ("xraygpt", 32));
    assert_eq!(manifest.prompts.len(), 12);
    let templates = manifest.conversation.choices();
    assert_eq!(templates.len(), 2);
    let stops: Vec<Vec<u32>> = vec![vec![835], vec![2277, 29937]];
    assert_eq!(manifest.conversation.stop_tokens, stops);
}

#[test]
fn an_import_names_every_tensor_of_every_part_that_does_not_fit() {
    let source = small();
    let change = |file: &str, change: &dyn Fn(&mut Tensors)| {
        let path = source.path().join(file);
        let mut tensors = read(&path);
        change(&mut tensors);
        replace(&path, &tensors);
    };
    change(EVA, &|t| {
        t.remove("blocks.1.attn.q_bias").unwrap();
        t.insert("pos_embed".to_owned(), zeros(&[1, 9, 24]));
        t.insert("blocks.0.ls1.gamma".to_owned(), zeros(&[24]));
    });
    change(BLIP, &|t| {
        t.remove("query_tokens").unwrap();
        t.insert("ln_vision.weight".to_owned(), zeros(&[25]));
        t.insert(
            "Qformer.bert.encoder.layer.1.crossattention.self.key.bias".to_owned(),
            zeros(&[1]),
        );
    });
    change(ALIGNED, &|t| {
        t.remove("llama_proj.bias").unwrap();
        t.insert("llama_proj.weight".to_owned(), zeros(&[16, 11]));
        t.insert("vision_proj.weight".to_owned(), zeros(&[1]));
    });
    change("vicuna/pytorch_model-00001-of-00002.bin", &|t| {
        t.remove("model.layers.0.mlp.down_proj.weight").unwrap();
        t.insert("model.layers.7.mlp.down_proj.weight".to_owned(), zeros(&[1]));
    });
    let error = refused(source.path());
    for problem in [
        "missing: blocks.1.attn.q_bias [24] in eva_vit_g.pth",
        "shape: pos_embed is [1, 9, 24], the architecture has [1, 17, 24] in eva_vit_g.pth",
        "unexpected: blocks.0.ls1.gamma in eva_vit_g.pth",
        "missing: query_tokens [1, 5, 12] in blip2_pretrained_flant5xxl.pth",
        "shape: ln_vision.weight is [25], the architecture has [24] in blip2",
        "unexpected: Qformer.bert.encoder.layer.1.crossattention.self.key.bias in blip2",
        "missing: llama_proj.bias [16] in xraygpt_checkpoint.pth",
        "shape: llama_proj.weight is [16, 11], the architecture has [16, 12] in xraygpt",
        "unexpected: vision_proj.weight in xraygpt_checkpoint.pth",
        "missing: model.layers.0.mlp.down_proj.weight [16, 24] in vicuna",
        "unexpected: model.layers.7.mlp.down_proj.weight in pytorch_model-00001-of-00002.bin",
    ] {
        assert!(error.contains(problem), "{problem} is not in {error}");
    }
    assert_eq!(error.lines().count(), 12, "{error}");
}

#[test]
fn what_the_published_code_leaves_out_is_left_out() {
    let source = small();
    let add = |file: &str, names: &[&str]| {
        let path = source.path().join(file);
        let mut tensors = read(&path);
        tensors.extend(names.iter().map(|name| ((*name).to_owned(), zeros(&[2]))));
        replace(&path, &tensors);
    };
    add(EVA, &["fc_norm.weight", "head.bias", "blocks.3.mlp.fc1.bias", "blocks.4.norm1.weight"]);
    add(
        BLIP,
        &[
            "t5_proj.weight",
            "Qformer.cls.predictions.bias",
            "Qformer.bert.embeddings.word_embeddings.weight",
            "Qformer.bert.embeddings.position_ids",
            "Qformer.bert.encoder.layer.0.output.dense.weight",
            "Qformer.bert.encoder.layer.0.intermediate.dense.bias",
        ],
    );
    add(ALIGNED, &["llama_model.model.layers.0.self_attn.rotary_emb.inv_freq"]);
    add(
        "vicuna/pytorch_model-00002-of-00002.bin",
        &["model.layers.1.self_attn.rotary_emb.inv_freq"],
    );
    equal(source.path());
}

#[test]
fn the_alignment_layer_is_found_under_any_name() {
    let source = small();
    let place = |name: &str| source.path().join(name);
    std::fs::rename(place(ALIGNED), place("xraygpt_pretrained1.pth")).unwrap();
    std::fs::rename(place(BLIP), place("blip2_pretrained.pth")).unwrap();
    std::fs::write(place("notes.pth"), "no checkpoint").unwrap();
    equal(source.path());
    std::fs::copy(place("xraygpt_pretrained1.pth"), place("xraygpt_pretrained2.pth")).unwrap();
    let error = refused(source.path());
    assert!(error.contains("xraygpt_pretrained1.pth, xraygpt_pretrained2.pth"), "{error}");
    for name in ["xraygpt_pretrained1.pth", "xraygpt_pretrained2.pth"] {
        std::fs::remove_file(place(name)).unwrap();
    }
    assert!(refused(source.path()).contains("notes.pth: not a zip archive"));
    std::fs::remove_file(place("notes.pth")).unwrap();
    assert!(refused(source.path()).contains("needs XrayGPT's checkpoint"));
}

#[test]
fn a_missing_file_is_named() {
    for (file, says) in [
        (EVA, "needs eva_vit_g.pth"),
        (BLIP, "needs blip2_pretrained_flant5xxl.pth"),
        ("vicuna/config.json", "a language model is needed here: vicuna/"),
        ("vicuna/tokenizer.model", "needs tokenizer.model or tokenizer.json"),
        ("vicuna/pytorch_model-00002-of-00002.bin", "pytorch_model-00002-of-00002.bin, missing"),
    ] {
        let source = small();
        std::fs::remove_file(source.path().join(file)).unwrap();
        let error = refused(source.path());
        assert!(error.contains(says), "{error}");
    }
    // Without sizes of its own a checkpoint has the released ones.
    let source = small();
    std::fs::remove_file(source.path().join(GEOMETRY)).unwrap();
    let error = refused(source.path());
    for problem in [
        "missing: blocks.38.mlp.fc2.weight [1408, 6144] in eva_vit_g.pth",
        "shape: query_tokens is [1, 5, 12], the architecture has [1, 32, 768]",
    ] {
        assert!(error.contains(problem), "{problem} is not in {error}");
    }
}

/// Each way in which a LLaMA's tensors are stored, and elsewhere than beside the checkpoint.
#[test]
fn a_language_model_may_lie_anywhere_in_any_of_hugging_face_s_forms() {
    let vicuna = fixture("small/vicuna");
    let shards = [1, 2].map(|i| read(&vicuna.join(format!("pytorch_model-0000{i}-of-00002.bin"))));
    let whole = shards.iter().flatten().map(|(n, t)| (n.clone(), t.clone())).collect::<Tensors>();
    let save = |path: PathBuf, tensors: &Tensors| {
        candle_core::safetensors::save(tensors, path).unwrap();
    };
    for form in ["bin", "safetensors", "shards"] {
        let language = TempDir::new().unwrap();
        for file in ["config.json", "tokenizer.model"] {
            std::fs::copy(vicuna.join(file), language.path().join(file)).unwrap();
        }
        match form {
            "bin" => replace(&language.path().join("pytorch_model.bin"), &whole),
            "safetensors" => save(language.path().join("model.safetensors"), &whole),
            _ => {
                let mut map = serde_json::Map::new();
                for (i, shard) in shards.iter().enumerate() {
                    let name = format!("model-0000{}-of-00002.safetensors", i + 1);
                    save(language.path().join(&name), shard);
                    map.extend(shard.keys().map(|key| (key.clone(), name.clone().into())));
                }
                let index = serde_json::json!({"metadata": {}, "weight_map": map}).to_string();
                std::fs::write(language.path().join("model.safetensors.index.json"), index)
                    .unwrap();
            }
        }
        let source = small();
        std::fs::remove_dir_all(source.path().join("vicuna")).unwrap();
        let language_model = Some(language.path().to_owned());
        let options = ImportOptions { language_model, ..ImportOptions::default() };
        for row in rows(source.path(), &options) {
            assert!(row.passed(), "{form}: {row:?}");
        }
        let alone = refused(language.path());
        assert!(alone.contains("a language model alone sees no image"), "{alone}");
    }
}

#[test]
fn the_prompts_beside_a_checkpoint_are_its_prompts() {
    let source = small();
    let prompts = source.path().join("prompts");
    std::fs::create_dir(&prompts).unwrap();
    let write = |text: &str| std::fs::write(prompts.join("alignment.txt"), text).unwrap();
    write(
        "<Img><ImageHere></Img> What is seen?\n\nno image here\n\
         Look at <Img><ImageHere></Img> and say what is new.\r\n",
    );
    let (_out, manifest) = imported(source.path(), &ImportOptions::default());
    assert_eq!(manifest.prompts, ["What is seen?", "Look at and say what is new."]);
    write("What is seen?\n");
    assert!(refused(source.path()).contains("no line has <ImageHere>"));
}

#[test]
fn pooled_tokens_and_other_families_are_refused() {
    let source = small();
    let pooled =
        ImportOptions { image_tokens: Some(ImageTokens::Pooled), ..ImportOptions::default() };
    let out = TempDir::new().unwrap();
    let error = import(source.path(), &out.path().join("m"), &pooled, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("MedCLIP layout"), "{error}");
    let config = source.path().join("vicuna/config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::remove_file(&config).unwrap();
    let other = text.replace("\"model_type\": \"llama\"", "\"model_type\": \"mistral\"");
    std::fs::write(&config, other).unwrap();
    assert!(refused(source.path()).contains("model_type = \"mistral\""));
}
