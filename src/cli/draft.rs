//! `thorascribe draft`: files to texts.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use serde_json::json;

use super::Outcome;
use crate::model::{DraftRequest, Model, ModelDraft, PromptChoice, Sampling};
use crate::radiograph::{GreyImage, open_picture};

/// What may be asked of `draft`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Radiographs: DICOM, PNG or JPEG.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The model directory; else the configuration's, else the embedded model.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// The question: a text, or the number of one of the model's own.
    #[arg(long, value_name = "TEXT|N", default_value = "1")]
    prompt: String,
    /// 0 is greedy; higher is more random.
    #[arg(long, value_name = "F", default_value_t = 0.0)]
    temperature: f64,
    /// With a temperature: the likeliest tokens that together reach this probability.
    #[arg(long, value_name = "F", default_value_t = 1.0)]
    top_p: f64,
    /// Above 1: tokens that were said are less likely to come again.
    #[arg(long, value_name = "F", default_value_t = 1.0)]
    repetition_penalty: f32,
    /// The longest answer.
    #[arg(long, value_name = "N", default_value_t = 300)]
    max_tokens: usize,
    /// Of the random numbers.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// One JSON object a line and a file.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, _config: Option<&Path>) -> Outcome {
    let model = match &arguments.model {
        Some(folder) => Model::open(folder)?,
        None => Model::embedded()?,
    };
    let request = DraftRequest {
        prompt: PromptChoice::parse(&arguments.prompt),
        sampling: Sampling {
            temperature: arguments.temperature,
            top_p: arguments.top_p,
            repetition_penalty: arguments.repetition_penalty,
            max_tokens: arguments.max_tokens,
            seed: arguments.seed,
        },
    };
    let mut out = std::io::stdout().lock();
    let mut code = ExitCode::SUCCESS;
    for file in &arguments.files {
        let result = draft(&model, file, &request);
        if result.is_err() {
            code = ExitCode::FAILURE;
        }
        if arguments.json {
            let line = match result {
                Ok(drafted) => drafted.json(file, &model),
                Err(error) => json!({"file": file, "error": chain(&error)}),
            };
            writeln!(out, "{line}")?;
        } else {
            match result {
                Ok(drafted) => drafted.print(&mut out, file, &model)?,
                Err(error) => {
                    writeln!(std::io::stderr(), "error: {}: {}", file.display(), chain(&error))?;
                }
            }
        }
        out.flush()?;
    }
    Ok(code)
}

/// One file's draft and how long reading it took.
struct Drafted {
    draft: ModelDraft,
    read: f64,
}

fn draft(model: &Model, file: &Path, request: &DraftRequest) -> anyhow::Result<Drafted> {
    let start = Instant::now();
    let image = read_image(file)?;
    let read = start.elapsed().as_secs_f64();
    Ok(Drafted { draft: model.draft(&image, request)?, read })
}

/// Reads a picture, or renders a DICOM object.
pub(super) fn read_image(file: &Path) -> anyhow::Result<GreyImage> {
    Ok(open_picture(file)?)
}

impl Drafted {
    fn json(&self, file: &Path, model: &Model) -> serde_json::Value {
        let draft = &self.draft;
        let findings = draft.scores.iter().map(|(label, score)| {
            let threshold = model.manifest().scores.as_ref().and_then(|s| s.thresholds.get(label));
            let state = threshold.map(|t| if score >= t { "positive" } else { "negative" });
            json!({"observation": label, "state": state, "score": score})
        });
        json!({
            "file": file,
            "model": {"name": model.name(), "digest": model.digest()},
            "prompt": draft.prompt,
            "text": draft.text,
            "token_ids": draft.token_ids,
            "abnormal": draft.abnormal,
            "findings": findings.collect::<Vec<_>>(),
            "seconds": {
                "read": self.read,
                "encode": draft.seconds.encode,
                "prefill": draft.seconds.prefill,
                "decode": draft.seconds.decode,
            },
        })
    }

    fn print(&self, out: &mut impl Write, file: &Path, model: &Model) -> std::io::Result<()> {
        writeln!(out, "{}", file.display())?;
        writeln!(out, "{}", self.draft.text)?;
        if let Some(abnormal) = self.draft.abnormal {
            writeln!(out, "abnormal: {:.0}%", abnormal * 100.0)?;
        }
        writeln!(out, "(draft by {}, not verified)\n", model.name())
    }
}

/// An error and its causes in one line.
fn chain(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
