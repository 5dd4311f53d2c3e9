//! The patients kept back: what an encoder's scores are worth on them.

use candle_core::Tensor;
use serde_json::{Map, Value, json};

use super::auroc::auroc;
use super::data::{Row, Split, digest, radiographs};
use super::encoder::{Encoder, Pixels};
use super::error::TrainError;
use super::label::{FINDINGS, LabelSet, score_names};
use super::workers::Workers;

/// Radiographs that one thread encodes at once.
const AT_ONCE: usize = 4;

/// The radiographs of the development split, ready for an encoder.
#[derive(Debug)]
pub struct Development {
    pixels: Vec<Tensor>,
    truth: Vec<LabelSet>,
    digest: String,
}

impl Development {
    /// Reads them, and warns of thresholds that they cannot give.
    pub fn read(rows: &[Row], pixels: &Pixels) -> Result<Self, TrainError> {
        let studies = radiographs(rows, Split::Development)?;
        let abnormal = studies.iter().filter(|study| study.labels.is_abnormal()).count();
        if abnormal == 0 || abnormal == studies.len() {
            tracing::warn!(
                "{abnormal} of the {} radiographs kept back are abnormal: thresholds and \
                 probabilities chosen by those mean nothing; more patients are needed",
                studies.len()
            );
        }
        Ok(Self {
            pixels: studies.iter().map(|s| pixels.plain(&[s])).collect::<Result<_, _>>()?,
            truth: studies.iter().map(|study| study.labels).collect(),
            digest: digest(&studies),
        })
    }

    /// What is said of each.
    pub fn truth(&self) -> &[LabelSet] {
        &self.truth
    }

    /// SHA-256 of all of them, hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The logits of each, in the order of [`Development::truth`].
    pub fn logits(
        &self,
        encoder: &Encoder,
        workers: &Workers,
    ) -> Result<Vec<Vec<f32>>, TrainError> {
        let all: Vec<usize> = (0..self.pixels.len()).collect();
        let parts = workers.map(&all, |part| {
            let mut rows = Vec::new();
            for few in part.chunks(AT_ONCE) {
                let pixels: Vec<&Tensor> = few.iter().filter_map(|i| self.pixels.get(*i)).collect();
                rows.extend(encoder.forward(&Tensor::cat(&pixels, 0)?)?.1.to_vec2::<f32>()?);
            }
            Ok(rows)
        })?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// The AUROC of one score.
    pub fn auroc(&self, logits: &[Vec<f32>], score: usize) -> Option<f64> {
        let values: Vec<f32> = logits.iter().filter_map(|row| row.get(score).copied()).collect();
        let truth: Vec<bool> = self.truth.iter().map(|labels| labels.contains(score)).collect();
        auroc(&values, &truth)
    }

    /// The AUROC of "abnormal", of each finding, and their mean.
    pub fn figures(&self, logits: &[Vec<f32>]) -> Map<String, Value> {
        let findings = (0..FINDINGS.len()).map(|score| self.auroc(logits, score));
        let findings: Vec<Option<f64>> = findings.collect();
        let known: Vec<f64> = findings.iter().flatten().copied().collect();
        let mean = (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64);
        let mut figures = Map::new();
        figures.insert("abnormal".to_owned(), json!(self.auroc(logits, FINDINGS.len())));
        figures.insert("mean_of_findings".to_owned(), json!(mean));
        let named = score_names().into_iter().zip(findings);
        figures.extend(named.map(|(name, value)| (name.to_owned(), json!(value))));
        figures
    }
}
