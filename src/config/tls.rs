//! Certificates, keys and authorities: which files; `dimse::tls` reads them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::error::{Place, Problem};
use super::file::Settings;
use super::value::{ADDRESS, Checker, Keys};
use super::{Audit, Destination};

/// A file that the configuration names, and where it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// The file.
    pub path: PathBuf,
    /// The key that names it, for example `tls.certificate`.
    pub key: String,
    /// Where the key stands.
    pub place: Place,
}

impl NamedFile {
    /// Named by the option of a command.
    pub fn of_option(option: &str, path: PathBuf) -> Self {
        Self { path, key: option.to_owned(), place: Place::Default }
    }

    /// What is wrong with the file.
    pub fn problem(&self, message: &str, remedy: &str) -> Problem {
        Problem {
            place: self.place.clone(),
            key: self.key.clone(),
            message: format!("{}: {message}", self.path.display()),
            remedy: remedy.to_owned(),
        }
    }
}

/// A certificate chain and its private key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, then those between it and the authority.
    pub certificate: NamedFile,
    /// The private key.
    pub key: NamedFile,
}

/// `[tls]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Where it listens for associations over TLS; `None`: nowhere.
    pub bind: Option<SocketAddr>,
    /// Who the node is.
    pub identity: Option<Identity>,
    /// Who vouches for callers; `None`: callers are asked for no certificate.
    pub client_ca: Option<NamedFile>,
    /// Who vouches for destinations that name no authority of their own.
    pub ca: Option<NamedFile>,
}

/// How a destination is reached by TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationTls {
    /// Who vouches for it.
    pub ca: NamedFile,
    /// The name in its certificate; `None`: its host.
    pub name: Option<String>,
    /// Who the node is, should the destination ask.
    pub identity: Option<Identity>,
}

/// Stands in for an address that is wrong, so that the files beside it are read all the same.
const SOMEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

impl Checker<'_> {
    pub(super) fn tls(&mut self, settings: &Settings) -> Option<Tls> {
        let keys = Keys::of_table(settings, "tls")?;
        let none = self.text(&keys, "bind")?.is_empty();
        let bind = (!none).then(|| self.parsed(&keys, "bind", ADDRESS).unwrap_or(SOMEWHERE));
        let identity = self.identity(&keys, ["certificate", "key"])?;
        if bind.is_some() && identity.is_none() {
            let why = "a port that speaks TLS needs a certificate and its key";
            self.complain(&keys, "bind", why, "set tls.certificate and tls.key to PEM files");
        }
        let client_ca = self.file(&keys, "client_ca")?;
        if bind.is_none() && client_ca.is_some() {
            let why = "no caller shows a certificate, for no port speaks TLS: tls.bind is empty";
            self.complain(&keys, "client_ca", why, "set tls.bind, or take client_ca out");
        }
        let ca = self.file(&keys, "ca")?;
        Some(Tls { bind, identity, client_ca, ca })
    }

    /// `Some(None)` when neither is given.
    #[expect(clippy::option_option, reason = "wrong, empty and given are three cases")]
    fn identity(
        &mut self,
        keys: &Keys<'_>,
        [chain, key]: [&'static str; 2],
    ) -> Option<Option<Identity>> {
        match (self.file(keys, chain)?, self.file(keys, key)?) {
            (Some(certificate), Some(key)) => Some(Some(Identity { certificate, key })),
            (None, None) => Some(None),
            (given, _) => {
                let (given, missing) = if given.is_some() { (chain, key) } else { (key, chain) };
                let why = format!("{chain} and {key} belong together, and {missing} is empty");
                self.complain(keys, given, &why, "set both to PEM files, or neither");
                None
            }
        }
    }

    /// How a `[[destination]]` is reached; `Some(None)`: without TLS.
    #[expect(clippy::option_option, reason = "wrong, plain and TLS are three cases")]
    pub(super) fn destination_tls(
        &mut self,
        keys: &Keys<'_>,
        of_node: Option<&Tls>,
    ) -> Option<Option<DestinationTls>> {
        let wanted = self.flag(keys, "tls")?;
        let ca = self.file(keys, "tls_ca")?;
        let name = Some(self.text(keys, "tls_name")?).filter(|name| !name.is_empty());
        let identity = self.identity(keys, ["tls_certificate", "tls_key"])?;
        if !wanted {
            let identity = identity.map(|_| "tls_certificate");
            let given = [ca.map(|_| "tls_ca"), name.map(|_| "tls_name"), identity];
            for key in given.into_iter().flatten() {
                let why = "tls is false: what goes there is sent in plain";
                self.complain(keys, key, why, &format!("set tls = true, or take {key} out"));
            }
            return Some(None);
        }
        let Some(ca) = ca.or_else(|| of_node?.ca.clone()) else {
            // Of a [tls] that is wrong it is not known.
            if of_node.is_some() {
                let why = "nobody is named who vouches for the destination's certificate";
                let remedy = "set tls_ca here, or ca under [tls], to a PEM file of authorities";
                self.complain(keys, "tls", why, remedy);
            }
            return None;
        };
        let identity = identity.or_else(|| of_node?.identity.clone());
        Some(Some(DestinationTls { ca, name, identity }))
    }

    /// A certificate of the node that nobody would be shown: the key that uses it was forgotten.
    pub(super) fn unused_identity(
        &mut self,
        settings: &Settings,
        tls: &Tls,
        audit: &Audit,
        destinations: &[Destination],
    ) {
        let all = settings.arrays.get("destination").map_or(0, Vec::len);
        if destinations.len() < all {
            return;
        }
        let syslog = audit.syslog.as_ref().is_some_and(|syslog| syslog.tls.is_some());
        let used = tls.bind.is_some() || syslog || destinations.iter().any(|d| d.tls.is_some());
        if let (true, false, Some(keys)) =
            (tls.identity.is_some(), used, Keys::of_table(settings, "tls"))
        {
            let why = "nobody is shown it: tls.bind is empty, no destination has tls = true, and \
                       audit.syslog is not reached over TLS";
            self.complain(&keys, "certificate", why, "set tls.bind, or take certificate out");
        }
    }

    /// `Some(None)` for an empty text.
    #[expect(clippy::option_option, reason = "wrong, empty and given are three cases")]
    pub(super) fn file(&mut self, keys: &Keys<'_>, key: &'static str) -> Option<Option<NamedFile>> {
        let path = self.folder(keys, key)?;
        let named = |path| NamedFile { path, key: keys.path(key), place: keys.place_of(key) };
        Some(path.map(named))
    }
}
