//! Chromium without a screen, driven by WebDriver (W3C): a few requests of JSON over HTTP, for
//! which a client crate would bring some fifty others.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::http;
use super::process::{Running, find, free_port};
use super::wait::{wait_for, wait_until};

/// A browser window; it ends with the test.
#[derive(Debug)]
pub(crate) struct Browser {
    port: u16,
    session: String,
    _driver: Running,
    _profile: TempDir,
}

/// What WebDriver calls an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

impl Browser {
    /// Opens a window that can reach this machine alone.
    pub(crate) fn start() -> Self {
        let chromium = find("chromium", "chromium (Debian)", Path::is_file);
        let program = find("chromedriver", "chromium-driver (Debian)", Path::is_file);
        let (port, profile) = (free_port(), TempDir::new().unwrap());
        let driver = Command::new(program)
            .arg(format!("--port={port}"))
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let driver = Running(driver);
        wait_until("chromedriver answers", || {
            http::json(port, "/status").is_some_and(|status| status["value"]["ready"] == true)
        });
        let profile_folder = format!("--user-data-dir={}", profile.path().display());
        let arguments = json!([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-proxy-server",
            "--hide-scrollbars",
            "--lang=en-US",
            "--window-size=1360,900",
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
            profile_folder,
        ]);
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": chromium, "args": arguments},
        }}});
        let begun = send(port, "POST", "/session", &wanted);
        let session = begun["sessionId"].as_str().expect("a session").to_owned();
        Self { port, session, _driver: driver, _profile: profile }
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        send(self.port, method, &format!("/session/{}{path}", self.session), body)
    }

    /// Goes to an address and waits until it is loaded.
    pub(crate) fn go(&self, address: &str) {
        self.ask("POST", "/url", &json!({ "url": address }));
    }

    /// The address shown.
    pub(crate) fn address(&self) -> String {
        self.ask("GET", "/url", &Value::Null).as_str().unwrap().to_owned()
    }

    /// What a function's body returns in the page.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.ask("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    fn find(&self, selector: &str) -> String {
        let query = json!({ "using": "css selector", "value": selector });
        let found = wait_for(selector, || {
            let found = self.ask("POST", "/elements", &query);
            found[0][ELEMENT].as_str().map(str::to_owned)
        });
        format!("/element/{found}")
    }

    /// Clicks on what a CSS selector finds first.
    pub(crate) fn click(&self, selector: &str) {
        self.ask("POST", &format!("{}/click", self.find(selector)), &json!({}));
    }

    /// Types into what a CSS selector finds first, in place of what is there.
    pub(crate) fn fill(&self, selector: &str, text: &str) {
        let element = self.find(selector);
        self.ask("POST", &format!("{element}/clear"), &json!({}));
        self.ask("POST", &format!("{element}/value"), &json!({ "text": text }));
    }

    /// Presses keys where the focus is.
    pub(crate) fn press(&self, keys: &str) {
        let strokes: Vec<Value> = keys
            .chars()
            .flat_map(|key| {
                let key = key.to_string();
                [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})]
            })
            .collect();
        let actions = json!({"actions": [{"type": "key", "id": "keys", "actions": strokes}]});
        self.ask("POST", "/actions", &actions);
    }

    /// The visible text of the page.
    pub(crate) fn text(&self) -> String {
        self.run("return document.body.innerText").as_str().unwrap().to_owned()
    }

    /// Waits until the page shows a text.
    #[track_caller]
    pub(crate) fn wait_for_text(&self, text: &str) {
        wait_until(&format!("the page shows {text:?}"), || self.text().contains(text));
    }

    /// A picture of the window, as PNG.
    pub(crate) fn picture(&self) -> Vec<u8> {
        let coded = self.ask("GET", "/screenshot", &Value::Null);
        base64(coded.as_str().unwrap())
    }

    /// Shows pages as in the dark, or in the light.
    pub(crate) fn prefer(&self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        let body = json!({"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}});
        self.ask("POST", "/goog/cdp/execute", &body);
    }

    /// What the page's console says is wrong.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.ask("POST", "/se/log", &json!({ "type": "browser" }));
        let lines = log.as_array().unwrap().iter();
        lines.map(|line| line["message"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends Chromium; the driver that started it ends after this.
        let path = format!("/session/{}", self.session);
        drop(http::request(self.port, "DELETE", &path, &[]));
    }
}

#[track_caller]
fn send(port: u16, method: &str, path: &str, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (status, answer) = http::request(port, method, path, body.as_bytes())
        .unwrap_or_else(|| panic!("chromedriver does not answer {method} {path}"));
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(status, 200, "{method} {path}: {answer:#}");
    answer["value"].clone()
}

fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    let values = text.bytes().filter_map(|c| ALPHABET.iter().position(|&known| known == c));
    for value in values {
        bits = (bits << 6) | value as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    bytes
}
