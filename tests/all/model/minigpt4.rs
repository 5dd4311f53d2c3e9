//! The image half of XrayGPT as released, stage by stage against the published implementation.

use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use serde::Deserialize;
use thorascribe::model::checkpoint::{Tensors, torch};
use thorascribe::model::layer::{LayerNorm, Linear};
use thorascribe::model::vision::eva_vit::{EvaVit, EvaVitConfig};
use thorascribe::model::vision::qformer::{QFormer, QFormerConfig};

use crate::support::objects::root;

#[derive(Clone, Deserialize)]
struct Geometry {
    eva_vit: EvaVitConfig,
    qformer: QFormerConfig,
}

const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// Checkpoints of different sizes in every part.
const CHECKPOINTS: [&str; 2] = ["minigpt4", "minigpt4_small"];

fn file(checkpoint: &str, name: &str) -> PathBuf {
    root().join("fixtures/reference").join(checkpoint).join(name)
}

fn geometry(checkpoint: &str) -> Geometry {
    let text = std::fs::read(file(checkpoint, "geometry.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn expected(checkpoint: &str) -> Tensors {
    let path = file(checkpoint, "expected.safetensors");
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

/// The stages as this program computes them in `dtype`, each from the one before it.
fn stages(checkpoint: &str, dtype: DType) -> Vec<(&'static str, Tensor)> {
    let Geometry { eva_vit, qformer } = geometry(checkpoint);
    let device = Device::Cpu;
    let expected = expected(checkpoint);
    let source = |name| {
        let tensors = torch::read(&file(checkpoint, name), |_| true).unwrap();
        VarBuilder::from_tensors(tensors, dtype, &device)
    };
    let blip = source("blip2_pretrained_flant5xxl.pth");
    let row = |values: [f32; 3]| Tensor::new(&values, &device).unwrap().reshape((3, 1, 1)).unwrap();
    let pixels = (expected["image_u8"].to_dtype(DType::F32).unwrap() / 255.0).unwrap();
    let pixels = pixels.broadcast_sub(&row(MEAN)).unwrap().broadcast_div(&row(STD)).unwrap();
    let pixels = pixels.unsqueeze(0).unwrap().to_dtype(dtype).unwrap();
    let vit = EvaVit::load(&eva_vit, &source("eva_vit_g.pth")).unwrap();
    let vit = vit.forward(&pixels).unwrap();
    let norm = LayerNorm::load(eva_vit.width, 1e-5, &blip.pp("ln_vision")).unwrap();
    let seen = norm.forward(&vit).unwrap();
    let queries = QFormer::load(&qformer, eva_vit.width, &blip).unwrap().forward(&seen).unwrap();
    let aligned = source("xraygpt_checkpoint.pth").pp("llama_proj");
    let width = expected["llama_proj"].dim(2).unwrap();
    let aligned = Linear::load(qformer.hidden, width, true, &aligned).unwrap();
    let aligned = aligned.forward(&queries).unwrap();
    vec![("vit", vit), ("ln_vision", seen), ("qformer", queries), ("llama_proj", aligned)]
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn every_stage_of_the_image_equals_the_reference() {
    for checkpoint in CHECKPOINTS {
        let expected = expected(checkpoint);
        for (name, ours) in stages(checkpoint, DType::F32) {
            assert_eq!(ours.dims(), expected[name].dims(), "{name}");
            let (ours, theirs) = (numbers(&ours), numbers(&expected[name]));
            let largest = theirs.iter().fold(0f32, |most, x| most.max(x.abs()));
            let apart = ours.iter().zip(&theirs).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
            assert!(apart <= 1e-4 * largest, "{checkpoint}: {name}: {apart} of {largest}");
        }
    }
}

#[test]
fn half_precision_keeps_every_stage_of_the_image() {
    for (checkpoint, dtype) in
        CHECKPOINTS.iter().flat_map(|c| [(*c, DType::F16), (*c, DType::BF16)])
    {
        let expected = expected(checkpoint);
        for (name, ours) in stages(checkpoint, dtype) {
            assert_eq!(ours.dtype(), dtype, "{name}");
            let (ours, theirs) = (numbers(&ours), numbers(&expected[name]));
            let dot = |a: &[f32], b: &[f32]| {
                a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
            };
            let cosine = dot(&ours, &theirs) / (dot(&ours, &ours) * dot(&theirs, &theirs)).sqrt();
            assert!(cosine >= 0.999, "{checkpoint}: {name} in {dtype:?}: cosine {cosine}");
        }
    }
}

#[test]
fn impossible_sizes_are_refused_in_words() {
    let Geometry { eva_vit, qformer } = geometry("minigpt4");
    let heads = EvaVitConfig { heads: 3, ..eva_vit.clone() }.check().unwrap_err();
    assert!(heads.contains("heads = 3 do not divide width = 88"), "{heads}");
    let patch = EvaVitConfig { patch_size: 15, ..eva_vit.clone() }.check().unwrap_err();
    assert!(patch.contains("patch_size = 15 does not divide"), "{patch}");
    let ratio = EvaVitConfig { mlp_ratio: f64::NAN, ..eva_vit }.check().unwrap_err();
    assert!(ratio.contains("mlp_ratio"), "{ratio}");
    let never = QFormerConfig { cross_attention_freq: 0, ..qformer }.check().unwrap_err();
    assert!(never.contains("cross_attention_freq = 0"), "{never}");
}
