//! From what was written to what is meant: types, ranges, and what must fit together.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use toml::Value;
use tracing_subscriber::EnvFilter;

use super::environment::Environment;
use super::error::{ConfigErrors, Place, Problem};
use super::file::{Entry, Setting, Settings, not_available};
use super::keys::{self, Key, Table};
use super::locate;
use super::{
    Config, Deliver, Destination, Device, Http, Log, LogFormat, Model, Node, Peer, PromptSetting,
    Receive, Receives, Retention, Spool, SrClassSetting, Study,
};

const VIEWS: [&str; 6] = ["PA", "AP", "LL", "RL", "LATERAL", ""];

/// The configuration, or everything that is wrong with it.
pub(super) fn check(
    settings: &Settings,
    environment: &Environment,
    problems: Vec<Problem>,
) -> Result<Config, ConfigErrors> {
    let mut checker = Checker { environment, problems };
    let config = checker.config(settings);
    let mut problems = checker.problems;
    problems.sort_by_key(|problem| match &problem.place {
        Place::File { line, column, .. } => (0, *line, *column),
        Place::WholeFile(_) | Place::Variable(_) | Place::Default => (1, 0, 0),
    });
    match (ConfigErrors::of(problems), config) {
        (None, Some(config)) => Ok(config),
        (Some(errors), _) => Err(errors),
        // A value that is missing has left its problem: never reached.
        (None, None) => Err(ConfigErrors::one(Problem::of_default("", &"a value is missing"))),
    }
}

struct Checker<'a> {
    environment: &'a Environment,
    problems: Vec<Problem>,
}

/// The keys of one table, with its defaults.
struct Keys<'a> {
    table: &'a Table,
    written: BTreeMap<&'a str, &'a Setting>,
    /// Where the table begins: the place of what is missing.
    place: Place,
}

impl<'a> Keys<'a> {
    fn of_table(settings: &'a Settings, name: &str) -> Option<Self> {
        let table = keys::TABLES.iter().find(|table| table.name == name)?;
        let written = settings.keys.iter().filter_map(|(path, setting)| {
            let (first, key) = path.split_once('.')?;
            (first == name).then_some((key, setting))
        });
        Some(Self { table, written: written.collect(), place: Place::Default })
    }

    fn of_entry(table: &'a Table, entry: &'a Entry) -> Self {
        let written = entry.keys.iter().map(|(key, setting)| (key.as_str(), setting)).collect();
        Self { table, written, place: entry.place.clone() }
    }

    fn path(&self, key: &str) -> String {
        format!("{}.{key}", self.table.name)
    }

    fn place_of(&self, key: &str) -> Place {
        self.setting(key).map_or_else(|| self.place.clone(), |setting| setting.place)
    }

    /// What was written, else the default.
    fn setting(&self, name: &str) -> Option<Setting> {
        if let Some(written) = self.written.get(name) {
            return Some((*written).clone());
        }
        let default = self.table.key(name)?.default?;
        Some(Setting { value: default.parse().ok()?, place: Place::Default })
    }
}

impl Checker<'_> {
    fn config(&mut self, settings: &Settings) -> Option<Config> {
        let node = self.node(settings);
        let http = self.http(settings);
        let receive = self.receive(settings);
        let spool = self.spool(settings);
        let study = self.study(settings);
        let model = self.model(settings);
        let deliver = self.deliver(settings);
        let retention = self.retention(settings);
        let log = self.log(settings);
        let destinations = self.destinations(settings);
        let peers = self.peers(settings);
        Some(Config {
            node: node?,
            http: http?,
            receive: receive?,
            spool: spool?,
            study: study?,
            model: model?,
            deliver: deliver?,
            retention: retention?,
            log: log?,
            destinations: destinations?,
            peers: peers?,
        })
    }

    fn node(&mut self, settings: &Settings) -> Option<Node> {
        let keys = Keys::of_table(settings, "node")?;
        let ae_title = self.parsed(&keys, "ae_title", AE_TITLE);
        let bind = self.parsed(&keys, "bind", ADDRESS);
        Some(Node { ae_title: ae_title?, bind: bind? })
    }

    fn http(&mut self, settings: &Settings) -> Option<Http> {
        let keys = Keys::of_table(settings, "http")?;
        Some(Http { bind: self.parsed(&keys, "bind", ADDRESS)? })
    }

    fn receive(&mut self, settings: &Settings) -> Option<Receive> {
        let keys = Keys::of_table(settings, "receive")?;
        let max_object = self.parsed(&keys, "max_object", SIZE);
        let timeout = self.parsed(&keys, "timeout", SPAN);
        let all = self.count(&keys, "max_associations", 1, 4096);
        let each = self.count(&keys, "max_associations_per_address", 1, 4096);
        if timeout.is_some_and(|span: crate::vocabulary::Span| span.0.is_zero()) {
            self.complain(
                &keys,
                "timeout",
                "a deadline of 0 would refuse every peer",
                "write \"30s\"",
            );
        }
        Some(Receive {
            max_object: max_object?,
            timeout: timeout?,
            max_associations: all?,
            max_associations_per_address: each?,
        })
    }

    fn spool(&mut self, settings: &Settings) -> Option<Spool> {
        let keys = Keys::of_table(settings, "spool")?;
        let min_free = self.parsed(&keys, "min_free", SIZE);
        let path = self.folder(&keys, "path")?.or_else(|| locate::spool(self.environment));
        if path.is_none() {
            let why = "no folder is given, and the environment has neither HOME nor XDG_STATE_HOME";
            self.complain(
                &keys,
                "path",
                why,
                "set spool.path to a folder that this user can write",
            );
        }
        Some(Spool { path: path?, min_free: min_free? })
    }

    fn study(&mut self, settings: &Settings) -> Option<Study> {
        let keys = Keys::of_table(settings, "study")?;
        let quiet = self.parsed(&keys, "quiet", SPAN);
        let deadline = self.parsed(&keys, "deadline", SPAN);
        let assume_chest = self.flag(&keys, "assume_chest");
        if let (Some(quiet), Some(deadline)) = (quiet, deadline)
            && quiet > deadline
        {
            let why = format!(
                "a study that waits {quiet} to be quiet is sealed before, after {deadline}"
            );
            let culprit = if keys.written.contains_key("quiet") { "quiet" } else { "deadline" };
            self.complain(&keys, culprit, &why, "make study.quiet shorter than study.deadline");
        }
        Some(Study { quiet: quiet?, deadline: deadline?, assume_chest: assume_chest? })
    }

    fn model(&mut self, settings: &Settings) -> Option<Model> {
        let keys = Keys::of_table(settings, "model")?;
        let path = self.folder(&keys, "path");
        let device = self.device(&keys);
        let prompt = self.prompt(&keys);
        let max_tokens = self.count(&keys, "max_tokens", 1, 4096);
        let views = self.words(&keys, "views", &VIEWS.map(|view| (view, view.to_owned())));
        Some(Model {
            path: path?,
            device: device?,
            prompt: prompt?,
            max_tokens: max_tokens?,
            views: views?,
        })
    }

    fn device(&mut self, keys: &Keys<'_>) -> Option<Device> {
        let text = self.text(keys, "device")?;
        match text.as_str() {
            "auto" => return Some(Device::Auto),
            "cpu" => return Some(Device::Cpu),
            cuda if cuda.starts_with("cuda") => {
                let why = format!("{cuda:?} is not available in this version");
                self.complain(keys, "device", &why, "write \"auto\" or \"cpu\"");
            }
            other => {
                let why = format!("{other:?} is no device; allowed are \"auto\" and \"cpu\"");
                self.complain(keys, "device", &why, "write \"auto\"");
            }
        }
        None
    }

    fn prompt(&mut self, keys: &Keys<'_>) -> Option<PromptSetting> {
        match keys.setting("prompt")?.value {
            Value::Integer(number) => match usize::try_from(number) {
                Ok(number) if number >= 1 => return Some(PromptSetting::Number(number)),
                _ => self.complain(
                    keys,
                    "prompt",
                    &format!("{number} is no prompt; the model's prompts count from 1"),
                    "write 1, or a question in quotes",
                ),
            },
            Value::String(text) if !text.trim().is_empty() => {
                return Some(PromptSetting::Text(text));
            }
            _ => self.complain(
                keys,
                "prompt",
                "the prompt is empty",
                "write 1, or a question in quotes",
            ),
        }
        None
    }

    fn deliver(&mut self, settings: &Settings) -> Option<Deliver> {
        let keys = Keys::of_table(settings, "deliver")?;
        let max_attempts = self.count(&keys, "max_attempts", 1, 1000)?;
        Some(Deliver { max_attempts: u32::try_from(max_attempts).ok()? })
    }

    fn retention(&mut self, settings: &Settings) -> Option<Retention> {
        let keys = Keys::of_table(settings, "retention")?;
        Some(Retention { after_delivery: self.parsed(&keys, "after_delivery", SPAN)? })
    }

    fn log(&mut self, settings: &Settings) -> Option<Log> {
        let keys = Keys::of_table(settings, "log")?;
        let level = self.text(&keys, "level")?;
        if let Err(error) = EnvFilter::builder().parse(&level) {
            let why = format!("{level:?} is neither a level nor directives: {error}");
            self.complain(&keys, "level", &why, "write error, warn, info, debug or trace");
        }
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        let format = self.word(&keys, "format", &formats)?;
        Some(Log { level, format })
    }

    fn destinations(&mut self, settings: &Settings) -> Option<Vec<Destination>> {
        let entries = settings.arrays.get("destination").map_or(&[][..], Vec::as_slice);
        let mut seen: BTreeMap<String, Place> = BTreeMap::new();
        let (mut all, mut whole) = (Vec::new(), true);
        for entry in entries {
            let keys = Keys::of_entry(&keys::DESTINATION, entry);
            let destination = self.destination(&keys);
            let name = keys.written.get("name").and_then(|s| s.value.as_str()).unwrap_or_default();
            if let Some(first) = seen.insert(name.to_owned(), entry.place.clone())
                && !name.is_empty()
            {
                let why = format!("{name:?} names a destination already, at {first}");
                self.complain(&keys, "name", &why, "give each destination a name of its own");
            }
            match destination {
                Some(destination) => all.push(destination),
                None => whole = false,
            }
        }
        whole.then_some(all)
    }

    fn destination(&mut self, keys: &Keys<'_>) -> Option<Destination> {
        let name = self.name(keys);
        let ae_title = self.parsed(keys, "ae_title", AE_TITLE);
        let host = self.host(keys);
        let port = self.count(keys, "port", 1, 65_535);
        let receives = self.receives(keys);
        let classes = [
            ("enhanced", SrClassSetting::Enhanced),
            ("basic", SrClassSetting::Basic),
            ("comprehensive", SrClassSetting::Comprehensive),
        ];
        let sr_classes = self.words(keys, "sr_classes", &classes);
        if sr_classes.as_ref().is_some_and(Vec::is_empty) {
            self.complain(
                keys,
                "sr_classes",
                "no class is left to send",
                "write [\"enhanced\", \"basic\"]",
            );
        }
        for planned in ["tls", "commitment"] {
            if self.flag(keys, planned) == Some(true) {
                let place = keys.place_of(planned);
                let path = keys.path(planned);
                self.problems.push(not_available(place, &path, &format!("{planned} = true")));
            }
        }
        Some(Destination {
            name: name?,
            ae_title: ae_title?,
            host: host?,
            port: u16::try_from(port?).ok()?,
            receives: receives?,
            sr_classes: sr_classes?,
        })
    }

    fn name(&mut self, keys: &Keys<'_>) -> Option<String> {
        let name = self.text(keys, "name")?;
        let good = !name.trim().is_empty()
            && name.chars().count() <= 64
            && !name.chars().any(char::is_control);
        if !good {
            let why = format!(
                "{name:?} is no name: 1 to 64 characters, none of them a control character"
            );
            self.complain(keys, "name", &why, "write a short name, for example \"pacs\"");
        }
        good.then_some(name)
    }

    fn host(&mut self, keys: &Keys<'_>) -> Option<String> {
        let host = self.text(keys, "host")?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
        let one_colon = host.matches(':').count() == 1;
        let good = !host.is_empty() && host.chars().all(allowed) && !one_colon;
        if !good {
            let why = format!("{host:?} is no host name or IP address");
            let remedy = if one_colon {
                "write the port into the key port"
            } else {
                "write a name or an address, for example \"pacs.example.org\" or \"10.0.0.5\""
            };
            self.complain(keys, "host", &why, remedy);
        }
        good.then_some(host)
    }

    fn receives(&mut self, keys: &Keys<'_>) -> Option<Vec<Receives>> {
        let setting = keys.setting("receives")?;
        let (planned, written): (Vec<String>, Vec<String>) = texts(&setting.value)
            .into_iter()
            .partition(|word| matches!(word.as_str(), "capture" | "key_object"));
        for word in &planned {
            let path = keys.path("receives");
            self.problems.push(not_available(setting.place.clone(), &path, &format!("{word:?}")));
        }
        let allowed = [("report", Receives::Report), ("images", Receives::Images)];
        let good = self.known_words(keys, "receives", &written, &allowed);
        if written.is_empty() && planned.is_empty() {
            let why = "this destination would receive nothing";
            self.complain(keys, "receives", why, "write [\"report\"], or remove the destination");
            return None;
        }
        good.filter(|_| planned.is_empty())
    }

    fn peers(&mut self, settings: &Settings) -> Option<Vec<Peer>> {
        let entries = settings.arrays.get("peer").map_or(&[][..], Vec::as_slice);
        let peers: Vec<Option<Peer>> = entries
            .iter()
            .map(|entry| {
                let keys = Keys::of_entry(&keys::PEER, entry);
                let ae_title = self.parsed(&keys, "ae_title", AE_TITLE);
                let address = self.parsed(&keys, "address", RANGE);
                Some(Peer { ae_title: ae_title?, address: address? })
            })
            .collect();
        peers.into_iter().collect()
    }
}

/// What stands for an AE title, and the like: what is allowed, and an example.
type Allowed = (&'static str, &'static str);

const AE_TITLE: Allowed = ("an AE title of 1 to 16 characters", "\"THORASCRIBE\"");
const ADDRESS: Allowed = ("an IP address and a port", "\"0.0.0.0:11112\" or \"[::]:11112\"");
const SIZE: Allowed = ("a size with a unit (B, KiB, MiB, GiB, TiB)", "\"2 GiB\"");
const SPAN: Allowed = ("a duration with a unit (ms, s, m, h, d)", "\"30s\"");
const RANGE: Allowed = ("an address, or a network in CIDR form", "\"10.0.0.0/8\"");

impl Checker<'_> {
    fn parsed<T>(&mut self, keys: &Keys<'_>, key: &'static str, allowed: Allowed) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text = self.text(keys, key)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let why = format!("{text:?} is not {}: {error}", allowed.0);
                self.complain(keys, key, &why, &format!("write for example {}", allowed.1));
                None
            }
        }
    }

    fn text(&mut self, keys: &Keys<'_>, key: &'static str) -> Option<String> {
        let setting = self.required(keys, key)?;
        setting.value.as_str().map(str::to_owned)
    }

    fn flag(&mut self, keys: &Keys<'_>, key: &'static str) -> Option<bool> {
        self.required(keys, key)?.value.as_bool()
    }

    fn count(
        &mut self,
        keys: &Keys<'_>,
        key: &'static str,
        least: i64,
        most: i64,
    ) -> Option<usize> {
        let number = self.required(keys, key)?.value.as_integer()?;
        if !(least..=most).contains(&number) {
            let why = format!("{number} is not from {least} to {most}");
            self.complain(keys, key, &why, &format!("write a number from {least} to {most}"));
            return None;
        }
        usize::try_from(number).ok()
    }

    fn word<T: Copy>(
        &mut self,
        keys: &Keys<'_>,
        key: &'static str,
        allowed: &[(&str, T)],
    ) -> Option<T> {
        let text = self.text(keys, key)?;
        self.known_words(keys, key, &[text], allowed)?.first().copied()
    }

    fn words<T: Clone>(
        &mut self,
        keys: &Keys<'_>,
        key: &'static str,
        allowed: &[(&str, T)],
    ) -> Option<Vec<T>> {
        let written = texts(&self.required(keys, key)?.value);
        self.known_words(keys, key, &written, allowed)
    }

    fn known_words<T: Clone>(
        &mut self,
        keys: &Keys<'_>,
        key: &'static str,
        written: &[String],
        allowed: &[(&str, T)],
    ) -> Option<Vec<T>> {
        let (mut good, mut whole) = (Vec::new(), true);
        for word in written {
            if let Some((_, value)) = allowed.iter().find(|(name, _)| name == word) {
                good.push(value.clone());
                continue;
            }
            let names: Vec<String> = allowed.iter().map(|(name, _)| format!("{name:?}")).collect();
            let why = format!("{word:?} is unknown; allowed are {}", names.join(", "));
            let remedy = match keys::nearest(word, allowed.iter().map(|(name, _)| *name)) {
                Some(meant) => format!("write {meant:?}"),
                None => "write one of them".to_owned(),
            };
            self.complain(keys, key, &why, &remedy);
            whole = false;
        }
        whole.then_some(good)
    }

    /// `Some(None)` for an empty text. A relative path of a file counts from the file's folder.
    #[expect(clippy::option_option, reason = "wrong, empty and given are three cases")]
    fn folder(&mut self, keys: &Keys<'_>, key: &'static str) -> Option<Option<PathBuf>> {
        let setting = self.required(keys, key)?;
        let text = setting.value.as_str()?;
        if text.is_empty() {
            return Some(None);
        }
        let base = match &setting.place {
            Place::File { path, .. } => path.parent().map_or_else(PathBuf::new, Path::to_owned),
            _ => PathBuf::new(),
        };
        Some(Some(base.join(text)))
    }

    fn required(&mut self, keys: &Keys<'_>, key: &'static str) -> Option<Setting> {
        let setting = keys.setting(key);
        if setting.is_none() {
            let kind = keys.table.key(key).map_or("", |key: &Key| key.kind.name());
            let remedy = format!("add {key} to this [[{}]]: {kind}", keys.table.name);
            self.problems.push(Problem {
                place: keys.place.clone(),
                key: keys.path(key),
                message: "this key is missing, and has no default".to_owned(),
                remedy,
            });
        }
        setting
    }

    fn complain(&mut self, keys: &Keys<'_>, key: &str, message: &str, remedy: &str) {
        let place = keys.place_of(key);
        self.problems.push(Problem {
            place,
            key: keys.path(key),
            message: message.to_owned(),
            remedy: remedy.to_owned(),
        });
    }
}

fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
