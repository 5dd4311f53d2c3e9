//! `model pull`: from a hub to a model directory.

use std::path::Path;
use std::process::Output;

use tempfile::TempDir;
use thorascribe::model::checkpoint::Manifest;
use thorascribe::model::checkpoint::import::{ImportOptions, import};

use super::model::small;
use super::support::hub::Hub;
use super::support::node::program;
use super::support::process::text;

const REPOSITORY: &str = "group/xraygpt";
const BLIP: &str = "blip2_pretrained_flant5xxl.pth";

/// A hub, and a home folder with the cache.
struct Setting {
    hub: Hub,
    home: TempDir,
    source: TempDir,
}

impl Setting {
    fn new() -> Self {
        let source = small();
        for name in ["README.md", "vicuna/model.gguf", "vicuna/tokenizer_config.json"] {
            std::fs::write(source.path().join(name), "not needed").unwrap();
        }
        let hub = Hub::start(REPOSITORY, source.path());
        Self { hub, home: TempDir::new().unwrap(), source }
    }

    fn pull(&self, out: &str, more: &[&str]) -> Output {
        self.pull_of(REPOSITORY, out, more)
    }

    fn pull_of(&self, repository: &str, out: &str, more: &[&str]) -> Output {
        let mut command = program(self.home.path());
        for name in ["HF_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE", "HTTP_PROXY", "http_proxy"] {
            command.env_remove(name);
        }
        command.env("HF_HOME", self.home.path().join("hf")).env("HF_ENDPOINT", &self.hub.endpoint);
        command.args(["model", "pull", repository, "--out", out]).args(more).output().unwrap()
    }

    fn manifest(&self, out: &str) -> Manifest {
        manifest(&self.home.path().join(out))
    }
}

fn manifest(folder: &Path) -> Manifest {
    Manifest::parse(&std::fs::read_to_string(folder.join("manifest.toml")).unwrap()).unwrap()
}

#[track_caller]
fn good(output: &Output) {
    assert!(output.status.success(), "{}", text(output));
}

#[track_caller]
fn failed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", text(output));
    text(output)
}

#[test]
fn a_pulled_model_is_the_imported_one_and_names_its_commit() {
    let setting = Setting::new();
    good(&setting.pull("pulled", &["--dtype", "bf16"]));
    let local = TempDir::new().unwrap();
    let options =
        ImportOptions { dtype: Some("bf16".parse().unwrap()), ..ImportOptions::default() };
    let imported = import(setting.source.path(), local.path(), &options, &mut |_| {}).unwrap();
    let pulled = setting.manifest("pulled");
    assert_eq!(pulled.files, imported.files);
    let from = format!("from {REPOSITORY} at {}", "c".repeat(40));
    assert!(pulled.source.contains(&from), "{}", pulled.source);
    for unneeded in ["README.md", "vicuna/model.gguf", "vicuna/tokenizer_config.json"] {
        assert_eq!(setting.hub.ranges(unneeded), Vec::<String>::new());
    }
    // What is there is not fetched again.
    let before = setting.hub.shelf.lock().unwrap().asked.len();
    good(&setting.pull("again", &[]));
    assert_eq!(setting.hub.shelf.lock().unwrap().asked.len(), before);
}

#[test]
fn a_transfer_that_breaks_off_goes_on_where_it_ended() {
    let setting = Setting::new();
    let cut = |times| {
        let cuts = &mut setting.hub.shelf.lock().unwrap().cuts;
        cuts.insert(BLIP.to_owned(), (10_000, times));
    };
    // Every try of the first call breaks off.
    cut(5);
    let said = failed(&setting.pull("first", &[]));
    assert!(said.contains(BLIP) && said.contains("goes on where this one ended"), "{said}");
    assert!(!setting.home.path().join("first").exists());
    let ranges = setting.hub.ranges(BLIP);
    assert_eq!(ranges, ["0-", "10000-", "20000-", "30000-", "40000-"]);
    // The whole part that such a break leaves is not asked for beyond its end.
    good(&setting.pull("second", &[]));
    assert_eq!(setting.manifest("second").name, "xraygpt");
    let last = setting.hub.ranges(BLIP).pop().unwrap();
    assert!(["45327-", "0-"].contains(&last.as_str()), "{last}");
}

#[test]
fn a_hub_that_falls_silent_is_not_waited_for() {
    let setting = Setting::new();
    setting.hub.shelf.lock().unwrap().stuck.push(BLIP.to_owned());
    let started = std::time::Instant::now();
    let said = failed(&setting.pull("first", &["--timeout", "2"]));
    assert!(said.contains(BLIP) && said.contains("for 2 s"), "{said}");
    assert!(started.elapsed().as_secs() < 60);
    setting.hub.shelf.lock().unwrap().stuck.clear();
    good(&setting.pull("second", &[]));
    assert!(setting.hub.ranges(BLIP).last().unwrap() != "0-", "it began anew");
}

#[test]
fn without_the_hub_the_cache_serves() {
    let setting = Setting::new();
    let said = failed(&setting.pull("none", &["--offline"]));
    assert!(said.contains("offline; nothing of it is in"), "{said}");
    good(&setting.pull("first", &[]));
    good(&setting.pull("second", &["--offline"]));
    // Nobody listens there.
    good(&setting.pull("third", &["--endpoint", "http://127.0.0.1:9"]));
    good(&setting.pull("fourth", &["--offline", "--revision", &"c".repeat(40)]));
    let first = setting.manifest("first");
    for other in ["second", "third", "fourth"] {
        assert_eq!(setting.manifest(other), first);
    }
    let said = failed(&setting.pull("none", &["--offline", "--revision", "v2"]));
    assert!(said.contains("nothing of it is in"), "{said}");
}

#[test]
fn a_revision_stays_what_it_was_when_the_branch_moves() {
    let setting = Setting::new();
    good(&setting.pull("old", &[]));
    setting.hub.shelf.lock().unwrap().commit = "d".repeat(40);
    good(&setting.pull("new", &[]));
    assert!(setting.manifest("new").source.contains(&"d".repeat(40)));
    good(&setting.pull("pinned", &["--revision", &"c".repeat(40)]));
    assert_eq!(setting.manifest("pinned"), setting.manifest("old"));
}

#[test]
fn a_hub_that_lies_is_not_believed() {
    let setting = Setting::new();
    let shelf = || setting.hub.shelf.lock().unwrap();
    let size = std::fs::metadata(setting.source.path().join(BLIP)).unwrap().len() as usize;
    shelf().swapped.insert(BLIP.to_owned(), vec![7; size]);
    let said = failed(&setting.pull("swapped", &[]));
    assert!(said.contains(BLIP) && said.contains("are not the"), "{said}");
    shelf().swapped.clear();
    shelf().etag = Some("../../../../escaped".to_owned());
    let said = failed(&setting.pull("escaped", &[]));
    assert!(said.contains("without a name for the content"), "{said}");
    shelf().etag = None;
    shelf().lost = true;
    let said = failed(&setting.pull("lost", &[]));
    assert!(said.contains("not one of a hub"), "{said}");
    shelf().lost = false;
    shelf().listed = vec!["../../escaped.pth".to_owned(), "/etc/escaped.pth".to_owned()];
    good(&setting.pull("fine", &[]));
    let everything = std::process::Command::new("find")
        .arg(setting.home.path())
        .args(["-name", "*escaped*"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(everything.stdout).unwrap(), "");
}

#[test]
fn what_is_not_there_is_named() {
    let setting = Setting::new();
    for (repository, says) in [
        ("group/absent", "group/absent on the hub"),
        ("xraygpt", "OWNER/NAME"),
        ("group/../other", "OWNER/NAME"),
    ] {
        let said = failed(&setting.pull_of(repository, "out", &[]));
        assert!(said.contains(says), "{said}");
    }
    let other = TempDir::new().unwrap();
    std::fs::write(other.path().join("README.md"), "empty").unwrap();
    setting.hub.hold("group/empty", other.path());
    let said = failed(&setting.pull_of("group/empty", "out", &[]));
    assert!(said.contains("no file of a known layout"), "{said}");
    assert!(!setting.home.path().join("out").exists());
}

#[test]
fn the_language_model_may_come_from_a_repository_of_its_own() {
    let setting = Setting::new();
    setting.hub.hold("other/vicuna", &setting.source.path().join("vicuna"));
    let mut shelf = setting.hub.shelf.lock().unwrap();
    shelf.files.retain(|(own, name), _| own != REPOSITORY || !name.starts_with("vicuna/"));
    drop(shelf);
    let said = failed(&setting.pull("without", &[]));
    assert!(said.contains("--language-model"), "{said}");
    good(&setting.pull("whole", &["--language-model", "other/vicuna"]));
    let source = setting.manifest("whole").source;
    assert!(source.contains("other/vicuna at cccc"), "{source}");
    let folder = setting.source.path().join("vicuna");
    good(&setting.pull("local", &["--language-model", folder.to_str().unwrap()]));
}
