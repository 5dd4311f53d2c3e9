//! `thorascribe demo`: the whole way on the fixture radiographs, over real associations.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::Outcome;
use super::serve::runtime;
use crate::config::Config;
use crate::dimse::Timers;
use crate::dimse::requestor::{ProposedContext, Remote, Requestor, StoreItem};
use crate::node::Node;
use crate::object::StoredObject;
use crate::observe::log;
use crate::receive::archive::Archive;
use crate::spool::{ArtefactKind, JobDetail, JobState};
use crate::vocabulary::AeTitle;

macro_rules! radiograph {
    ($name:literal) => {
        ($name, include_bytes!(concat!("../../fixtures/dicom/", $name)))
    };
}

/// The radiographs that travel with the program: NIH ChestX-ray14, see `fixtures/README.md`.
const RADIOGRAPHS: [(&str, &[u8]); 8] = [
    radiograph!("dx-pa-explicit.dcm"),
    radiograph!("cr-ap-jpeg-baseline.dcm"),
    radiograph!("dx-pa-jpeg-ls.dcm"),
    radiograph!("dx-ap-jpeg-2000.dcm"),
    radiograph!("dx-ap-jpeg-lossless.dcm"),
    radiograph!("dx-pa-htj2k.dcm"),
    radiograph!("cr-ap-rle.dcm"),
    radiograph!("cr-hand.dcm"),
];

/// How long one study may take from its arrival to the archive.
const PATIENCE: Duration = Duration::from_mins(2);

/// What may be asked of `demo`.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Arguments {
    /// Where the radiographs, the reports and the spool are written.
    #[arg(long, value_name = "DIR", default_value = "thorascribe-demo")]
    out: PathBuf,
    /// Leave the node serving until it is interrupted.
    #[arg(long)]
    keep: bool,
    /// One JSON object a study on stdout.
    #[arg(long)]
    json: bool,
}

/// One study's way through the node.
#[derive(Debug, Serialize)]
struct Shown {
    image: PathBuf,
    sr: Option<PathBuf>,
    text: Option<String>,
    state: JobState,
    reason: Option<String>,
    priority: String,
    seconds: Value,
}

pub(super) fn run(arguments: &Arguments, _config: Option<&Path>) -> Outcome {
    let _log = log::init_quiet();
    runtime()?.block_on(demo(arguments))
}

async fn demo(arguments: &Arguments) -> Outcome {
    let out = std::path::absolute(&arguments.out)?;
    let images = write_radiographs(&out.join("images"))?;
    let reports = out.join("reports");
    std::fs::create_dir_all(&reports)
        .with_context(|| format!("cannot make {}", reports.display()))?;
    let archive = Archive::start("ARCHIVE".parse()?, &reports).await?;
    let config = Config::for_demo(&out.join("spool"), archive.address())?;
    eprint(&format!("archive  ARCHIVE at {}, writing to {}", archive.address(), reports.display()));
    let node = Node::bind(config).await?;
    let (dicom, http) = (node.dicom_address(), node.http_address());
    eprint(&format!("node     THORASCRIBE at {dicom}, worklist at http://{http}/"));
    let spool = node.spool().clone();
    let (closing, abandon) = (CancellationToken::new(), CancellationToken::new());
    let running = tokio::spawn(node.run(closing.clone(), abandon.clone()));
    let remote = Remote {
        calling: "MODALITY".parse::<AeTitle>()?,
        called: "THORASCRIBE".parse::<AeTitle>()?,
        host: dicom.ip().to_string(),
        port: dicom.port(),
        tls: None,
    };
    for image in images {
        let (study, received) = send(&remote, &image).await?;
        let started = Instant::now();
        let job = loop {
            let asked = (spool.clone(), study.clone());
            let job = tokio::task::spawn_blocking(move || asked.0.job(&asked.1)).await??;
            match job {
                Some(job) if settled(&job) => break job,
                _ if started.elapsed() > PATIENCE => {
                    anyhow::bail!("study {study} did not reach the archive within {PATIENCE:?}")
                }
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        show(arguments, &shown(image, &reports, &job, received))?;
    }
    if arguments.keep {
        eprint(&format!("serving on {dicom} and http://{http}/ until interrupted"));
        tokio::signal::ctrl_c().await?;
    }
    closing.cancel();
    running.await??;
    archive.stop().await;
    Ok(ExitCode::SUCCESS)
}

fn eprint(line: &str) {
    // Progress is no result: a closed stderr does not stop the demonstration.
    drop(writeln!(std::io::stderr(), "{line}"));
}

fn write_radiographs(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    RADIOGRAPHS
        .iter()
        .map(|(name, bytes)| {
            let path = folder.join(name);
            std::fs::write(&path, bytes)
                .with_context(|| format!("cannot write {}", path.display()))?;
            Ok(path)
        })
        .collect()
}

/// Sends one object as a modality would; its study, and how long the acknowledgement took.
async fn send(
    remote: &Remote,
    image: &Path,
) -> anyhow::Result<(crate::vocabulary::StudyUid, Duration)> {
    let object = StoredObject::open(image)?;
    let started = Instant::now();
    let context = ProposedContext {
        abstract_syntax: object.sop_class_uid().to_string(),
        transfer_syntaxes: vec![object.transfer_syntax()],
    };
    let mut association = Requestor::connect(remote, &[context], &Timers::default()).await?;
    let status = association
        .store(&StoreItem {
            sop_class_uid: object.sop_class_uid().to_string(),
            instance_uid: object.instance_uid().clone(),
            transfer_syntax: object.transfer_syntax(),
            path: image.to_owned(),
            data_set_offset: object.data_set_offset(),
        })
        .await?;
    let took = started.elapsed();
    association.release().await;
    anyhow::ensure!(status.is_success(), "{}: the node answered {status}", image.display());
    Ok((object.study_uid().clone(), took))
}

/// Whether nothing more will happen to a job.
fn settled(job: &JobDetail) -> bool {
    matches!(job.row.state, JobState::Delivered | JobState::Skipped | JobState::Failed)
}

fn shown(image: PathBuf, reports: &Path, job: &JobDetail, received: Duration) -> Shown {
    let mut seconds = job.seconds.clone();
    if let Value::Object(map) = &mut seconds {
        map.insert("receive".to_owned(), received.as_secs_f64().into());
        map.insert("deliver".to_owned(), deliver_seconds(job).into());
    }
    let made = job.artefacts.iter().filter(|file| file.kind == ArtefactKind::Report);
    let files = made.map(|report| reports.join(format!("{}.dcm", report.instance)));
    Shown {
        image,
        sr: files.into_iter().find(|file| file.is_file()),
        text: job.text.as_ref().map(|text| text.reveal().to_owned()),
        state: job.row.state,
        reason: job.row.reason.clone(),
        priority: job.row.priority.to_string(),
        seconds,
    }
}

/// From the draft to the archive's acknowledgement.
fn deliver_seconds(job: &JobDetail) -> Option<f64> {
    let drafted = job.row.drafted_at?;
    let last = job.events.last()?;
    Some(last.at.duration_since(drafted).as_secs_f64())
}

fn show(arguments: &Arguments, shown: &Shown) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string(shown)?)?;
        return Ok(());
    }
    writeln!(out, "\n{}", shown.image.display())?;
    match (&shown.text, &shown.reason) {
        (Some(text), _) => writeln!(out, "  draft (unverified): {text}")?,
        (None, Some(reason)) => writeln!(out, "  {}: {reason}", shown.state)?,
        (None, None) => writeln!(out, "  {}", shown.state)?,
    }
    if let Value::Object(seconds) = &shown.seconds {
        let order = ["receive", "read", "encode", "ask", "prefill", "decode", "deliver"];
        let stages: Vec<String> = order
            .iter()
            .filter_map(|name| Some((name, seconds.get(*name)?.as_f64()?)))
            .map(|(name, value)| format!("{name} {value:.3} s"))
            .collect();
        writeln!(out, "  {}", stages.join(", "))?;
    }
    if let Some(sr) = &shown.sr {
        writeln!(out, "  report: {}", sr.display())?;
    }
    Ok(out.flush()?)
}
