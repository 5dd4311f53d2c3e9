//! What the node is told: every error at once, with place, key and remedy.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use thorascribe::config::{
    Config, ConfigErrors, Environment, Place, Problem, PromptSetting, Receives, SrClassSetting,
};

use super::support::node::program;
use super::support::objects::{fixture, root};
use super::support::process::{run, text};

/// A file with this text, and an environment without a home but for the variables given.
fn load(toml: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("thorascribe.toml");
    std::fs::write(&file, toml).unwrap();
    let home = folder.path().to_str().unwrap();
    let environment =
        Environment::new([("HOME", home)].into_iter().chain(variables.iter().copied()));
    Config::load_from(Some(&file), &environment)
}

#[track_caller]
fn problems(toml: &str, variables: &[(&str, &str)]) -> Vec<Problem> {
    load(toml, variables).expect_err(toml).problems().to_vec()
}

/// The one error of a text: line, column, key, and message with remedy.
#[track_caller]
fn only(toml: &str) -> (usize, usize, String, String) {
    let problems = problems(toml, &[]);
    let [problem] = problems.as_slice() else { panic!("not one error: {problems:#?}") };
    let Place::File { line, column, .. } = problem.place else { panic!("{problem:#?}") };
    (line, column, problem.key.clone(), format!("{} | {}", problem.message, problem.remedy))
}

/// `conf/thorascribe.toml` with every key uncommented.
fn documented() -> String {
    let text = std::fs::read_to_string(root().join("conf/thorascribe.toml")).unwrap();
    let is_setting = |line: &str| {
        line.starts_with('[')
            || line
                .split_once(" = ")
                .is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    };
    text.lines().fold(String::new(), |mut plain, line| {
        let bare = line.strip_prefix('#').unwrap_or(line);
        writeln!(plain, "{}", if is_setting(bare) { bare } else { "" }).unwrap();
        plain
    })
}

#[test]
fn the_documented_file_holds_every_key_with_its_default() {
    let home = [("HOME", "/home/someone")];
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("all.toml");
    std::fs::write(&file, documented()).unwrap();
    let (written, shown) = thorascribe::config::show(Some(&file), &Environment::new(home)).unwrap();
    let nothing = folder.path().join("nothing.toml");
    std::fs::write(&nothing, "").unwrap();
    let (_, defaults) = thorascribe::config::show(Some(&nothing), &Environment::new(home)).unwrap();
    for default in &defaults {
        let line = shown.iter().find(|shown| shown.key == default.key).unwrap();
        assert_eq!(line.value, default.value, "{}", line.key);
        let source = format!("{:?}", line.source);
        assert!(source.starts_with("File"), "{} is not in conf/thorascribe.toml", line.key);
    }
    // A destination's and a peer's keys are there too, those with a default at it.
    let destination = &written.destinations[0];
    assert_eq!(destination.receives, [Receives::Report]);
    assert_eq!(destination.sr_classes, [SrClassSetting::Enhanced, SrClassSetting::Basic]);
    assert_eq!(written.peers.len(), 1);
    assert!(written.users[0].hash.is_of("not this one"));
    let given =
        |shown: &&thorascribe::config::Shown| format!("{:?}", shown.source).starts_with("File");
    let (all, listed) = (shown.len(), shown.iter().filter(given).count());
    assert_eq!(all, listed, "every key of [[destination]], [[peer]] and [[user]] is documented");
}

#[test]
fn a_commented_file_changes_nothing() {
    let text = std::fs::read_to_string(root().join("conf/thorascribe.toml")).unwrap();
    let config = load(&text, &[]).unwrap();
    assert_eq!(config.node.ae_title.as_str(), "THORASCRIBE");
    assert_eq!(config.model.prompt, PromptSetting::Number(1));
    assert!(config.destinations.is_empty() && config.peers.is_empty());
}

#[test]
fn an_unknown_key_is_placed_and_the_nearest_named() {
    assert_eq!(
        only("[node]\n  ae_titel = \"X\"\n"),
        (
            2,
            3,
            "node.ae_titel".to_owned(),
            "unknown key; [node] knows ae_title, bind, called_ae_titles | write ae_title"
                .to_owned()
        )
    );
    let (_, _, key, text) = only("[study]\nmin_free = \"1 GiB\"\n");
    assert_eq!(
        (key.as_str(), text.ends_with("| min_free belongs in [spool]")),
        ("study.min_free", true)
    );
    let (line, _, key, text) = only("\n[destinations]\n");
    assert_eq!((line, key.as_str()), (2, "destinations"));
    assert!(text.ends_with("write [[destination]]"), "{text}");
    let (_, _, _, text) = only("quiet = \"3s\"\n");
    assert!(text.ends_with("put quiet under [study]"), "{text}");
}

#[test]
fn a_bad_value_says_what_is_allowed() {
    let cases = [
        ("[node]\nae_title = \"FAR_TOO_LONG_A_TITLE\"", "node.ae_title", "at most 16 characters"),
        ("[node]\nae_title = \"A\\\\B\"", "node.ae_title", "without backslash"),
        ("[node]\nbind = \"11112\"", "node.bind", "an IP address and a port"),
        ("[http]\nbind = 8080", "http.bind", "8080 is an integer, not a string in quotes"),
        ("[study]\nquiet = \"10\"", "study.quiet", "ms, s, m, h, d"),
        ("[study]\nquiet = \"1h\"", "study.quiet", "make study.quiet shorter than study.deadline"),
        ("[spool]\nmin_free = \"2 GB\"", "spool.min_free", "B, KiB, MiB, GiB, TiB"),
        ("[deliver]\nmax_attempts = 0", "deliver.max_attempts", "from 1 to 1000"),
        ("[receive]\ntimeout = \"0s\"", "receive.timeout", "would refuse every peer"),
        ("[receive]\nmax_object = \"0 B\"", "receive.max_object", "write \"1 KiB\""),
        ("[limits]\nassociation_bytes = \"1 B\"", "limits.association_bytes", "less than 1 KiB"),
        ("[limits]\nmin_rate = \"100 GiB\"", "limits.min_rate", "write \"1 MiB\""),
        ("[deliver]\ncommitment_wait = \"0s\"", "deliver.commitment_wait", "needs time to report"),
        (
            "[node]\ncalled_ae_titles = [\"*\", \"THIS_TITLE_IS_MUCH_TOO_LONG\"]",
            "node.called_ae_titles",
            "THIS_TITLE_IS_MUCH_TOO_LONG",
        ),
        (
            "[[route]]\nname = \"r\"\nto = [\"pacs\"]",
            "route.to",
            "there is no [[destination]] with a name | add a [[destination]]",
        ),
        ("[model]\nviews = [\"LATERL\"]", "model.views", "write \"LATERAL\""),
        ("[model]\nviews = \"PA\"", "model.views", "an array of strings"),
        ("[model]\nprompt = 0", "model.prompt", "count from 1"),
        ("[model]\ndevice = \"cuda:first\"", "model.device", "\"cuda:N\""),
        ("[model]\ndevice = \"gpu\"", "model.device", "allowed are \"auto\", \"cpu\""),
        ("[log]\nlevel = \"inf\"", "log.level", "error, warn, info, debug or trace"),
        ("[log]\nlevel = \"a=b=c\"", "log.level", "error, warn, info, debug or trace"),
        ("[log]\nformat = \"jsno\"", "log.format", "write \"json\""),
        (
            "[[peer]]\nae_title = \"A\"\naddress = \"10.0.0.1/8\"",
            "peer.address",
            "beyond its prefix",
        ),
        ("[[peer]]\nae_title = \"A\"", "peer.address", "add address to this [[peer]]"),
        ("[http]\ntrusted_proxy = \"proxy\"", "http.trusted_proxy", "CIDR"),
        ("[http]\nsession_idle = \"10ms\"", "http.session_idle", "write \"30m\""),
        ("[destination]\nname = \"x\"", "destination", "write [[destination]]"),
        ("[tls]\nclient_ca = \"ca.pem\"", "tls.client_ca", "set tls.bind"),
        (
            "[tls]\ncertificate = \"c.pem\"\nkey = \"c.key\"",
            "tls.certificate",
            "nobody is shown it",
        ),
        ("[audit]\nsyslog_ca = \"ca.pem\"", "audit.syslog_ca", "set audit.syslog to"),
        (
            "[audit]\nsyslog = \"udp://h:514\"\nsyslog_name = \"h\"",
            "audit.syslog_name",
            "not reached over TLS",
        ),
    ];
    for (toml, key, part) in cases {
        let (_, _, found, text) = only(toml);
        assert_eq!(found, key, "{toml}");
        assert!(text.contains(part), "{toml}\n{text}\nlacks {part}");
    }
}

/// A `[[user]]` whose password is `not this one`.
const USER: &str = "[[user]]\nname = \"jdoe\"\ndisplay_name = \"Doe^Jane^^Dr.\"\nhash = \"$argon2id$v=19$m=19456,t=2,p=1$YgCz2kCqagDuGIw/prK9iQ$2doIQR9BFJK7BA2/IFIHTmIQP5ccXCYGcmW43JV/MFA\"\n\
    role = \"radiologist\"\n";

#[test]
fn a_bad_user_says_which_key_and_shows_no_hash() {
    let user = load(USER, &[]).unwrap().users.pop().unwrap();
    assert_eq!(user.spoken_name(), "Dr. Jane Doe");
    assert!(user.role.signs() && !user.role.administers());
    let cases = [
        ("jdoe", "j doe", "user.name", "no spaces"),
        ("Doe^Jane^^Dr.", "^Jane", "user.display_name", "no person name"),
        ("Doe^Jane^^Dr.", "Doe\\\\Jane", "user.display_name", "backslash"),
        ("$argon2id$", "$argon3$", "user.hash", "`thorascribe user hash`"),
        ("radiologist", "radiolgist", "user.role", "write \"radiologist\""),
        ("role = \"radiologist\"", "", "user.role", "add role to this [[user]]"),
    ];
    for (from, to, key, part) in cases {
        let (_, _, found, text) = only(&USER.replace(from, to));
        assert_eq!(found, key, "{to}");
        assert!(
            text.contains(part) && !text.contains("YgCz2kCqagDu"),
            "{to}\n{text}\nlacks {part}"
        );
    }
    let (line, _, key, text) = only(&format!("{USER}{USER}"));
    assert_eq!((line, key.as_str()), (7, "user.name"), "{text}");
}

#[test]
fn the_hash_of_a_password_is_not_shown() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), USER).unwrap();
    let (_, shown) =
        thorascribe::config::show(Some(file.path()), &Environment::new([("HOME", "/h")])).unwrap();
    let hash = shown.iter().find(|shown| shown.key == "user[0].hash").unwrap();
    assert_eq!(hash.value, "\"(hidden)\"");
}

const PACS: &str =
    "[[destination]]\nname = \"pacs\"\nae_title = \"ORTHANC\"\nhost = \"127.0.0.1\"\nport = 4242\n";

#[test]
fn a_bad_destination_says_which_key() {
    assert!(load(PACS, &[]).is_ok());
    let cases = [
        ("port = 4242", "port = 70000", "destination.port", "from 1 to 65535"),
        ("127.0.0.1", "127.0.0.1:4242", "destination.host", "write the port into the key port"),
        ("127.0.0.1", "http://pacs", "destination.host", "no host name"),
        ("ORTHANC", "", "destination.ae_title", "at least one character"),
        ("port = 4242", "", "destination.port", "add port to this [[destination]]"),
        ("port = 4242", "port = 1\ntls = true", "destination.tls", "nobody is named who vouches"),
        ("port = 4242", "port = 1\ntls_key = \"k\"", "destination.tls_key", "belong together"),
        ("port = 4242", "port = 1\ntls_ca = \"a.pem\"", "destination.tls_ca", "set tls = true"),
        ("port = 4242", "port = 1\ntls_name = \"n\"", "destination.tls_name", "sent in plain"),
        (
            "port = 4242",
            "port = 1\ntls_certificate = \"c\"\ntls_key = \"k\"",
            "destination.tls_certificate",
            "set tls = true",
        ),
        (
            "port = 4242",
            "port = 1\nreceives = [\"keyobject\"]",
            "destination.receives",
            "write \"key_object\"",
        ),
        (
            "port = 4242",
            "port = 1\nreceives = [\"reports\"]",
            "destination.receives",
            "write \"report\"",
        ),
        ("port = 4242", "port = 1\nreceives = []", "destination.receives", "nothing"),
        ("port = 4242", "port = 1\nsr_classes = []", "destination.sr_classes", "no class"),
        ("port = 4242", "prot = 4242\nport = 1", "destination.prot", "write port"),
        ("name = \"pacs\"", "name = 1", "destination.name", "1 is an integer"),
    ];
    for (from, to, key, part) in cases {
        let (_, _, found, text) = only(&PACS.replace(from, to));
        assert_eq!(found, key, "{to}");
        assert!(text.contains(part), "{to}\n{text}\nlacks {part}");
    }
    let (line, _, key, text) = only(&format!("{PACS}{PACS}"));
    assert_eq!((line, key.as_str()), (7, "destination.name"));
    assert!(text.contains("thorascribe.toml:1:1"), "{text}");
}

#[test]
fn a_port_is_not_taken_twice() {
    let bound =
        |node: &str, http: &str| format!("[node]\nbind = \"{node}\"\n[http]\nbind = \"{http}\"\n");
    for [node, http] in [
        ["127.0.0.1:8104", "127.0.0.1:8104"],
        ["0.0.0.0:8104", "127.0.0.1:8104"],
        ["127.0.0.1:8104", "[::]:8104"],
        ["[::]:8104", "[::1]:8104"],
        ["[::ffff:127.0.0.1]:8104", "127.0.0.1:8104"],
    ] {
        let (line, _, key, text) = only(&bound(node, http));
        assert_eq!((line, key.as_str()), (4, "http.bind"), "{text}");
        assert!(text.contains(&format!("{http} is taken by node.bind = \"{node}\"")), "{text}");
    }
    for [node, http] in [
        ["127.0.0.1:0", "127.0.0.1:0"],
        ["127.0.0.1:8104", "127.0.0.2:8104"],
        ["0.0.0.0:8104", "[::1]:8104"],
        ["0.0.0.0:8104", "0.0.0.0:8105"],
    ] {
        assert!(load(&bound(node, http), &[]).is_ok(), "{node} {http}");
    }
    // Whoever takes the other's default is told.
    let (_, _, key, text) = only("[node]\nbind = \"0.0.0.0:8080\"\n");
    assert_eq!(key, "node.bind");
    assert!(text.contains("taken by http.bind"), "{text}");
    let tls = "[tls]\nbind = \"0.0.0.0:11112\"\ncertificate = \"c.pem\"\nkey = \"c.key\"\n";
    let (_, _, key, text) = only(tls);
    assert_eq!(key, "tls.bind");
    assert!(text.contains("taken by node.bind"), "{text}");
}

#[test]
fn every_error_is_told_at_once_in_the_order_of_the_file() {
    let found = problems(
        "[node]\nae_titel = \"X\"\nbind = \"nowhere\"\n[study]\nquiet = 10\n[[rule]]\n\
         name = \"x\"\nwhen = \"true\"\npriority = \"now\"\n",
        &[("THORASCRIBE_NODE__AE_TITLE", "A\\B")],
    );
    let keys: Vec<&str> = found.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(
        keys,
        ["node.ae_titel", "node.bind", "study.quiet", "rule.priority", "node.ae_title"]
    );
}

#[test]
fn broken_toml_is_placed() {
    let (line, column, _, text) = only("[node]\nae_title = THORASCRIBE\n");
    assert_eq!((line, column), (2, 12));
    assert!(text.starts_with("not valid TOML"), "{text}");
}

#[test]
fn a_variable_overrides_the_file() {
    let config = load(
        "[node]\nae_title = \"FILE\"\n[model]\nprompt = 2\n",
        &[
            ("THORASCRIBE_NODE__AE_TITLE", "VARIABLE"),
            ("THORASCRIBE_STUDY__ASSUME_CHEST", "true"),
            ("THORASCRIBE_DELIVER__MAX_ATTEMPTS", "3"),
            ("THORASCRIBE_MODEL__VIEWS", "PA,LL"),
            ("THORASCRIBE_MODEL__PROMPT", "Is the heart enlarged?"),
        ],
    )
    .unwrap();
    assert_eq!(config.node.ae_title.as_str(), "VARIABLE");
    assert!(config.study.assume_chest);
    assert_eq!(config.deliver.max_attempts, 3);
    assert_eq!(config.model.views, ["PA", "LL"]);
    assert_eq!(config.model.prompt, PromptSetting::Text("Is the heart enlarged?".to_owned()));
}

#[test]
fn a_variable_that_overrides_nothing_is_an_error() {
    let one = |name: &str, value: &str| {
        let found = problems("", &[(name, value)]);
        assert_eq!(found.len(), 1, "{found:#?}");
        found[0].to_string()
    };
    let text = one("THORASCRIBE_NODE__AE_TITEL", "X");
    assert!(text.starts_with("variable THORASCRIBE_NODE__AE_TITEL: "), "{text}");
    assert!(text.contains("write THORASCRIBE_NODE__AE_TITLE"), "{text}");
    let text = one("THORASCRIBE_NODE_AE_TITLE", "X");
    assert!(text.contains("write THORASCRIBE_NODE__AE_TITLE"), "{text}");
    let text = one("THORASCRIBE_DELIVER__MAX_ATTEMPTS", "many");
    assert!(text.contains("deliver.max_attempts: the value \"many\" does not fit"), "{text}");
    let text = one("THORASCRIBE_DESTINATION__NAME", "pacs");
    assert!(text.contains("is a list, and no variable sets one"), "{text}");
    assert!(text.contains("unset THORASCRIBE_DESTINATION__NAME"), "{text}");
    assert!(load("", &[("THORASCRIBE_CONFIG", "unused"), ("THORASCRIBE_TEST_X", "1")]).is_ok());
}

#[test]
fn the_spool_lies_where_the_service_or_the_user_keeps_state() {
    let spool = |toml: &str, variables: &[(&str, &str)]| load(toml, variables).unwrap().spool.path;
    assert_eq!(spool("", &[("HOME", "/h")]), Path::new("/h/.local/state/thorascribe"));
    assert_eq!(spool("", &[("XDG_STATE_HOME", "/s")]), Path::new("/s/thorascribe"));
    let service = [("STATE_DIRECTORY", "/var/lib/thorascribe:/x"), ("XDG_STATE_HOME", "/s")];
    assert_eq!(spool("", &service), Path::new("/var/lib/thorascribe"));
    assert_eq!(spool("[spool]\npath = \"/mine\"\n", &service), Path::new("/mine"));
    let beside_the_file = spool("[spool]\npath = \"mine\"\n", &[]);
    assert!(beside_the_file.is_absolute() && beside_the_file.ends_with("mine"));
}

fn folder_with(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn shown(home: &Path, arguments: &[&str], variables: &[(&str, &PathBuf)]) -> Vec<Value> {
    let mut command = program(home);
    command.args(arguments).args(["config", "show", "--json"]).envs(variables.iter().copied());
    let output = run(&mut command);
    assert!(output.status.success(), "{}", text(&output));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_file_is_looked_for_in_order() {
    let title = |name: &str| format!("[node]\nae_title = \"{name}\"\n");
    let folder = folder_with(&[
        ("XDG_CONFIG_HOME/thorascribe/thorascribe.toml", &title("XDG")),
        ("variable.toml", &title("VARIABLE")),
        ("option.toml", &title("OPTION")),
    ]);
    let title = |arguments: &[&str], variables: &[(&str, &PathBuf)]| {
        let rows = shown(folder.path(), arguments, variables);
        rows.iter().find(|row| row["key"] == "node.ae_title").unwrap()["value"].clone()
    };
    let (option, variable) =
        (folder.path().join("option.toml"), folder.path().join("variable.toml"));
    assert_eq!(title(&[], &[]), "\"XDG\"");
    assert_eq!(title(&[], &[("THORASCRIBE_CONFIG", &variable)]), "\"VARIABLE\"");
    let named = ["--config", option.to_str().unwrap()];
    assert_eq!(title(&named, &[("THORASCRIBE_CONFIG", &variable)]), "\"OPTION\"");
}

#[test]
fn a_file_that_may_be_there_is_not_passed_over_for_the_defaults() {
    let folder = TempDir::new().unwrap();
    let place = folder.path().join("XDG_CONFIG_HOME/thorascribe");
    std::fs::create_dir_all(&place).unwrap();
    let check = || run(program(folder.path()).args(["config", "check"]));
    assert_eq!(check().status.code(), Some(0), "without a file the defaults hold");
    let link = place.join("thorascribe.toml");
    std::os::unix::fs::symlink(folder.path().join("gone.toml"), &link).unwrap();
    let told = text(&check());
    assert!(told.contains("thorascribe/thorascribe.toml: cannot read the configuration"), "{told}");
    std::fs::remove_file(&link).unwrap();
    std::fs::remove_dir(&place).unwrap();
    // A folder that cannot be looked into, for root neither.
    std::os::unix::fs::symlink(&place, &place).unwrap();
    let output = check();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("cannot see whether the configuration is here"));
    // What is no node runs on the defaults, and says so.
    let image = fixture("dx-pa-explicit").path();
    let output = run(program(folder.path()).arg("radiograph").arg(image));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("warning: the defaults are used"), "{}", text(&output));
}

#[test]
fn config_show_says_where_a_value_came_from() {
    let folder = folder_with(&[("t.toml", &format!("[study]\nquiet = \"3s\"\n{PACS}"))]);
    let file = folder.path().join("t.toml");
    let deadline = PathBuf::from("5m");
    let rows = shown(
        folder.path(),
        &["--config", file.to_str().unwrap()],
        &[("THORASCRIBE_STUDY__DEADLINE", &deadline)],
    );
    let row =
        |key: &str| rows.iter().find(|row| row["key"] == key).unwrap_or_else(|| panic!("{key}"));
    assert_eq!(row("study.quiet")["source"], "file");
    assert_eq!(row("study.quiet")["line"], 2);
    assert_eq!(row("study.quiet")["value"], "\"3s\"");
    assert_eq!(row("study.deadline")["source"], "variable");
    assert_eq!(row("study.deadline")["variable"], "THORASCRIBE_STUDY__DEADLINE");
    assert_eq!(row("node.bind")["source"], "default");
    assert_eq!(row("destination[0].port")["value"], "4242");
    assert_eq!(row("destination[0].receives")["source"], "default");
    let spool = folder.path().join("XDG_STATE_HOME/thorascribe");
    assert_eq!(row("spool.path")["means"], spool.to_str().unwrap());
}

#[test]
fn config_check_holds_a_wrong_file_against_all_that_it_names() {
    let toml = "[node]\nae_titel = \"X\"\n[tls]\nbind = \"nowhere\"\ncertificate = \"c.pem\"\n\
                key = \"c.key\"\n[model]\npath = \"nothing\"\nprompt = 0\n\
                [[rule]]\nname = \"a\"\nwhen = \"findings.pneumothorx.score > 0.5\"\npriority = \"stat\"\n\
                [[rule]]\nname = \"a\"\nwhen = \"study.modalty == 'DX'\"\npriority = \"now\"\n";
    let folder = folder_with(&[("t.toml", toml), ("p.toml", "\n[model]\nprompt = 99\n")]);
    let check = |file: &str| {
        let mut command = program(folder.path());
        let output = run(command.args(["config", "check", "--config", file]));
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        String::from_utf8(output.stderr).unwrap()
    };
    let told = check("t.toml");
    let keys =
        ["node.ae_titel", "tls.bind", "tls.certificate", "tls.key", "model.path", "model.prompt"];
    let rules = ["rule.when", "rule.name", "rule.when", "rule.priority"];
    let wrong: Vec<&str> = told
        .lines()
        .filter_map(|line| line.strip_prefix("  t.toml:")?.split(": ").nth(1))
        .collect();
    assert_eq!(wrong, [&keys[..], &rules[..]].concat(), "{told}");
    assert_eq!(told.matches("    remedy: ").count(), 10, "{told}");
    let told = check("p.toml");
    assert!(told.contains("p.toml:3:10: model.prompt: the model has no prompt 99"), "{told}");
}

#[test]
fn config_check_ends_with_1_and_tells_all_on_stderr() {
    let folder = folder_with(&[("t.toml", "[node]\nae_titel = \"X\"\nbind = 3\n")]);
    let file = folder.path().join("t.toml");
    let mut command = program(folder.path());
    let output = run(command.args(["config", "check", "--config"]).arg(&file));
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let told = String::from_utf8(output.stderr).unwrap().replace(file.to_str().unwrap(), "FILE");
    assert_eq!(
        told,
        "error: the configuration has 2 errors\n  \
         FILE:2:1: node.ae_titel: unknown key; [node] knows ae_title, bind, called_ae_titles\n    \
         remedy: write ae_title\n  \
         FILE:3:8: node.bind: 3 is an integer, not a string in quotes\n    \
         remedy: write a string in quotes, for example \"127.0.0.1:11112\"\n"
    );
    let output = run(program(folder.path()).args(["config", "check"]));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    std::fs::write(&file, "[model]\nprompt = \"Is there an effusion?\"\n").unwrap();
    let output = run(program(folder.path()).args(["config", "check", "--config"]).arg(&file));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("warning: model.prompt: the embedded model"));
    let missing = folder.path().join("missing.toml");
    let output = run(program(folder.path()).args(["config", "check", "--config"]).arg(missing));
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("missing.toml: cannot read the configuration"));
}
