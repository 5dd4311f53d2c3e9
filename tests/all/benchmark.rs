//! `model bench`, the device it computes on, and the arithmetic in 16 bits that GPUs use.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use serde_json::Value;
use tempfile::TempDir;
use thorascribe::config;
use thorascribe::model::chain::Chain;
use thorascribe::model::checkpoint::ModelFiles;
use thorascribe::model::checkpoint::manifest::ImageTokens;
use thorascribe::model::{Model, device};
use thorascribe::radiograph::{GreyImage, open_picture};

use super::model::{imported, reference, released};
use super::support::node::program;
use super::support::objects::root;

fn models() -> PathBuf {
    root().join("benches/models")
}

/// What `model bench` says of a model, or on stderr.
fn bench(model: &Path, options: &[&str]) -> Result<Value, String> {
    let home = TempDir::new().unwrap();
    let mut command = program(home.path());
    command.args(["model", "bench"]).arg(model).arg("--json").args(options);
    let output = command.output().unwrap();
    if output.status.success() {
        return Ok(serde_json::from_slice(&output.stdout).unwrap());
    }
    assert_eq!(output.status.code(), Some(1));
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_model_of_drawn_weights_is_measured_whole() {
    let short = ["--prefill", "6", "--decode", "4", "--repeats", "1", "--batch", "2", "--drafts"];
    for dtype in ["f32", "f16", "bf16"] {
        let options = [&short[..], &["--dtype", dtype]].concat();
        let measured = bench(&models().join("tiny.toml"), &options).unwrap();
        for key in [
            "prefill_tokens_per_second",
            "decode_tokens_per_second",
            "drafts_tokens_per_second",
            "drafts_seconds",
            "encode_ms",
            "peak_mib",
        ] {
            assert!(measured[key].as_f64().is_some_and(|x| x > 0.0), "{key} in {measured}");
        }
        assert!(measured["copy_bytes_per_second"].is_null());
        // 2 blocks of 4 · 64² and 3 · 64 · 128, and 64 × 64 logits.
        assert_eq!(measured["parameters_per_token"], 86016);
    }
    let no_room = bench(&models().join("tiny.toml"), &["--prefill", "60", "--decode", "5"]);
    assert!(no_room.unwrap_err().contains("context of 64"));
}

#[test]
fn an_encoder_is_measured_alone() {
    let measured = bench(imported(ImageTokens::Pooled), &["--encoder", "--repeats", "1"]).unwrap();
    assert!(measured["encode_ms"].as_f64().unwrap() > 0.0);
    assert!(measured["decode_tokens_per_second"].is_null());
}

/// The geometry of the whole speed table is one that the program takes.
#[test]
fn every_manifest_beside_the_benchmarks_is_whole() {
    let mut count = 0;
    for entry in std::fs::read_dir(models()).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        thorascribe::model::Manifest::parse(&text).unwrap();
        count += 1;
    }
    assert_eq!(count, 4);
    let text = std::fs::read_to_string(models().join("xraygpt.toml")).unwrap();
    let manifest = thorascribe::model::Manifest::parse(&text).unwrap();
    assert_eq!(manifest.language_model.parameters_per_token(), 6_607_077_376);
}

#[test]
#[cfg(not(feature = "cuda"))]
fn a_gpu_is_asked_for_in_vain_of_a_build_without_cuda() {
    for number in [0, 1] {
        let error = device::open(config::Device::Cuda(number)).unwrap_err().to_string();
        assert!(error.contains(&format!("cuda:{number}")), "{error}");
        assert!(error.contains("--features cuda") && error.contains("\"auto\""), "{error}");
    }
    assert!(device::open(config::Device::Auto).unwrap().is_cpu());
    assert!(device::open(config::Device::Cpu).unwrap().is_cpu());
    let error = bench(&models().join("tiny.toml"), &["--device", "cuda:0"]).unwrap_err();
    assert!(error.contains("no CUDA"), "{error}");
    let home = TempDir::new().unwrap();
    let mut check = program(home.path());
    check.args(["model", "check"]).arg(imported(ImageTokens::Pooled)).args(["--device", "cuda:0"]);
    let output = check.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no CUDA"));
}

fn chain(folder: &Path, dtype: DType) -> Chain {
    let files = ModelFiles::open(folder).unwrap();
    let stored = Box::new(files.stored().unwrap());
    let source = VarBuilder::from_backend(stored, dtype, Device::Cpu);
    Chain::load(files.manifest(), &source).unwrap()
}

fn cosine(a: &Tensor, b: &Tensor) -> f64 {
    let flat = |t: &Tensor| {
        let wide = t.to_dtype(DType::F32).unwrap().flatten_all().unwrap();
        wide.to_vec1::<f32>().unwrap()
    };
    let (a, b) = (flat(a), flat(b));
    let dot = |a: &[f32], b: &[f32]| {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
    };
    dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
}

/// A GPU computes in the types that weights are stored in; the plain operations that it takes are
/// those of 16 bits here.
#[test]
fn every_stage_in_16_bits_is_near_that_in_32() {
    let image: GreyImage = open_picture(&reference().join("image.png")).unwrap();
    for folder in [imported(ImageTokens::Pooled), imported(ImageTokens::Patches), released()] {
        let exact = chain(folder, DType::F32);
        let (pixels, _) = Model::open(folder).unwrap().encode_steps(&image).unwrap();
        let want = exact.encode(&pixels).unwrap();
        let wide = exact.prompt(&[1, 5, 9], &want.image_tokens, &[7, 11]).unwrap();
        let logits = exact.language.forward_embeds(&wide, None).unwrap();
        for dtype in [DType::F16, DType::BF16] {
            let narrow = chain(folder, dtype);
            let got = narrow.encode(&pixels).unwrap();
            let stages = want.vision.stages.iter().zip(&got.vision.stages);
            let stages = stages.map(|((name, want), (_, got))| (*name, want, got));
            let all = stages.chain([("image_tokens", &want.image_tokens, &got.image_tokens)]);
            for (name, want, got) in all {
                assert_eq!(got.dtype(), dtype, "{name}");
                let cosine = cosine(want, got);
                assert!(cosine >= 0.999, "{name} in {dtype:?}: cosine {cosine}");
            }
            let embeds = narrow.prompt(&[1, 5, 9], &got.image_tokens, &[7, 11]).unwrap();
            let mut cache = narrow.language.cache(embeds.dim(1).unwrap()).unwrap();
            let last = narrow.language.forward_last(&embeds, Some(&mut cache)).unwrap();
            let time = logits.dim(1).unwrap();
            let cosine = cosine(&logits.narrow(1, time - 1, 1).unwrap(), &last);
            assert!(cosine >= 0.999, "logits in {dtype:?}: cosine {cosine}");
        }
    }
}
