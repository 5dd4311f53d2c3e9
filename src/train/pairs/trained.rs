//! Which part of a model is trained on pairs, its variables, and how they are written.

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use serde::Serialize;

use crate::model::checkpoint::replace::Precision;
use crate::model::checkpoint::stored::Stored;
use crate::model::language::llama::Llama;
use crate::model::layer::{Linear, LowRank};
use crate::model::{Model, ModelError};
use crate::train::chance::Chance;
use crate::train::error::TrainError;
use crate::train::optimise::Named;

/// How the tensors of a language model begin.
const LANGUAGE: [&str; 4] = ["model.layers.", "model.embed_tokens.", "model.norm.", "lm_head."];
/// The names of A and B behind a layer's, as the Python package peft has them.
const FACTORS: [&str; 2] = ["lora_A.weight", "lora_B.weight"];

/// The part of a model that is trained; the image encoder never is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trained {
    /// The projection alone, as the paper does.
    Projection,
    /// A low-rank change of the language model's linear layers (LoRA, Hu et al. 2021).
    LowRank(LowRankSettings),
    /// Every tensor of the language model.
    Language,
}

/// The sizes of a low-rank change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LowRankSettings {
    /// Rows of A, columns of B.
    pub rank: usize,
    /// The change is weighed by this over the rank.
    pub alpha: f64,
    /// The layers changed, by their names in a block: `q_proj`, `v_proj` and so on.
    pub layers: Vec<String>,
}

impl Default for LowRankSettings {
    /// As the Python package peft has it for LLaMA, with as much weight as rank.
    fn default() -> Self {
        let layers = ["q_proj", "v_proj"].map(str::to_owned).to_vec();
        Self { rank: 16, alpha: 16.0, layers }
    }
}

/// A model's halves with the variables under training in them.
#[derive(Debug)]
pub(super) struct Halves {
    pub(super) projection: Linear,
    pub(super) language: Llama,
    pub(super) variables: Vec<Named>,
}

impl Trained {
    /// The halves of a model whose tensors lie in `stored`; what begins at random depends on `seed`.
    pub(super) fn halves(
        &self,
        model: &Model,
        stored: &Stored,
        seed: u64,
    ) -> Result<Halves, TrainError> {
        let [bias, weight] = ["projection.bias", "projection.weight"];
        match self {
            Self::Projection => {
                let (bias, weight) = (variable(stored, bias)?, variable(stored, weight)?);
                let tensor = |named: &Named| named.1.as_tensor().clone();
                let projection = Linear::new(tensor(&weight), Some(tensor(&bias)));
                let (language, variables) = (model.chain().language.clone(), vec![bias, weight]);
                Ok(Halves { projection, language, variables })
            }
            Self::LowRank(settings) => {
                let projection = constant(stored, bias, weight)?;
                let (language, variables) = settings.adapt(model, stored, seed)?;
                Ok(Halves { projection, language, variables })
            }
            Self::Language => {
                let projection = constant(stored, bias, weight)?;
                let (language, variables) = whole(model, stored)?;
                Ok(Halves { projection, language, variables })
            }
        }
    }

    /// The tensors of a model directory that training changed, and their type there.
    pub(super) fn results(
        &self,
        variables: &[Named],
        stored: &Stored,
    ) -> Result<(BTreeMap<String, Tensor>, Precision), TrainError> {
        let as_they_are = || {
            let named = variables.iter();
            named.map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect()
        };
        match self {
            Self::Projection => Ok((as_they_are(), Precision::Full)),
            Self::Language => Ok((as_they_are(), Precision::AsStored)),
            Self::LowRank(settings) => {
                Ok((settings.merge(variables, stored)?, Precision::AsStored))
            }
        }
    }

    /// What was trained, for the new model's source.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Projection => "projection trained by thorascribe train align".to_owned(),
            Self::Language => "language model trained by thorascribe train lm".to_owned(),
            Self::LowRank(settings) => format!(
                "language model trained by thorascribe train lm (LoRA of rank {} on {})",
                settings.rank,
                settings.layers.join(", ")
            ),
        }
    }
}

impl LowRankSettings {
    /// A begins with small numbers, B with none: at first nothing changes.
    fn adapt(
        &self,
        model: &Model,
        stored: &Stored,
        seed: u64,
    ) -> Result<(Llama, Vec<Named>), TrainError> {
        let mut variables: Vec<Named> = Vec::new();
        let mut adapt = |name: &str, (out, input): (usize, usize)| {
            let own = name.rsplit('.').next().unwrap_or(name);
            if !self.layers.iter().any(|layer| layer == own) {
                return Ok(None);
            }
            let mut chance = Chance::of(seed, variables.len() as u64);
            let most = 1.0 / (input as f32).sqrt();
            let down: Vec<f32> =
                (0..self.rank * input).map(|_| chance.between(-most, most)).collect();
            let down =
                Var::from_tensor(&Tensor::from_vec(down, (self.rank, input), &Device::Cpu)?)?;
            let up = Var::zeros((out, self.rank), DType::F32, &Device::Cpu)?;
            let scale = self.alpha / self.rank as f64;
            let tensors = [down.as_tensor().clone(), up.as_tensor().clone()];
            let names = FACTORS.map(|factor| format!("{name}.{factor}"));
            variables.extend(names.into_iter().zip([down, up]));
            let [down, up] = tensors;
            Ok(Some(LowRank { down, up, scale }))
        };
        let language = model.chain().language.with_low_ranks(&mut adapt)?;
        for layer in &self.layers {
            let named = |(name, _): &Named| name.contains(&format!(".{layer}."));
            if !variables.iter().any(named) {
                let reason = format!(
                    "a block of the language model has no layer {layer:?}; known are q_proj, k_proj, \
                     v_proj, o_proj, gate_proj, up_proj and down_proj"
                );
                return Err(ModelError::Request(reason).into());
            }
        }
        variables.iter().try_for_each(|(name, _)| floats(stored, &weight_of(name)))?;
        Ok((language, variables))
    }

    /// Each changed weight with its change added.
    fn merge(
        &self,
        variables: &[Named],
        stored: &Stored,
    ) -> Result<BTreeMap<String, Tensor>, TrainError> {
        let mut merged = BTreeMap::new();
        for pair in variables.chunks(2) {
            let [(name, down), (_, up)] = pair else { continue };
            let weight = weight_of(name);
            let (down, up) = (down.as_tensor().clone(), up.as_tensor().clone());
            let change = LowRank { down, up, scale: self.alpha / self.rank as f64 }.change()?;
            let own = stored.tensor(&weight)?.to_dtype(DType::F32)?;
            merged.insert(weight, (own + change)?);
        }
        Ok(merged)
    }
}

/// The weight that a factor of this name changes.
fn weight_of(factor: &str) -> String {
    let layer = FACTORS.iter().find_map(|ending| factor.strip_suffix(ending)).unwrap_or(factor);
    format!("{layer}weight")
}

/// The whole language model in variables.
fn whole(model: &Model, stored: &Stored) -> Result<(Llama, Vec<Named>), TrainError> {
    let names = stored.names();
    let of_language = names.iter().filter(|name| LANGUAGE.iter().any(|l| name.starts_with(l)));
    let variables: Vec<Named> = of_language
        .map(|name| {
            floats(stored, name)?;
            variable(stored, name)
        })
        .collect::<Result<_, _>>()?;
    let tensors: HashMap<String, Tensor> =
        variables.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
    let source = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let language = Llama::load(&model.manifest().language_model, &source)?;
    Ok((language, variables))
}

/// A tensor of blocks cannot take a change that is smaller than their steps.
fn floats(stored: &Stored, name: &str) -> Result<(), TrainError> {
    if stored.is_quantized(name) {
        let reason = format!(
            "{name} is quantized: train the model in f32, f16 or bf16, and quantize what comes out \
             with thorascribe model quantize"
        );
        return Err(ModelError::Request(reason).into());
    }
    Ok(())
}

fn variable(stored: &Stored, name: &str) -> Result<Named, TrainError> {
    let tensor = stored.tensor(name)?.to_dtype(DType::F32)?;
    Ok((name.to_owned(), Var::from_tensor(&tensor)?))
}

fn constant(stored: &Stored, bias: &str, weight: &str) -> Result<Linear, TrainError> {
    let tensor = |name: &str| stored.tensor(name)?.to_dtype(DType::F32);
    Ok(Linear::new(tensor(weight)?, Some(tensor(bias)?)))
}
