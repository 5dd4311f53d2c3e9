//! The node as a service: what it tells a service manager, the sockets that it is handed, the
//! watchdog, and how little of the system its unit leaves open.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use thorascribe::model::engine::Engine;
use thorascribe::model::{DraftRequest, Model, Sampling};
use thorascribe::object::StoredObject;
use thorascribe::radiograph::render;

use super::support::certificates::Authority;
use super::support::http::request;
use super::support::job_store::{Phase, execute, phases};
use super::support::node::program;
use super::support::objects::{fixture, root};
use super::support::process::{Running, find, succeed};
use super::support::service_manager::{Held, Manager, activated};
use super::support::{Node, Settings, modality, wait_until};

/// A node that a service manager started; it takes it for dead after so many seconds.
fn serviced(manager: &Manager, watchdog: u64) -> Node {
    let environment = vec![
        ("NOTIFY_SOCKET", manager.address()),
        ("WATCHDOG_USEC", (watchdog * 1_000_000).to_string()),
    ];
    Node::start(&Settings { environment, ..Settings::default() })
}

fn fed(said: &[String]) -> usize {
    said.iter().filter(|line| *line == "WATCHDOG=1").count()
}

#[test]
fn the_service_manager_is_told_of_start_reload_and_stop() {
    let manager = Manager::new();
    let mut node = serviced(&manager, 600);
    let loading = manager.message(Duration::from_secs(10)).unwrap();
    assert_eq!(loading, ["STATUS=opening the job store, loading the model"]);
    let ready = manager.wait_for("READY=1");
    let addresses = format!("STATUS=ready dicom={} http={}", node.dicom, node.http);
    assert_eq!(ready, ["READY=1", &addresses]);

    node.signal(Signal::HUP);
    let reloading = manager.wait_for("RELOADING=1");
    assert_eq!(reloading[0], "RELOADING=1");
    // Since the machine started, by the monotonic clock.
    let since_start = std::fs::read_to_string("/proc/uptime").unwrap();
    let since_start: f64 = since_start.split(' ').next().unwrap().parse().unwrap();
    let stated: f64 = reloading[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
    assert!((stated / 1e6 - since_start).abs() < 60.0, "{stated} µs at {since_start} s");
    assert_eq!(manager.wait_for("READY=1"), ["READY=1", "STATUS=reloaded"]);

    node.configure(&format!("{}\n[receive]\ntimeout = \"never\"\n", node.configuration()));
    node.signal(Signal::HUP);
    manager.wait_for("RELOADING=1");
    let refused = manager.wait_for("READY=1");
    assert_eq!(refused[1], "STATUS=the configuration was not taken over: see the log");

    node.signal(Signal::TERM);
    let stopping = manager.wait_for("STOPPING=1");
    assert_eq!(stopping, ["STOPPING=1", "STATUS=stopping: finishing what is in hand"]);
    assert!(node.wait_for_end().success());
}

#[test]
fn a_start_asks_for_more_time_as_long_as_it_gets_on() {
    let (manager, folder) = (Manager::new(), TempDir::new().unwrap());
    // A file that nobody writes: the start waits for it.
    let never = folder.path().join("never.pem");
    succeed(Command::new("mkfifo").arg(&never));
    let toml = format!(
        "[node]\nbind = \"127.0.0.1:0\"\n[tls]\nbind = \"127.0.0.1:0\"\ncertificate = {never:?}\n\
         key = {never:?}\n"
    );
    let file = folder.path().join("thorascribe.toml");
    std::fs::write(&file, toml).unwrap();
    let mut command = program(folder.path());
    command.arg("--config").arg(&file).arg("serve").env("NOTIFY_SOCKET", manager.address());
    let mut node = Running(command.spawn().unwrap());
    assert_eq!(manager.wait_for("EXTEND_TIMEOUT_USEC="), ["EXTEND_TIMEOUT_USEC=30000000"]);
    manager.said_within(Duration::from_secs(6));
    let hanging = manager.said_within(Duration::from_secs(6));
    assert!(hanging.is_empty() && node.is_alive(), "{hanging:?}");
}

/// A peer in the middle of an association keeps the stop waiting, and the manager with it.
#[test]
fn a_stop_that_drains_asks_for_more_time() {
    let manager = Manager::new();
    let mut node = serviced(&manager, 600);
    let held = Held::new(node.id(), "model-engine");
    let folder = TempDir::new().unwrap();
    let copy = fixture("dx-pa-explicit").copy(folder.path(), "drain");
    modality::send(node.port(), 1, &[&copy.path]);
    wait_until("its draft to be under way", || {
        phases(&node.spool()).get(&copy.study) == Some(&Phase::Drafting)
    });
    node.signal(Signal::TERM);
    manager.wait_for("STOPPING=1");
    assert_eq!(manager.wait_for("EXTEND_TIMEOUT_USEC="), ["EXTEND_TIMEOUT_USEC=15000000"]);
    assert_eq!(manager.wait_for("EXTEND_TIMEOUT_USEC="), ["EXTEND_TIMEOUT_USEC=15000000"]);
    drop(held);
    assert!(node.wait_for_end().success());
}

#[test]
fn a_hung_model_is_not_fed_for_and_one_that_goes_on_is() {
    let manager = Manager::new();
    let node = serviced(&manager, 2);
    manager.wait_for("READY=1");
    let idle = manager.said_within(Duration::from_secs(3));
    assert!(fed(&idle) >= 2, "{idle:?}");
    let status = idle.iter().find(|line| line.starts_with("STATUS=dicom=")).unwrap();
    assert!(status.ends_with("waiting: 0 to be drafted, 0 to be delivered"), "{status}");

    let held = Held::new(node.id(), "model-engine");
    let folder = TempDir::new().unwrap();
    let copy = fixture("dx-pa-explicit").copy(folder.path(), "hang");
    modality::send(node.port(), 1, &[&copy.path]);
    manager.wait_for("STATUS=no progress: the model has work and takes no step");
    let hung = manager.said_within(Duration::from_secs(3));
    assert_eq!(fed(&hung), 0, "{hung:?}");

    drop(held);
    manager.wait_for("WATCHDOG=1");
    node.wait_for_state(&copy.study, "drafted");
}

#[test]
fn a_job_store_that_fails_is_not_fed_for() {
    let manager = Manager::new();
    let node = serviced(&manager, 2);
    manager.wait_for("WATCHDOG=1");
    execute(&node.spool(), "ALTER TABLE delivery RENAME TO elsewhere");
    manager.wait_for("STATUS=no progress: the job store does not answer");
    let failing = manager.said_within(Duration::from_secs(3));
    assert_eq!(fed(&failing), 0, "{failing:?}");
    execute(&node.spool(), "ALTER TABLE elsewhere RENAME TO delivery");
    manager.wait_for("WATCHDOG=1");
}

/// What the watchdog goes by: a long draft is many steps.
#[test]
fn a_long_draft_is_steps_and_no_hang() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let engine = runtime.block_on(Engine::start(Model::embedded)).unwrap();
    assert!(engine.pulse().unwrap().idle);
    let before = engine.pulse().unwrap().steps;
    let object = StoredObject::open(&fixture("dx-pa-explicit").path()).unwrap();
    let image = render(&object).unwrap().image;
    let sampling = Sampling { max_tokens: 64, ..Sampling::default() };
    let request = DraftRequest { sampling, ..DraftRequest::default() };
    let handle = engine.clone();
    let drafting = runtime.spawn(async move { handle.draft(image, request).await });
    let mut seen = Vec::new();
    wait_until("the draft's end", || {
        let pulse = engine.pulse().unwrap();
        if !pulse.idle && seen.last() != Some(&pulse.steps) {
            seen.push(pulse.steps);
        }
        drafting.is_finished()
    });
    let draft = runtime.block_on(drafting).unwrap().unwrap();
    let steps = engine.pulse().unwrap().steps - before;
    assert!(steps > draft.token_ids.len() as u64, "{steps} for {} tokens", draft.token_ids.len());
    assert!(seen.is_sorted());
    wait_until("the engine's rest", || engine.pulse().unwrap().idle);
}

#[test]
fn sockets_are_taken_by_their_names() {
    let folder = TempDir::new().unwrap();
    let spool = folder.path().join("spool");
    let environment = [
        ("THORASCRIBE_SPOOL__PATH", spool.to_str().unwrap()),
        ("THORASCRIBE_SPOOL__MIN_FREE", "1 MiB"),
        // Nobody could bind these.
        ("THORASCRIBE_NODE__BIND", "192.0.2.1:104"),
        ("THORASCRIBE_HTTP__BIND", "192.0.2.1:80"),
    ];
    // In the other order than the program asks for them.
    let (_running, dicom, http) =
        activated(folder.path(), "http=127.0.0.1,dicom=127.0.0.1", &environment).unwrap();
    assert_eq!(request(http.port(), "GET", "/healthz", &[]), Some((200, b"ok\n".to_vec())));
    let copy = fixture("dx-pa-explicit").copy(folder.path(), "sockets");
    let answers = modality::send(dicom.port(), 1, &[&copy.path]);
    assert_eq!(answers[&copy.instance], Some(0));
}

#[test]
fn one_socket_may_be_handed_over_alone() {
    let folder = TempDir::new().unwrap();
    let spool = folder.path().join("spool");
    let environment = [
        ("THORASCRIBE_SPOOL__PATH", spool.to_str().unwrap()),
        ("THORASCRIBE_SPOOL__MIN_FREE", "1 MiB"),
        ("THORASCRIBE_NODE__BIND", "192.0.2.1:104"),
        ("THORASCRIBE_HTTP__BIND", "127.0.0.1:0"),
    ];
    let (_running, dicom, http) =
        activated(folder.path(), "dicom=127.0.0.1", &environment).unwrap();
    assert!(dicom.ip().is_loopback());
    assert_eq!(request(http.port(), "GET", "/healthz", &[]), Some((200, b"ok\n".to_vec())));
}

#[test]
fn the_socket_units_are_those_that_the_node_takes_and_the_package_has() {
    let authority = Authority::new();
    let own = authority.certify("node.example", 30);
    let folder = TempDir::new().unwrap();
    let spool = folder.path().join("spool");
    let environment = [
        ("THORASCRIBE_SPOOL__PATH", spool.to_str().unwrap()),
        ("THORASCRIBE_SPOOL__MIN_FREE", "1 MiB"),
        // Nobody could bind this.
        ("THORASCRIBE_TLS__BIND", "192.0.2.1:2762"),
        ("THORASCRIBE_TLS__CERTIFICATE", own.certificate.to_str().unwrap()),
        ("THORASCRIBE_TLS__KEY", own.key.to_str().unwrap()),
    ];
    let text = |name: &str| std::fs::read_to_string(root().join(name)).unwrap();
    let units = ["thorascribe.socket", "thorascribe-http.socket", "thorascribe-tls.socket"];
    let names = units.map(|unit| {
        for file in ["Cargo.toml", "systemd/debian/prerm", "systemd/debian/postrm"] {
            assert!(text(file).contains(unit), "{file} lacks {unit}");
        }
        let unit = text(&format!("systemd/{unit}"));
        unit.lines().find_map(|line| line.strip_prefix("FileDescriptorName=")).unwrap().to_owned()
    });
    let sockets = names.map(|name| format!("{name}=127.0.0.1")).join(",");
    let (_running, ..) = activated(folder.path(), &sockets, &environment).unwrap();
    let found = std::fs::read_dir(root().join("systemd")).unwrap().filter(|entry| {
        entry.as_ref().unwrap().path().extension().is_some_and(|kind| kind == "socket")
    });
    assert_eq!(found.count(), units.len());
    // Without a view of /proc/sys the node is told the machine's name.
    let service = text("systemd/thorascribe.service");
    assert!(
        service.contains("\nProcSubset=pid\n") && service.contains("\nEnvironment=HOSTNAME=%H\n")
    );
}

#[test]
fn sockets_that_cannot_be_used_are_named() {
    for (sockets, says) in [
        ("dicom=127.0.0.1,web=127.0.0.1", "called \"web\""),
        ("dicom=127.0.0.1,http=127.0.0.1,dicom=127.0.0.1", "called \"dicom\""),
        ("dicom=127.0.0.1,file=", "\"file\" cannot be used"),
    ] {
        let folder = TempDir::new().unwrap();
        let spool = folder.path().join("spool");
        let environment = [("THORASCRIBE_SPOOL__PATH", spool.to_str().unwrap())];
        let Err(error) = activated(folder.path(), sockets, &environment) else {
            panic!("{sockets} was taken")
        };
        assert!(error.contains(says), "{sockets}: {error}");
    }
}

/// The exposure that `systemd-analyze` gives the unit, with these drop-ins.
fn exposure(drop_ins: &[&str]) -> f64 {
    let folder = TempDir::new().unwrap();
    let unit = folder.path().join("thorascribe.service");
    std::fs::copy(root().join("systemd/thorascribe.service"), &unit).unwrap();
    let beside = folder.path().join("thorascribe.service.d");
    std::fs::create_dir(&beside).unwrap();
    for name in drop_ins {
        let from = root().join("systemd/thorascribe.service.d").join(name);
        std::fs::copy(from, beside.join(name)).unwrap();
    }
    let program = find("systemd-analyze", "systemd", |_| true);
    let mut command = Command::new(program);
    command.args(["security", "--offline=true", "--no-pager"]).arg(&unit);
    let report = succeed(&mut command);
    let overall = report.lines().find(|line| line.contains("Overall exposure level"));
    let overall = overall.unwrap_or_else(|| panic!("no overall exposure in {report}"));
    let number = overall.split(':').nth(1).unwrap().split_whitespace().next().unwrap();
    number.parse().unwrap()
}

#[test]
fn the_unit_leaves_little_of_the_system_open() {
    let (plain, with_gpu) = (exposure(&[]), exposure(&["gpu.conf"]));
    assert!(plain <= 1.5, "{plain}");
    assert!(with_gpu <= 1.5, "with GPUs {with_gpu}");
    // The drop-in was read: it opens devices.
    assert!(with_gpu > plain, "{with_gpu}");
}
