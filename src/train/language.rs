//! Trains a small LLaMA on summaries of the grammar, conditioned on label sets in the image slot.
//!
//! In the place of the image stand fifteen tokens, one a score: a direction times a number, above
//! zero where the label is positive, below where it is not, plus an offset. The language model's own
//! norm leaves of such a token hardly more than the sign, and the magnitudes are random, so that it
//! learns to go by that. An alignment can then lead an image's scores, each less its threshold, into
//! the same slots, since they are linear in the image embedding.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;

use super::assemble::{TOKENIZER, digest};
use super::chance::Chance;
use super::data::{check_trained_on, table, trained_on};
use super::error::TrainError;
use super::files;
use super::grammar::Grammar;
use super::label::{FINDINGS, LabelSet, SCORES};
use super::next_token;
use super::optimise::Named;
use super::release::Release;
use super::run::{Plan, Task, fit};
use super::tokenizer::{self, BOS, EOS};
use super::variables;
use super::workers::{Loss, Workers};
use crate::model::language::llama::{Llama, LlamaConfig};

/// The weights of a trained language model, in the folder of its run.
pub const WEIGHTS: &str = "language.safetensors";

/// What stands before the image token.
pub const BEFORE: &str = "###Patient: <Img>";
/// What stands between the image token and the instruction, and after the instruction.
pub const AROUND: (&str, &str) = ("</Img> ", " ###Doctor: ");
/// The instructions that the language model is trained with.
pub const INSTRUCTIONS: [&str; 4] = [
    "Describe the given chest x-ray image in detail.",
    "Take a look at this chest x-ray and describe the findings and impression.",
    "Could you provide a detailed description of the given x-ray image?",
    "Describe the given chest x-ray image as detailed as possible.",
];

/// The names of the variables that place a label set in the image slot.
const CONDITION: &str = "condition";

/// Sizes and text material of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LanguageCard {
    /// The seed and length of the run, for the model card.
    pub run: String,
    /// The sizes of the language model.
    pub llama: LlamaConfig,
}

/// The language model with what places a label set in its image slot.
#[derive(Debug)]
pub struct Language {
    /// The language model.
    pub llama: Llama,
    /// From one number a score to the image tokens.
    pub condition: Condition,
    prompts: Prompts,
}

/// Places one number a score: each becomes an image token of its own.
#[derive(Debug)]
pub struct Condition {
    /// `[scores, width]`: what stands for one.
    direction: Tensor,
    /// `[scores × width]`: what stands for nothing.
    offset: Tensor,
}

impl Condition {
    fn load(width: usize, source: &VarBuilder<'_>) -> Result<Self, TrainError> {
        let init = candle_nn::Init::Const(0.0);
        Ok(Self {
            direction: source.get_with_hints((SCORES, width), "direction", init)?,
            offset: source.get_with_hints(SCORES * width, "offset", init)?,
        })
    }

    /// The image tokens `[batch, scores, width]` of numbers `[batch, scores, 1]`.
    pub fn forward(&self, numbers: &Tensor) -> Result<Tensor, TrainError> {
        let offset = self.offset.reshape(self.direction.shape())?;
        Ok(numbers.broadcast_mul(&self.direction)?.broadcast_add(&offset)?)
    }
}

/// The token ids around the image token.
#[derive(Debug)]
struct Prompts {
    tokenizer: Tokenizer,
    before: Vec<u32>,
    after: Vec<Vec<u32>>,
}

impl Prompts {
    fn new(tokenizer: Tokenizer) -> Result<Self, TrainError> {
        let mut before = vec![BOS];
        before.extend(encode(&tokenizer, BEFORE)?);
        let after = INSTRUCTIONS
            .iter()
            .map(|text| encode(&tokenizer, &format!("{}{text}{}", AROUND.0, AROUND.1)))
            .collect::<Result<_, _>>()?;
        Ok(Self { tokenizer, before, after })
    }
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, TrainError> {
    let encoding = tokenizer.encode(text, false).map_err(|error| refused(&error))?;
    Ok(encoding.get_ids().to_vec())
}

fn refused(error: &tokenizers::Error) -> TrainError {
    TrainError::Tokenizer { reason: error.to_string() }
}

/// A prompt number and the summary that should follow it.
#[derive(Debug, Clone)]
pub struct Sample {
    prompt: usize,
    text: Vec<u32>,
}

impl Language {
    fn load(
        config: &LlamaConfig,
        tokenizer: Tokenizer,
        source: &VarBuilder<'_>,
    ) -> Result<Self, TrainError> {
        Ok(Self {
            llama: Llama::load(config, source)?,
            condition: Condition::load(config.hidden_size, &source.pp(CONDITION))?,
            prompts: Prompts::new(tokenizer)?,
        })
    }

    /// A text of the grammar for these labels under a random instruction.
    pub fn sample(
        &self,
        grammar: &Grammar,
        labels: LabelSet,
        chance: &mut Chance,
    ) -> Result<Sample, TrainError> {
        let mut text = encode(&self.prompts.tokenizer, &grammar.write(labels, chance.bits()))?;
        text.push(EOS);
        Ok(Sample { prompt: chance.below(self.prompts.after.len()), text })
    }

    /// The summed negative log-likelihood of the samples after their image tokens
    /// `[batch, tokens, width]`, and over how many tokens.
    pub fn loss(&self, images: &Tensor, samples: &[Sample]) -> Result<Loss, TrainError> {
        let rows: Vec<(&[u32], &[u32])> = samples
            .iter()
            .filter_map(|s| Some((self.prompts.after.get(s.prompt)?.as_slice(), s.text.as_slice())))
            .collect();
        next_token::loss(&self.llama, &self.prompts.before, images, &rows, EOS)
    }

    /// The likeliest summary after image tokens `[1, tokens, width]`, token by token.
    pub fn greedy(&self, image: &Tensor, most: usize) -> Result<String, TrainError> {
        let ids = |ids: &[u32]| Tensor::from_slice(ids, (1, ids.len()), &Device::Cpu);
        let after = self.prompts.after.first().map(Vec::as_slice).unwrap_or_default();
        let before = self.llama.embed(&ids(&self.prompts.before)?)?;
        let after = self.llama.embed(&ids(after)?)?;
        let mut embeds = Tensor::cat(&[&before, image, &after], 1)?;
        let mut cache = self.llama.cache(embeds.dim(1)? + most)?;
        let mut text = Vec::new();
        while text.len() < most {
            let logits = self.llama.forward_last(&embeds, Some(&mut cache))?;
            let next = logits.argmax(1)?.to_vec1::<u32>()?.first().copied().unwrap_or(EOS);
            if next == EOS {
                break;
            }
            text.push(next);
            embeds = self.llama.embed(&ids(&[next])?)?;
        }
        self.prompts.tokenizer.decode(&text, true).map_err(|error| refused(&error))
    }
}

/// The sizes of a run.
#[derive(Debug, Clone)]
pub struct Sizes {
    /// Pieces of the vocabulary.
    pub pieces: usize,
    /// Width of the hidden state.
    pub width: usize,
    /// Blocks.
    pub layers: usize,
    /// Heads of the attention.
    pub heads: usize,
    /// Summaries an epoch.
    pub summaries: usize,
}

impl Sizes {
    fn llama(&self, pieces: usize) -> LlamaConfig {
        LlamaConfig {
            vocab_size: pieces,
            hidden_size: self.width,
            intermediate_size: self.width * 8 / 3,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            num_key_value_heads: None,
            head_dim: None,
            rms_norm_eps: 1e-6,
            rope_theta: 10_000.0,
            max_position_embeddings: 1024,
            tie_word_embeddings: true,
        }
    }
}

/// How many label sets are kept for evaluation; their numbers follow those of all epochs.
const DEVELOPMENT: u64 = 64;
const DEVELOPMENT_STREAM: u64 = u64::MAX - DEVELOPMENT;

struct LanguageTask {
    language: Language,
    grammar: Grammar,
    variables: Vec<Named>,
    /// Label sets as a data folder has them, or none.
    known: Vec<LabelSet>,
    sizes: Sizes,
    settings: Value,
    seed: u64,
}

impl LanguageTask {
    fn draw(&self, stream: u64) -> Result<(LabelSet, Vec<f32>, Sample), TrainError> {
        let mut chance = Chance::of(self.seed, stream);
        let known = chance.happens(0.5);
        let labels = match chance.pick(&self.known) {
            Some(labels) if known => *labels,
            _ => invented(&mut chance),
        };
        let numbers = simulated(labels, &mut chance);
        let sample = self.language.sample(&self.grammar, labels, &mut chance)?;
        Ok((labels, numbers, sample))
    }

    fn streams_loss(&self, streams: impl Iterator<Item = u64>) -> Result<Loss, TrainError> {
        let (mut numbers, mut samples) = (Vec::new(), Vec::new());
        for stream in streams {
            let (_, few, sample) = self.draw(stream)?;
            numbers.extend(few);
            samples.push(sample);
        }
        let numbers = Tensor::from_vec(numbers, (samples.len(), SCORES, 1), &Device::Cpu)?;
        self.language.loss(&self.language.condition.forward(&numbers)?, &samples)
    }
}

impl Task for LanguageTask {
    fn variables(&self) -> &[Named] {
        &self.variables
    }

    fn items(&self) -> usize {
        self.sizes.summaries
    }

    fn loss(&self, items: &[usize], epoch: u64) -> Result<Loss, TrainError> {
        let start = epoch.wrapping_mul(self.sizes.summaries as u64);
        self.streams_loss(items.iter().map(|item| start.wrapping_add(*item as u64)))
    }

    fn evaluate(&self, workers: &Workers) -> Result<Map<String, Value>, TrainError> {
        let all: Vec<usize> = (0..DEVELOPMENT as usize).collect();
        let parts = workers.map(&all, |part| {
            let streams = part.iter().map(|item| DEVELOPMENT_STREAM + *item as u64);
            let (loss, tokens) = self.streams_loss(streams)?;
            Ok((loss.to_scalar::<f32>()?, tokens))
        })?;
        let sum: f32 = parts.iter().map(|p| p.0).sum();
        let tokens: f32 = parts.iter().map(|p| p.1).sum();
        let mut figures = Map::new();
        figures.insert("loss".to_owned(), json!(sum / tokens.max(1.0)));
        figures.insert("tokens_a_summary".to_owned(), json!(tokens / DEVELOPMENT as f32));
        Ok(figures)
    }

    fn settings(&self) -> Value {
        self.settings.clone()
    }
}

/// An encoder's scores rise together where a chest is sick, so that a dozen can pass their thresholds.
const MOST: usize = 12;

/// A label set out of the air: so that the model can say every combination, common or not, and many
/// findings at once, which the labels of a report seldom hold.
fn invented(chance: &mut Chance) -> LabelSet {
    let many = match chance.unit() {
        u if u < 0.2 => 0,
        u if u < 0.4 => 1,
        u if u < 0.55 => 2,
        u if u < 0.68 => 3,
        u if u < 0.78 => 4,
        _ => 5 + chance.below(MOST - 4),
    };
    let chosen = chance.shuffled(FINDINGS.len());
    let chosen = chosen.get(..many).unwrap_or_default();
    let unnamed = chance.happens(0.35);
    LabelSet::from_flags((0..SCORES).map(|i| chosen.contains(&i) || i == SCORES - 1 && unnamed))
}

/// One number a score, its sign the label's, its magnitude like those that an encoder gives.
fn simulated(labels: LabelSet, chance: &mut Chance) -> Vec<f32> {
    let named = labels.findings().next().is_some();
    (0..SCORES)
        .map(|score| {
            let magnitude = 0.01 + 1.2 * chance.normal().abs();
            // With a finding named the text does not depend on "abnormal".
            let free = named && score == SCORES - 1;
            let positive = if free { chance.happens(0.7) } else { labels.contains(score) };
            if positive { magnitude } else { -magnitude }
        })
        .collect()
}

/// Trains a tokenizer and a language model; writes `tokenizer.json`, `language.safetensors` and
/// `language.toml` into `out`. With a data folder half of the label sets are drawn from NIH's table
/// of the whole release, or, where the folder does not hold it, from the `train` rows of its own.
pub fn train(
    data: Option<&Path>,
    out: &Path,
    sizes: &Sizes,
    plan: &Plan,
    bar: &ProgressBar,
) -> Result<Map<String, Value>, TrainError> {
    let _held = files::run_folder(out)?;
    if let Err(reason) = sizes.llama(sizes.pieces).check() {
        let reason = format!("{reason}; choose --width, --heads, --layers and --pieces anew");
        return Err(TrainError::Sizes { reason });
    }
    let grammar = Grammar::embedded()?;
    let known: Vec<LabelSet> = match data {
        Some(dir) => {
            let rows = table(dir)?;
            if let Some(all) = Release::read(dir, &rows)? {
                all.sets().collect()
            } else {
                check_trained_on(dir, &rows)?;
                trained_on(&rows).map(|row| row.labels).collect()
            }
        }
        None => vec![],
    };
    let corpus = corpus(&grammar, plan.seed);
    // The tokenizer of an earlier run stays where this one is not its continuation.
    let pieces = files::temporary()?;
    tokenizer::train(&corpus, sizes.pieces, pieces.path())?;
    let tokenizer = Tokenizer::from_file(pieces.path()).map_err(|error| refused(&error))?;
    let config = sizes.llama(tokenizer.get_vocab_size(true));
    let (language, variables) =
        variables::fresh(plan.seed, |source| Language::load(&config, tokenizer, source))?;
    let settings = json!({
        "train": "lm", "llama": config, "summaries": sizes.summaries,
        "label_sets": digest(format!("{known:?}").as_bytes()),
        "texts": digest(corpus.join("\n").as_bytes()),
    });
    let seed = plan.seed;
    let task =
        LanguageTask { language, grammar, variables, known, sizes: sizes.clone(), settings, seed };
    let mut figures = fit(&task, plan, out, bar)?;
    files::write(&out.join(TOKENIZER), &files::read(pieces.path())?)?;
    figures.insert("says_what_it_is_told".to_owned(), json!(obedience(&task, plan.threads)?));
    variables::write(&task.variables, &out.join(WEIGHTS))?;
    let run = plan.in_words();
    let card = LanguageCard { run, llama: config };
    files::write_toml(&out.join("language.toml"), &card)?;
    Ok(figures)
}

/// What the vocabulary is learned from: summaries, and the prompts so often that their words
/// become pieces.
fn corpus(grammar: &Grammar, seed: u64) -> Vec<String> {
    let prompts = INSTRUCTIONS.iter().map(|i| format!("{BEFORE}{}{i}{}", AROUND.0, AROUND.1));
    let prompts: Vec<String> = prompts.collect();
    (0..4000)
        .map(|index| {
            let mut chance = Chance::of(seed ^ 0x7E47, index);
            let labels = invented(&mut chance);
            grammar.write(labels, chance.bits())
        })
        .chain(prompts.iter().cycle().take(400).cloned())
        .collect()
}

/// The share of label sets kept back whose greedy summary names exactly their findings.
fn obedience(task: &LanguageTask, threads: usize) -> Result<f32, TrainError> {
    let all: Vec<usize> = (0..DEVELOPMENT as usize).collect();
    let parts = Workers::new(threads)?.map(&all, |part| {
        let mut right = 0;
        for item in part {
            let (labels, numbers, _) = task.draw(DEVELOPMENT_STREAM + *item as u64)?;
            let numbers = Tensor::from_vec(numbers, (1, SCORES, 1), &Device::Cpu)?;
            let image = task.language.condition.forward(&numbers)?;
            let text = task.language.greedy(&image, 200)?;
            right += usize::from(task.grammar.read(&text) == labels);
        }
        Ok(right)
    })?;
    Ok(parts.iter().sum::<usize>() as f32 / DEVELOPMENT as f32)
}

/// Reads what [`train`] wrote: the language model, frozen, and its sizes.
pub fn read(dir: &Path) -> Result<(Language, LanguageCard), TrainError> {
    let card: LanguageCard = files::read_toml(&dir.join("language.toml"), "lm")?;
    let path = dir.join(TOKENIZER);
    let tokenizer = Tokenizer::from_bytes(files::read(&path)?).map_err(|error| {
        TrainError::Run { path, reason: format!("not what `train lm` writes: {error}") }
    })?;
    let tensors = variables::read(&dir.join(WEIGHTS))?;
    let source = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let language = Language::load(&card.llama, tokenizer, &source)?;
    Ok((language, card))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_sets_are_invented_from_none_to_a_dozen_findings() {
        let mut chance = Chance::new(1);
        let counts: Vec<usize> =
            (0..2000).map(|_| invented(&mut chance).findings().count()).collect();
        for many in 0..=MOST {
            let share = counts.iter().filter(|count| **count == many).count() as f32 / 2000.0;
            assert!(share > 0.015, "{many} findings in {share} of them");
        }
        assert_eq!(counts.iter().max(), Some(&MOST));
    }
}
