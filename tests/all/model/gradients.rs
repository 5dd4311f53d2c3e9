//! Every layer's and every variable's gradient against finite differences.

use candle_core::{DType, Device, Result, Shape, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use thorascribe::model::language::llama::{Llama, LlamaConfig};
use thorascribe::model::layer;
use thorascribe::model::vision::efficientnet_lite::{
    EfficientNetLite, EfficientNetLiteConfig, StageConfig,
};
use thorascribe::model::vision::swin::{Swin, SwinConfig};

/// Numbers that look random and are the same in every run, within ±√3 (variance 1).
fn numbers(shape: &Shape, seed: u64) -> Tensor {
    let mut rng = StdRng::seed_from_u64(seed);
    let reach = 3f32.sqrt();
    let values = (0..shape.elem_count()).map(|_| rng.random_range(-reach..reach));
    Tensor::from_vec(values.collect::<Vec<_>>(), shape, &Device::Cpu).unwrap()
}

fn random(shape: &[usize]) -> Var {
    Var::from_tensor(&numbers(&Shape::from(shape), shape.iter().sum::<usize>() as u64)).unwrap()
}

/// A number that depends on every element of `x` in its own way, summed in 64 bits.
fn loss(x: &Tensor) -> Tensor {
    let n = x.elem_count();
    let weights = (0..n).map(|i| ((i * 7919 % 97) as f64 - 48.0) / 48.0).collect::<Vec<_>>();
    let weights = Tensor::from_vec(weights, n, &Device::Cpu).unwrap();
    let x = x.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
    (x * weights).unwrap().sum_all().unwrap()
}

/// Moves each variable along its gradient and compares the change with the gradient's length.
fn agree(name: &str, vars: &[(String, Var)], f: impl Fn() -> Result<Tensor>) {
    agree_over(0.05, name, vars, f);
}

/// The same, over a change of about `change` in the loss: small where corners lie close.
fn agree_over(change: f64, name: &str, vars: &[(String, Var)], f: impl Fn() -> Result<Tensor>) {
    let gradients = loss(&f().unwrap()).backward().unwrap();
    let value = || loss(&f().unwrap()).to_scalar::<f64>().unwrap();
    for (key, var) in vars {
        let gradient =
            gradients.get(var).unwrap_or_else(|| panic!("{name}: {key} got no gradient"));
        let length = gradient.sqr().unwrap().sum_all().unwrap().sqrt().unwrap();
        let length = f64::from(length.to_scalar::<f32>().unwrap());
        assert!(length > 0.0, "{name}: the gradient of {key} is zero");
        let direction = (gradient / length).unwrap();
        let here = var.as_tensor().copy().unwrap();
        let slope = |step: f64| {
            let at = |step: f64| {
                var.set(&(&here + (&direction * step).unwrap()).unwrap()).unwrap();
                value()
            };
            (at(step) - at(-step)) / (2.0 * step)
        };
        // A step that moves the loss well above rounding; then without the cubic term (Richardson).
        let step = (change / length).clamp(change / 160.0, change / 2.5);
        let slope = (4.0 * slope(step / 2.0) - slope(step)) / 3.0;
        var.set(&here).unwrap();
        let error = (slope - length).abs() / length;
        assert!(error < 0.03, "{name}: {key}: slope {slope} for a gradient of length {length}");
    }
}

fn named(vars: &[(&str, &Var)]) -> Vec<(String, Var)> {
    vars.iter().map(|(name, var)| ((*name).to_owned(), (*var).clone())).collect()
}

#[test]
fn each_layer_agrees_with_finite_differences() {
    let (x, w, b) = (random(&[3, 5, 16]), random(&[16]), random(&[16]));
    let vars = named(&[("x", &x), ("weight", &w), ("bias", &b)]);
    agree("layer_norm", &vars, || layer::layer_norm(&x, &w, &b, 1e-5));
    agree("rms_norm", &vars[..2], || layer::rms_norm(&x, &w, 1e-6));
    agree("bias_add", &[vars[0].clone(), vars[2].clone()], || layer::bias_add(&x, &b));
    agree("softmax", &vars[..1], || layer::softmax(&x));
    agree("gelu", &vars[..1], || layer::gelu(&x));
    agree("silu", &vars[..1], || layer::silu(&x));

    let heads = random(&[2, 3, 4, 8]);
    let rotary = layer::Rotary::new(8, 16, 1e4, &Device::Cpu).unwrap();
    agree("rope", &named(&[("x", &heads)]), || rotary.forward(&heads, 5));

    let (scores, bias) = (random(&[4, 3, 5, 5]), random(&[3, 5, 5]));
    let vars = named(&[("scores", &scores), ("bias", &bias)]);
    let table = (0..50).map(|i| if i % 3 == 1 { -100.0 } else { 0.0 }).collect::<Vec<f32>>();
    let windows = layer::AttentionMask::Windows { table: table.into(), windows: 2 };
    agree("window attention", &vars, || {
        layer::attention_softmax(&scores, 0.7, Some(&bias), &windows)
    });
    let causal = layer::AttentionMask::Causal { first: 0 };
    agree("causal attention", &vars[..1], || layer::attention_softmax(&scores, 0.7, None, &causal));
}

/// Kernels with stride 1 and 2, images of even and odd sides, widths below, at and above the lanes.
const CONVOLUTIONS: [(layer::Steps, [usize; 4]); 4] = [
    (layer::Steps { kernel: 3, stride: 1 }, [2, 5, 4, 16]),
    (layer::Steps { kernel: 3, stride: 2 }, [1, 6, 7, 19]),
    (layer::Steps { kernel: 5, stride: 2 }, [2, 6, 5, 33]),
    (layer::Steps { kernel: 5, stride: 1 }, [1, 3, 9, 5]),
];

#[test]
fn a_depthwise_convolution_agrees_with_finite_differences() {
    for (steps, shape) in CONVOLUTIONS {
        let x = random(&shape);
        let (weight, bias) =
            (random(&[steps.kernel * steps.kernel, shape[3]]), random(&[shape[3]]));
        let vars = named(&[("x", &x), ("weight", &weight)]);
        agree("depthwise", &vars, || layer::depthwise(&x, &weight, steps));
        // Away from the rectifier's corners, which have no slope.
        let wide = Var::from_tensor(&(x.as_tensor() * 4.0).unwrap().round().unwrap()).unwrap();
        let bias = Var::from_tensor(&(bias.round().unwrap() + 0.5).unwrap()).unwrap();
        let vars = named(&[("x", &wide), ("bias", &bias)]);
        agree("bias_relu6", &vars, || layer::bias_relu6(&wide, &bias));
    }
}

#[test]
fn the_fused_kernels_equal_the_plain_operations() {
    // f64 takes the path of plain tensor operations.
    let wide = |t: &Tensor| t.to_dtype(DType::F64).unwrap();
    let close = |name: &str, a: Tensor, b: Tensor| {
        let gap = (wide(&a) - wide(&b)).unwrap().abs().unwrap().max_all().unwrap();
        let gap = gap.to_scalar::<f64>().unwrap();
        assert!(gap < 5e-6, "{name}: {gap}");
    };
    let (x, w, b) = (random(&[3, 5, 16]), random(&[16]), random(&[16]));
    let (x, w, b) = (x.as_tensor(), w.as_tensor(), b.as_tensor());
    close(
        "layer_norm",
        layer::layer_norm(x, w, b, 1e-5).unwrap(),
        layer::layer_norm(&wide(x), &wide(w), &wide(b), 1e-5).unwrap(),
    );
    close(
        "rms_norm",
        layer::rms_norm(x, w, 1e-6).unwrap(),
        layer::rms_norm(&wide(x), &wide(w), 1e-6).unwrap(),
    );
    close("gelu", layer::gelu(x).unwrap(), layer::gelu(&wide(x)).unwrap());
    close("silu", layer::silu(x).unwrap(), layer::silu(&wide(x)).unwrap());
    close("softmax", layer::softmax(x).unwrap(), layer::softmax(&wide(x)).unwrap());
    let rotary = layer::Rotary::new(16, 16, 1e4, &Device::Cpu).unwrap();
    let heads = x.reshape((1, 3, 5, 16)).unwrap();
    close("rope", rotary.forward(&heads, 4).unwrap(), rotary.forward(&wide(&heads), 4).unwrap());
    let scores = heads.narrow(3, 0, 7).unwrap().contiguous().unwrap();
    let causal = layer::AttentionMask::Causal { first: 2 };
    close(
        "causal",
        layer::attention_softmax(&scores, 0.3, None, &causal).unwrap(),
        layer::attention_softmax(&wide(&scores), 0.3, None, &causal).unwrap(),
    );
    for (steps, shape) in CONVOLUTIONS {
        let (x, b) = (random(&shape), random(&[shape[3]]));
        let w = random(&[steps.kernel * steps.kernel, shape[3]]);
        let plain = layer::depthwise(&wide(&x), &wide(&w), steps).unwrap();
        close("depthwise", layer::depthwise(&x, &w, steps).unwrap(), plain);
        let (x, tall) = ((x.as_tensor() * 5.0).unwrap(), (wide(&x) * 5.0).unwrap());
        let plain = layer::bias_relu6(&tall, &wide(&b)).unwrap();
        close("bias_relu6", layer::bias_relu6(&x, &b).unwrap(), plain);
    }
    let map = layer::RowMap::new(5, vec![Some(3), None, Some(0), Some(4)]).unwrap();
    close(
        "gather",
        layer::gather_rows(x, &map).unwrap(),
        layer::gather_rows(&wide(x), &map).unwrap(),
    );
}

/// Makes small random weights large enough for every path to matter.
fn variables(map: &VarMap) -> Vec<(String, Var)> {
    let data = map.data().lock().unwrap();
    let mut vars = data.iter().map(|(k, v)| (k.clone(), v.clone())).collect::<Vec<_>>();
    vars.sort_by(|a, b| a.0.cmp(&b.0));
    for (seed, (key, var)) in vars.iter().enumerate() {
        // Strong queries and keys, so that attention is far from even.
        let (mean, spread) = match key {
            key if key.contains("norm") => (1.0, 0.1),
            key if key.contains("query") || key.contains("key") => (0.0, 0.8),
            key if key.contains("q_proj") || key.contains("k_proj") => (0.0, 0.8),
            _ => (0.0, 0.3),
        };
        let value = numbers(var.shape(), seed as u64).affine(spread, mean).unwrap();
        var.set(&value).unwrap();
    }
    vars
}

#[test]
fn every_variable_of_a_swin_gets_its_gradient() {
    // 20 pixels over patches of 2: windows of 3 need padding (10 → 12), merging an odd side (5).
    let config = SwinConfig {
        image_size: 20,
        patch_size: 2,
        num_channels: 1,
        embed_dim: 4,
        depths: vec![2, 1, 1],
        num_heads: vec![1, 2, 2],
        window_size: 3,
        mlp_ratio: 2.0,
        qkv_bias: true,
        layer_norm_eps: 1e-5,
        hidden_act: "gelu".to_owned(),
        use_absolute_embeddings: false,
    };
    let map = VarMap::new();
    let source = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let swin = Swin::load(&config, &source.pp("vision_model.model")).unwrap();
    // A key's bias moves every score of a row alike: its gradient is zero by nature.
    let vars = variables(&map);
    let vars = vars.into_iter().filter(|(k, _)| !k.contains("key.bias")).collect::<Vec<_>>();
    let pixels = numbers(&Shape::from((2, 1, 20, 20)), 1);
    agree("swin", &vars, || Ok(swin.forward(&pixels)?.last_hidden));
    assert_eq!(swin.forward(&pixels).unwrap().last_hidden.dims(), [2, config.output_tokens(), 16]);
}

#[test]
fn every_variable_of_an_efficientnet_lite_gets_its_gradient() {
    let stage = |kernel, stride, expansion, width, repeats| StageConfig {
        kernel,
        stride,
        expansion,
        width,
        repeats,
    };
    let config = EfficientNetLiteConfig {
        image_size: 18,
        stem_width: 6,
        head_width: 10,
        stages: vec![stage(3, 1, 1, 4, 1), stage(5, 2, 3, 5, 2)],
        ..EfficientNetLiteConfig::lite0(18)
    };
    let map = VarMap::new();
    let source = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let statistics = VarMap::new();
    let frozen = VarBuilder::from_varmap(&statistics, DType::F32, &Device::Cpu);
    for (name, var) in [("mean", 0.1), ("variance", 0.4)].map(|(n, v)| (format!("norm.{n}"), v)) {
        for (part, width) in [
            ("stem", 6),
            ("blocks.0.depthwise", 6),
            ("blocks.0.project", 4),
            ("blocks.1.expand", 12),
            ("blocks.1.depthwise", 12),
            ("blocks.1.project", 5),
            ("blocks.2.expand", 15),
            ("blocks.2.depthwise", 15),
            ("blocks.2.project", 5),
            ("head", 10),
        ] {
            let init = candle_nn::Init::Const(var);
            frozen.get_with_hints(width, &format!("{part}.{name}"), init).unwrap();
        }
    }
    let encoder = EfficientNetLite::trainable(&config, &source, &frozen).unwrap();
    let vars = variables(&map);
    let pixels = numbers(&Shape::from((3, 1, 18, 18)), 1);
    let change = 0.005;
    agree_over(change, "efficientnet-lite", &vars, || {
        encoder.stages(&pixels, 0).map(|(features, _)| features)
    });
    let output = encoder.forward(&pixels).unwrap().last_hidden;
    assert_eq!(output.dims(), [3, config.output_tokens(), 10]);
}

#[test]
fn every_variable_of_a_llama_gets_its_gradient() {
    let config = LlamaConfig {
        vocab_size: 11,
        hidden_size: 16,
        intermediate_size: 20,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: Some(2),
        head_dim: None,
        rms_norm_eps: 1e-6,
        rope_theta: 1e4,
        max_position_embeddings: 16,
        tie_word_embeddings: false,
    };
    let map = VarMap::new();
    let source = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let llama = Llama::load(&config, &source).unwrap();
    let vars = variables(&map);
    let ids = Tensor::new(&[[1u32, 5, 3, 9, 2], [4, 4, 0, 10, 7]], &Device::Cpu).unwrap();
    agree("llama", &vars, || llama.forward_embeds(&llama.embed(&ids)?, None));

    // A sequence continued from the cache sees what the whole sequence sees.
    let whole = llama.forward_embeds(&llama.embed(&ids).unwrap(), None).unwrap();
    let one = ids.narrow(0, 1, 1).unwrap();
    let mut cache = llama.cache(8).unwrap();
    for (start, count) in [(0, 2), (2, 1), (3, 2)] {
        let part = llama.embed(&one.narrow(1, start, count).unwrap()).unwrap();
        let got = llama.forward_embeds(&part, Some(&mut cache)).unwrap();
        let want = whole.narrow(0, 1, 1).unwrap().narrow(1, start, count).unwrap();
        let gap = (got - want).unwrap().abs().unwrap().max_all().unwrap();
        assert!(gap.to_scalar::<f32>().unwrap() < 1e-5);
    }
    let rest = llama.embed(&Tensor::zeros((1, 4), DType::U32, &Device::Cpu).unwrap()).unwrap();
    assert!(llama.forward_embeds(&rest, Some(&mut cache)).is_err());
}
