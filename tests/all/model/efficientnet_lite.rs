//! EfficientNet-Lite0: ImageNet weights against the outputs of the published implementation, norms
//! folded, and sizes that cannot be.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use thorascribe::model::checkpoint::compare::TOLERANCE;
use thorascribe::model::vision::efficientnet_lite::{EfficientNetLite, EfficientNetLiteConfig};
use thorascribe::model::vision::encoder::ImageEncoderConfig;
use thorascribe::model::vision::imagenet;

use crate::support::objects::root;

type Tensors = HashMap<String, Tensor>;

fn read(name: &str) -> Tensors {
    let folder = root().join("fixtures/reference/efficientnet_lite0");
    candle_core::safetensors::load(folder.join(name), &Device::Cpu).unwrap()
}

fn source(tensors: Tensors) -> VarBuilder<'static> {
    VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu)
}

/// The published weights, each convolution with its norm beside it.
fn published() -> EfficientNetLite {
    let config = EfficientNetLiteConfig::lite0(224);
    let (values, statistics) = imagenet::renamed(&config, &read("weights.safetensors")).unwrap();
    EfficientNetLite::trainable(&config, &source(values), &source(statistics)).unwrap()
}

/// The same with the norms folded in, as a model directory holds them.
fn folded() -> EfficientNetLite {
    let tensors = published().folded().unwrap().into_iter().collect();
    EfficientNetLite::load(&EfficientNetLiteConfig::lite0(224), &source(tensors)).unwrap()
}

fn pixels(expected: &Tensors) -> Tensor {
    let grey = expected["image_u8"].to_dtype(DType::F32).unwrap();
    ((grey - 127.0).unwrap() / 128.0).unwrap().reshape((1, 1, 224, 224)).unwrap()
}

/// `[batch, rows, columns, channels]` as the reference has it, at every eighth pixel from the fourth.
fn sampled(x: &Tensor) -> Tensor {
    let index = Tensor::arange_step(3u32, 112, 8, &Device::Cpu).unwrap();
    let x = x.index_select(&index, 1).unwrap().index_select(&index, 2).unwrap();
    x.permute((0, 3, 1, 2)).unwrap()
}

fn close(stage: &str, got: &Tensor, want: &Tensor) {
    assert_eq!(got.elem_count(), want.elem_count(), "{stage}");
    let largest = |t: &Tensor| t.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    let got = got.reshape(want.shape()).unwrap();
    let difference = f64::from(largest(&(got - want).unwrap()) / largest(want));
    assert!(difference <= TOLERANCE, "{stage}: {difference}");
}

#[test]
fn every_stage_equals_the_published_implementation() {
    let expected = read("expected.safetensors");
    for encoder in [published(), folded()] {
        let (features, stages) = encoder.stages(&pixels(&expected), 2).unwrap();
        close("stem", &sampled(&stages[0]), &expected["stem"]);
        close("block0", &sampled(&stages[1]), &expected["block0"]);
        let tokens = features.transpose(1, 2).unwrap().contiguous().unwrap();
        close("features", &tokens, &expected["features"]);
        let output = encoder.forward(&pixels(&expected)).unwrap();
        assert_eq!(output.last_hidden.dims(), [1, encoder.config().output_tokens(), 1280]);
        close("pooled", &output.pooled, &expected["pooled"]);
    }
}

#[test]
fn an_image_of_another_size_is_refused() {
    let small = Tensor::zeros((1, 1, 200, 224), DType::F32, &Device::Cpu).unwrap();
    let error = folded().forward(&small).unwrap_err().to_string();
    assert!(error.contains("200 × 224"), "{error}");
}

#[test]
fn other_weights_are_refused_by_the_name_that_is_missing() {
    let mut package = read("weights.safetensors");
    package.remove("_blocks.7._bn2.running_var");
    let config = EfficientNetLiteConfig::lite0(224);
    let error = imagenet::renamed(&config, &package).unwrap_err().to_string();
    assert!(error.contains("_blocks.7._bn2.running_var"), "{error}");
}

#[test]
fn a_manifest_says_which_encoder_it_is() {
    let lite = ImageEncoderConfig::EfficientNetLite(EfficientNetLiteConfig::lite0(224));
    let text = toml::to_string(&lite).unwrap();
    assert!(text.contains("kind = \"efficientnet-lite\""), "{text}");
    assert_eq!(toml::from_str::<ImageEncoderConfig>(&text).unwrap(), lite);
    // Manifests of before there was another kind name none.
    let swin = "embed_dim = 32\ndepths = [2]\nnum_heads = [1]\n";
    for text in [swin.to_owned(), format!("kind = \"swin\"\n{swin}")] {
        let config = toml::from_str::<ImageEncoderConfig>(&text).unwrap();
        assert!(matches!(config, ImageEncoderConfig::Swin(_)), "{config:?}");
    }
    let error = toml::from_str::<ImageEncoderConfig>("kind = \"vgg\"").unwrap_err().to_string();
    assert!(error.contains("vgg") && error.contains("efficientnet-lite"), "{error}");
    let error =
        toml::from_str::<ImageEncoderConfig>(&text.replace("stem_width", "stem")).unwrap_err();
    assert!(error.to_string().contains("stem"), "{error}");
}

#[test]
fn sizes_that_cannot_be_are_refused_in_words() {
    let broken = |change: fn(&mut EfficientNetLiteConfig)| {
        let mut config = EfficientNetLiteConfig::lite0(224);
        change(&mut config);
        config.check().unwrap_err()
    };
    assert!(broken(|c| c.stages.clear()).contains("stages"));
    assert!(broken(|c| c.stages[2].stride = 0).contains("stage 2: stride"));
    assert!(broken(|c| c.head_width = usize::MAX).contains("head_width"));
    assert!(broken(|c| c.image_size = 0).contains("image_size"));
}
