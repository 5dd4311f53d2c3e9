//! From what was written to what is meant: types, ranges, and what must fit together.

use toml::Value;
use tracing_subscriber::EnvFilter;

use super::environment::Environment;
use super::error::{ConfigErrors, Place, Problem};
use super::file::Settings;
use super::locate;
use super::value::{ADDRESS, AE_TITLE, ANY, Checker, Keys, RANGE, SIZE, SPAN, texts};
use super::{
    AlsoCalled, Config, Deliver, Device, Http, Log, LogFormat, Model, Node, PromptSetting, Receive,
    Retention, Spool, Study,
};
use crate::vocabulary::AeTitle;

/// The shortest `http.session_idle`.
const SHORTEST_SESSION: std::time::Duration = std::time::Duration::from_secs(1);

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
        if let (Some(tls), Some(audit), Some(destinations)) = (&tls, &audit, &destinations) {
            self.unused_identity(settings, tls, audit, destinations);
        }
        let peers = self.peers(settings, tls.as_ref());
        let users = self.users(settings);
        let rules = self.rules(settings);
        let routes = self.routes(settings);
        Some(Config {
            node: node?,
            tls: tls?,
            http: http?,
            receive: receive?,
            limits: limits?,
            spool: spool?,
            study: study?,
            model: model?,
            deliver: deliver?,
            retention: retention?,
            audit: audit?,
            log: log?,
            destinations: destinations?,
            peers: peers?,
            users: users?,
            rules: rules?,
            routes: routes?,
        })
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
        if written.iter().any(|title| title == ANY) {
            return Some(AlsoCalled::Anything);
        }
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
        (titles.len() == written.len()).then_some(AlsoCalled::Titles(titles))
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
        let ask_findings = self.flag(&keys, "ask_findings");
        let max_tokens = self.count(&keys, "max_tokens", 1, 4096);
        let views = self.words(&keys, "views", &VIEWS.map(|view| (view, view.to_owned())));
        Some(Model {
            path: path?,
            device: device?,
            prompt: prompt?,
            ask_findings: ask_findings?,
            max_tokens: max_tokens?,
            views: views?,
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

/// Whether a part of `log.level` is a level, or says which level something has.
fn directs(part: &str) -> bool {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    part.contains('=') || levels.iter().any(|level| part.trim().eq_ignore_ascii_case(level))
}
