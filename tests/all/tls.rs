//! Associations over TLS, and who is let in: against DCMTK, pynetdicom and openssl.

use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::support::certificates::{Authority, Certificate, openssl};
use super::support::dcmtk::{self, Storescp};
use super::support::node::program;
use super::support::objects::{Fixture, fixtures, root};
use super::support::process::{run, text};
use super::support::{Node, Settings, http, modality, wait_until};

const EXPLICIT: &str = "1.2.840.10008.1.2.1";

fn plain() -> &'static Fixture {
    fixtures().iter().find(|f| f.transfer_syntax == EXPLICIT).unwrap()
}

/// The authority of a hospital, and who has a certificate of it.
struct Hospital {
    authority: Authority,
    node: Certificate,
    modality: Certificate,
}

impl Hospital {
    fn new() -> Self {
        let authority = Authority::new();
        let node = authority.certify("node.example", 30);
        let modality = authority.certify("modality.example", 30);
        Self { authority, node, modality }
    }

    /// `[tls]` with mutual authentication.
    fn table(&self) -> String {
        format!(
            "[tls]\nbind = \"127.0.0.1:0\"\ncertificate = {:?}\nkey = {:?}\nclient_ca = {:?}\nca = {:?}\n",
            self.node.certificate,
            self.node.key,
            self.authority.file(),
            self.authority.file()
        )
    }

    fn start(&self, more: &str) -> Node {
        let tables = format!("{}{more}", self.table());
        Node::start(&Settings { tables, ..Settings::default() })
    }

    /// `openssl s_client`: what it says, and whether the handshake came about.
    fn s_client(
        &self,
        node: &Node,
        options: &[&str],
        with: Option<&Certificate>,
    ) -> (String, bool) {
        let mut command = openssl();
        command.args(["s_client", "-connect", &format!("127.0.0.1:{}", node.tls())]);
        command.arg("-CAfile").arg(self.authority.file()).args(["-verify_return_error"]);
        command.args(["-verify_hostname", "node.example"]).args(options);
        if let Some(with) = with {
            command.arg("-cert").arg(&with.certificate).arg("-key").arg(&with.key);
        }
        let said = text(&run(&mut command));
        // Under TLS 1.3 a server refuses a client's certificate after the client is content.
        let good = said.contains("Verification: OK") && !said.contains("alert");
        (said, good)
    }
}

/// `storescu` with BCP 195's profile.
fn storescu(node: &Node, of: &Certificate, authority: &Authority) -> Output {
    let mut command = Command::new(dcmtk::program("storescu"));
    command.args(["-v", "-aet", "STORESCU", "-aec", "THORASCRIBE", "+tls"]);
    command.arg(&of.key).arg(&of.certificate).arg("+cf").arg(authority.file());
    command.args(["+py", "127.0.0.1", &node.tls().to_string()]);
    run(command.arg(plain().path()))
}

fn counted(node: &Node, outcome: &str) -> u64 {
    let line = format!("thorascribe_associations_total{{outcome=\"{outcome}\"}} ");
    let (_, metrics) = http::request(node.http.port(), "GET", "/metrics", &[]).unwrap();
    let metrics = String::from_utf8(metrics).unwrap();
    let counted = metrics.lines().find_map(|found| found.strip_prefix(&line)?.parse().ok());
    counted.unwrap_or(0)
}

fn accepted(output: &Output) -> bool {
    output.status.success() && text(output).contains("Received Store Response (Success)")
}

#[test]
fn dcmtk_stores_over_tls_with_a_certificate_and_not_without_the_right_one() {
    let hospital = Hospital::new();
    let node = hospital.start("");
    let good = storescu(&node, &hospital.modality, &hospital.authority);
    assert!(accepted(&good), "{}\n{}", text(&good), node.log());
    node.wait_for_job(&plain().study, "the object", |_| true);
    let stranger = Authority::new();
    let other = stranger.certify("modality.example", 30);
    let refused = storescu(&node, &other, &hospital.authority);
    assert!(!accepted(&refused), "{}", text(&refused));
    wait_until("the failed handshake is counted", || counted(&node, "tls_failed") == 1);
    // A client that does not trust the node's authority.
    let distrusted = storescu(&node, &hospital.modality, &stranger);
    assert!(!accepted(&distrusted));
    // Plain DICOM to the port of TLS, and TLS to the plain one.
    let mut echo = Command::new(dcmtk::program("echoscu"));
    echo.args(["-aec", "THORASCRIBE", "127.0.0.1", &node.tls().to_string()]);
    assert!(!run(&mut echo).status.success());
    wait_until("it is said", || node.log().contains("the peer does not speak TLS"));
    assert_eq!(dcmtk::storescu(node.port(), &[&plain().path()]), 1);
    assert!(node.log().contains("TLS handshake failed"), "{}", node.log());
}

#[test]
fn only_what_bcp_195_allows_is_spoken() {
    let hospital = Hospital::new();
    let node = hospital.start("");
    let with = Some(&hospital.modality);
    for good in [
        &["-tls1_3"][..],
        &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
        &["-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384"],
    ] {
        let (said, good_) = hospital.s_client(&node, good, with);
        assert!(good_, "{good:?}: {said}");
    }
    for bad in [
        &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"][..],
        &["-tls1", "-cipher", "ALL:@SECLEVEL=0"],
        &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA256"],
        &["-tls1_2", "-cipher", "AES128-GCM-SHA256"],
        &["-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256"],
        &["-tls1_2", "-cipher", "ECDHE-RSA-CHACHA20-POLY1305"],
    ] {
        let (said, good) = hospital.s_client(&node, bad, with);
        assert!(!good && said.contains("alert"), "{bad:?}: {said}");
    }
    let refused = counted(&node, "tls_failed");
    for version in ["-tls1_2", "-tls1_3"] {
        // Under TLS 1.3 the client is content before the server is: it must listen on.
        let options = [version, "-ign_eof"];
        let (said, good) = hospital.s_client(&node, &options, None);
        assert!(!good, "without a certificate, {version}: {said}");
        let authority = Authority::new();
        let stranger = authority.certify("modality.example", 30);
        let (said, good) = hospital.s_client(&node, &options, Some(&stranger));
        assert!(!good, "of another authority, {version}: {said}");
    }
    assert_eq!(counted(&node, "tls_failed") - refused, 4);
}

#[test]
fn a_silent_tls_client_holds_no_slot_and_is_let_go_in_time() {
    let hospital = Hospital::new();
    let limits = "[receive]\ntimeout = \"2s\"\nmax_associations = 1\n";
    let node = hospital.start(limits);
    let mut silent = TcpStream::connect(("127.0.0.1", node.tls())).unwrap();
    let since = Instant::now();
    let good = storescu(&node, &hospital.modality, &hospital.authority);
    assert!(accepted(&good), "{}", text(&good));
    silent.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(silent.read(&mut [0; 1]).unwrap_or(0), 0);
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    // 128 wait at most; the oldest gives way.
    let crowd: Vec<TcpStream> =
        (0..300).map(|_| TcpStream::connect(("127.0.0.1", node.tls())).unwrap()).collect();
    let good = storescu(&node, &hospital.modality, &hospital.authority);
    assert!(accepted(&good), "{}", text(&good));
    drop(crowd);
}

#[test]
fn a_renewed_certificate_is_taken_at_sighup_and_a_broken_one_is_not() {
    let hospital = Hospital::new();
    let node = hospital.start("");
    let before = hospital.node.fingerprint();
    let presented = |node: &Node| {
        let (said, _) = hospital.s_client(node, &["-tls1_3"], Some(&hospital.modality));
        let start = said.find("-----BEGIN CERTIFICATE-----").unwrap();
        let end = said.find("-----END CERTIFICATE-----").unwrap() + 25;
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("shown.pem");
        std::fs::write(&file, said.get(start..end).unwrap()).unwrap();
        Certificate { certificate: file.clone(), key: file }.fingerprint()
    };
    assert_eq!(presented(&node), before);
    let old_key = std::fs::read(&hospital.node.key).unwrap();
    let renewed = hospital.authority.certify("node.example", 30);
    let new_key = std::fs::read(&renewed.key).unwrap();
    std::fs::write(&renewed.key, old_key).unwrap();
    node.signal(Signal::HUP);
    wait_until("the mismatch is said", || node.log().contains("is not the key of the certificate"));
    assert_eq!(presented(&node), before, "all or nothing");
    std::fs::write(&renewed.key, new_key).unwrap();
    node.signal(Signal::HUP);
    wait_until("the new one is shown", || presented(&node) == renewed.fingerprint());
    assert_ne!(renewed.fingerprint(), before);
    assert_eq!(dcmtk::storescu(node.port(), &[&plain().path()]), 1);
}

#[test]
fn config_check_reads_the_files_and_says_what_is_wrong() {
    let hospital = Hospital::new();
    let folder = tempfile::TempDir::new().unwrap();
    let check = |table: &str| {
        let file = folder.path().join("thorascribe.toml");
        std::fs::write(&file, table).unwrap();
        let mut command = program(folder.path());
        let output = run(command.arg("--config").arg(&file).args(["config", "check"]));
        (output.status.success(), text(&output))
    };
    let good = hospital.table();
    assert!(check(&good).0, "{}", check(&good).1);
    let with = |from: &Path, to: &Path| good.replace(&format!("{from:?}"), &format!("{to:?}"));
    let expired = hospital.authority.certify("expired", -1);
    let mut old = with(&hospital.node.certificate, &expired.certificate);
    old = old.replace(&format!("{:?}", hospital.node.key), &format!("{:?}", expired.key));
    let open = folder.path().join("open.key");
    std::fs::copy(&hospital.node.key, &open).unwrap();
    let mut all = Command::new("chmod");
    assert!(run(all.arg("644").arg(&open)).status.success());
    let none = folder.path().join("none.key");
    std::fs::write(&none, "no key").unwrap();
    let mut owner = Command::new("chmod");
    assert!(run(owner.arg("600").arg(&none)).status.success());
    for (table, wanted) in [
        (with(&hospital.node.key, Path::new("/nowhere.key")), "cannot be read"),
        (with(&hospital.node.key, &hospital.modality.key), "is not the key of the certificate"),
        (with(&hospital.node.key, &none), "holds no private key"),
        (with(&hospital.node.key, &open), "everybody on this machine may read"),
        (with(&hospital.node.certificate, &hospital.node.key), "holds no certificate"),
        (good.replace("certificate =", "#"), "certificate and key belong together"),
        ("[tls]\nbind = \"127.0.0.1:0\"\n".to_owned(), "needs a certificate"),
    ] {
        let (success, said) = check(&table);
        assert!(!success && said.contains(wanted) && said.contains("tls."), "{wanted}: {said}");
    }
    // What expires while the node runs keeps it from no start: the packaged unit checks first.
    let (success, said) = check(&old);
    assert!(success && said.contains("warning: ") && said.contains("no longer valid"), "{said}");
}

#[test]
fn other_authorities_of_callers_are_taken_at_sighup() {
    let hospital = Hospital::new();
    let node = hospital.start("");
    let merged = Authority::new();
    let newcomer = merged.certify("modality.example", 30);
    assert!(!accepted(&storescu(&node, &newcomer, &hospital.authority)));
    let own = format!("client_ca = {:?}", hospital.authority.file());
    let other = format!("client_ca = {:?}", merged.file());
    node.configure(&node.configuration().replace(&own, &other));
    node.signal(Signal::HUP);
    wait_until("the reload", || node.log().contains("as it is now"));
    let good = storescu(&node, &newcomer, &hospital.authority);
    assert!(accepted(&good), "{}\n{}", text(&good), node.log());
    let former = storescu(&node, &hospital.modality, &hospital.authority);
    assert!(!accepted(&former), "{}", text(&former));
}

#[test]
fn another_certificate_for_a_destination_is_taken_at_sighup() {
    let hospital = Hospital::new();
    let mut pacs = secure_storescp(&hospital, &hospital.authority.certify("pacs.example", 30));
    let shown = |with: &Certificate| {
        format!("tls_certificate = {:?}\ntls_key = {:?}\n", with.certificate, with.key)
    };
    let folder = tempfile::TempDir::new().unwrap();
    let [certificate, key] = ["own.pem", "own.key"].map(|name| folder.path().join(name));
    let own = Certificate { certificate, key };
    let put = |from: &Certificate| {
        std::fs::copy(&from.certificate, &own.certificate).unwrap();
        std::fs::copy(&from.key, &own.key).unwrap();
    };
    // Of an authority that the PACS does not know.
    let elsewhere = Authority::new();
    put(&elsewhere.certify("node.example", 30));
    let to = format!(
        "{}tls = true\ntls_name = \"pacs.example\"\n{}",
        pacs.destination("pacs"),
        shown(&own)
    );
    let node = hospital.start(&to);
    assert_eq!(dcmtk::dcmsend(node.port(), &[&plain().path()]), 1);
    node.wait_for_job(&plain().study, "a failed attempt", |job| {
        job["deliveries"][0]["reason"].is_string()
    });
    assert!(pacs.received("SR").is_empty());
    put(&hospital.node);
    node.signal(Signal::HUP);
    wait_until("the reload", || node.log().contains("as it is now"));
    let retry = node.command(&["queue", "retry", &plain().study]);
    assert!(retry.status.success(), "{}", text(&retry));
    pacs.wait_for_report();
    node.wait_for_state(&plain().study, "delivered");
}

/// `storescp` that speaks TLS and asks for a certificate.
fn secure_storescp(hospital: &Hospital, own: &Certificate) -> Storescp {
    let options = vec![
        "+xa".to_owned(),
        "+tls".to_owned(),
        own.key.display().to_string(),
        own.certificate.display().to_string(),
        "+cf".to_owned(),
        hospital.authority.file().display().to_string(),
    ];
    Storescp::with(move |_| options.clone())
}

#[test]
fn a_report_goes_to_dcmtk_over_tls_once_its_name_is_right() {
    let hospital = Hospital::new();
    let mut pacs = secure_storescp(&hospital, &hospital.authority.certify("pacs.example", 30));
    let to = |name: &str| format!("{}tls = true\ntls_name = {name:?}\n", pacs.destination("pacs"));
    let node = hospital.start(&to("another.example"));
    let copy = plain();
    assert_eq!(dcmtk::dcmsend(node.port(), &[&copy.path()]), 1);
    let job = node.wait_for_job(&copy.study, "a failed attempt", |job| {
        job["deliveries"][0]["reason"].is_string()
    });
    let reason = job["deliveries"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("TLS with") && reason.contains("name"), "{reason}");
    assert!(pacs.received("SR").is_empty());
    let toml = node.configuration().replace("another.example", "pacs.example");
    node.configure(&toml);
    node.signal(Signal::HUP);
    let retry = node.command(&["queue", "retry", &copy.study]);
    assert!(retry.status.success(), "{}", text(&retry));
    pacs.wait_for_report();
    node.wait_for_state(&copy.study, "delivered");
    node.assert_log_names_no_patient();
}

#[test]
fn echo_and_send_speak_tls() {
    let hospital = Hospital::new();
    let node = hospital.start("");
    let to = format!("THORASCRIBE@127.0.0.1:{}", node.tls());
    let ca = hospital.authority.file().display().to_string();
    let options = |with: &Certificate| {
        let [certificate, key] =
            [&with.certificate, &with.key].map(|path| path.display().to_string());
        ["--tls-certificate".to_owned(), certificate, "--tls-key".to_owned(), key]
    };
    let call = |arguments: &[&str], more: &[String]| {
        let mut all: Vec<&str> = arguments.to_vec();
        all.extend(["--tls-ca", &ca, "--tls-name", "node.example"]);
        all.extend(more.iter().map(String::as_str));
        node.command(&all)
    };
    let own = options(&hospital.modality);
    let echoed = call(&["echo", &to], &own);
    assert!(echoed.status.success(), "{}", text(&echoed));
    let path = plain().path();
    let sent = call(&["send", "--to", &to, path.to_str().unwrap()], &own);
    assert!(sent.status.success() && text(&sent).contains("0x0000"), "{}", text(&sent));
    assert!(!call(&["echo", &to], &[]).status.success(), "without a certificate");
}

/// Associates by pynetdicom: what it was answered. An identity is a username and a passcode.
pub(crate) fn associate(
    port: u16,
    calling: &str,
    called: &str,
    identity: Option<(&str, &str)>,
) -> String {
    let mut command = modality::python();
    command.arg(root().join("tests/all/tls/associate.py"));
    command.args([&port.to_string(), calling, called]);
    if let Some((name, passcode)) = identity {
        command.args([name, passcode]);
    }
    let output = run(&mut command);
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_peer_is_known_by_its_certificate() {
    let hospital = Hospital::new();
    let other = hospital.authority.certify("other.example", 30);
    let peer = format!(
        "[[peer]]\nae_title = \"*\"\naddress = \"127.0.0.1\"\ncertificate = {:?}\n",
        hospital.modality.fingerprint()
    );
    let node = hospital.start(&peer);
    assert!(accepted(&storescu(&node, &hospital.modality, &hospital.authority)));
    let refused = storescu(&node, &other, &hospital.authority);
    assert!(text(&refused).contains("Calling AE Title Not Recognized"), "{}", text(&refused));
    assert_eq!(associate(node.port(), "ANY", "THORASCRIBE", None), "rejected 1/1/3");
    wait_until("both are counted", || counted(&node, "rejected") == 2);
    assert_eq!(node.log().matches("calling AE title not recognized").count(), 2);
}

#[test]
fn called_titles_and_user_identities_are_checked_where_they_are_configured() {
    let hash = run(&mut {
        let mut command = Command::new("sh");
        let program = env!("CARGO_BIN_EXE_thorascribe");
        command.args(["-c", &format!("echo 'one long passcode' | {program} user hash")]);
        command
    });
    let hash = String::from_utf8(hash.stdout).unwrap();
    let peers = format!(
        "[[peer]]\nae_title = \"CT\"\naddress = \"127.0.0.1\"\nusername = \"ct\"\npasscode_hash = {:?}\n\
         [[peer]]\nae_title = \"MR\"\naddress = \"127.0.0.1\"\nusername = \"mr\"\n\
         [[peer]]\nae_title = \"CR\"\naddress = \"127.0.0.1\"\n",
        hash.trim()
    );
    let environment = vec![("THORASCRIBE_NODE__CALLED_AE_TITLES", "OLD, OLDER".to_owned())];
    let node = Node::start(&Settings { tables: peers, environment, ..Settings::default() });
    let port = node.port();
    for called in ["THORASCRIBE", "OLD", "OLDER"] {
        assert_eq!(associate(port, "CR", called, None), "accepted");
    }
    assert_eq!(associate(port, "CR", "NEW", None), "rejected 1/1/7");
    assert_eq!(associate(port, "XA", "OLD", None), "rejected 1/1/3");
    // Ignored where none is configured, and nodded at, as before.
    assert_eq!(associate(port, "CR", "OLD", Some(("any", "any"))), "accepted confirmed");
    assert_eq!(associate(port, "MR", "OLD", Some(("mr", ""))), "accepted confirmed");
    assert_eq!(
        associate(port, "CT", "OLD", Some(("ct", "one long passcode"))),
        "accepted confirmed"
    );
    let wrong =
        [None, Some(("ct", "secret guess")), Some(("mr", "one long passcode")), Some(("ct", ""))];
    for identity in wrong {
        assert_eq!(associate(port, "CT", "OLD", identity), "rejected 1/1/1", "{identity:?}");
    }
    assert_eq!(associate(port, "MR", "OLD", Some(("ct", "x"))), "rejected 1/1/1");
    wait_until("all are counted", || counted(&node, "unidentified") == 5);
    let log = node.whole_log();
    assert_eq!(log.matches("user identity missing or wrong").count(), 5, "{log}");
    assert!(!log.contains("one long") && !log.contains("secret guess"), "{log}");
    let shown = text(&node.command(&["config", "show"]));
    assert!(!shown.contains("argon2"), "{shown}");
}
