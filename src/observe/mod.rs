//! Logs, metrics and the audit trail: every counter and every audit message that the node has.
//!
//! Comes in: what the stages report. Goes out: lines on stderr, Prometheus text, audit messages.
//! Promises: no text about a patient but in audit messages, closed sets of labels; a slow syslog
//! server delays nothing. May use: `vocabulary`, `config`.

pub mod audit;
pub mod log;
pub mod metrics;
pub mod recurring;

/// An error with its causes in one line, for a log and for the queue.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
