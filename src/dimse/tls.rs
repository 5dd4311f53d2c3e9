//! TLS under associations (PS3.15 Annex B, BCP 195): what the files hold, and both handshakes.
//!
//! TLS 1.2 with ECDHE and AES-GCM, and TLS 1.3; nothing older and nothing else. All files are read
//! at once ([`load`]), and what one of them lacks is said with the key that names it.

use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::crypto::ring::{self, cipher_suite as suite};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{
    ClientConfig, Error, InconsistentKeys, InvalidMessage, RootCertStore, ServerConfig, version,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::certificate::valid_until;
use crate::config::{Config, ConfigErrors, DestinationTls, Identity, NamedFile, Problem};
use crate::vocabulary::Fingerprint;

/// Characters of a reason that a log line shows.
const SHOWN: usize = 200;

/// Everything that a configuration says of TLS, read from its files.
#[derive(Debug)]
pub struct Loaded {
    /// For the port that speaks TLS.
    pub server: Option<CurrentServer>,
    /// For each destination of the configuration, in its order.
    pub destinations: Vec<Option<Client>>,
    /// For the syslog server of the audit trail, where that is one.
    pub syslog: Option<Client>,
    /// Certificates of the node that are no longer good.
    pub expired: Vec<Problem>,
}

/// Reads all certificates, keys and authorities.
///
/// # Errors
/// Everything that is wrong with any of the files, at once.
pub fn load(config: &Config) -> Result<Loaded, ConfigErrors> {
    let mut reader = Reader { problems: Vec::new(), expired: Vec::new() };
    let tls = &config.tls;
    let server = match (tls.bind, &tls.identity) {
        (Some(_), Some(identity)) => reader.server(identity, tls.client_ca.as_ref()),
        _ => None,
    };
    let of = |reader: &mut Reader, tls: &Option<DestinationTls>| {
        tls.as_ref().and_then(|tls| reader.client(tls))
    };
    let destinations = config.destinations.iter().map(|d| of(&mut reader, &d.tls)).collect();
    let syslog = config.audit.syslog.as_ref().and_then(|syslog| syslog.tls.clone());
    let syslog = syslog.and_then(|(ca, name)| {
        reader.client(&DestinationTls { ca, name, identity: tls.identity.clone() })
    });
    reader.expired.dedup();
    match ConfigErrors::of(reader.problems) {
        Some(problems) => Err(problems),
        None => Ok(Loaded {
            server: server.map(CurrentServer::new),
            destinations,
            syslog,
            expired: reader.expired,
        }),
    }
}

/// What the port that speaks TLS works with at present; clones share it.
#[derive(Debug, Clone)]
pub struct CurrentServer(Arc<RwLock<Arc<ServerConfig>>>);

impl CurrentServer {
    fn new(config: ServerConfig) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(config))))
    }

    /// From the next connection on, what `other` has.
    pub fn replace(&self, other: &Self) {
        let config = other.get();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    fn get(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The handshake with a caller, and the certificate that it showed.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<(server::TlsStream<TcpStream>, Option<Fingerprint>)> {
        let stream = TlsAcceptor::from(self.get()).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let fingerprint = shown.map(|certificate| Fingerprint::of(certificate));
        Ok((stream, fingerprint))
    }
}

/// How a peer is called over TLS.
#[derive(Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
    name: Option<String>,
    /// Over everything that the files held.
    digest: [u8; 32],
}

impl PartialEq for Client {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.digest == other.digest
    }
}

impl Eq for Client {}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Client {
    /// Reads what a peer is called with.
    ///
    /// # Errors
    /// Everything that is wrong with the files, at once.
    pub fn load(tls: &DestinationTls) -> Result<Self, ConfigErrors> {
        let mut reader = Reader { problems: Vec::new(), expired: Vec::new() };
        let client = reader.client(tls);
        match (ConfigErrors::of(reader.problems), client) {
            (None, Some(client)) => Ok(client),
            (Some(problems), _) => Err(problems),
            (None, None) => Err(ConfigErrors::one(tls.ca.problem("cannot be used", "check it"))),
        }
    }

    /// Opens a connection to a server that speaks TLS but not DICOM.
    ///
    /// # Errors
    /// A server that is not there, or whose certificate is not the expected one.
    pub async fn reach(&self, host: &str, port: u16) -> io::Result<client::TlsStream<TcpStream>> {
        self.connect(host, TcpStream::connect((host, port)).await?).await
    }

    /// The handshake with a peer, whose certificate must hold the configured name, or `host`.
    pub(super) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> io::Result<client::TlsStream<TcpStream>> {
        let name = self.name.as_deref().unwrap_or(host);
        let name = match name.parse::<IpAddr>() {
            Ok(address) => ServerName::from(address),
            Err(_) => ServerName::try_from(name.to_owned()).map_err(io::Error::other)?,
        };
        TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await
    }
}

/// Why a handshake failed, in one line for a log.
pub(super) fn reason(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let text = match inner {
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "the peer does not speak TLS".to_owned()
        }
        _ => error.to_string(),
    };
    text.chars().take(SHOWN).flat_map(char::escape_debug).collect()
}

/// What rustls may use: the suites that BCP 195 recommends.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            suite::TLS13_AES_256_GCM_SHA384,
            suite::TLS13_AES_128_GCM_SHA256,
            suite::TLS13_CHACHA20_POLY1305_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        ],
        ..ring::default_provider()
    })
}

const VERSIONS: [&tokio_rustls::rustls::SupportedProtocolVersion; 2] =
    [&version::TLS13, &version::TLS12];

/// Reads files and collects what is wrong with them.
struct Reader {
    problems: Vec<Problem>,
    expired: Vec<Problem>,
}

/// A chain and its key, and the digest of both files.
struct Read {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    bytes: Vec<u8>,
}

impl Reader {
    fn server(
        &mut self,
        identity: &Identity,
        client_ca: Option<&NamedFile>,
    ) -> Option<ServerConfig> {
        let read = self.identity(identity);
        let authorities = client_ca.map(|file| (file, self.authorities(file)));
        let builder = ServerConfig::builder_with_provider(provider());
        let builder =
            self.noted(&identity.certificate, builder.with_protocol_versions(&VERSIONS))?;
        let builder = match authorities {
            None => builder.with_no_client_auth(),
            Some((file, authorities)) => {
                let (roots, _) = authorities?;
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
                builder.with_client_cert_verifier(self.noted(file, verifier.build())?)
            }
        };
        let Read { chain, key, .. } = read?;
        let built = builder.with_single_cert(chain, key);
        self.paired(identity, built)
    }

    fn client(&mut self, tls: &DestinationTls) -> Option<Client> {
        let identity = tls.identity.as_ref().map(|identity| (identity, self.identity(identity)));
        let (roots, mut bytes) = self.authorities(&tls.ca)?;
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = self.noted(&tls.ca, builder.with_protocol_versions(&VERSIONS))?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
        let builder = builder.with_webpki_verifier(self.noted(&tls.ca, verifier.build())?);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((identity, read)) => {
                let Read { chain, key, bytes: own } = read?;
                bytes.extend_from_slice(&own);
                let built = builder.with_client_auth_cert(chain, key);
                self.paired(identity, built)?
            }
        };
        let digest = Sha256::digest(&bytes).into();
        Some(Client { config: Arc::new(config), name: tls.name.clone(), digest })
    }

    fn identity(&mut self, identity: &Identity) -> Option<Read> {
        let chain = self.certificates(&identity.certificate);
        let key = self.key(&identity.key);
        let (chain, mut bytes) = chain?;
        let until = chain.first().and_then(|certificate| valid_until(certificate));
        if let Some(until) = until.filter(|until| *until < Timestamp::now()) {
            let what = format!("the certificate is no longer valid since {until}");
            let remedy = "put a new one there, and send SIGHUP";
            self.expired.push(identity.certificate.problem(&what, remedy));
        }
        let (key, of_key) = key?;
        bytes.extend_from_slice(&of_key);
        Some(Read { chain, key, bytes })
    }

    /// The bytes of a file.
    fn read(&mut self, file: &NamedFile) -> Option<Vec<u8>> {
        match std::fs::read(&file.path) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                let what = format!("cannot be read: {error}");
                self.problems.push(file.problem(&what, "name a PEM file that this user can read"));
                None
            }
        }
    }

    fn certificates(
        &mut self,
        file: &NamedFile,
    ) -> Option<(Vec<CertificateDer<'static>>, Vec<u8>)> {
        let bytes = self.read(file)?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        match found {
            Ok(chain) if !chain.is_empty() => Some((chain, bytes)),
            Ok(_) => self.wrong(file, "holds no certificate"),
            Err(error) => self.wrong(file, &format!("is no PEM file of certificates: {error}")),
        }
    }

    fn authorities(&mut self, file: &NamedFile) -> Option<(RootCertStore, Vec<u8>)> {
        let (certificates, bytes) = self.certificates(file)?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            if let Err(error) = roots.add(certificate) {
                return self.wrong(file, &format!("holds what is no certificate: {error}"));
            }
        }
        Some((roots, bytes))
    }

    fn key(&mut self, file: &NamedFile) -> Option<(PrivateKeyDer<'static>, Vec<u8>)> {
        let bytes = self.read(file)?;
        if std::fs::metadata(&file.path).is_ok_and(|found| found.mode() & 0o007 != 0) {
            let what = "everybody on this machine may read the private key, or write it";
            self.problems.push(file.problem(what, "chmod 600 it (or 640, for a group)"));
            return None;
        }
        match PrivateKeyDer::from_pem_slice(&bytes) {
            Ok(key) => Some((key, bytes)),
            // The reason may quote the file.
            Err(_) => self.wrong(file, "holds no private key that can be read without a password"),
        }
    }

    fn wrong<T>(&mut self, file: &NamedFile, what: &str) -> Option<T> {
        self.problems.push(file.problem(what, "see `openssl x509 -in FILE -text`, `openssl pkey`"));
        None
    }

    fn noted<T, E: std::fmt::Display>(
        &mut self,
        file: &NamedFile,
        result: Result<T, E>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => self.wrong(file, &format!("cannot be used: {error}")),
        }
    }

    fn paired<T>(&mut self, identity: &Identity, built: Result<T, Error>) -> Option<T> {
        match built {
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                let of = identity.certificate.path.display();
                self.wrong(&identity.key, &format!("is not the key of the certificate in {of}"))
            }
            other => self.noted(&identity.certificate, other),
        }
    }
}
