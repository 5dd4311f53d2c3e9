//! Users, sessions, roles, and the proxy before the node.

use rustix::process::Signal;

use super::super::spool::bench::{Bench, finish, report};
use super::super::support::{Node, Settings, wait_until};
use super::web::{Browser, Web, users};

const PASSWORD: &str = "a pass phrase";

fn people() -> String {
    users(&[
        ("rita", "reader", PASSWORD),
        ("rad", "radiologist", PASSWORD),
        ("ada", "admin", PASSWORD),
    ])
}

fn drafted() -> Bench {
    let bench = Bench::new();
    bench.store(1, 1, b"data");
    finish(bench.lease(), vec![report("pacs")]);
    bench
}

#[test]
fn with_users_nothing_about_a_patient_goes_to_a_stranger() {
    let bench = drafted();
    let web = Web::configured(&bench.spool, true, "127.0.0.1:0", &people());
    let mut browser = Browser::at(web.address);
    for path in ["/", "/studies/1.2.3.1"] {
        let answer = browser.get(path);
        assert_eq!(answer.status, 303, "{path}");
        assert!(answer.location().starts_with("/sign-in"), "{answer:?}");
        assert!(!answer.text().contains("No acute disease"));
    }
    for path in ["/api/studies", "/api/studies/1.2.3.1"] {
        let answer = browser.get(path);
        assert_eq!(answer.status, 401, "{path}");
        assert!(!answer.text().contains("1.2.3.1"));
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(browser.get(path).status, 200, "{path}");
    }
    assert_eq!(browser.sign_in("rita", "another one").status, 401);
    assert_eq!(browser.sign_in("nobody", PASSWORD).status, 401);
    assert_eq!(browser.get("/").status, 303);
    let answer = browser.sign_in("rita", PASSWORD);
    assert_eq!((answer.status, answer.location()), (303, "/"));
    let session = browser.set.iter().find(|c| c.starts_with("thorascribe_session=")).unwrap();
    assert!(session.contains("; HttpOnly; SameSite=Lax"), "{session}");
    let page = browser.get("/");
    assert_eq!(page.status, 200);
    assert!(page.text().contains("No acute disease") && page.text().contains("Dr. Jane Doe"));
    assert_eq!(browser.get("/api/studies").status, 200);
}

#[test]
fn signing_out_ends_the_session_for_everybody_who_has_its_id() {
    let bench = drafted();
    let web = Web::configured(&bench.spool, true, "127.0.0.1:0", &people());
    let mut browser = Browser::at(web.address);
    browser.sign_in("rita", PASSWORD);
    let csrf = browser.get("/").field("csrf");
    let mut thief = Browser::at(web.address);
    thief.cookies.clone_from(&browser.cookies);
    assert_eq!(thief.get("/").status, 200);
    assert_eq!(browser.post("/sign-out", &[("csrf", "guessed")]).status, 403);
    assert_eq!(browser.get("/").status, 200);
    assert_eq!(browser.post("/sign-out", &[("csrf", &csrf)]).location(), "/sign-in");
    assert_eq!(browser.get("/").status, 303);
    assert_eq!(thief.get("/").status, 303);
}

#[test]
fn what_was_written_into_a_session_that_had_ended_is_given_back() {
    let bench = drafted();
    let web = Web::configured(&bench.spool, true, "127.0.0.1:0", &people());
    let mut browser = Browser::at(web.address);
    let text = "Small <left> effusion.\nNo pneumothorax.";
    let fields = [("csrf", "old"), ("version", "1"), ("text", text)];
    let answer = browser.post("/studies/1.2.3.1/sign", &fields);
    assert_eq!(answer.status, 401);
    let page = answer.text();
    assert!(page.contains("Small &lt;left&gt; effusion.\nNo pneumothorax."), "{page}");
    assert_eq!(answer.field("next"), "/studies/1.2.3.1");
    assert!(!page.contains("No acute disease"));
    assert_eq!(browser.post("/studies/1.2.3.1/drop", &[("csrf", "old")]).status, 401);
    assert_eq!(bench.rows().len(), 1);
}

#[test]
fn a_form_from_another_page_is_refused() {
    let bench = drafted();
    let web = Web::configured(&bench.spool, true, "127.0.0.1:0", &people());
    let mut browser = Browser::at(web.address);
    let fields = [("form", "0"), ("name", "rita"), ("password", PASSWORD)];
    assert_eq!(browser.post("/sign-in", &fields).status, 403, "no cookie of the form");
    browser.sign_in("ada", PASSWORD);
    let csrf = browser.get("/studies/1.2.3.1").field("csrf");
    let mut other = Browser::at(web.address);
    other.sign_in("ada", PASSWORD);
    assert_eq!(other.post("/studies/1.2.3.1/drop", &[("csrf", &csrf)]).status, 403);
    browser.headers.push(("Sec-Fetch-Site", "cross-site".to_owned()));
    assert_eq!(browser.post("/studies/1.2.3.1/drop", &[("csrf", &csrf)]).status, 403);
    assert_eq!(bench.rows().len(), 1);
}

#[test]
fn only_an_administrator_retries_and_drops() {
    let bench = drafted();
    bench.spool.lease_delivery("pacs").unwrap().unwrap().dead("refused").unwrap();
    let web = Web::configured(&bench.spool, true, "127.0.0.1:0", &people());
    for name in ["rita", "rad"] {
        let mut browser = Browser::at(web.address);
        browser.sign_in(name, PASSWORD);
        let page = browser.get("/studies/1.2.3.1");
        assert!(!page.text().contains("Drop this study"), "{name}");
        let csrf = page.field("csrf");
        for order in ["retry", "drop"] {
            let path = format!("/studies/1.2.3.1/{order}");
            assert_eq!(browser.post(&path, &[("csrf", &csrf)]).status, 403, "{name} {order}");
        }
    }
    assert_eq!(bench.row(1).state.as_str(), "failed");
    let mut browser = Browser::at(web.address);
    browser.sign_in("ada", PASSWORD);
    let csrf = browser.get("/studies/1.2.3.1").field("csrf");
    let answer = browser.post("/studies/1.2.3.1/retry", &[("csrf", &csrf)]);
    assert_eq!(answer.location(), "/studies/1.2.3.1");
    assert_eq!(bench.row(1).state.as_str(), "drafted");
    assert_eq!(browser.post("/studies/1.2.3.9/drop", &[("csrf", &csrf)]).status, 404);
    assert_eq!(browser.post("/studies/1.2.3.1/drop", &[("csrf", &csrf)]).location(), "/");
    assert!(bench.rows().is_empty());
}

#[test]
fn passwords_cannot_be_tried_at_will() {
    let bench = Bench::new();
    let web = Web::configured(&bench.spool, true, "127.0.0.1:0", &people());
    let mut browser = Browser::at(web.address);
    let mut last = 0;
    for attempt in 0..11 {
        last = browser.sign_in("rita", &format!("guess number {attempt}")).status;
    }
    assert_eq!(last, 429);
    let answer = browser.sign_in("rita", PASSWORD);
    assert_eq!(answer.status, 429, "not even the right one");
    assert!(answer.head.contains("retry-after: "), "{}", answer.head);
}

#[test]
fn a_user_who_goes_from_the_configuration_is_signed_out() {
    let bench = drafted();
    let web = Web::configured(&bench.spool, true, "127.0.0.1:0", &people());
    let mut browser = Browser::at(web.address);
    browser.sign_in("rita", PASSWORD);
    assert_eq!(browser.get("/").status, 200);
    web.users.send_modify(|users| users.retain(|user| user.name != "rita"));
    assert_eq!(browser.get("/").status, 303);
}

#[test]
fn beyond_the_loopback_pages_answer_to_a_proxy_with_tls_alone() {
    let bench = drafted();
    let proxied = format!("[http]\ntrusted_proxy = \"127.0.0.1\"\n{}", people());
    let web = Web::configured(&bench.spool, true, "0.0.0.0:0", &proxied);
    let mut browser = Browser::at(web.address);
    browser.headers = vec![("Host", "reports.hospital.example".to_owned())];
    assert_eq!(browser.get("/sign-in").status, 403, "no word of TLS");
    browser.headers.push(("X-Forwarded-For", "192.0.2.1, 10.1.2.3".to_owned()));
    browser.headers.push(("X-Forwarded-Proto", "http".to_owned()));
    assert_eq!(browser.get("/sign-in").status, 403, "no TLS");
    browser.headers.pop();
    browser.headers.push(("X-Forwarded-Proto", "https".to_owned()));
    assert_eq!(browser.get("/").status, 303);
    assert_eq!(browser.sign_in("rita", PASSWORD).status, 303);
    let session = browser.set.iter().find(|c| c.contains("session=")).unwrap();
    assert!(session.starts_with("__Host-") && session.contains("; Secure"), "{session}");
    assert_eq!(browser.get("/").status, 200);
    // Another machine than the proxy, or a proxy without users.
    let elsewhere = format!("[http]\ntrusted_proxy = \"10.0.0.0/8\"\n{}", people());
    for toml in ["[http]\ntrusted_proxy = \"127.0.0.1\"\n", &elsewhere] {
        let web = Web::configured(&bench.spool, true, "0.0.0.0:0", toml);
        let mut browser = Browser::at(web.address);
        browser.headers.push(("X-Forwarded-For", "10.1.2.3".to_owned()));
        browser.headers.push(("X-Forwarded-Proto", "https".to_owned()));
        for path in ["/", "/sign-in", "/api/studies"] {
            assert_eq!(browser.get(path).status, 403, "{path} with {toml}");
        }
    }
}

#[test]
fn a_running_node_takes_users_anew_on_sighup() {
    let settings = Settings { tables: people(), ..Settings::default() };
    let node = Node::start(&settings);
    let mut browser = Browser::at(node.http);
    assert_eq!(browser.sign_in("rita", PASSWORD).status, 303);
    assert_eq!(browser.get("/").status, 200);
    let (before, _) = node.configuration().split_once("[[user]]").map(owned).unwrap();
    node.configure(&format!("{before}{}", users(&[("nora", "reader", PASSWORD)])));
    node.signal(Signal::HUP);
    wait_until("rita is signed out", || browser.get("/").status == 303);
    assert_eq!(browser.sign_in("rita", PASSWORD).status, 401);
    assert_eq!(browser.sign_in("nora", PASSWORD).status, 303);
}

fn owned((one, other): (&str, &str)) -> (String, String) {
    (one.to_owned(), other.to_owned())
}
