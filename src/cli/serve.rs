//! `thorascribe serve`: runs the node until it is told to stop.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Outcome, service_manager};
use crate::config::{self, Config, Environment, Shown};
use crate::node::{Node, Reload};
use crate::observe::log;

/// What may be asked of `serve`.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Arguments {}

pub(super) fn run(_arguments: &Arguments, config: Option<&Path>) -> Outcome {
    let environment = Environment::of_process();
    let file = config::file(config, &environment)?;
    let (loaded, shown) = config::show(file.as_deref(), &environment)?;
    let _log = log::init(&loaded.log);
    runtime()?.block_on(serve(loaded, shown, file))
}

/// The runtime of everything that talks to the network.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the network runtime")
}

async fn serve(config: Config, shown: Vec<Shown>, file: Option<PathBuf>) -> Outcome {
    let (closing, abandon) = (CancellationToken::new(), CancellationToken::new());
    stop_on_signals(closing.clone(), abandon.clone())?;
    let hangup = signal(SignalKind::hangup())?;
    service_manager::tell(&[NotifyState::Status("opening the job store, loading the model")]);
    let starting = tokio::spawn(service_manager::extend_start());
    let bound = Node::bind_with(config, service_manager::sockets()?).await;
    starting.abort();
    let node = bound?;
    tokio::spawn(reload_on(hangup, file, node.reload(), shown));
    let addresses = node.addresses();
    let ready = format!("ready {addresses}");
    let mut out = std::io::stdout();
    writeln!(out, "{ready}")?;
    out.flush()?;
    service_manager::tell(&[NotifyState::Ready, NotifyState::Status(&ready)]);
    let companion = service_manager::accompany(node.vitals(), addresses, closing.clone());
    let companion = tokio::spawn(companion);
    let ended = node.run(closing, abandon).await;
    companion.abort();
    ended?;
    info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// The first SIGTERM or SIGINT drains; the second abandons what is in hand.
fn stop_on_signals(closing: CancellationToken, abandon: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if closing.is_cancelled() {
                abandon.cancel();
            }
            closing.cancel();
        }
    });
    Ok(())
}

/// SIGHUP takes peers, destinations, rules, routes, users and certificates from the configuration
/// anew, all of it or nothing. A file that was read is read again: when it is gone, the defaults,
/// which let anybody send, do not take its place. Without one it is looked for anew.
async fn reload_on(
    mut hangup: Signal,
    mut file: Option<PathBuf>,
    reload: Reload,
    started: Vec<Shown>,
) {
    while hangup.recv().await.is_some() {
        service_manager::reloading();
        let known = file.clone();
        let load = move || {
            let environment = Environment::of_process();
            let file = config::file(known.as_deref(), &environment)?;
            config::show(file.as_deref(), &environment).map(|(config, shown)| (file, config, shown))
        };
        let status = match tokio::task::spawn_blocking(load).await {
            Ok(Ok((read, config, shown))) => match reload.apply(&config) {
                Ok(()) => {
                    file = read;
                    warn_of_left(&started, &shown);
                    info!(
                        "SIGHUP: peers, destinations, rules, routes, users and certificates are \
                         those of the configuration as it is now"
                    );
                    "reloaded"
                }
                Err(problems) => not_taken(&reload, &problems),
            },
            Ok(Err(problems)) => not_taken(&reload, &problems),
            Err(fault) => not_taken(&reload, &fault),
        };
        service_manager::tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }
}

/// Names the keys that were changed since the start but are read at start only.
fn warn_of_left(started: &[Shown], now: &[Shown]) {
    let value = |key: &str| started.iter().find(|own| own.key == key).map(|own| &own.value);
    let changed = now.iter().filter(|new| value(&new.key) != Some(&new.value));
    let left = changed.map(|new| new.key.as_str()).filter(|key| !Reload::takes(key));
    let left = left.collect::<Vec<_>>().join(", ");
    if !left.is_empty() {
        warn!(keys = left, "SIGHUP: these keys are read at start only: restart the node for them");
    }
}

/// Why a reload changed nothing; the status that says so.
fn not_taken(reload: &Reload, why: &impl std::fmt::Display) -> &'static str {
    reload.refused(why);
    warn!(%why, "SIGHUP: nothing was taken over");
    "the configuration was not taken over: see the log"
}
