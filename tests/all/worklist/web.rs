//! The web side of a spool, and a client that keeps cookies.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use thorascribe::config::{Config, Environment, User};
use thorascribe::drafting::Recipient;
use thorascribe::observe::metrics::Metrics;
use thorascribe::radiograph::Decoder;
use thorascribe::report::NodeIdentity;
use thorascribe::spool::Spool;
use thorascribe::worklist::{self, Access, WorklistState};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The web side of a spool, on a runtime of its own; it ends with the test.
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Metrics,
    /// Who may sign in.
    pub(crate) users: watch::Sender<Vec<User>>,
    closing: CancellationToken,
    running: Option<std::thread::JoinHandle<()>>,
}

/// What a server answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    cookies: Vec<String>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Where it leads to.
    pub(crate) fn location(&self) -> &str {
        self.head.lines().find_map(|line| line.strip_prefix("location: ")).unwrap_or_default()
    }

    /// The value of a hidden field of its first form that has it.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> String {
        let text = self.text();
        let (_, rest) = text
            .split_once(&format!("name=\"{name}\" value=\""))
            .unwrap_or_else(|| panic!("no field {name} in {text}"));
        rest.split('"').next().unwrap().to_owned()
    }
}

impl Web {
    pub(crate) fn of(spool: &Spool, model: bool) -> Self {
        Self::bound(spool, model, "127.0.0.1:0")
    }

    pub(crate) fn bound(spool: &Spool, model: bool, address: &str) -> Self {
        Self::configured(spool, model, address, "")
    }

    /// With another decoder than this process.
    pub(crate) fn decoding_by(spool: &Spool, decoder: Decoder) -> Self {
        Self::made(spool, true, "127.0.0.1:0", "", decoder)
    }

    /// With a configuration: its users and its `[http]`.
    pub(crate) fn configured(spool: &Spool, model: bool, address: &str, toml: &str) -> Self {
        Self::made(spool, model, address, toml, Decoder::here())
    }

    fn made(spool: &Spool, model: bool, address: &str, toml: &str, decoder: Decoder) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), toml).unwrap();
        let environment = Environment::new([("HOME", "/home/someone")]);
        let config = Config::load_from(Some(file.path()), &environment).unwrap();
        let users = watch::Sender::new(config.users.clone());
        let access = Access::new(&config, users.subscribe());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind(address)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (metrics, closing) = (Metrics::new(), CancellationToken::new());
        let recipients = config.destinations.iter().map(|destination| Recipient {
            name: destination.name.clone(),
            receives: destination.receives.clone(),
        });
        let recipients = watch::Sender::new(recipients.collect()).subscribe();
        let node = NodeIdentity::new(&config.node.ae_title);
        let state =
            WorklistState::new(spool.clone(), metrics.clone(), recipients, node, move || model);
        let state = state.with_access(access).with_decoder(decoder);
        let token = closing.clone();
        let running = std::thread::spawn(move || {
            runtime.block_on(worklist::serve(listener, state, token)).unwrap();
        });
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Self { address, metrics, users, closing, running: Some(running) }
    }

    /// Status, head and body.
    pub(crate) fn get_as(&self, host: &str, path: &str) -> (u16, String, String) {
        let headers = [("Host", host)];
        let answer = request(self.address, "GET", path, &headers, "");
        (answer.status, answer.head.clone(), answer.text())
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String, String) {
        self.get_as("localhost", path)
    }

    /// As a browser loads a page.
    pub(crate) fn load(&self, path: &str) -> Answer {
        let headers = [("Host", "localhost"), ("Accept", "text/html,*/*;q=0.8")];
        request(self.address, "GET", path, &headers, "")
    }

    #[track_caller]
    pub(crate) fn json(&self, path: &str) -> Value {
        let (status, _, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.closing.cancel();
        drop(self.running.take().map(std::thread::JoinHandle::join));
    }
}

fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    if method == "POST" {
        let kind = "application/x-www-form-urlencoded";
        write!(head, "Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len()).unwrap();
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let body = bytes[end + 4..].to_vec();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let cookies = head.lines().filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("set-cookie").then(|| value.to_owned())
    });
    Answer { status, cookies: cookies.collect(), head: head.to_ascii_lowercase(), body }
}

/// A client that keeps cookies as a browser does.
pub(crate) struct Browser {
    address: SocketAddr,
    /// Sent with each request.
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) cookies: BTreeMap<String, String>,
    /// The cookies of the last answer, with their attributes.
    pub(crate) set: Vec<String>,
}

impl Browser {
    pub(crate) fn at(address: SocketAddr) -> Self {
        let headers = vec![("Host", format!("localhost:{}", address.port()))];
        Self { address, headers, cookies: BTreeMap::new(), set: Vec::new() }
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[])
    }

    pub(crate) fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.send("POST", path, fields)
    }

    /// Through the form, as a person does.
    pub(crate) fn sign_in(&mut self, name: &str, password: &str) -> Answer {
        let form = self.get("/sign-in").field("form");
        let fields = [("form", &*form), ("name", name), ("password", password), ("next", "/")];
        self.post("/sign-in", &fields)
    }

    fn send(&mut self, method: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let pairs: Vec<String> = self.cookies.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let cookies = pairs.join("; ");
        let mut headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        if !cookies.is_empty() {
            headers.push(("Cookie", &cookies));
        }
        let fields: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let answer = request(self.address, method, path, &headers, &fields.join("&"));
        for cookie in &answer.cookies {
            let (name, rest) = cookie.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if value.is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        self.set.clone_from(&answer.cookies);
        answer
    }
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").unwrap();
        }
        out
    })
}

/// `[[user]]` tables of these names, roles and passwords.
pub(crate) fn users(people: &[(&str, &str, &str)]) -> String {
    people.iter().fold(String::new(), |mut toml, (name, role, password)| {
        let hash = thorascribe::vocabulary::Credential::of(password).unwrap();
        let hash = hash.reveal();
        write!(
            toml,
            "[[user]]\nname = {name:?}\ndisplay_name = \"Doe^Jane^^Dr.\"\nhash = {hash:?}\n\
             role = {role:?}\n"
        )
        .unwrap();
        toml
    })
}
