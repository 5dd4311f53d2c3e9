//! The linear alignment: image encoder and language model frozen, only the projection between them
//! trained, by the loss of the next token.
//!
//! The encoder's embedding, as MedCLIP's by a projection of its own, is what its scoring heads see
//! before their bias. The projection begins where both halves were made to meet: a label set's
//! image tokens are linear in such scores, each less its threshold. Its targets are summaries that
//! the grammar writes for each image.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor, Var};
use indicatif::ProgressBar;
use serde_json::{Map, Value, json};

use super::assemble::digest;
use super::assess::assess;
use super::augment::Look;
use super::card::Facts;
use super::chance::Chance;
use super::data::{Radiograph, Split, check, radiographs, table};
use super::encoder::{self, Encoder, EncoderCard, Pixels};
use super::error::TrainError;
use super::grammar::Grammar;
use super::known::Known;
use super::label::{LabelSet, SCORES};
use super::language::{self, Language};
use super::optimise::Named;
use super::provenance::Material;
use super::release::Release;
use super::run::{Plan, Task, fit};
use super::workers::{Loss, Workers};
use super::{assemble, card, data, files, variables};
use crate::model::Model;
use crate::model::layer::Linear;

/// What the summaries of the training images are written from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Targets {
    /// The encoder's own scores at their thresholds: text and scores agree.
    Scores,
    /// The labels of the table: the text says what is likeliest, which of a rare finding is that
    /// it is absent.
    Labels,
}

/// What is aligned, and where it goes.
#[derive(Debug, Clone)]
pub struct Parts {
    /// What `train encoder` wrote.
    pub encoder: PathBuf,
    /// What `train lm` wrote.
    pub language: PathBuf,
    /// The folder with labels.csv and images/.
    pub data: PathBuf,
    /// The run's folder; the model directory is `model` in it.
    pub out: PathBuf,
    /// What the summaries are written from.
    pub targets: Targets,
    /// What the model is called.
    pub name: String,
    /// Also score the table's test splits, for the card.
    pub test: bool,
}

/// Looks at each training image beside the plain one.
const LOOKS: usize = 3;

/// The embedding of an image and what its summary should say.
type Pair = (Vec<f32>, LabelSet);

struct AlignTask {
    language: Language,
    grammar: Grammar,
    projection: Linear,
    variables: Vec<Named>,
    train: Vec<Pair>,
    development: Vec<Pair>,
    settings: Value,
    seed: u64,
}

impl AlignTask {
    fn pairs_loss<'a>(
        &self,
        pairs: impl Iterator<Item = (&'a Pair, u64)>,
    ) -> Result<Loss, TrainError> {
        let (mut features, mut samples) = (Vec::new(), Vec::new());
        for ((embedding, labels), stream) in pairs {
            features.extend_from_slice(embedding);
            let mut chance = Chance::of(self.seed, stream);
            samples.push(self.language.sample(&self.grammar, *labels, &mut chance)?);
        }
        let features = Tensor::from_vec(features, (samples.len(), SCORES), &Device::Cpu)?;
        let tokens = self.projection.forward(&features)?.reshape((samples.len(), SCORES, ()))?;
        self.language.loss(&tokens, &samples)
    }
}

impl Task for AlignTask {
    fn variables(&self) -> &[Named] {
        &self.variables
    }

    fn items(&self) -> usize {
        self.train.len()
    }

    fn loss(&self, items: &[usize], epoch: u64) -> Result<Loss, TrainError> {
        let start = epoch.wrapping_mul(self.train.len() as u64);
        let stream = |item: &usize| start.wrapping_add(*item as u64);
        self.pairs_loss(items.iter().filter_map(|i| Some((self.train.get(*i)?, stream(i)))))
    }

    fn evaluate(&self, workers: &Workers) -> Result<Map<String, Value>, TrainError> {
        let all: Vec<usize> = (0..self.development.len()).collect();
        let parts = workers.map(&all, |part| {
            let pairs = part.iter().filter_map(|i| Some((self.development.get(*i)?, *i as u64)));
            let (loss, tokens) = self.pairs_loss(pairs)?;
            Ok((loss.to_scalar::<f32>()?, tokens))
        })?;
        let sum: f32 = parts.iter().map(|p| p.0).sum();
        let tokens: f32 = parts.iter().map(|p| p.1).sum();
        Ok(Map::from_iter([("loss".to_owned(), json!(sum / tokens.max(1.0)))]))
    }

    fn settings(&self) -> Value {
        self.settings.clone()
    }
}

/// Aligns an encoder with a language model and writes the model directory `out/model`. Gives
/// figures of its drafts on the development split.
pub fn train(
    parts: &Parts,
    plan: &Plan,
    bar: &ProgressBar,
) -> Result<Map<String, Value>, TrainError> {
    let _held = files::run_folder(&parts.out)?;
    let (encoder, encoder_card) = encoder::read(&parts.encoder)?;
    let (language, language_card) = language::read(&parts.language)?;
    bar.set_message("encoding the radiographs");
    let rows = table(&parts.data)?;
    check(&parts.data, &rows)?;
    let development_studies = radiographs(&rows, Split::Development)?;
    let studies = radiographs(&rows, Split::Train)?;
    let source = Features { encoder: &encoder, card: &encoder_card, parts, seed: plan.seed };
    let workers = Workers::new(plan.threads)?;
    let (train, outputs) = source.pairs(&studies, LOOKS, &workers)?;
    let release = Release::read(&parts.data, &rows)?;
    let material = Material::new(&studies, development_studies.len(), release.as_ref());
    let trained_on = data::digest(&studies);
    drop(studies);
    let (development, kept) = source.pairs(&development_studies, 0, &workers)?;
    let known = Known::learn(&outputs, &kept)?;
    let (projection, variables) = first_projection(&parts.encoder, &encoder_card, parts)?;
    let settings = json!({
        "train": "align", "pairs": train.len(), "targets": format!("{:?}", parts.targets),
        "encoder": digest(&files::read(&parts.encoder.join(encoder::WEIGHTS))?),
        // Its thresholds too decide what the summaries say.
        "encoder_card": digest(&files::read(&parts.encoder.join(encoder::CARD))?),
        "language": digest(&files::read(&parts.language.join(language::WEIGHTS))?),
        "radiographs": trained_on, "kept_back": data::digest(&development_studies),
    });
    let task = AlignTask {
        language,
        grammar: Grammar::embedded()?,
        projection,
        variables,
        train,
        development,
        settings,
        seed: plan.seed,
    };
    let mut figures = fit(&task, plan, &parts.out, bar)?;
    let dir = parts.out.join("model");
    let cards = (&encoder_card, &language_card);
    assemble::model(&dir, parts, cards, &task.variables, known.as_ref(), &material)?;
    let model = Model::open(&dir)?;
    let development = assess(&model, &development_studies, &workers)?;
    let tests = if parts.test {
        let of = |split| assess(&model, &radiographs(&rows, split)?, &workers);
        vec![
            ("development".to_owned(), development.clone()),
            ("test".to_owned(), of(Split::Test)?),
            ("findings_test".to_owned(), of(Split::FindingsTest)?),
        ]
    } else {
        vec![("development".to_owned(), development.clone())]
    };
    let facts = Facts {
        manifest: model.manifest(),
        encoder: &encoder_card,
        language: &language_card,
        plan,
        material,
        assessments: &tests,
    };
    files::write(&dir.join("CARD.md"), card::text(&facts).as_bytes())?;
    for (name, assessment) in tests {
        figures.insert(name, assessment.to_json());
    }
    Ok(figures)
}

struct Features<'a> {
    encoder: &'a Encoder,
    card: &'a EncoderCard,
    parts: &'a Parts,
    seed: u64,
}

impl Features<'_> {
    /// The embedding of each study as it is, and under some random looks; and the encoder's output
    /// of each as it is.
    fn pairs(
        &self,
        studies: &[Radiograph],
        looks: usize,
        workers: &Workers,
    ) -> Result<(Vec<Pair>, Vec<Vec<f32>>), TrainError> {
        let pixels = Pixels::of(self.card);
        let all: Vec<usize> = (0..studies.len()).collect();
        let parts = workers.map(&all, |part| {
            let mut pairs = Vec::with_capacity(part.len() * (looks + 1));
            let mut outputs = Vec::with_capacity(part.len());
            for (index, study) in part.iter().filter_map(|i| Some((*i, studies.get(*i)?))) {
                let mut chance = Chance::of(self.seed ^ 0xA119, index as u64);
                let drawn: Vec<Look> = (0..looks).map(|_| Look::draw(&mut chance)).collect();
                let mut batch = vec![pixels.plain(&[study])?];
                if looks > 0 {
                    batch.push(pixels.looks(&pixels.keep(study), &drawn)?);
                }
                let (pooled, embedding, logits) = self.encoder.embed(&Tensor::cat(&batch, 0)?)?;
                outputs.push(pooled.get(0)?.to_vec1::<f32>()?);
                let rows = embedding.to_vec2::<f32>()?.into_iter().zip(logits.to_vec2::<f32>()?);
                pairs.extend(rows.map(|(embedding, l)| (embedding, self.says(study, &l))));
            }
            Ok((pairs, outputs))
        })?;
        let (pairs, outputs): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        Ok((pairs.concat(), outputs.concat()))
    }

    fn says(&self, study: &Radiograph, logits: &[f32]) -> LabelSet {
        match self.parts.targets {
            Targets::Labels => study.labels,
            Targets::Scores => {
                let positive =
                    |(logit, score): (&f32, &encoder::ScoreCard)| *logit >= score.threshold;
                LabelSet::from_flags(logits.iter().zip(&self.card.scores).map(positive))
            }
        }
    }
}

/// The projection that leads each score, less its threshold, to where the language model was
/// trained to find it: `[scores × width, scores]`, zero but for each token's own score.
fn first_projection(
    encoder: &Path,
    card: &EncoderCard,
    parts: &Parts,
) -> Result<(Linear, Vec<Named>), TrainError> {
    let heads = variables::read(&encoder.join(encoder::WEIGHTS))?;
    let condition = variables::read(&parts.language.join(language::WEIGHTS))?;
    let part = |tensors: &std::collections::HashMap<String, Tensor>, name: &str| {
        tensors.get(name).cloned().ok_or_else(|| TrainError::Run {
            path: parts.out.clone(),
            reason: format!("the weights to align have no {name}"),
        })
    };
    let thresholds: Vec<f32> = card.scores.iter().map(|score| score.threshold).collect();
    let thresholds = Tensor::from_vec(thresholds, SCORES, &Device::Cpu)?;
    let zero = (part(&heads, "heads.bias")? - thresholds)?.unsqueeze(1)?;
    let direction = part(&condition, "condition.direction")?;
    let width = direction.dim(1)?;
    let own = Tensor::eye(SCORES, candle_core::DType::F32, &Device::Cpu)?.unsqueeze(1)?;
    let weight = direction.unsqueeze(2)?.broadcast_mul(&own)?.reshape((SCORES * width, SCORES))?;
    let bias = direction.broadcast_mul(&zero)?.flatten_all()?;
    let weight = Var::from_tensor(&weight)?;
    let bias = Var::from_tensor(&(bias + part(&condition, "condition.offset")?)?)?;
    let projection = Linear::new(weight.as_tensor().clone(), Some(bias.as_tensor().clone()));
    let variables =
        vec![("projection.bias".to_owned(), bias), ("projection.weight".to_owned(), weight)];
    Ok((projection, variables))
}
