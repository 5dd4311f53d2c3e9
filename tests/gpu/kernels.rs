//! Our own kernels: norms, softmax, and whole steps of a language model, which launch all others.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use thorascribe::model::language::cache::Cache;
use thorascribe::model::language::llama::{Llama, LlamaConfig, Segment};
use thorascribe::model::layer::{AttentionMask, attention_softmax, layer_norm, rms_norm};

use super::gpu;

const TYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];
const EPS: f32 = 1e-5;

/// Numbers within ±√3, the same in every run.
fn numbers(shape: &[usize], seed: u64) -> Tensor {
    let mut rng = StdRng::seed_from_u64(seed);
    let reach = 3f32.sqrt();
    let count = shape.iter().product();
    let values = (0..count).map(|_| rng.random_range(-reach..reach)).collect::<Vec<_>>();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Such numbers on the GPU in a type, and the same for the processor.
fn both(shape: &[usize], dtype: DType, seed: u64, gpu: &Device) -> (Tensor, Tensor) {
    let rounded = numbers(shape, seed).to_dtype(dtype).unwrap();
    (rounded.to_device(gpu).unwrap(), rounded.to_dtype(DType::F32).unwrap())
}

fn values(tensor: &Tensor) -> Vec<f32> {
    let tensor = tensor.to_device(&Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[track_caller]
fn assert_near(got: &Tensor, want: &Tensor, what: &str) {
    let dtype = got.dtype();
    let (got, want) = (values(got), values(want));
    let largest = want.iter().fold(0f32, |most, x| most.max(x.abs()));
    let tolerance = match dtype {
        DType::F16 => 1e-3,
        DType::BF16 => 8e-3,
        _ => 2e-6,
    };
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(&want) {
        assert!((got - want).abs() <= tolerance * largest, "{what} in {dtype:?}: {got} for {want}");
    }
}

#[test]
fn norms_and_softmax_are_those_of_the_processor() {
    let gpu = gpu();
    for dtype in TYPES {
        for (rows, width) in [(1, 7), (3, 160), (257, 1408), (2, 4096)] {
            let (x, x_cpu) = both(&[rows, width], dtype, 1, &gpu);
            let (weight, weight_cpu) = both(&[width], dtype, 2, &gpu);
            let (bias, bias_cpu) = both(&[width], dtype, 3, &gpu);
            let got = rms_norm(&x, &weight, EPS).unwrap();
            assert_near(&got, &rms_norm(&x_cpu, &weight_cpu, EPS).unwrap(), "rms_norm");
            let got = layer_norm(&x, &weight, &bias, EPS).unwrap();
            let want = layer_norm(&x_cpu, &weight_cpu, &bias_cpu, EPS).unwrap();
            assert_near(&got, &want, "layer_norm");
        }
        for shape in [[1, 1, 1, 1], [4, 3, 49, 49], [1, 16, 257, 257]] {
            let [batch, heads, rows, columns] = shape;
            let (x, x_cpu) = both(&shape, dtype, 4, &gpu);
            let (bias, bias_cpu) = both(&[heads, rows, columns], dtype, 5, &gpu);
            let table = values(&numbers(&[batch, rows, columns], 6));
            let windows = AttentionMask::Windows { table: table.into(), windows: batch };
            for mask in [AttentionMask::None, AttentionMask::Causal { first: 0 }, windows] {
                let got = attention_softmax(&x, 0.3, Some(&bias), &mask).unwrap();
                let want = attention_softmax(&x_cpu, 0.3, Some(&bias_cpu), &mask).unwrap();
                assert_near(&got, &want, "softmax");
            }
        }
    }
}

/// The same model on the GPU in a type, and on the processor in 32 bits.
fn pair(config: &LlamaConfig, dtype: DType, gpu: &Device) -> [Llama; 2] {
    let (hidden, wide) = (config.hidden_size, config.intermediate_size);
    let queries = config.num_attention_heads * config.head_width();
    let keys = config.kv_heads() * config.head_width();
    let block = [
        ("input_layernorm", vec![hidden]),
        ("self_attn.q_proj", vec![queries, hidden]),
        ("self_attn.k_proj", vec![keys, hidden]),
        ("self_attn.v_proj", vec![keys, hidden]),
        ("self_attn.o_proj", vec![hidden, queries]),
        ("post_attention_layernorm", vec![hidden]),
        ("mlp.gate_proj", vec![wide, hidden]),
        ("mlp.up_proj", vec![wide, hidden]),
        ("mlp.down_proj", vec![hidden, wide]),
    ];
    let mut shapes = vec![
        ("model.norm".to_owned(), vec![hidden]),
        ("model.embed_tokens".to_owned(), vec![config.vocab_size, hidden]),
        ("lm_head".to_owned(), vec![config.vocab_size, hidden]),
    ];
    for i in 0..config.num_hidden_layers {
        let named = |(name, shape): &(&str, Vec<usize>)| {
            (format!("model.layers.{i}.{name}"), shape.clone())
        };
        shapes.extend(block.iter().map(named));
    }
    let mut tensors = [HashMap::new(), HashMap::new()];
    for (seed, (name, shape)) in shapes.into_iter().enumerate() {
        let deviation = if shape.len() > 1 { 1.0 / (shape[1] as f64).sqrt() } else { 1.0 };
        let drawn = (numbers(&shape, seed as u64) * deviation).unwrap().to_dtype(dtype).unwrap();
        let name = format!("{name}.weight");
        tensors[0].insert(name.clone(), drawn.to_device(gpu).unwrap());
        tensors[1].insert(name, drawn.to_dtype(DType::F32).unwrap());
    }
    let [on_gpu, on_cpu] = tensors;
    let on_gpu = VarBuilder::from_tensors(on_gpu, dtype, gpu);
    let on_cpu = VarBuilder::from_tensors(on_cpu, DType::F32, &Device::Cpu);
    [on_gpu, on_cpu].map(|source| Llama::load(config, &source).unwrap())
}

#[track_caller]
fn assert_alike(got: &Tensor, want: &Tensor, what: &str) {
    let dtype = got.dtype();
    let (got, want) = (values(got), values(want));
    let product = |a: &[f32], b: &[f32]| {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
    };
    let cosine = product(&got, &want) / (product(&got, &got) * product(&want, &want)).sqrt();
    assert!(cosine >= 0.999, "{what} in {dtype:?}: cosine {cosine}");
    if dtype == DType::F32 {
        let largest = want.iter().fold(0f32, |most, x| most.max(x.abs()));
        for (got, want) in got.iter().zip(&want) {
            assert!((got - want).abs() <= 1e-4 * largest, "{what}: {got} for {want}");
        }
    }
}

/// Goes on by so many positions each, on both sides.
fn take(models: &[Llama; 2], caches: &mut [[Cache; 2]], times: &[usize], seed: u64) {
    let hidden = models[0].config().hidden_size;
    let rows = times.iter().sum();
    let dtype = models[0].embed_tokens(&[0]).unwrap().dtype();
    let (on_gpu, on_cpu) = both(&[1, rows, hidden], dtype, seed, models[0].device());
    let mut segments = [vec![], vec![]];
    for (caches, time) in caches.iter_mut().zip(times) {
        for (segments, cache) in segments.iter_mut().zip(caches) {
            segments.push(Segment { cache, time: *time });
        }
    }
    let [gpu, cpu] = &mut segments;
    let got = models[0].forward_ragged(&on_gpu, gpu).unwrap();
    let want = models[1].forward_ragged(&on_cpu, cpu).unwrap();
    assert_alike(&got, &want, &format!("{times:?}"));
}

#[test]
fn steps_of_a_language_model_are_those_of_the_processor() {
    let gpu = gpu();
    for (heads, kv_heads, hidden, wide) in
        [(8, 8, 1024, 2752), (4, 2, 160, 432), (3, 1, 18, 23), (2, 2, 512, 1000)]
    {
        let config = serde_json::json!({
            "vocab_size": 515, "hidden_size": hidden, "intermediate_size": wide,
            "num_hidden_layers": 3, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
            "max_position_embeddings": 512,
        });
        let config: LlamaConfig = serde_json::from_value(config).unwrap();
        for dtype in TYPES {
            let models = pair(&config, dtype, &gpu);
            let new = || [&models[0], &models[1]].map(|model| model.cache(400).unwrap());
            let mut caches = (0..6).map(|_| new()).collect::<Vec<_>>();
            // One alone; one beside a prompt; few, then many; a long prompt, and a token after it.
            take(&models, &mut caches[..1], &[5], 100);
            take(&models, &mut caches[..2], &[1, 300], 101);
            take(&models, &mut caches[..2], &[1, 1], 102);
            take(&models, &mut caches[1..2], &[1], 103);
            take(&models, &mut caches[2..], &[4, 1, 90, 9], 104);
            take(&models, &mut caches, &[1; 6], 105);
            take(&models, &mut caches[2..6], &[1; 4], 106);
        }
    }
}

#[test]
fn a_cache_that_grew_or_was_copied_holds_what_it_held() {
    let gpu = gpu();
    let config = serde_json::json!({
        "vocab_size": 64, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": 128,
    });
    let config: LlamaConfig = serde_json::from_value(config).unwrap();
    let models = pair(&config, DType::F32, &gpu);
    let mut caches = vec![[&models[0], &models[1]].map(|model| model.cache(8).unwrap())];
    take(&models, &mut caches, &[8], 1);
    for cache in &mut caches[0] {
        cache.reserve(64).unwrap();
    }
    take(&models, &mut caches, &[1], 2);
    let copy = |old: &Cache| {
        let mut copy = old.empty_like().unwrap();
        copy.copy_from(old).unwrap();
        copy
    };
    caches.push(caches[0].each_ref().map(copy));
    take(&models, &mut caches, &[1, 3], 3);
}
