//! Whether the node makes progress: what a watchdog is fed by.

use std::time::Duration;

use crate::model::engine::{EngineHandle, Pulse};
use crate::observe::chain;
use crate::spool::{Depth, Spool};

/// How long one part may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A part that does not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Silent {
    /// Tasks are not run.
    #[error("the network runtime runs no task")]
    Runtime,
    /// The job store does not answer, or with an error.
    #[error("the job store does not answer: {0}")]
    JobStore(String),
    /// The engine has work and took no step since the last check.
    #[error("the model has work and takes no step")]
    Engine,
    /// The engine's thread has ended.
    #[error("the model's thread has ended")]
    EngineEnded,
}

/// The parts that must answer, and what was seen of them last.
#[derive(Debug)]
pub struct Vitals {
    spool: Spool,
    engine: EngineHandle,
    last: Option<Pulse>,
}

impl Vitals {
    pub(super) fn new(spool: Spool, engine: EngineHandle) -> Self {
        Self { spool, engine, last: None }
    }

    /// Asks each part, and gives what waits. An engine that computes is alive as long as it takes
    /// steps, however long a draft is.
    ///
    /// # Errors
    /// The part that makes no progress.
    pub async fn check(&mut self) -> Result<Depth, Silent> {
        let task = tokio::time::timeout(PATIENCE, tokio::spawn(async {}));
        if !matches!(task.await, Ok(Ok(()))) {
            return Err(Silent::Runtime);
        }
        let spool = self.spool.clone();
        let asked = tokio::task::spawn_blocking(move || spool.depth());
        let depth = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(Ok(depth))) => depth,
            Ok(Ok(Err(error))) => return Err(Silent::JobStore(chain(&error))),
            Ok(Err(fault)) => return Err(Silent::JobStore(fault.to_string())),
            Err(_) => return Err(Silent::JobStore(format!("not within {PATIENCE:?}"))),
        };
        let Some(pulse) = self.engine.pulse() else { return Err(Silent::EngineEnded) };
        let seen = self.last.replace(pulse);
        match seen {
            Some(seen) if !pulse.idle && !seen.idle && pulse.steps == seen.steps => {
                Err(Silent::Engine)
            }
            _ => Ok(depth),
        }
    }
}
