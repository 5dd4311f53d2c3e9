//! The power goes in every state between acknowledgement and delivery, and the disk has only what
//! was forced to it; every acknowledged study ends with exactly one report in the PACS.

use std::time::{Duration, Instant};

use super::support::gate::{Gate, Mode};
use super::support::job_store::{Phase, phases};
use super::support::node::destination;
use super::support::objects::fixture;
use super::support::power::{Cut, Power};
use super::support::{Copy, Node, Orthanc, Settings, modality, wait_until};

/// How long a phase may keep us waiting before the round is a miss.
const AIM: Duration = Duration::from_mins(1);

fn start(power: &Power, gate: &Gate) -> Node {
    let tables = format!(
        "[model]\nmax_tokens = 24\n{}",
        destination("pacs", "ORTHANC", gate.port(), &["report"])
    );
    Node::start(&Settings { tables, environment: power.environment(), ..Settings::default() })
}

/// The study is acknowledged or not; the power goes when its job is in the phase.
fn cut_in(node: &mut Node, power: &Power, copy: &Copy, aim: Phase, gate: &Gate) -> (bool, bool) {
    let port = node.port();
    let withheld = gate.withheld();
    let before = withheld();
    // One report is sent at a time, so any study's delivery will do.
    let in_aim = || {
        let phases = phases(&power.spool());
        match aim {
            Phase::Delivering => phases.values().any(|phase| *phase == aim),
            _ => phases.get(&copy.study) == Some(&aim),
        }
    };
    let answers = std::thread::scope(|scope| {
        let sending = scope.spawn(|| modality::send(port, 1, &[&copy.path]));
        let started = Instant::now();
        while started.elapsed() < AIM
            && !(in_aim() && (aim != Phase::Delivering || withheld() > before))
        {
            std::thread::sleep(Duration::from_millis(2));
        }
        node.kill();
        sending.join().unwrap()
    });
    (answers.get(&copy.instance) == Some(&Some(0)), in_aim())
}

#[test]
fn a_power_cut_in_any_state_loses_nothing_and_repeats_nothing() {
    let orthanc = Orthanc::start();
    let gate = Gate::before(orthanc.port(), Mode::Open);
    let (power, folder) = (Power::new(), tempfile::tempdir().unwrap());
    let mut node = start(&power, &gate);
    let (mut acknowledged, mut hits) = (Vec::new(), 0);
    let aims = [Phase::Received, Phase::Drafting, Phase::Drafted, Phase::Delivering, Phase::Ended];
    for round in 0..2 * aims.len() {
        let aim = aims[round % aims.len()];
        let cut = if round < aims.len() { Cut::All } else { Cut::Some(round as u64) };
        gate.set(match aim {
            Phase::Drafted => Mode::Closed,
            Phase::Delivering => Mode::Unanswered,
            Phase::Received | Phase::Drafting | Phase::Ended => Mode::Open,
        });
        let copy = fixture("cr-ap-jpeg-extended").copy(folder.path(), &format!("{round:02}"));
        let (stored, hit) = cut_in(&mut node, &power, &copy, aim, &gate);
        power.cut(cut);
        node.restart();
        if stored {
            let known = phases(&power.spool()).contains_key(&copy.study);
            assert!(known, "{aim:?}, {cut:?}: an acknowledged study is gone\n{}", node.log());
            acknowledged.push(copy);
        }
        hits += usize::from(hit);
        println!("{cut:?} in {aim:?}: {}", if hit { "hit" } else { "missed" });
    }
    assert!(hits >= aims.len(), "{hits} hits");
    assert!(acknowledged.len() >= aims.len(), "{} acknowledged", acknowledged.len());
    gate.set(Mode::Open);
    for copy in &acknowledged {
        node.wait_for_state(&copy.study, "delivered");
    }
    let reports = orthanc.report_counts();
    for copy in &acknowledged {
        assert_eq!(reports.get(&copy.study), Some(&1), "{}\n{}", copy.study, node.log());
    }
}

#[test]
fn what_the_disk_does_not_take_is_not_acknowledged() {
    let orthanc = Orthanc::start();
    let gate = Gate::before(orthanc.port(), Mode::Open);
    let (power, folder) = (Power::new(), tempfile::tempdir().unwrap());
    let mut node = start(&power, &gate);
    let copies: Vec<Copy> =
        (0..2).map(|n| fixture("cr-ap-rle").copy(folder.path(), &format!("{n}"))).collect();
    // EIO: what was written may be lost.
    power.set_sync_error(5);
    let answers = modality::send(node.port(), 1, &[&copies[0].path]);
    let status = answers[&copies[0].instance];
    assert!(status.is_some_and(|status| status != 0), "{status:?}");
    power.set_sync_error(0);
    let answers = modality::send(node.port(), 1, &[&copies[1].path]);
    assert_eq!(answers[&copies[1].instance], Some(0), "{}", node.log());
    node.kill();
    power.cut(Cut::All);
    node.restart();
    node.wait_for_state(&copies[1].study, "delivered");
    assert_eq!(orthanc.reports_of(&copies[1].study).len(), 1);
    assert!(orthanc.reports_of(&copies[0].study).is_empty());
}

#[test]
fn a_clock_that_goes_backwards_holds_nothing_up_and_repeats_nothing() {
    const YEAR: i64 = 365 * 24 * 3_600_000;
    let orthanc = Orthanc::start();
    let gate = Gate::before(orthanc.port(), Mode::Closed);
    let (power, folder) = (Power::new(), tempfile::tempdir().unwrap());
    power.set_clock(YEAR);
    let mut node = start(&power, &gate);
    let copies: Vec<Copy> =
        (0..3).map(|n| fixture("cr-ap-rle").copy(folder.path(), &format!("{n}"))).collect();
    let send = |node: &Node, copy: &Copy| {
        let answers = modality::send(node.port(), 1, &[&copy.path]);
        assert_eq!(answers[&copy.instance], Some(0), "{}", node.log());
    };
    // One waits for its destination, in what is the future once the clock is right.
    send(&node, &copies[0]);
    node.wait_for_job(&copies[0].study, "an attempt that failed", |row| {
        row["deliveries"][0]["attempts"].as_u64() >= Some(1)
    });
    // One has only just come.
    send(&node, &copies[1]);
    power.set_clock(0);
    gate.set(Mode::Open);
    send(&node, &copies[2]);
    for copy in &copies {
        node.wait_for_state(&copy.study, "delivered");
    }
    node.kill();
    node.restart();
    wait_until("the node is up", || !node.queue().is_empty());
    for copy in &copies {
        assert_eq!(orthanc.reports_of(&copy.study).len(), 1);
    }
}
