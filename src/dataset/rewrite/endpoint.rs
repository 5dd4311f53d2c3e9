//! A language model behind an OpenAI-compatible endpoint (`POST /chat/completions`).

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::Agent;

use crate::dataset::error::DatasetError;

/// How often a call is tried.
const TRIES: u32 = 6;
/// The wait before the second try; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// No wait is longer, whatever the endpoint asks for.
const LONGEST_WAIT: Duration = Duration::from_mins(2);
/// A call takes no longer.
const DEADLINE: Duration = Duration::from_mins(5);
/// No answer is longer, bytes.
const LONGEST_ANSWER: u64 = 1 << 20;

/// Where a language model is asked, and how often it may be.
#[derive(Debug)]
pub struct Endpoint {
    /// The base, as "https://host/v1".
    pub url: String,
    /// The model's name there.
    pub model: String,
    key: Option<String>,
    pace: Duration,
    last: Mutex<Option<Instant>>,
    agent: Agent,
}

/// A call that failed.
enum Failure {
    /// Worth another try, after this time if the endpoint said so.
    Passing(String, Option<Duration>),
    Final(String),
}

impl Endpoint {
    /// An endpoint that is asked at most `per_minute` times a minute, with a key if it wants one.
    pub fn new(url: &str, model: &str, key: Option<String>, per_minute: u32) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(DEADLINE))
            .http_status_as_error(false)
            .build();
        Self {
            url: url.trim_end_matches('/').to_owned(),
            model: model.to_owned(),
            key,
            pace: Duration::from_mins(1) / per_minute.max(1),
            last: Mutex::new(None),
            agent: config.into(),
        }
    }

    /// The model's answer to an instruction and a text, at temperature 0; empty where it was cut off
    /// at the endpoint's limit, since half a summary leaves findings out.
    pub(super) fn ask(&self, instruction: &str, text: &str) -> Result<String, DatasetError> {
        let body = json!({
            "model": self.model,
            "temperature": 0,
            "messages": [
                {"role": "system", "content": instruction},
                {"role": "user", "content": text},
            ],
        });
        let mut wait = FIRST_WAIT;
        let mut tries = 1;
        loop {
            self.keep_pace();
            let (reason, asked) = match self.call(&body) {
                Ok(answer) => return Ok(answer),
                Err(Failure::Final(reason)) => return Err(self.failed(reason)),
                Err(Failure::Passing(reason, asked)) => (reason, asked),
            };
            if tries == TRIES {
                let reason = format!("{reason}, {TRIES} times; start again later to go on");
                return Err(self.failed(reason));
            }
            std::thread::sleep(asked.unwrap_or(wait).min(LONGEST_WAIT));
            wait *= 2;
            tries += 1;
        }
    }

    /// Waits until the next call may start.
    fn keep_pace(&self) {
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(last) = *last {
            std::thread::sleep(self.pace.saturating_sub(last.elapsed()));
        }
        *last = Some(Instant::now());
    }

    fn call(&self, body: &Value) -> Result<String, Failure> {
        let mut request = self.agent.post(format!("{}/chat/completions", self.url));
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let mut response = request
            .send_json(body)
            .map_err(|error| Failure::Passing(format!("no answer ({error})"), None))?;
        let status = response.status();
        let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let after = after.and_then(|value| value.parse().ok()).map(Duration::from_secs);
        if !status.is_success() {
            let reason = format!("it answered {status}");
            let passing = status.as_u16() == 429 || status.is_server_error();
            return Err(if passing {
                Failure::Passing(reason, after)
            } else {
                Failure::Final(format!(
                    "{reason}; see to the address, the key and the model's name"
                ))
            });
        }
        let answer: Value =
            response.body_mut().with_config().limit(LONGEST_ANSWER).read_json().map_err(
                |error| Failure::Passing(format!("an answer that is no JSON ({error})"), None),
            )?;
        let ended = answer.pointer("/choices/0/finish_reason").and_then(Value::as_str);
        if ended == Some("length") {
            return Ok(String::new());
        }
        let text = answer.pointer("/choices/0/message/content").and_then(Value::as_str);
        text.map(str::to_owned).ok_or_else(|| {
            Failure::Final("an answer without choices[0].message.content".to_owned())
        })
    }

    fn failed(&self, reason: String) -> DatasetError {
        DatasetError::Endpoint { endpoint: self.url.clone(), reason }
    }
}
