//! Packed weights: their blocks against ggml's as candle has them, their products, models made
//! smaller, and files that lie.

mod gguf;

use std::path::Path;

use candle_core::quantized::QTensor;
use candle_core::{Device, Tensor};
use thorascribe::model::checkpoint::ModelFiles;
use thorascribe::model::checkpoint::manifest::ImageTokens;
use thorascribe::model::checkpoint::quantize::{Form, WeightType, form, quantize};
use thorascribe::model::prompt::{PromptTokens, template};
use thorascribe::model::quantized::{Packed, Packing};
use thorascribe::model::{Model, PromptChoice};
use thorascribe::radiograph::open_picture;

use crate::model::{imported, reference};

/// Numbers like a weight's: a bell around 0.
fn numbers(rows: usize, columns: usize, seed: u32) -> Tensor {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    let mut uniform = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from((state >> 16) as u16) / 65536.0 - 0.5
    };
    let all = (0..rows * columns).map(|_| uniform() + uniform() + uniform()).collect::<Vec<_>>();
    Tensor::from_vec(all, (rows, columns), &Device::Cpu).unwrap()
}

fn packed(packing: Packing, weight: &Tensor) -> Packed {
    if let Some(dtype) = packing.float() {
        return Packed::new(packing, &weight.to_dtype(dtype).unwrap()).unwrap();
    }
    let bytes = Form::Blocks(packing).encode("w", weight).unwrap();
    let rows = weight.dim(0).unwrap();
    let width = bytes.len() / rows;
    let data = Tensor::from_vec(bytes, (rows, width), &Device::Cpu).unwrap();
    Packed::new(packing, &data).unwrap()
}

fn flat(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1::<f32>().unwrap()
}

fn cosine(a: &Tensor, b: &Tensor) -> f64 {
    let (a, b) = (flat(a), flat(b));
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
}

fn largest(t: &Tensor) -> f32 {
    flat(t).iter().fold(0f32, |m, x| m.max(x.abs()))
}

#[test]
fn blocks_are_ggmls() {
    let weight = numbers(24, 512, 1);
    for packing in Packing::ALL.into_iter().filter(|packing| packing.float().is_none()) {
        let theirs = QTensor::quantize(&weight, packing.ggml()).unwrap();
        let ours = packed(packing, &weight);
        assert_eq!(ours.bytes().unwrap(), theirs.data().unwrap().into_owned(), "{packing}");
        let theirs = theirs.dequantize(&Device::Cpu).unwrap();
        let gap = largest(&(ours.dequantize().unwrap() - &theirs).unwrap());
        assert!(gap <= 1e-6 * largest(&theirs), "{packing}: {gap}");
        let some = ours.select(&[3, 17, 3]).unwrap();
        let want = theirs.index_select(&Tensor::new(&[3u32, 17, 3], &Device::Cpu).unwrap(), 0);
        assert!(largest(&(some - want.unwrap()).unwrap()) <= 1e-6, "{packing}");
    }
}

/// Against the product of the same numbers in f32: the rows' bytes are all that differs.
#[test]
fn products_agree_with_f32() {
    // Whole runs of 256 and a rest, rows that are no whole tiles, one and several rows of x.
    for columns in [32, 64, 256, 512, 800, 1024] {
        for packing in Packing::ALL {
            if packing.row_bytes(columns).is_none() {
                continue;
            }
            let ours = packed(packing, &numbers(37, columns, 2));
            let wide = ours.dequantize().unwrap();
            for rows in [1, 2, 3, 8, 9, 130] {
                let x = numbers(rows, columns, 3);
                let want = x.matmul(&wide.t().unwrap()).unwrap();
                let got = ours.matmul(&x).unwrap();
                assert_eq!(got.dims(), want.dims());
                let tolerance = if packing.float().is_some() { 1e-5 } else { 1.5e-2 };
                let gap = largest(&(&got - &want).unwrap()) / largest(&want);
                assert!(gap < tolerance, "{packing} {rows} × {columns}: {gap}");
                let alike = cosine(&got, &want);
                assert!(alike > 0.9999, "{packing} {rows} × {columns}: {alike}");
            }
        }
    }
}

/// A row's product does not depend on the rows beside it, so a batch says what each says alone.
#[test]
fn a_row_is_the_same_alone_and_in_a_batch() {
    for packing in Packing::ALL {
        let weight = packed(packing, &numbers(40, 512, 4));
        let x = numbers(8, 512, 5);
        let together = flat(&weight.matmul(&x).unwrap());
        for row in 0..8 {
            let alone = weight.matmul(&x.narrow(0, row, 1).unwrap()).unwrap();
            let gap = flat(&alone)
                .iter()
                .zip(&together[row * 40..])
                .fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(gap <= 2e-5 * largest(&alone), "{packing} row {row}: {gap}");
        }
    }
}

#[test]
fn the_gradient_passes_through_packed_weights() {
    let weight = packed(Packing::Q8_0, &numbers(16, 64, 6));
    let x = candle_core::Var::from_tensor(&numbers(3, 64, 7)).unwrap();
    let y = weight.matmul(x.as_tensor()).unwrap();
    let gradients = y.sum_all().unwrap().backward().unwrap();
    let want = weight.dequantize().unwrap().sum_keepdim(0).unwrap().broadcast_as((3, 64)).unwrap();
    let gap = largest(&(gradients.get(x.as_tensor()).unwrap() - &want).unwrap());
    assert!(gap < 1e-5, "{gap}");
}

#[test]
fn sizes_that_make_no_blocks_get_the_next_type() {
    let of =
        |name: &str, shape: &[usize], target| form(name, shape, candle_core::DType::F32, target, 8);
    let blocks = Form::Blocks;
    let up = "model.layers.0.mlp.up_proj.weight";
    let down = "model.layers.7.mlp.down_proj.weight";
    assert_eq!(of(up, &[64, 512], WeightType::Q4K), blocks(Packing::Q4K));
    assert_eq!(of(down, &[64, 512], WeightType::Q4K), blocks(Packing::Q6K));
    assert_eq!(of("lm_head.weight", &[64, 512], WeightType::Q4K), blocks(Packing::Q6K));
    assert_eq!(of(up, &[64, 96], WeightType::Q4K), blocks(Packing::Q8_0));
    assert_eq!(of(up, &[64, 40], WeightType::Q8_0), Form::Floats(candle_core::DType::F16));
    let norm = "model.norm.weight";
    assert_eq!(of(norm, &[64], WeightType::Q4K), Form::Floats(candle_core::DType::F32));
    let swin = "vision_model.model.embeddings.norm.weight";
    assert_eq!(of(swin, &[64], WeightType::F16), Form::Floats(candle_core::DType::F32));
    let vision = "vision_model.model.encoder.layers.0.proj.weight";
    assert_eq!(of(vision, &[64, 512], WeightType::Q8_0), Form::Floats(candle_core::DType::F16));
}

fn logits(model: &Model) -> Tensor {
    let image = open_picture(&reference().join("image.png")).unwrap();
    let question = PromptChoice::Number(1);
    let question = question.resolve(model.prompts()).unwrap();
    let template = template(model.manifest(), None).unwrap();
    let prompt =
        PromptTokens::new(model.manifest(), model.tokenizer(), &template, question).unwrap();
    let features = model.encode(&image).unwrap();
    let mut first = None;
    model
        .generate(&prompt, features.image_tokens(), 1, |logits| {
            first = Some(logits.clone());
            Ok(None)
        })
        .unwrap();
    first.unwrap()
}

fn smaller(folder: &Path, out: &Path, target: WeightType) -> Model {
    let files = ModelFiles::open(folder).unwrap();
    let mut steps = 0;
    let manifest = quantize(&files, out, target, &mut |_| steps += 1).unwrap();
    assert_eq!(manifest.dtype, Some(target));
    assert!(steps > 10);
    Model::open(out).unwrap()
}

#[test]
fn a_smaller_model_says_nearly_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let source = imported(ImageTokens::Patches);
    let want = logits(&Model::open(source).unwrap());
    for (target, least) in [
        (WeightType::F16, 0.999),
        (WeightType::Bf16, 0.999),
        (WeightType::Q8_0, 0.99),
        (WeightType::Q4K, 0.95),
    ] {
        let out = folder.path().join(target.to_string());
        let model = smaller(source, &out, target);
        let alike = cosine(&logits(&model), &want);
        assert!(alike >= least, "{target}: {alike}");
        let size = |folder: &Path| {
            let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
            let weights = files.filter(|f| f.file_name().to_string_lossy().ends_with("tensors"));
            weights.map(|f| f.metadata().unwrap().len()).sum::<u64>()
        };
        if matches!(target, WeightType::Q8_0 | WeightType::Q4K) {
            assert!(size(&out) < size(source), "{target} is not smaller");
        }
    }
}
