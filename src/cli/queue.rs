//! `thorascribe queue`: the jobs, and what a person does about them. Works beside a running node.

use std::io::{BufRead, Write, stderr, stdin, stdout};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;

use super::Outcome;
use crate::config::Config;
use crate::observe::audit::{self, Audit, Event, Person};
use crate::spool::{JobDetail, JobFilter, JobState, JobView, Spool};
use crate::vocabulary::{Priority, Span, StudyUid};

/// What may be asked of `queue`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the jobs, the oldest first.
    List(List),
    /// Show the newest version of a study: its row, its text, every event.
    Show(Study),
    /// Try again, at once, what failed or waits, or was skipped.
    Retry(Study),
    /// Forget a study: its jobs, its objects and its drafts.
    Drop(Drop),
    /// Delete the objects of studies that were done long enough ago; texts and history stay.
    Purge(Purge),
}

#[derive(Debug, clap::Args)]
struct List {
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    /// Only jobs in this state.
    #[arg(long)]
    state: Option<JobState>,
    /// Only jobs of this priority.
    #[arg(long)]
    priority: Option<Priority>,
    /// Only the newest of them.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

#[derive(Debug, clap::Args)]
struct Study {
    /// Study Instance UID.
    study: StudyUid,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Drop {
    #[command(flatten)]
    study: Study,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, clap::Args)]
struct Purge {
    /// How long ago; `retention.after_delivery` unless given.
    #[arg(long, value_name = "DURATION")]
    older_than: Option<Span>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, config: Option<&Path>) -> Outcome {
    let config = Config::load(config)?;
    let spool = Spool::attach(&config.spool.path)?;
    match &arguments.action {
        Action::List(list) => show_jobs(&spool, list),
        Action::Show(study) => show(&spool, study, &audit_of(&config)?),
        Action::Retry(study) => retry(&spool, study, &config),
        Action::Drop(drop) => forget(&spool, drop, &audit_of(&config)?),
        Action::Purge(arguments) => purge(&spool, arguments, &config),
    }
}

fn show_jobs(spool: &Spool, list: &List) -> Outcome {
    let List { state, priority, limit, .. } = *list;
    let mut rows = spool.jobs(&JobFilter { state, priority, limit, ..JobFilter::default() })?;
    rows.reverse();
    let mut out = stdout().lock();
    for row in &rows {
        if list.json {
            writeln!(out, "{}", serde_json::to_string(row)?)?;
        } else {
            writeln!(out, "{}", line(row))?;
        }
    }
    if rows.is_empty() && !list.json {
        writeln!(stderr(), "no jobs")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(row: &JobView) -> String {
    let sent = row.deliveries.iter().filter(|d| d.sent_at.is_some()).count();
    let mut text = format!(
        "{:10} {:7} {} v{} {sent}/{} sent",
        row.state,
        row.priority.to_string(),
        row.study,
        row.version,
        row.deliveries.len(),
    );
    if let Some(reason) = &row.reason {
        text.push_str("  ");
        text.push_str(&plain(reason));
    }
    text
}

/// Reasons quote peers: nothing of them may steer a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn find(spool: &Spool, study: &StudyUid) -> anyhow::Result<JobDetail> {
    spool.job(study)?.with_context(|| {
        format!("the spool knows no study {study}: `thorascribe queue list` shows those it knows")
    })
}

fn show(spool: &Spool, study: &Study, audit: &Audit) -> Outcome {
    let detail = find(spool, &study.study)?;
    audit.record(&Event::Viewed { who: Person::of_process(), study: study_of(&detail) });
    written(audit)?;
    let mut out = stdout().lock();
    if study.json {
        writeln!(out, "{}", serde_json::to_string(&detail)?)?;
    } else {
        describe(&mut out, &detail)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(out: &mut impl Write, detail: &JobDetail) -> std::io::Result<()> {
    let row = &detail.row;
    writeln!(out, "study      {}", row.study)?;
    writeln!(out, "state      {}", row.state)?;
    writeln!(out, "version    {}", row.version)?;
    writeln!(out, "priority   {}", row.priority)?;
    writeln!(out, "attempts   {}", row.attempts)?;
    writeln!(out, "received   {}", row.received_at)?;
    if let Some(reason) = &row.reason {
        writeln!(out, "reason     {}", plain(reason))?;
    }
    if let Some(image) = &detail.image {
        writeln!(out, "image      {image}")?;
    }
    for delivery in &row.deliveries {
        let reason = delivery.reason.as_deref().map(|r| format!(": {}", plain(r)));
        writeln!(
            out,
            "delivery   {} to {}: {}, attempts {}{}",
            delivery.object,
            plain(&delivery.destination),
            delivery.state,
            delivery.attempts,
            reason.unwrap_or_default()
        )?;
    }
    if let Some(text) = &detail.text {
        let model = detail.draft.pointer("/model/name").and_then(|name| name.as_str());
        writeln!(out, "\nDraft, not verified, by the model {}:", model.unwrap_or("(unnamed)"))?;
        for line in text.reveal().lines() {
            writeln!(out, "    {}", plain(line))?;
        }
    }
    writeln!(out)?;
    for event in &detail.events {
        let version = event.version.map(|v| format!("v{v} ")).unwrap_or_default();
        let note = event.note.as_deref().map(|n| format!(" ({})", plain(n))).unwrap_or_default();
        let arrow = if event.from.is_empty() { "" } else { " → " };
        writeln!(out, "{}  {version}{}{arrow}{}{note}", event.at, event.from, event.to)?;
    }
    Ok(())
}

fn retry(spool: &Spool, study: &Study, config: &Config) -> Outcome {
    let audit = audit_of(config)?;
    let retried = spool.retry_study(&study.study)?;
    let uid = study.study.clone();
    let of = audit::Study { patient_id: spool.patient_id(&uid)?, uid };
    audit.record(&Event::Retried { who: Person::of_process(), study: of });
    let (jobs, deliveries) = (retried.jobs, retried.deliveries);
    let mut unclaimed = spool.waiting_destinations(&study.study)?;
    unclaimed.retain(|(name, _)| !config.destinations.iter().any(|known| known.name == *name));
    if study.json {
        let answer = json!({
            "study": study.study.as_str(), "jobs": jobs, "deliveries": deliveries
        });
        writeln!(stdout(), "{answer}")?;
    } else if jobs + deliveries > 0 {
        writeln!(stderr(), "trying again: drafts {jobs}, deliveries {deliveries}")?;
    } else if unclaimed.is_empty() {
        writeln!(stderr(), "nothing to try again: nothing failed or waits")?;
    }
    for (destination, waiting) in unclaimed {
        writeln!(
            stderr(),
            "deliveries that wait for {destination:?}, which is not configured: {waiting}; name it \
             again, or drop the study with `thorascribe queue drop`"
        )?;
    }
    written(&audit)
}

fn forget(spool: &Spool, drop: &Drop, audit: &Audit) -> Outcome {
    let study = &drop.study.study;
    let detail = find(spool, study)?;
    let question = format!(
        "Drop study {} ({}, {} objects), with its drafts?",
        detail.row.study,
        detail.row.state,
        detail.objects.len()
    );
    if !drop.yes && !agreed(&question)? {
        anyhow::bail!("study {study} was not dropped");
    }
    spool.drop_study(study)?;
    let who = Some(Person::of_process());
    audit.record(&Event::Deleted { who, study: study_of(&detail) });
    if drop.study.json {
        writeln!(stdout(), "{}", json!({"study": study.as_str(), "dropped": true}))?;
    } else {
        writeln!(stderr(), "dropped study {study}")?;
    }
    written(audit)
}

/// What the node deletes by itself is not asked about; what is deleted before its time is.
fn purge(spool: &Spool, arguments: &Purge, config: &Config) -> Outcome {
    let retained = config.retention.after_delivery;
    let after = arguments.older_than.unwrap_or(retained);
    if after < retained && !arguments.yes {
        let (studies, objects) = spool.purgeable(after.0)?;
        let question = format!(
            "Delete {objects} objects of {studies} studies that were done more than {after} ago \
             (retention.after_delivery keeps them for {retained})?"
        );
        if objects > 0 && !agreed(&question)? {
            anyhow::bail!("nothing was deleted");
        }
    }
    let audit = audit_of(config)?;
    let due = spool.finished_studies(after.0)?;
    let purged = spool.purge(after.0);
    // Some may be gone even where not all could go.
    for uid in due {
        if !spool.has_objects(&uid)? {
            let study = audit::Study { patient_id: spool.patient_id(&uid)?, uid };
            audit.record(&Event::Deleted { who: Some(Person::of_process()), study });
        }
    }
    let deleted = purged?;
    if arguments.json {
        writeln!(stdout(), "{}", json!({"objects": deleted, "older_than": after.to_string()}))?;
    } else {
        writeln!(stderr(), "{deleted} objects deleted")?;
    }
    written(&audit)
}

/// The audit trail, beside the node that may keep it.
fn audit_of(config: &Config) -> anyhow::Result<Audit> {
    if !config.audit.enabled {
        return Ok(Audit::default());
    }
    let folder = config.spool.path.join(audit::FOLDER);
    Audit::beside(&config.node.ae_title, &folder).with_context(|| {
        let folder = folder.display();
        format!(
            "the audit log in {folder} cannot be written, so nothing was done; \
             set audit.enabled = false to do without"
        )
    })
}

fn study_of(detail: &JobDetail) -> audit::Study {
    let (uid, patient_id) = (detail.row.study.clone(), detail.caption.patient_id.clone());
    audit::Study { uid, patient_id }
}

/// Sees to it that what was done is in the audit trail.
fn written(audit: &Audit) -> Outcome {
    anyhow::ensure!(audit.flush(), "this was done, but the audit log could not be written");
    Ok(ExitCode::SUCCESS)
}

fn agreed(question: &str) -> anyhow::Result<bool> {
    write!(stderr(), "{question} [y/N] ")?;
    stderr().flush()?;
    let mut answer = String::new();
    stdin().lock().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}
