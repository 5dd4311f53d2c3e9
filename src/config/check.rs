//! From what was written to what is meant: types, ranges, and what must fit together.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use toml::Value;
use tracing_subscriber::EnvFilter;

use super::environment::Environment;
use super::error::{ConfigErrors, Problem};
use super::file::Settings;
use super::limits::KIB;
use super::locate;
use super::value::{ADDRESS, AE_TITLE, ANY, Checker, Keys, RANGE, SIZE, SPAN, texts};
use super::{
    AlsoCalled, Config, Deliver, Device, Http, Log, LogFormat, Model, Node, PromptSetting, Receive,
    Retention, Spool, Study,
};
use crate::vocabulary::AeTitle;

/// The shortest `http.session_idle`.
const SHORTEST_SESSION: Duration = Duration::from_secs(1);
const VIEWS: [&str; 6] = ["PA", "AP", "LL", "RL", "LATERAL", ""];

/// The configuration, or everything that is wrong with it.
pub(super) fn check(
    settings: &Settings,
    environment: &Environment,
    problems: Vec<Problem>,
) -> Result<Config, ConfigErrors> {
    let (config, problems) = examine(settings, environment, problems)?;
    ConfigErrors::of(problems).map_or(Ok(config), Err)
}

/// The configuration and everything that is wrong with it. Where something is, defaults stand in for
/// it, so that the rest can be held against what it names; nothing may run with that.
pub(super) fn examine(
    settings: &Settings,
    environment: &Environment,
    problems: Vec<Problem>,
) -> Result<(Config, Vec<Problem>), ConfigErrors> {
    let mut checker = Checker { environment, problems };
    let config = checker.config(settings);
    let problems = checker.problems;
    match config {
        Some(config) => Ok((config, problems)),
        // A default that is missing: never reached.
        None => Err(ConfigErrors::of(problems)
            .unwrap_or_else(|| ConfigErrors::one(Problem::of_default("", &"a value is missing")))),
    }
}

impl Checker<'_> {
    fn config(&mut self, settings: &Settings) -> Option<Config> {
        let node = self.node(settings);
        let tls = self.tls(settings);
        let http = self.http(settings);
        let receive = self.receive(settings);
        let limits = self.limits(settings);
        let spool = self.spool(settings);
        let study = self.study(settings);
        let model = self.model(settings);
        let deliver = self.deliver(settings);
        let retention = self.retention(settings);
        let audit = self.audit(settings, tls.as_ref());
        let log = self.log(settings);
        let destinations = self.destinations(settings, tls.as_ref());
        if let (Some(tls), Some(audit)) = (&tls, &audit) {
            self.unused_identity(settings, tls, audit, &destinations);
        }
        self.ports_taken_twice(
            settings,
            [
                ("node", node.as_ref().map(|node| node.bind)),
                ("tls", tls.as_ref().and_then(|tls| tls.bind)),
                ("http", http.as_ref().map(|http| http.bind)),
            ],
        );
        let peers = self.peers(settings, tls.as_ref());
        let users = self.users(settings);
        let rules = self.rules(settings);
        let routes = self.routes(settings);
        let (usual, nothing) = (Environment::new([("HOME", "/")]), Settings::default());
        let mut defaults = Checker { environment: &usual, problems: Vec::new() };
        Some(Config {
            node: node.or_else(|| defaults.node(&nothing))?,
            tls: tls.or_else(|| defaults.tls(&nothing))?,
            http: http.or_else(|| defaults.http(&nothing))?,
            receive: receive.or_else(|| defaults.receive(&nothing))?,
            limits: limits.or_else(|| defaults.limits(&nothing))?,
            spool: spool.or_else(|| defaults.spool(&nothing))?,
            study: study.or_else(|| defaults.study(&nothing))?,
            model: model.or_else(|| defaults.model(&nothing))?,
            deliver: deliver.or_else(|| defaults.deliver(&nothing))?,
            retention: retention.or_else(|| defaults.retention(&nothing))?,
            audit: audit.or_else(|| defaults.audit(&nothing, None))?,
            log: log.or_else(|| defaults.log(&nothing))?,
            destinations,
            peers: peers.unwrap_or_default(),
            users: users.unwrap_or_default(),
            rules,
            routes,
        })
    }

    /// Addresses that cannot be listened on at the same time.
    fn ports_taken_twice(
        &mut self,
        settings: &Settings,
        binds: [(&'static str, Option<SocketAddr>); 3],
    ) {
        let binds: Vec<_> =
            binds.into_iter().filter_map(|(table, bind)| Some((table, bind?))).collect();
        for (number, later) in binds.iter().enumerate() {
            let collides = |earlier: &&(&str, SocketAddr)| overlap(earlier.1, later.1);
            let Some(earlier) = binds.iter().take(number).find(collides) else { continue };
            // Of the two the one that somebody wrote.
            let written = settings.keys.contains_key(&format!("{}.bind", later.0));
            let (wrong, taken) = if written { (later, earlier) } else { (earlier, later) };
            if let Some(keys) = Keys::of_table(settings, wrong.0) {
                let why = format!("{} is taken by {}.bind = \"{}\"", wrong.1, taken.0, taken.1);
                self.complain(&keys, "bind", &why, "give each a port of its own");
            }
        }
    }

    fn node(&mut self, settings: &Settings) -> Option<Node> {
        let keys = Keys::of_table(settings, "node")?;
        let ae_title = self.parsed(&keys, "ae_title", AE_TITLE);
        let bind = self.parsed(&keys, "bind", ADDRESS);
        let also_called = self.also_called(&keys);
        Some(Node { ae_title: ae_title?, bind: bind?, also_called: also_called? })
    }

    fn also_called(&mut self, keys: &Keys<'_>) -> Option<AlsoCalled> {
        let written = texts(&self.required(keys, "called_ae_titles")?.value);
        let (any, written): (Vec<_>, Vec<_>) = written.into_iter().partition(|text| text == ANY);
        let mut titles = Vec::with_capacity(written.len());
        for text in &written {
            match text.parse::<AeTitle>() {
                Ok(title) => titles.push(title),
                Err(error) => {
                    let why = format!("{text:?} is not {}: {error}", AE_TITLE.0);
                    let remedy = "write titles of 1 to 16 characters, or \"*\" for any";
                    self.complain(keys, "called_ae_titles", &why, remedy);
                }
            }
        }
        let also = if any.is_empty() { AlsoCalled::Titles(titles) } else { AlsoCalled::Anything };
        Some(also)
    }

    fn http(&mut self, settings: &Settings) -> Option<Http> {
        let keys = Keys::of_table(settings, "http")?;
        let bind = self.parsed(&keys, "bind", ADDRESS);
        let session_idle = self.parsed(&keys, "session_idle", SPAN);
        if session_idle.is_some_and(|idle: crate::vocabulary::Span| idle.0 < SHORTEST_SESSION) {
            let why = "a session this short ends while a report is read";
            self.complain(&keys, "session_idle", why, "write \"30m\"");
        }
        let direct = self.text(&keys, "trusted_proxy")?.is_empty();
        let proxy = if direct { None } else { Some(self.parsed(&keys, "trusted_proxy", RANGE)?) };
        Some(Http { bind: bind?, trusted_proxy: proxy, session_idle: session_idle? })
    }

    fn receive(&mut self, settings: &Settings) -> Option<Receive> {
        let keys = Keys::of_table(settings, "receive")?;
        let max_object = self.size(&keys, "max_object", KIB..=u64::MAX);
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
        let ask_findings = self.flag(&keys, "ask_findings");
        let max_tokens = self.count(&keys, "max_tokens", 1, 4096);
        let views = self.words(&keys, "views", &VIEWS.map(|view| (view, view.to_owned())));
        // Something stands in for what is wrong, so that the path is looked at all the same.
        Some(Model {
            path: path?,
            device: device.unwrap_or(Device::Auto),
            prompt: prompt.unwrap_or(PromptSetting::Number(1)),
            ask_findings: ask_findings.unwrap_or_default(),
            max_tokens: max_tokens.unwrap_or_default(),
            views: views.unwrap_or_default(),
        })
    }

    fn device(&mut self, keys: &Keys<'_>) -> Option<Device> {
        let text = self.text(keys, "device")?;
        match text.parse::<Device>() {
            Ok(device) => return Some(device),
            Err(why) => self.complain(keys, "device", &why, "write \"auto\""),
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
        let max_attempts = self.count(&keys, "max_attempts", 1, 1000);
        let commitment_wait = self.parsed(&keys, "commitment_wait", SPAN);
        if commitment_wait.is_some_and(|wait: crate::vocabulary::Span| wait.0.is_zero()) {
            let why = "a destination needs time to report before it is asked again";
            self.complain(&keys, "commitment_wait", why, "write \"10m\"");
        }
        let max_attempts = u32::try_from(max_attempts?).ok()?;
        Some(Deliver { max_attempts, commitment_wait: commitment_wait? })
    }

    fn retention(&mut self, settings: &Settings) -> Option<Retention> {
        let keys = Keys::of_table(settings, "retention")?;
        Some(Retention { after_delivery: self.parsed(&keys, "after_delivery", SPAN)? })
    }

    fn log(&mut self, settings: &Settings) -> Option<Log> {
        let keys = Keys::of_table(settings, "log")?;
        let level = self.text(&keys, "level")?;
        let remedy =
            "write error, warn, info, debug or trace, or directives like warn,thorascribe=debug";
        if let Err(error) = EnvFilter::builder().parse(&level) {
            let why = format!("{level:?} is neither a level nor directives: {error}");
            self.complain(&keys, "level", &why, remedy);
        } else if let Some(word) = level.split(',').find(|part| !directs(part)) {
            // For the filter it would name a part of the program, and silence all others.
            let why = format!("{:?} is no level", word.trim());
            self.complain(&keys, "level", &why, remedy);
        }
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        let format = self.word(&keys, "format", &formats)?;
        Some(Log { level, format })
    }
}

/// Whether two addresses cannot be listened on at the same time; port 0 is a free one each time.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let (first, second) = (one.ip().to_canonical(), other.ip().to_canonical());
    // [::] takes the port on the addresses of IPv4 too.
    let covers = |any: IpAddr, ip: IpAddr| any.is_unspecified() && (any.is_ipv6() || ip.is_ipv4());
    one.port() != 0
        && one.port() == other.port()
        && (first == second || covers(first, second) || covers(second, first))
}

/// Whether a part of `log.level` is a level, or says which level something has.
fn directs(part: &str) -> bool {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    part.contains('=') || levels.iter().any(|level| part.trim().eq_ignore_ascii_case(level))
}
