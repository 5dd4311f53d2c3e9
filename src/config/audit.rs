//! `[audit]`: the local copy, and where messages go by syslog.

use super::file::Settings;
use super::tls::{NamedFile, Tls};
use super::value::{Checker, Keys, SIZE};
use crate::vocabulary::ByteSize;

/// `[audit]`
#[derive(Debug, Clone)]
pub struct Audit {
    /// Whether anything is audited.
    pub enabled: bool,
    /// A file of the local copy is followed by another one once it is this long.
    pub max_file: ByteSize,
    /// Where messages go beside the local copy.
    pub syslog: Option<Syslog>,
}

/// `audit.syslog`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Syslog {
    /// Name or address of its machine.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Who vouches for it, and the name in its certificate; `None`: UDP.
    pub tls: Option<(NamedFile, Option<String>)>,
}

impl Checker<'_> {
    pub(super) fn audit(&mut self, settings: &Settings, tls: Option<&Tls>) -> Option<Audit> {
        let keys = Keys::of_table(settings, "audit")?;
        let enabled = self.flag(&keys, "enabled");
        let max_file = self.parsed(&keys, "max_file", SIZE);
        let syslog = self.syslog(&keys, tls);
        Some(Audit { enabled: enabled?, max_file: max_file?, syslog: syslog? })
    }

    #[expect(clippy::option_option, reason = "wrong, empty and given are three cases")]
    fn syslog(&mut self, keys: &Keys<'_>, of_node: Option<&Tls>) -> Option<Option<Syslog>> {
        let address = self.text(keys, "syslog")?;
        let ca = self.file(keys, "syslog_ca")?;
        let name = Some(self.text(keys, "syslog_name")?).filter(|name| !name.is_empty());
        if !address.starts_with("tls://") {
            let given = [ca.as_ref().map(|_| "syslog_ca"), name.as_ref().map(|_| "syslog_name")];
            for key in given.into_iter().flatten() {
                let why = "audit.syslog is not reached over TLS, so there is no certificate to hold \
                           this against";
                let remedy = format!("set audit.syslog to \"tls://…\", or take {key} out");
                self.complain(keys, key, why, &remedy);
            }
        }
        if address.is_empty() {
            return Some(None);
        }
        let parsed = address.split_once("://").and_then(|(scheme, place)| {
            let (host, port) = place.rsplit_once(':')?;
            let port = port.parse().ok().filter(|port| *port > 0)?;
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            (!host.is_empty() && matches!(scheme, "udp" | "tls")).then_some((scheme, host, port))
        });
        let Some((scheme, host, port)) = parsed else {
            let why = format!("{address:?} is no syslog server");
            let remedy = "write \"tls://loghost.example:6514\" or \"udp://loghost.example:514\"";
            self.complain(keys, "syslog", &why, remedy);
            return None;
        };
        if scheme == "udp" {
            return Some(Some(Syslog { host, port, tls: None }));
        }
        let Some(ca) = ca.or_else(|| of_node?.ca.clone()) else {
            // Of a [tls] that is wrong it is not known.
            if of_node.is_some() {
                let why = "nobody is named who vouches for the server's certificate";
                let remedy = "set audit.syslog_ca, or tls.ca, to a PEM file of authorities";
                self.complain(keys, "syslog", why, remedy);
            }
            return None;
        };
        Some(Some(Syslog { host, port, tls: Some((ca, name)) }))
    }
}
