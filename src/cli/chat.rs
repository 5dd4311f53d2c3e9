//! `thorascribe chat`: questions about one radiograph, a line each, answers as they come.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::Outcome;
use super::asking::Asking;
use super::draft::read_image;
use crate::model::chat::Chat;
use crate::model::{Ended, ModelDraft, ModelError, PromptChoice, Sampling, Watch};
use crate::observe::chain;

/// What may be asked of `chat`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The radiograph: DICOM, PNG or JPEG.
    file: PathBuf,
    /// A question to begin with, or the number of one of the model's own; may come several times.
    #[arg(long, value_name = "N|TEXT")]
    prompt: Vec<String>,
    #[command(flatten)]
    asking: Asking,
    /// One JSON object a line and an answer.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, config: Option<&Path>) -> Outcome {
    let config = super::config::of_user(config)?;
    let sampling = arguments.asking.sampling(&config);
    sampling.check()?;
    let model = arguments.asking.open(&config)?;
    let image = read_image(&arguments.file)?;
    let template = arguments.asking.template.as_deref();
    let mut talk = Talk {
        prompts: model.prompts(),
        chat: Chat::new(&model, model.encode(&image)?, template)?,
        sampling,
        json: arguments.json,
        closed: Arc::default(),
    };
    let terminal = std::io::stdin().is_terminal();
    if terminal {
        notice(
            "Ask about the radiograph. /reset starts over, /quit ends. Answers are drafts by a \
                model, not verified.",
        )?;
    }
    let given = arguments.prompt.iter().map(|question| Ok(question.clone()));
    let mut lines = given.chain(std::io::stdin().lock().lines());
    let (mut code, mut number) = (ExitCode::SUCCESS, 0);
    loop {
        if terminal && number >= arguments.prompt.len() {
            write!(std::io::stderr(), "> ")?;
        }
        number += 1;
        let Some(line) = lines.next() else { return Ok(code) };
        match line?.trim() {
            "" => {}
            "/quit" => return Ok(code),
            "/reset" => {
                talk.chat.reset();
                notice("(the conversation starts over)")?;
            }
            question => {
                if !talk.ask(question)? {
                    code = ExitCode::FAILURE;
                }
            }
        }
        // Whoever read the answers has gone.
        if talk.closed.load(Ordering::Relaxed) {
            return Ok(code);
        }
    }
}

fn notice(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stderr(), "{text}")
}

/// A conversation and how it is shown.
struct Talk<'m> {
    /// The model's own questions.
    prompts: &'m [String],
    chat: Chat<'m>,
    sampling: Sampling,
    json: bool,
    closed: Arc<AtomicBool>,
}

impl Talk<'_> {
    /// Puts a question and shows the answer; false when there is none.
    fn ask(&mut self, question: &str) -> anyhow::Result<bool> {
        let before = self.chat.forgotten();
        let result = self.answer(question);
        let mut out = std::io::stdout();
        match (&result, self.json) {
            (_, true) => writeln!(out, "{}", object(question, &result, self.chat.forgotten()))?,
            // One line of output a line of input, whatever comes of it.
            (_, false) => writeln!(out)?,
        }
        out.flush()?;
        let forgotten = self.chat.forgotten();
        if forgotten > before {
            notice(&format!(
                "(the model's context is full: the first {forgotten} questions and answers are \
                 forgotten; /reset starts over)"
            ))?;
        }
        match &result {
            Ok(draft) if draft.ended == Ended::Context => {
                notice("(cut off: the model's context is full; /reset starts over)")?;
            }
            Ok(_) => {}
            Err(error) => notice(&format!("error: {}", chain(error)))?,
        }
        Ok(result.is_ok())
    }

    fn answer(&mut self, question: &str) -> Result<ModelDraft, ModelError> {
        let question = PromptChoice::parse(question);
        let question = question.resolve(self.prompts)?;
        if self.json {
            return self.chat.ask(question, &self.sampling, None);
        }
        // A search knows its answer at its end only.
        let mut show = self.show();
        if self.sampling.beams > 1 {
            let draft = self.chat.ask(question, &self.sampling, None)?;
            show(&draft.text);
            return Ok(draft);
        }
        self.chat.ask(question, &self.sampling, Some(show))
    }

    /// Writes each piece of an answer at once. An answer into a pipe stays on its line.
    fn show(&self) -> Watch {
        let (closed, pipe) = (Arc::clone(&self.closed), !std::io::stdout().is_terminal());
        Box::new(move |piece| {
            let piece = if pipe { piece.replace(['\n', '\r'], " ") } else { piece.to_owned() };
            let mut out = std::io::stdout();
            let written = out.write_all(piece.as_bytes()).and_then(|()| out.flush());
            if written.is_err() {
                closed.store(true, Ordering::Relaxed);
            }
        })
    }
}

fn object(
    question: &str,
    result: &Result<ModelDraft, ModelError>,
    forgotten: usize,
) -> serde_json::Value {
    match result {
        Ok(draft) => json!({
            "prompt": draft.prompt,
            "text": draft.text,
            "token_ids": draft.token_ids,
            "ended": match draft.ended {
                Ended::Stop => "stop",
                Ended::MaxTokens => "max_tokens",
                Ended::Context => "context",
            },
            "forgotten": forgotten,
        }),
        Err(error) => json!({"prompt": question, "error": chain(error)}),
    }
}
