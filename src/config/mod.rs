//! What the node is told: defaults, a TOML file, and variables of the environment.
//!
//! Comes in: a file, `THORASCRIBE_A__B` variables. Goes out: a [`Config`] whose every value is of
//! its type and range, or every error at once, each with its place, key and remedy. Promises: one
//! table of keys ([`keys`]) holds every name and default; nothing that is written is ignored.
//! May use: `vocabulary`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::vocabulary::{AeTitle, ByteSize, Credential, Fingerprint, Span};

mod address_range;
mod audit;
mod check;
mod environment;
mod error;
mod examined;
mod file;
mod keys;
mod limits;
mod locate;
mod peers;
mod show;
mod tls;
mod triage;
mod users;
mod value;

pub use address_range::{AddressRange, AddressRangeError};
pub use audit::{Audit, Syslog};
pub use environment::Environment;
pub use error::{ConfigErrors, Place, Problem};
pub use examined::Examined;
pub use limits::Limits;
pub use locate::file;
pub use show::{Shown, Source, show};
pub use tls::{DestinationTls, Identity, NamedFile, Tls};
pub use triage::{Route, Rule, When};
pub use users::{Role, User};

/// Everything that the node is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The DICOM side.
    pub node: Node,
    /// Certificates of the DICOM side.
    pub tls: Tls,
    /// The web side.
    pub http: Http,
    /// Limits of what is received.
    pub receive: Receive,
    /// The other limits of what a peer can choose.
    pub limits: Limits,
    /// The durable store.
    pub spool: Spool,
    /// When a study is complete, and what counts as a chest.
    pub study: Study,
    /// The model and how it is asked.
    pub model: Model,
    /// How deliveries are tried again.
    pub deliver: Deliver,
    /// What is kept, and how long.
    pub retention: Retention,
    /// What is audited.
    pub audit: Audit,
    /// What is logged.
    pub log: Log,
    /// Who receives what, in the order of the file.
    pub destinations: Vec<Destination>,
    /// Who may send; empty: any caller.
    pub peers: Vec<Peer>,
    /// Who may sign in; empty: nobody, and the pages are open to this machine alone.
    pub users: Vec<User>,
    /// What makes a study urgent.
    pub rules: Vec<Rule>,
    /// What goes where because of what was found.
    pub routes: Vec<Route>,
}

/// `[node]`
#[derive(Debug, Clone)]
pub struct Node {
    /// The node's own AE title.
    pub ae_title: AeTitle,
    /// Where it listens for associations; port 0 takes a free one.
    pub bind: SocketAddr,
    /// What callers may call it beside its own title.
    pub also_called: AlsoCalled,
}

/// `node.called_ae_titles`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlsoCalled {
    /// These titles.
    Titles(Vec<AeTitle>),
    /// Any title.
    Anything,
}

/// `[http]`
#[derive(Debug, Clone)]
pub struct Http {
    /// Where the worklist, health and metrics are served; port 0 takes a free one.
    pub bind: SocketAddr,
    /// Where a proxy that speaks TLS to its clients calls from.
    pub trusted_proxy: Option<AddressRange>,
    /// How long a session lasts without a request.
    pub session_idle: Span,
}

/// `[receive]`
#[derive(Debug, Clone)]
pub struct Receive {
    /// The largest data set that is taken.
    pub max_object: ByteSize,
    /// The deadline of every state of an association.
    pub timeout: Span,
    /// Associations at the same time.
    pub max_associations: usize,
    /// Associations at the same time from one address.
    pub max_associations_per_address: usize,
}

/// `[spool]`
#[derive(Debug, Clone)]
pub struct Spool {
    /// The folder, already resolved: never empty.
    pub path: PathBuf,
    /// Free space below which no object is taken.
    pub min_free: ByteSize,
}

/// `[study]`
#[derive(Debug, Clone)]
pub struct Study {
    /// A study is complete when nothing came for this long.
    pub quiet: Span,
    /// A study is complete at the latest this long after its first object.
    pub deadline: Span,
    /// Whether a radiograph without a body part is taken for a chest.
    pub assume_chest: bool,
}

/// `[model]`
#[derive(Debug, Clone)]
pub struct Model {
    /// The model directory; `None`: the model inside the program.
    pub path: Option<PathBuf>,
    /// Where it computes.
    pub device: Device,
    /// What it is asked.
    pub prompt: PromptSetting,
    /// Whether a model without heads is asked for its findings too.
    pub ask_findings: bool,
    /// The longest draft, in tokens.
    pub max_tokens: usize,
    /// The views that are drafted from, as View Position (0018,5101) writes them.
    pub views: Vec<String>,
}

/// Where the model computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The best that the build and the machine have.
    Auto,
    /// The processor.
    Cpu,
    /// The NVIDIA GPU of this number.
    Cuda(usize),
}

impl std::str::FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => return Ok(Self::Auto),
            "cpu" => return Ok(Self::Cpu),
            "cuda" => return Ok(Self::Cuda(0)),
            _ => {}
        }
        let number = text.strip_prefix("cuda:").and_then(|number| number.parse().ok());
        number.map(Self::Cuda).ok_or_else(|| {
            format!("{text:?} is no device; allowed are \"auto\", \"cpu\" and \"cuda:N\"")
        })
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// What the model is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptSetting {
    /// The manifest's prompt of this number, from 1.
    Number(usize),
    /// This text, inside the model's template.
    Text(String),
}

/// `[deliver]`
#[derive(Debug, Clone)]
pub struct Deliver {
    /// Attempts after which a delivery is dead.
    pub max_attempts: u32,
    /// How long a destination has to report on a storage commitment before it is asked again.
    pub commitment_wait: Span,
}

/// `[retention]`
#[derive(Debug, Clone)]
pub struct Retention {
    /// How long objects are kept after their last delivery.
    pub after_delivery: Span,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A level, or directives such as `info,thorascribe::dimse=debug`.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

/// How lines of the log look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[[destination]]`
#[derive(Debug, Clone)]
pub struct Destination {
    /// Its name in the queue and in metrics; unique.
    pub name: String,
    /// The AE title it is called by.
    pub ae_title: AeTitle,
    /// Name or address of its machine.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// What it is sent.
    pub receives: Vec<Receives>,
    /// The classes its reports may be of, the preferred one first.
    pub sr_classes: Vec<SrClassSetting>,
    /// How it is reached by TLS; `None`: without.
    pub tls: Option<DestinationTls>,
    /// Whether a study is done only when it committed to keep it.
    pub commitment: bool,
}

/// What a destination may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Receives {
    /// The drafted report.
    Report,
    /// The study's images as they came.
    Images,
    /// A picture of where the model looked.
    Capture,
    /// A key-object selection that points at that picture, and the picture with it.
    KeyObject,
}

impl Receives {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Report, Self::Images, Self::Capture, Self::KeyObject];

    /// The word in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::Images => "images",
            Self::Capture => "capture",
            Self::KeyObject => "key_object",
        }
    }
}

/// The SOP class of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SrClassSetting {
    /// Enhanced SR.
    Enhanced,
    /// Basic Text SR.
    Basic,
    /// Comprehensive SR.
    Comprehensive,
}

/// `[[peer]]`
#[derive(Debug, Clone)]
pub struct Peer {
    /// The AE title it calls with; `None`: any.
    pub ae_title: Option<AeTitle>,
    /// Where it calls from.
    pub address: AddressRange,
    /// The certificate that it shows; `None`: any, or none.
    pub certificate: Option<Fingerprint>,
    /// The user identity that it gives (PS3.7 §D.3.3.7); `None`: any, or none.
    pub user: Option<PeerUser>,
}

/// The user identity of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerUser {
    /// The name that it gives.
    pub name: String,
    /// What its passcode is held against; `None`: the name is enough.
    pub passcode: Option<Credential>,
}

impl Config {
    /// The configuration of this process: `file`, else what [`Environment`] and the usual places
    /// name, else defaults.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigErrors> {
        Self::load_from(file, &Environment::of_process())
    }

    /// As [`Config::load`], with an environment given.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load_from(file: Option<&Path>, environment: &Environment) -> Result<Self, ConfigErrors> {
        let mut problems = Vec::new();
        let settings = file::gather(file, environment, &mut problems)?;
        check::check(&settings, environment, problems)
    }

    /// The defaults with what an environment sets, whatever files there are.
    ///
    /// # Errors
    /// Everything that is wrong with the environment, at once.
    pub fn without_file(environment: &Environment) -> Result<Self, ConfigErrors> {
        let (mut settings, mut problems) = (file::Settings::default(), Vec::new());
        environment::apply(environment, &mut settings, &mut problems);
        check::check(&settings, environment, problems)
    }

    /// What the demonstration runs with: free ports of the loopback, a spool of its own, and one
    /// destination that receives reports.
    ///
    /// # Errors
    /// A spool path that is not Unicode.
    pub fn for_demo(spool: &Path, archive: SocketAddr) -> Result<Self, ConfigErrors> {
        let mut config = Self::without_file(&Environment::empty().with_spool(spool))?;
        config.node.bind.set_port(0);
        config.http.bind.set_port(0);
        config.spool.min_free = ByteSize(64 << 20);
        config.study.quiet = Span(std::time::Duration::from_millis(300));
        config.destinations.push(Destination {
            name: "archive".to_owned(),
            ae_title: demo_archive()?,
            host: archive.ip().to_string(),
            port: archive.port(),
            receives: vec![Receives::Report],
            sr_classes: vec![SrClassSetting::Enhanced, SrClassSetting::Basic],
            tls: None,
            commitment: false,
        });
        Ok(config)
    }
}

fn demo_archive() -> Result<AeTitle, ConfigErrors> {
    "ARCHIVE".parse().map_err(|error| ConfigErrors::one(Problem::of_default("ae_title", &error)))
}
