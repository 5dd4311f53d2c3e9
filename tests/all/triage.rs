//! Rules, routes, and what they make of a study.

use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;
use thorascribe::config::{Config, Environment};
use thorascribe::findings::{self, Score};
use thorascribe::triage::{Abnormal, Condition, Facts, SenderFacts, StudyFacts, Triage};
use thorascribe::vocabulary::{Observation, Priority};

use super::support::dcmtk::Storescp;
use super::support::node::{destination, program};
use super::support::objects::fixture;
use super::support::{Node, Orthanc, Settings, process, wait_until};

/// A drafted study with a text, and scores of pneumothorax and edema.
fn facts(text: &str, pneumothorax: f32, edema: f32) -> Facts {
    let score = |observation, value| Score { observation, value, threshold: Some(0.5) };
    let scores = [score(Observation::Pneumothorax, pneumothorax), score(Observation::Edema, edema)];
    let study = StudyFacts {
        modality: "DX".to_owned(),
        station: "BEDSIDE 2".to_owned(),
        patient_age: 61.0,
        images: 2,
        drafted: true,
        ..StudyFacts::default()
    };
    let called = "THORASCRIBE".parse().unwrap();
    let calling = "ICU_1".parse().unwrap();
    let sender = SenderFacts::new(Some(&calling), &called, Some([10, 0, 0, 7].into()));
    Facts::new(
        study,
        &findings::assess(&findings::label(text), &scores),
        Some(abnormal(0.8)),
        sender,
    )
}

/// By a model that calls a study abnormal from 0.75 on.
fn abnormal(score: f32) -> Abnormal {
    Abnormal { score, threshold: Some(0.75) }
}

#[track_caller]
fn met(when: &str, facts: &Facts) -> bool {
    let condition = Condition::compile(when).unwrap_or_else(|error| panic!("{when}: {error:?}"));
    condition.ask(facts, Priority::Urgent).met
}

#[test]
fn conditions_see_study_findings_priority_and_sender() {
    let facts = facts("Small left pneumothorax. No pleural effusion.", 0.7, 0.2);
    for when in [
        "findings.pneumothorax.score > 0.5 && study.modality == \"DX\"",
        "findings[\"pneumothorax\"].state == 'positive'",
        "findings.pneumothorax.laterality == 'left' && findings.pneumothorax.severity == 'small'",
        "findings.pleural_effusion.state == 'negative' && findings.pleural_effusion.score == 0.0",
        "findings.fracture.state == 'absent'",
        "findings.abnormal.score > 0.75 && findings.abnormal.state == \"positive\"",
        "priority == 'urgent' || priority == 'stat'",
        "sender.ae_title.startsWith('ICU') && sender.address == '10.0.0.7'",
        "study.station.contains('BEDSIDE') && study.patient_age >= 18 && study.images > 1",
        "study.modality in ['CR', 'DX']",
        "['pneumothorax', 'edema'].exists(name, findings[name].score > 0.6)",
        "study.station.matches('^BEDSIDE [0-9]$')",
        "!(findings.edema.score > 0.5) ? true : false",
        "findings.edema.severity == '' && findings.edema.score < 1 && 0.0 < findings.edema.score",
        "study.description != 'postive' && study.images < 50",
        "study.patient_age == 61 && study.images - 1u > 0",
        "study.description.contains('#') && int(study.description) > 3 || study.drafted",
        "study.images > 0 && 10u / study.images > 2u",
    ] {
        assert!(met(when, &facts), "{when}");
    }
    assert!(!met("findings.edema.state == 'positive'", &facts));
}

#[test]
fn without_a_score_the_text_stands_for_it() {
    let study = StudyFacts { patient_age: -1.0, ..StudyFacts::default() };
    let found = findings::assess(&findings::label("Possible pneumonia. Cardiomegaly."), &[]);
    let facts = Facts::new(study, &found, None, SenderFacts::default());
    assert!(met("findings.cardiomegaly.score == 1.0 && findings.pneumonia.score == 0.5", &facts));
    assert!(met("findings.abnormal.score == 1.0 && study.patient_age < 0", &facts));
}

#[test]
fn abnormal_is_positive_from_the_models_own_threshold_on() {
    let of = |abnormal| Facts::new(StudyFacts::default(), &[], abnormal, SenderFacts::default());
    let positive = "findings.abnormal.state == 'positive'";
    assert!(met(positive, &of(Some(abnormal(0.75)))) && !met(positive, &of(Some(abnormal(0.74)))));
    assert!(met(positive, &of(Some(Abnormal { score: 0.5, threshold: None }))));
    assert!(met("findings.abnormal.state == 'absent'", &of(None)));
}

#[test]
fn a_wrong_condition_is_refused_with_its_place_and_a_remedy() {
    for (when, at, message, remedy) in [
        ("findings.pneumothorax.score >", 30, "no condition", "write for example"),
        (
            "findings.pneumothoraks.score > 0.5",
            9,
            "findings has no \"pneumothoraks\"",
            "write pneumothorax",
        ),
        ("true || studie.modality == 'DX'", 9, "\"studie\" is unknown", "write study"),
        ("findings.edema.scores > 1", 15, "findings.edema has no \"scores\"", "write score"),
        ("findings.edema.score", 16, "not true or false", "compare"),
        ("study.modality > 3", 18, "study.modality is a text", "write \"3\""),
        ("true || study.patient_age == '64'", 29, "study.patient_age is a number", "write 64"),
        ("findings.pneumonia == 'positive'", 23, "something with parts", "name a part"),
        ("study.drafted == 'true'", 18, "is true or false", "!study.drafted"),
        ("study.modality in ['DX', 5]", 26, "is a text", "write \"5\""),
        ("study.modality == study.images", 25, "this is a number", "compare it with a text"),
        ("study.drafted && study.description.matches('(')", 43, "not a valid regex", "give"),
        ("study.drafted && study.images - 1 > 0", 31, "", "1u"),
        ("study.drafted && study.station.has('x')", 35, "has", "function of CEL"),
        ("double(study.station) > 2.0", 0, "nothing is known", "ask before"),
        ("study.drafted && study.patient_age", 24, "not true or false", "compare"),
        ("study.drafted ? study.view : true", 23, "not true or false", "compare"),
        (
            "['edema'].exists(f, findings[f].state == 'positive' && findings[f].score > 'x')",
            76,
            "score is a number",
            "compare it with a number",
        ),
        ("study.modality.x == 'a'", 15, "has no parts", "remove"),
        ("", 1, "no condition", "write for example"),
        ("findings.edema.state == 'postive'", 25, "never \"postive\"", "\"positive\""),
        ("'Left' == findings.edema.laterality", 1, "never \"Left\"", "\"left\""),
        ("findings['edema']['severity'] in ['mild', 'grave']", 42, "never \"grave\"", "severe"),
        ("true || priority != 'STAT'", 21, "never \"STAT\"", "\"stat\""),
        ("['edema'].exists(f, findings[f].state == 'yes')", 42, "never \"yes\"", "uncertain"),
        ("findings.edema.score > 50", 24, "never 50", "from 0 to 1"),
        ("findings.edema.confidence >= -0.5", 30, "never -0.5", "from 0 to 1"),
    ] {
        let error = Condition::compile(when).unwrap_err();
        assert!(error.at.abs_diff(at) <= 1, "{when}: {error:?}");
        assert!(error.message.contains(message), "{when}: {error:?}");
        assert!(error.remedy.contains(remedy), "{when}: {error:?}");
    }
}

const RULES: &str = "
[[destination]]
name = \"pacs\"
ae_title = \"PACS\"
host = \"127.0.0.1\"
port = 104
[[rule]]
name = \"edema\"
when = 'findings.edema.score > 0.5'
priority = \"urgent\"
[[rule]]
name = \"pneumothorax\"
when = 'findings.pneumothorax.score > 0.5'
priority = \"stat\"
[[route]]
name = \"not routine\"
when = 'priority != \"routine\"'
to = [\"pacs\"]
";

fn configured(toml: &str) -> Result<Config, String> {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("thorascribe.toml");
    std::fs::write(&file, toml).unwrap();
    let environment = Environment::empty().with_spool(folder.path());
    Config::load_from(Some(&file), &environment).map_err(|errors| errors.to_string())
}

#[test]
fn the_highest_priority_among_the_rules_that_fire_holds() {
    let triage = Triage::new(&configured(RULES).unwrap()).unwrap();
    for (pneumothorax, edema, priority) in
        [(0.1, 0.1, Priority::Routine), (0.1, 0.9, Priority::Urgent), (0.9, 0.9, Priority::Stat)]
    {
        let verdict = triage.judge(&facts("", pneumothorax, edema));
        assert_eq!(verdict.priority, priority);
        assert_eq!(verdict.sends.len(), usize::from(priority != Priority::Routine));
        assert_eq!(verdict.rules[0].matched, edema > 0.5);
    }
    let why = &triage.judge(&facts("", 0.25, 0.0)).rules[1].why;
    assert_eq!(why, "findings.pneumothorax.score = 0.25");
}

/// Of a text that is no number; other studies have numbers there.
#[test]
fn a_condition_that_fails_on_a_study_is_not_met_and_named() {
    let fragile = "study.station == \"\" || double(study.station) > 1.0";
    let toml = RULES.replace("findings.edema.score > 0.5", fragile);
    let triage = Triage::new(&configured(&toml).unwrap()).unwrap();
    let verdict = triage.judge(&facts("", 0.9, 0.9));
    let [unasked] = verdict.unasked.as_slice() else { panic!("{:?}", verdict.unasked) };
    assert_eq!((unasked.kind, unasked.name.as_str()), ("rule", "edema"));
    assert!(unasked.why.starts_with("it failed"), "{}", unasked.why);
    assert!(!verdict.rules[0].matched && verdict.rules[1].matched);
    let toml = RULES.replace("priority != \"routine\"", fragile);
    let triage = Triage::new(&configured(&toml).unwrap()).unwrap();
    let verdict = triage.judge(&facts("", 0.9, 0.9));
    assert_eq!(verdict.unasked[0].kind, "route");
    assert!(verdict.sends.is_empty());
}

#[test]
fn every_error_of_a_rule_or_route_names_line_and_remedy() {
    let wrong = |toml: &str| configured(toml).unwrap_err();
    let unknown = wrong(&RULES.replace("to = [\"pacs\"]", "to = [\"pax\"]"));
    assert!(unknown.contains("route.to") && unknown.contains("write \"pacs\""), "{unknown}");
    let priority = wrong(&RULES.replace("\"stat\"", "\"now\""));
    assert!(priority.contains("rule.priority"), "{priority}");
    let twice = wrong(&RULES.replace("name = \"edema\"", "name = \"pneumothorax\""));
    assert!(twice.contains("names a rule already"), "{twice}");
    let missing = wrong("[[rule]]\nname = \"x\"\n");
    assert!(missing.contains("rule.when") && missing.contains("rule.priority"), "{missing}");
    let config = configured(&RULES.replace("findings.edema.score", "findings.oedema.score"));
    let condition = Triage::new(&config.unwrap()).unwrap_err().to_string();
    assert!(condition.contains("thorascribe.toml:9:18: rule.when"), "{condition}");
    assert!(condition.contains("write edema"), "{condition}");
}

/// `thorascribe route test` with a configuration.
fn route_test(toml: &str, arguments: &[&str]) -> Output {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("thorascribe.toml");
    std::fs::write(&file, toml).unwrap();
    let mut command = program(folder.path());
    command.arg("--config").arg(file).args(["route", "test"]).args(arguments);
    process::run(&mut command)
}

#[test]
fn route_test_says_which_rule_fires_and_why() {
    let chest = fixture("dx-pa-explicit").path();
    let toml = RULES.replace("findings.edema.score > 0.5", "sender.ae_title == \"ICU\"");
    let tested = |arguments: &[&str]| {
        let output = route_test(&toml, &[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{}", process::text(&output));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let from_icu = tested(&[chest.to_str().unwrap(), "--sender", "ICU"]);
    assert_eq!((&from_icu["eligible"], &from_icu["reason"]), (&true.into(), &Value::Null));
    assert_eq!(from_icu["rules"][0]["matched"], true);
    assert_eq!(from_icu["rules"][0]["why"], "sender.ae_title = \"ICU\"");
    let why = from_icu["rules"][1]["why"].as_str().unwrap();
    assert!(why.starts_with("findings.pneumothorax.score = 0."), "{why}");
    assert_ne!(from_icu["priority"], "routine");
    assert_eq!(from_icu["sends"][0]["route"], "not routine");
    assert_eq!(from_icu["sends"][0]["destination"], "pacs");
    assert_eq!(from_icu["sends"][0]["objects"], serde_json::json!(["images", "report"]));

    let hand = fixture("cr-hand").path();
    let skipped = tested(&[hand.to_str().unwrap()]);
    assert_eq!((&skipped["eligible"], &skipped["priority"]), (&false.into(), &"routine".into()));
    assert!(!skipped["reason"].as_str().unwrap().is_empty());
    assert_eq!(skipped["sends"], serde_json::json!([]));
}

#[test]
fn config_check_and_serve_refuse_a_wrong_condition() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("thorascribe.toml");
    std::fs::write(&file, RULES.replace("score > 0.5", "score >")).unwrap();
    for arguments in [&["config", "check"][..], &["serve"]] {
        let mut command = program(folder.path());
        let output = process::run(command.arg("--config").arg(&file).args(arguments));
        let text = process::text(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("thorascribe.toml:9:") && text.contains("rule.when"), "{text}");
    }
}

/// Destinations that receive nothing of themselves but what every destination may.
fn routed(to: &[&str], when: &str, send: &[&str]) -> String {
    let name = format!("{when} to {}", to.concat());
    format!("[[route]]\nname = {name:?}\nwhen = {when:?}\nto = {to:?}\nsend = {send:?}\n")
}

#[test]
fn a_dead_destination_delays_no_other_and_gets_everything_in_order_of_priority_once() {
    let folder = TempDir::new().unwrap();
    let (mut dead, alive) = (Orthanc::stopped(), Storescp::start());
    let tables = [
        destination("dead", "ORTHANC", dead.port(), &["report"]),
        destination("alive", "STORESCP", alive.port(), &["report"]),
        "[[rule]]\nname = \"bedside\"\nwhen = 'study.view == \"AP\"'\npriority = \"stat\"\n"
            .to_owned(),
        routed(&["dead"], "study.drafted", &["images", "report"]),
        routed(&["alive"], "study.drafted", &["images"]),
    ];
    let node = Node::start(&Settings::to(&tables));
    let send = |name: &str| {
        let copy = fixture(name).copy(folder.path(), name);
        let sent = super::support::dcmtk::dcmsend(node.port(), &[&copy.path]);
        assert_eq!(sent, 1);
        copy
    };
    // The routine one is first, and older.
    let routine = send("dx-pa-explicit");
    node.wait_for_state(&routine.study, "drafted");
    let stat = send("cr-ap-implicit");
    node.wait_for_state(&stat.study, "drafted");
    wait_until("the living destination has both", || {
        alive.received("SR").len() == 2
            && alive.received("CR").len() + alive.received("DX").len() == 2
    });
    let jobs = node.queue();
    let row = |study: &str| jobs.iter().find(|job| job["study"] == study).unwrap().clone();
    assert_eq!(row(&stat.study)["priority"], "stat");
    assert_eq!(row(&routine.study)["priority"], "routine");
    dead.restart();
    for study in [&routine.study, &stat.study] {
        node.wait_for_state(study, "delivered");
    }
    let order = dead.arrivals();
    let position = |study: &str| order.iter().position(|arrived| arrived == study).unwrap();
    assert!(position(&stat.study) < position(&routine.study), "{order:?}");
    assert_eq!(order.len(), 4, "each image and each report once: {order:?}");
}

#[test]
fn images_of_a_skipped_study_go_by_a_route_byte_for_byte() {
    let folder = TempDir::new().unwrap();
    let archive = Storescp::start();
    let tables = [
        destination("archive", "STORESCP", archive.port(), &["report"]),
        routed(&["archive"], "!study.drafted && study.body_part == 'HAND'", &["images", "report"]),
    ];
    let node = Node::start(&Settings::to(&tables));
    let hand = fixture("cr-hand").copy(folder.path(), "hand");
    assert_eq!(super::support::dcmtk::dcmsend(node.port(), &[&hand.path]), 1);
    node.wait_for_state(&hand.study, "skipped");
    wait_until("the image", || archive.received("CR").len() == 1);
    assert!(archive.received("SR").is_empty());
    let data_set = |path: &std::path::Path| {
        let object = thorascribe::object::StoredObject::open(path).unwrap();
        let offset = usize::try_from(object.data_set_offset()).unwrap();
        (object.transfer_syntax(), std::fs::read(path).unwrap().split_off(offset))
    };
    assert_eq!(data_set(&archive.received("CR")[0]), data_set(&hand.path));
}

#[test]
fn an_image_with_a_value_of_odd_length_is_padded_for_destinations_that_take_even_ones_only() {
    let folder = TempDir::new().unwrap();
    let archive = Storescp::start();
    let tables = [
        destination("archive", "STORESCP", archive.port(), &["report"]),
        routed(&["archive"], "!study.drafted", &["images"]),
    ];
    let node = Node::start(&Settings::to(&tables));
    let hand = fixture("cr-hand").copy(folder.path(), "odd");
    let mut file = std::fs::read(&hand.path).unwrap();
    file.extend_from_slice(b"\xFC\xFF\xFC\xFFOB\0\0\x03\0\0\0abc");
    std::fs::write(&hand.path, &file).unwrap();
    let sent = program(folder.path())
        .args(["send", "--to", &format!("THORASCRIBE@127.0.0.1:{}", node.port())])
        .arg(&hand.path)
        .output()
        .unwrap();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    node.wait_for_state(&hand.study, "skipped");
    wait_until("the image", || archive.received("CR").len() == 1);
    let object = thorascribe::object::StoredObject::open(&archive.received("CR")[0]).unwrap();
    assert_eq!(object.instance_uid().as_str(), hand.instance);
}
