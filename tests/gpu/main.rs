//! What the processor computes, computed on a GPU. Every test here needs one, and fails without.
#![cfg(test)]

mod kernels;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use candle_core::Device;
use tempfile::TempDir;
use thorascribe::config;
use thorascribe::model::checkpoint::compare::{compare, question_of};
use thorascribe::model::checkpoint::import::{ImportOptions, import};
use thorascribe::model::checkpoint::quantize::WeightType;
use thorascribe::model::engine::Engine;
use thorascribe::model::{DraftRequest, Model, PromptChoice, Sampling, device};
use thorascribe::radiograph::{GreyImage, open_picture};

fn gpu() -> Device {
    match device::open(config::Device::Cuda(0)) {
        Ok(device) => device,
        Err(error) => panic!("needs a GPU: {error}"),
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/reference").join(name)
}

/// The published implementation's outputs of a checkpoint, and how to import that.
struct Reference {
    outputs: &'static str,
    image: &'static str,
    vicuna: Option<&'static str>,
}

const REFERENCES: [Reference; 4] = [
    Reference { outputs: "medclip", image: "medclip", vicuna: None },
    Reference { outputs: "small", image: "small", vicuna: None },
    Reference { outputs: "minigpt4", image: "medclip", vicuna: Some("medclip/vicuna") },
    Reference { outputs: "minigpt4_small", image: "minigpt4_small", vicuna: Some("small/vicuna") },
];

impl Reference {
    fn import(&self, dtype: Option<WeightType>) -> TempDir {
        let (source, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        for entry in std::fs::read_dir(fixture(self.outputs)).unwrap() {
            let path = entry.unwrap().path();
            symlink(&path, source.path().join(path.file_name().unwrap())).unwrap();
        }
        let language_model = self.vicuna.map(fixture);
        let options = ImportOptions { language_model, dtype, ..ImportOptions::default() };
        import(source.path(), out.path(), &options, &mut |_| {}).unwrap();
        out
    }

    fn image(&self) -> GreyImage {
        open_picture(&fixture(self.image).join("image.png")).unwrap()
    }
}

#[test]
fn every_stage_equals_the_published_implementation() {
    let gpu = gpu();
    let types = [None, Some(WeightType::F16), Some(WeightType::Bf16)];
    for reference in &REFERENCES {
        let path = fixture(reference.outputs).join("expected.safetensors");
        let expected = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
        for dtype in types {
            let folder = reference.import(dtype);
            let model = Model::open_on(Some(folder.path()), &gpu).unwrap();
            let question = question_of(&model, &expected).unwrap_or(PromptChoice::Number(1));
            let rows = compare(&model, &reference.image(), &question, &expected).unwrap();
            for row in rows {
                assert!(row.passed(), "{} {dtype:?}: {row:?}", reference.outputs);
            }
        }
    }
}

#[test]
fn answers_are_those_of_the_processor() {
    let gpu = gpu();
    let request = DraftRequest {
        sampling: Sampling { max_tokens: 24, ..Sampling::default() },
        ..DraftRequest::default()
    };
    for reference in &REFERENCES {
        let folder = reference.import(Some(WeightType::F32));
        let draft = |device: &Device| {
            let model = Model::open_on(Some(folder.path()), device).unwrap();
            model.draft(&reference.image(), &request).unwrap().token_ids
        };
        assert_eq!(draft(&gpu), draft(&Device::Cpu), "{}", reference.outputs);
    }
    let embedded = |device: &Device| {
        let model = Model::open_on(None, device).unwrap();
        model.draft(&REFERENCES[0].image(), &request).unwrap().text
    };
    assert_eq!(embedded(&gpu), embedded(&Device::Cpu));
}

#[test]
fn a_batch_answers_as_each_does_alone() {
    let gpu = gpu();
    let folder = REFERENCES[3].import(Some(WeightType::F32));
    let model = Model::open_on(Some(folder.path()), &gpu).unwrap();
    let requests = [3, 9, 17].map(|max_tokens| DraftRequest {
        sampling: Sampling { max_tokens, ..Sampling::default() },
        ..DraftRequest::default()
    });
    let image = REFERENCES[3].image();
    let alone = requests.each_ref().map(|r| model.draft(&image, r).unwrap().token_ids);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let together = runtime.block_on(async {
        let engine = Engine::start(move || Ok(model)).await.unwrap();
        let drafts = requests.map(|request| {
            let (engine, image) = (engine.clone(), image.clone());
            tokio::spawn(async move { engine.draft(image, request).await.unwrap().token_ids })
        });
        let mut ids = Vec::new();
        for draft in drafts {
            ids.push(draft.await.unwrap());
        }
        ids
    });
    assert_eq!(together, alone);
}

#[test]
fn a_gpu_that_is_not_there_is_an_error() {
    gpu();
    let Err(error) = device::open(config::Device::Cuda(4095)) else { panic!("opened GPU 4095") };
    let text = error.to_string();
    assert!(text.contains("cuda:4095") && text.contains("\"auto\""), "{text}");
    device::open(config::Device::Auto).unwrap();
}
