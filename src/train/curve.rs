//! The loss curve of a run, drawn from its log.

use std::path::Path;

use serde_json::Value;

use super::error::TrainError;
use super::files;
use crate::evaluate::plot::{Series, loss_curve};

/// Draws `loss.png` beside the log of a run: what it was trained on and, where it is logged, what
/// was kept back, by epoch.
pub(super) fn draw(log: &Path) -> Result<(), TrainError> {
    let text = files::read(log)?;
    let text = String::from_utf8_lossy(&text);
    let lines = || text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let series = |name: &str, loss: fn(&Value) -> Option<f64>| Series {
        name: name.to_owned(),
        points: lines().filter_map(|l| Some((l.get("epoch")?.as_f64()?, loss(&l)?))).collect(),
    };
    let kept = |line: &Value| line.get("development")?.get("loss")?.as_f64();
    let all = [series("trained on", |line| line.get("loss")?.as_f64()), series("kept back", kept)];
    let drawn: Vec<Series> = all.into_iter().filter(|s| !s.points.is_empty()).collect();
    if drawn.is_empty() {
        return Ok(());
    }
    loss_curve(&drawn, "epoch", &log.with_file_name("loss.png"))
        .map_err(|error| TrainError::Curve(Box::new(error)))
}
