//! `thorascribe echo`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;

use super::Outcome;
use crate::config::{DestinationTls, Identity, NamedFile};
use crate::dimse::Timers;
use crate::dimse::requestor::{ProposedContext, Remote, Requestor};
use crate::dimse::tls::Client;
use crate::vocabulary::{AeTitle, SopClass, Span, TransferSyntax};

/// What may be asked of `echo`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The node to ask.
    #[arg(value_name = "AE@HOST:PORT")]
    to: Address,
    #[command(flatten)]
    own: Own,
}

/// How this side presents itself.
#[derive(Debug, clap::Args)]
pub(super) struct Own {
    /// The AE title to call from.
    #[arg(long, value_name = "AE", default_value = "THORASCRIBE")]
    from: AeTitle,
    /// Call it over TLS: the PEM file of the authorities that vouch for it.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// The name in its certificate, where that is not the host.
    #[arg(long, value_name = "NAME", requires = "tls_ca")]
    tls_name: Option<String>,
    /// This side's certificate, PEM.
    #[arg(long, value_name = "FILE", requires_all = ["tls_ca", "tls_key"])]
    tls_certificate: Option<PathBuf>,
    /// The private key of that certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// How long to wait for the peer at each step.
    #[arg(long, value_name = "SPAN", default_value = "30s")]
    timeout: Span,
}

/// A peer as people write it: `AE@HOST:PORT`.
#[derive(Debug, Clone)]
pub(super) struct Address {
    called: AeTitle,
    host: String,
    port: u16,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || format!("a peer is written AE@HOST:PORT, not {text:?}");
        let (called, place) = text.split_once('@').ok_or_else(form)?;
        let (host, port) = place.rsplit_once(':').ok_or_else(form)?;
        let called = called.parse().map_err(|error| format!("{called:?}: {error}"))?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(form)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(form());
        }
        Ok(Self { called, host, port })
    }
}

impl Own {
    pub(super) fn remote(&self, to: &Address) -> anyhow::Result<Remote> {
        Ok(Remote {
            calling: self.from.clone(),
            called: to.called.clone(),
            host: to.host.clone(),
            port: to.port,
            tls: self.tls()?,
        })
    }

    fn tls(&self) -> anyhow::Result<Option<Client>> {
        let Some(ca) = &self.tls_ca else { return Ok(None) };
        let named = |option: &str, path: &Path| NamedFile::of_option(option, path.to_owned());
        let identity = self.tls_certificate.as_ref().zip(self.tls_key.as_ref());
        let tls = DestinationTls {
            ca: named("--tls-ca", ca),
            name: self.tls_name.clone(),
            identity: identity.map(|(certificate, key)| Identity {
                certificate: named("--tls-certificate", certificate),
                key: named("--tls-key", key),
            }),
        };
        Ok(Some(Client::load(&tls)?))
    }

    pub(super) fn timers(&self) -> Timers {
        Timers::uniform(self.timeout.0.max(Duration::from_millis(1)))
    }
}

/// A runtime for one association.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the network runtime")
}

pub(super) fn run(arguments: &Arguments, _config: Option<&Path>) -> Outcome {
    let remote = arguments.own.remote(&arguments.to)?;
    let status = runtime()?.block_on(async {
        let context = ProposedContext {
            abstract_syntax: SopClass::Verification.uid().to_owned(),
            transfer_syntaxes: vec![TransferSyntax::ExplicitLittle, TransferSyntax::ImplicitLittle],
        };
        let timers = arguments.own.timers();
        let mut association = Requestor::connect(&remote, &[context], &timers).await?;
        let status = association.echo().await?;
        association.release().await;
        anyhow::Ok(status)
    })?;
    writeln!(std::io::stdout(), "{status} {remote}")?;
    Ok(if status.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_read_as_people_write_it() {
        let peer: Address = "PACS@[::1]:104".parse().unwrap();
        assert_eq!((peer.called.as_str(), peer.host.as_str(), peer.port), ("PACS", "::1", 104));
        for bad in ["PACS", "PACS@host", "@host:104", "PACS@:104", "PACS@host:0", "PACS@host:x"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
