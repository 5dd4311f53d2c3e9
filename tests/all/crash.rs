//! The node is killed (SIGKILL) in every state between acknowledgement and delivery; every
//! acknowledged study ends with exactly one report in the PACS.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::support::gate::{Gate, Mode};
use super::support::job_store::{Phase, phases, rows};
use super::support::node::destination;
use super::support::objects::fixture;
use super::support::{Copy, Node, Orthanc, Settings, modality, wait_until};

/// How many kills each phase must see.
const KILLS_A_PHASE: usize = 6;
/// A kill that misses its phase is logged and tried again, so many times in all.
const MOST_KILLS: usize = 60;
/// How long a phase may keep us waiting before the round is given up as a miss.
const AIM: Duration = Duration::from_mins(1);

const FIXTURES: [&str; 4] =
    ["cr-ap-jpeg-extended", "dx-pa-explicit", "cr-ap-implicit", "dx-ap-jpeg-lossless"];

/// What the test keeps in mind over all rounds.
struct Story {
    folder: TempDir,
    node: Node,
    gate: Gate,
    /// Studies that the node acknowledged.
    acknowledged: Vec<Copy>,
    /// Studies without an answer: the node may keep them or not.
    unanswered: usize,
    kills: usize,
}

impl Story {
    fn copies(&self, count: usize) -> Vec<Copy> {
        (0..count)
            .map(|n| {
                let salt = format!("{:02}{n:02}", self.kills);
                fixture(FIXTURES[n % FIXTURES.len()]).copy(self.folder.path(), &salt)
            })
            .collect()
    }

    /// Sends studies, kills the node as soon as `now` says so, and starts it again. The phases
    /// that the jobs were in when it died.
    fn kill_when(
        &mut self,
        copies: Vec<Copy>,
        associations: usize,
        now: impl Fn(&BTreeMap<String, Phase>) -> bool,
    ) -> BTreeMap<String, Phase> {
        let port = self.node.port();
        let files: Vec<&Path> = copies.iter().map(|copy| copy.path.as_path()).collect();
        let spool = self.node.spool();
        let answers = std::thread::scope(|scope| {
            let sending = scope.spawn(|| modality::send(port, associations, &files));
            let started = Instant::now();
            while started.elapsed() < AIM && !now(&phases(&spool)) {
                std::thread::sleep(Duration::from_millis(2));
            }
            self.node.kill();
            sending.join().unwrap()
        });
        let at_death = phases(&spool);
        self.kills += 1;
        for copy in copies {
            if answers.get(&copy.instance) == Some(&Some(0)) {
                self.acknowledged.push(copy);
            } else {
                self.unanswered += 1;
            }
        }
        self.node.restart();
        at_death
    }
}

fn tally(phases: &BTreeMap<String, Phase>) -> String {
    let count = |wanted: Phase| phases.values().filter(|phase| **phase == wanted).count();
    let words = Phase::UNDER_WAY.map(|phase| format!("{phase:?} {}", count(phase)));
    format!("{}, Ended {}", words.join(", "), count(Phase::Ended))
}

fn start(orthanc: &Orthanc) -> Story {
    let gate = Gate::before(orthanc.port(), Mode::Open);
    // Short drafts: here they are counted, not read.
    let tables = format!(
        "[model]\nmax_tokens = 24\n{}",
        destination("pacs", "ORTHANC", gate.port(), &["report"])
    );
    let node = Node::start(&Settings { tables, ..Settings::default() });
    let folder = TempDir::new().unwrap();
    Story { folder, node, gate, acknowledged: Vec::new(), unanswered: 0, kills: 0 }
}

#[test]
fn a_node_killed_in_any_state_loses_nothing_and_repeats_nothing() {
    let orthanc = Orthanc::start();
    let mut story = start(&orthanc);
    let mut hits: BTreeMap<Phase, usize> = BTreeMap::new();
    while let Some(aim) = Phase::UNDER_WAY
        .into_iter()
        .min_by_key(|phase| hits.get(phase).copied().unwrap_or_default())
        .filter(|phase| hits.get(phase).copied().unwrap_or_default() < KILLS_A_PHASE)
    {
        assert!(story.kills < MOST_KILLS, "{MOST_KILLS} kills hit only {hits:?}");
        story.gate.set(match aim {
            Phase::Drafted => Mode::Closed,
            Phase::Delivering => Mode::Unanswered,
            Phase::Received | Phase::Drafting | Phase::Ended => Mode::Open,
        });
        let withheld = story.gate.withheld();
        let before = withheld();
        let copies = story.copies(2);
        let studies: Vec<String> = copies.iter().map(|copy| copy.study.clone()).collect();
        // One report is sent at a time, so any study's delivery will do.
        let in_aim = |phases: &BTreeMap<String, Phase>| match aim {
            Phase::Delivering => phases.values().any(|phase| *phase == aim),
            _ => studies.iter().any(|study| phases.get(study) == Some(&aim)),
        };
        // A delivery is killed once the PACS has the report and the node does not know.
        let at_death = story.kill_when(copies, 1, |phases| {
            in_aim(phases) && (aim != Phase::Delivering || withheld() > before)
        });
        let hit = in_aim(&at_death);
        if hit {
            *hits.entry(aim).or_default() += 1;
        }
        let word = if hit { "hit" } else { "missed" };
        println!("kill {:2}: {word} {aim:?}: {}", story.kills, tally(&at_death));
    }
    // And amid many objects on the way in.
    story.gate.set(Mode::Open);
    for _ in 0..2 {
        let copies = story.copies(16);
        let studies: Vec<String> = copies.iter().map(|copy| copy.study.clone()).collect();
        let at_death = story.kill_when(copies, 4, |phases| {
            studies.iter().filter(|study| phases.contains_key(*study)).count() >= 4
        });
        println!("kill {:2}: while receiving: {}", story.kills, tally(&at_death));
    }
    assert!(hits.values().sum::<usize>() >= 24, "{hits:?}");

    let studies = phases(&story.node.spool()).len();
    story.node.wait_until_settled(studies);
    let reports = orthanc.report_counts();
    for copy in &story.acknowledged {
        let count = reports.get(&copy.study).copied().unwrap_or_default();
        assert_eq!(count, 1, "{}\n{}", copy.path.display(), story.node.log());
    }
    assert!(reports.values().all(|count| *count == 1), "{reports:?}");
    println!(
        "{} kills ({hits:?}), {} studies acknowledged, {} unanswered, {} reports",
        story.kills,
        story.acknowledged.len(),
        story.unanswered,
        reports.len()
    );
}

/// The states of a study's versions, the oldest first.
fn versions(node: &Node, study: &str) -> Vec<String> {
    let query = format!(
        "SELECT state FROM job WHERE study = (SELECT id FROM study WHERE uid = '{study}')
         ORDER BY version"
    );
    rows(&node.spool(), &query).concat()
}

/// Kills the node as soon as a study's versions are in these states, and starts it again.
fn kill_in(node: &mut Node, study: &str, states: &[&str]) {
    wait_until(&format!("{states:?} of {study}"), || versions(node, study) == states);
    node.kill();
    assert_eq!(versions(node, study), states);
    node.restart();
}

#[test]
fn a_node_killed_where_a_job_is_skipped_superseded_or_failed_goes_on_from_there() {
    let orthanc = Orthanc::start();
    let gate = Gate::before(orthanc.port(), Mode::Closed);
    let tables = format!(
        "[model]\nmax_tokens = 16\n{}",
        destination("pacs", "ORTHANC", gate.port(), &["report", "images"])
    );
    // Two attempts: the second comes while the gate is shut.
    let mut node = Node::start(&Settings { tables, max_attempts: 2, ..Settings::default() });
    let folder = TempDir::new().unwrap();
    let send = |node: &Node, copy: &Copy| {
        let answers = modality::send(node.port(), 1, &[&copy.path]);
        assert_eq!(answers[&copy.instance], Some(0), "{}", node.log());
    };
    let stored = || {
        let mut arrivals = orthanc.arrivals();
        arrivals.sort();
        arrivals
    };

    // Skipped, with its image on the way.
    let hand = fixture("cr-hand").copy(folder.path(), "k");
    send(&node, &hand);
    kill_in(&mut node, &hand.study, &["skipped"]);

    // Superseded by a version with a better view, before anything of it went.
    let ap = fixture("ap-then-pa-ap").copy(folder.path(), "k");
    send(&node, &ap);
    node.wait_for_state(&ap.study, "drafted");
    let pa = fixture("ap-then-pa-pa").copy(folder.path(), "k");
    send(&node, &pa);
    kill_in(&mut node, &ap.study, &["superseded", "drafted"]);

    // Given up, since the destination was down for too long.
    let chest = fixture("cr-ap-jpeg-extended").copy(folder.path(), "k");
    send(&node, &chest);
    kill_in(&mut node, &chest.study, &["failed"]);

    gate.set(Mode::Open);
    for copy in [&hand, &ap, &chest] {
        let retry = node.command(&["queue", "retry", &copy.study]);
        assert!(retry.status.success());
    }
    node.wait_for_state(&chest.study, "delivered");
    let newest = node.wait_for_state(&ap.study, "delivered");
    assert_eq!(newest["version"], 2);
    // One hand; two views and one report; one view and one report.
    let mut wanted = vec![hand.study.clone()];
    wanted.extend(std::iter::repeat_n(ap.study.clone(), 3));
    wanted.extend(std::iter::repeat_n(chest.study.clone(), 2));
    wanted.sort();
    wait_until("all that is due arrives", || stored() == wanted);
    node.kill();
    node.restart();
    assert_eq!(versions(&node, &ap.study), ["superseded", "delivered"]);
    assert_eq!(stored(), wanted, "and nothing twice");
}
