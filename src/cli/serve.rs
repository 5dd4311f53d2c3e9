//! `thorascribe serve`: runs the node until it is told to stop.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Outcome;
use crate::config::Config;
use crate::node::Node;
use crate::observe::log;

/// What may be asked of `serve`.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Arguments {}

pub(super) fn run(_arguments: &Arguments, config: Option<&Path>) -> Outcome {
    let config = Config::load(config)?;
    log::init(&config.log);
    runtime()?.block_on(serve(config))
}

/// The runtime of everything that talks to the network.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the network runtime")
}

async fn serve(config: Config) -> Outcome {
    let (closing, abandon) = (CancellationToken::new(), CancellationToken::new());
    stop_on_signals(closing.clone(), abandon.clone())?;
    let node = Node::bind(config).await?;
    let mut out = std::io::stdout();
    writeln!(out, "ready dicom={} http={}", node.dicom_address(), node.http_address())?;
    out.flush()?;
    node.run(closing, abandon).await?;
    info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// The first SIGTERM or SIGINT drains; the second abandons what is in hand. SIGHUP, which would
/// end the process, is answered with a line in the log.
fn stop_on_signals(closing: CancellationToken, abandon: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {
                    warn!("SIGHUP: the configuration is read at start only; restart the node");
                    continue;
                }
            }
            if closing.is_cancelled() {
                abandon.cancel();
            }
            closing.cancel();
        }
    });
    Ok(())
}
