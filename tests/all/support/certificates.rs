//! Certificates for the tests, made with the `openssl` command line.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::process::{self, find};

/// `openssl`, or a failure that names the package.
pub(crate) fn openssl() -> Command {
    Command::new(find("openssl", "openssl (Debian)", Path::is_file))
}

/// An authority, and the certificates that it gave out.
#[derive(Debug)]
pub(crate) struct Authority {
    folder: TempDir,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificate {
    /// Its SHA-256 fingerprint, as openssl prints it.
    pub(crate) fn fingerprint(&self) -> String {
        let mut command = openssl();
        command.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(&self.certificate);
        let printed = process::succeed(&mut command);
        printed.trim().split_once('=').unwrap().1.to_owned()
    }
}

impl Authority {
    /// A new one.
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let mut command = openssl();
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        command.args(["-nodes", "-days", "30", "-subj", "/CN=Authority"]);
        command.args(["-addext", "basicConstraints=critical,CA:TRUE"]);
        command.arg("-keyout").arg(folder.path().join("ca.key"));
        command.arg("-out").arg(folder.path().join("ca.pem"));
        process::succeed(&mut command);
        Self { folder }
    }

    /// The file of the authority itself.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate of an RSA key for a DNS name, good for so many days.
    pub(crate) fn certify(&self, name: &str, days: i32) -> Certificate {
        let at = |extension: &str| self.folder.path().join(format!("{name}.{extension}"));
        let (key, request, extensions) = (at("key"), at("csr"), at("ext"));
        let mut command = openssl();
        command.args(["req", "-newkey", "rsa:2048", "-nodes", "-subj", &format!("/CN={name}")]);
        process::succeed(command.arg("-keyout").arg(&key).arg("-out").arg(&request));
        std::fs::write(&extensions, format!("subjectAltName=DNS:{name}\n")).unwrap();
        let mut command = openssl();
        command.args(["x509", "-req", "-CAcreateserial", "-sha256", "-days", &days.to_string()]);
        command.arg("-in").arg(&request).arg("-extfile").arg(&extensions);
        command.arg("-CA").arg(self.file()).arg("-CAkey").arg(self.folder.path().join("ca.key"));
        process::succeed(command.arg("-out").arg(at("pem")));
        Certificate { certificate: at("pem"), key }
    }
}
