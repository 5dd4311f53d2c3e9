//! `thorascribe route`: what rules and routes would make of a file.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Value, json};

use super::Outcome;
use super::criteria::Criteria;
use crate::config::Config;
use crate::model::{Model, device};
use crate::node::request_of;
use crate::object::StoredObject;
use crate::radiograph::render;
use crate::triage::{Abnormal, Facts, SenderFacts, StudyFacts, Triage, Verdict};
use crate::vocabulary::AeTitle;

/// What may be asked of `route`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    /// Draft from a DICOM file as the node would, and say which rules fire, why, and what goes where.
    ///
    /// Nothing is sent or kept. What destinations receive anyway (`receives`) is not listed.
    Test(TestArguments),
}

#[derive(Debug, clap::Args)]
struct TestArguments {
    /// A DICOM file.
    file: PathBuf,
    /// The AE title that `sender.ae_title` is.
    #[arg(long, value_name = "AE")]
    sender: Option<AeTitle>,
    /// The address that `sender.address` is.
    #[arg(long, value_name = "IP")]
    address: Option<std::net::IpAddr>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What became of the file.
struct Tested {
    /// Why no draft would be made.
    reason: Option<String>,
    verdict: Verdict,
}

pub(super) fn run(arguments: &Arguments, config: Option<&Path>) -> Outcome {
    let Part::Test(arguments) = &arguments.part;
    let config = Config::load(config)?;
    let triage = Triage::new(&config)?;
    let tested = test(arguments, &config, &triage)?;
    let mut out = std::io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", as_json(&tested))?;
    } else {
        table(&mut out, &tested, triage.sizes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn test(arguments: &TestArguments, config: &Config, triage: &Triage) -> anyhow::Result<Tested> {
    let file = &arguments.file;
    let object = StoredObject::open(file).with_context(|| file.display().to_string())?;
    let called = &config.node.ae_title;
    let sender = SenderFacts::new(arguments.sender.as_ref(), called, arguments.address);
    let study = StudyFacts::of(&object, 1);
    let device = device::open(config.model.device)?;
    let model = Model::open_on(config.model.path.as_deref(), &device)?;
    let criteria = Criteria::of(config, &model, config.study.assume_chest);
    if let Err(reason) = criteria.judge(&object) {
        let study = StudyFacts { drafted: false, reason: reason.clone(), ..study };
        let verdict = triage.judge(&Facts::new(study, &[], None, sender));
        return Ok(Tested { reason: Some(reason), verdict });
    }
    let draft = model.draft(&render(&object)?.image, &request_of(config))?;
    let thresholds = model.thresholds();
    let found = draft.assessed(&thresholds);
    let abnormal = Abnormal::of(draft.abnormal, &thresholds);
    let facts = Facts::new(study, &found, abnormal, sender).with_scores(&draft.scores);
    let verdict = triage.judge(&facts);
    Ok(Tested { reason: None, verdict })
}

fn as_json(tested: &Tested) -> Value {
    let sends = tested.verdict.sends.iter().map(|send| {
        json!({"route": send.route, "destination": send.destination, "objects": send.objects})
    });
    json!({
        "eligible": tested.reason.is_none(),
        "reason": tested.reason,
        "priority": tested.verdict.priority.to_string(),
        "rules": tested.verdict.rules,
        "sends": sends.collect::<Vec<_>>(),
        "unasked": tested.verdict.unasked,
    })
}

fn table(
    out: &mut impl Write,
    tested: &Tested,
    (rules, routes): (usize, usize),
) -> std::io::Result<()> {
    match &tested.reason {
        None => writeln!(out, "a draft is made")?,
        Some(reason) => writeln!(out, "no draft: {reason}")?,
    }
    writeln!(out, "priority: {}", tested.verdict.priority)?;
    for rule in &tested.verdict.rules {
        let fired = if rule.matched { "fires" } else { "does not fire" };
        writeln!(out, "rule {:?} {fired}: {}", rule.name, rule.why)?;
    }
    for send in &tested.verdict.sends {
        let objects: Vec<&str> = send.objects.iter().map(|what| what.name()).collect();
        let (route, to, why) = (&send.route, &send.destination, &send.why);
        writeln!(out, "route {route:?} sends {} to {to}: {why}", objects.join(" and "))?;
    }
    for route in tested.verdict.unasked.iter().filter(|unasked| unasked.kind == "route") {
        writeln!(out, "route {:?} sends nothing: {}", route.name, route.why)?;
    }
    if rules + routes == 0 {
        writeln!(out, "no [[rule]] and no [[route]] is configured")?;
    }
    Ok(())
}
