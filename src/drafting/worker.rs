//! The loop that turns leased jobs into drafts.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::deliveries::{Recipient, deliveries};
use super::disposition::{Disposition, DraftingError, disposition};
use super::examine::{Criteria, Examined, examine};
use super::forward::forward;
use super::judge;
use super::pictures::{PictureError, pictures};
use super::reports::{predecessors, reports};
use crate::model::engine::EngineHandle;
use crate::model::vision::preprocess::Fitted;
use crate::model::{DraftRequest, ModelDraft, Saliency};
use crate::object::{StoredObject, Turns};
use crate::observe::audit::{self, Audit, Event};
use crate::observe::metrics::{Metrics, Stage};
use crate::radiograph::{Decoder, RadiographError, View};
use crate::receive::caption::caption;
use crate::report::{CodedFinding, Created, Draft, ModelIdentity, NodeIdentity};
use crate::spool::{
    Caption, Changes, DraftLease, Drafted, NewArtefact, NewDelivery, NewDeliveryObject, Patience,
    Spool, SpoolError, blocking,
};
use crate::triage::{Abnormal, Facts, SenderFacts, StudyFacts, Triage, Unasked, Verdict};
use crate::vocabulary::{PatientText, Priority, StudyUid};

/// What the drafting stage needs.
#[derive(Debug, Clone)]
pub struct Drafting {
    /// Where studies wait.
    pub spool: Spool,
    /// The model.
    pub engine: EngineHandle,
    /// Decodes the images.
    pub decoder: Decoder,
    /// How many objects are read at a time.
    pub reading: Turns,
    /// Prompt and sampling.
    pub request: DraftRequest,
    /// Whether an image without a body part is taken for a chest.
    pub assume_chest: bool,
    /// The views that are drafted from.
    pub views: Vec<View>,
    /// Who receives what, at present.
    pub recipients: watch::Receiver<Vec<Recipient>>,
    /// What makes a study urgent, and what goes where because of it, at present.
    pub triage: watch::Receiver<Arc<Triage>>,
    /// What the reports say about this node.
    pub node: NodeIdentity,
    /// What is counted.
    pub metrics: Metrics,
    /// Who is told of each draft.
    pub audit: Audit,
}

/// Jobs in hand at once: the model drafts them together.
const IN_HAND: usize = 8;

/// Drafts until `closing`; the jobs under way are finished.
///
/// # Errors
/// A spool that is damaged: a failed job is an outcome, and a spool that fails is waited for.
pub async fn run(drafting: Arc<Drafting>, closing: CancellationToken) -> Result<(), SpoolError> {
    let mut changes = drafting.spool.changed();
    let mut patience = Patience::of("drafting");
    let mut jobs = JoinSet::new();
    while !closing.is_cancelled() {
        let ended = step(&drafting, &closing, &mut changes, &mut jobs).await;
        patience.rest_after(ended, &closing).await?;
    }
    while !jobs.is_empty() {
        if let Err(failure) = ended(jobs.join_next().await) {
            patience.after(failure)?;
        }
    }
    Ok(())
}

/// Begins a job, or waits until there is something to do.
async fn step(
    drafting: &Arc<Drafting>,
    closing: &CancellationToken,
    changes: &mut Changes,
    jobs: &mut JoinSet<Result<(), SpoolError>>,
) -> Result<(), SpoolError> {
    if jobs.len() >= IN_HAND {
        return tokio::select! {
            () = closing.cancelled() => Ok(()),
            done = jobs.join_next() => ended(done),
        };
    }
    while forward(drafting).await? {}
    let spool = drafting.spool.clone();
    let lease = blocking(move || {
        spool.seal_due()?;
        spool.lease_draft()
    });
    let Some(lease) = lease.await? else {
        return tokio::select! {
            () = closing.cancelled() => Ok(()),
            () = changes.next() => Ok(()),
            done = jobs.join_next(), if !jobs.is_empty() => ended(done),
        };
    };
    let drafting = Arc::clone(drafting);
    jobs.spawn(async move { job(&drafting, lease).await });
    Ok(())
}

/// How a job's task ended: only the spool's own failure ends the stage.
fn ended(done: Option<Result<Result<(), SpoolError>, JoinError>>) -> Result<(), SpoolError> {
    match done {
        None => Ok(()),
        Some(Ok(result)) => result,
        Some(Err(lost)) => std::panic::resume_unwind(lost.into_panic()),
    }
}

/// One job: from the best image, and from the next best where that one cannot be read.
async fn job(drafting: &Arc<Drafting>, lease: DraftLease) -> Result<(), SpoolError> {
    let (mut unreadable, mut first) = (BTreeSet::new(), None);
    loop {
        let (objects, tried) = (lease.objects.clone(), unreadable.clone());
        let (criteria, reading) = (drafting.criteria(), drafting.reading.clone());
        let examined = guarded(move || {
            let _turn = reading.take();
            examine(&objects, &criteria, &tried)
        });
        let (position, view) = match (examined.await, first) {
            (Ok(Ok(Examined::Image { position, view })), earlier) => {
                first = earlier;
                (position, view)
            }
            (Ok(Ok(Examined::Nothing(_))), Some(RadiographError::Undecodable(what))) => {
                let reason = RadiographError::Undecodable(what).to_string();
                return skipped(drafting, lease, reason).await;
            }
            (Ok(Ok(Examined::Nothing(reason))), None) => {
                return skipped(drafting, lease, reason).await;
            }
            (Ok(Ok(Examined::Nothing(_))), Some(error)) | (Ok(Err(error)), _) => {
                return failed(drafting, lease, &DraftingError::Radiograph(error)).await;
            }
            (Err(error), _) => return failed(drafting, lease, &error).await,
        };
        if unchanged(&lease, position) {
            info!(study = %lease.study, "later images change nothing");
            let verdict = undrafted(drafting, &lease, None).await;
            let deliveries =
                deliveries(&drafting.recipients(), &verdict.sends, &lease.objects, false);
            return blocking(move || lease.unchanged(&deliveries)).await;
        }
        match draft(drafting, &lease, position, view).await {
            Ok(drafted) => {
                info!(study = %lease.study, version = lease.version, "drafted");
                return kept(drafting, lease, drafted).await;
            }
            Err(DraftingError::Radiograph(error)) if !error.is_passing() => {
                let reason = crate::observe::chain(&error);
                warn!(study = %lease.study, reason, "an image cannot be read; trying the next best");
                unreadable.insert(position);
                first.get_or_insert(error);
            }
            Err(error) => return failed(drafting, lease, &error).await,
        }
    }
}

/// Hands a draft to the spool, and tells of it.
async fn kept(drafting: &Drafting, lease: DraftLease, drafted: Drafted) -> Result<(), SpoolError> {
    let audit = drafting.audit.clone();
    let model = drafting.engine.identity().name.clone();
    let patient_id = drafted.caption.as_ref().map(|caption| caption.patient_id.clone());
    blocking(move || {
        let (uid, patient_id) = (lease.study.clone(), patient_id.unwrap_or_default());
        lease.drafted(drafted)?;
        audit.record(&Event::Drafted { study: audit::Study { uid, patient_id }, model });
        Ok(())
    })
    .await
}

/// Whether the image to draft from is the one that the version before was drafted from.
fn unchanged(lease: &DraftLease, position: usize) -> bool {
    match (&lease.previous, lease.objects.get(position)) {
        (Some(previous), Some(chosen)) => {
            previous.image.as_ref() == Some(&chosen.instance)
                && previous.image_digest.as_ref() == Some(&chosen.digest)
        }
        _ => false,
    }
}

async fn skipped(drafting: &Drafting, lease: DraftLease, reason: String) -> Result<(), SpoolError> {
    info!(study = %lease.study, reason, "skipped");
    let verdict = undrafted(drafting, &lease, Some(reason.clone())).await;
    let deliveries = deliveries(&drafting.recipients(), &verdict.sends, &lease.objects, false);
    blocking(move || lease.skipped(&reason, verdict.priority, &deliveries)).await
}

/// What triage makes of a study of which no new draft is made: for a reason, or because the one
/// before stands. A study that it cannot be asked about is routine and goes by no route.
async fn undrafted(drafting: &Drafting, lease: &DraftLease, reason: Option<String>) -> Verdict {
    let (objects, previous) = (lease.objects.clone(), lease.previous.clone());
    let sender = SenderFacts::from(&lease.sender);
    let facts = guarded(move || match (reason, previous) {
        (None, Some(previous)) => judge::of_previous(&objects, sender, &previous),
        (reason, _) => judge::of_skipped(&objects, sender, &reason.unwrap_or_default()),
    });
    match facts.await {
        Ok(facts) => drafting.judge(&lease.study, &facts),
        Err(_) => Triage::default().judge(&Facts::default()),
    }
}

impl Drafting {
    fn criteria(&self) -> Criteria {
        Criteria {
            assume_chest: self.assume_chest,
            youngest: self.engine.identity().youngest,
            views: self.views.clone(),
            decoder: self.decoder.clone(),
        }
    }

    pub(super) fn recipients(&self) -> Vec<Recipient> {
        self.recipients.borrow().clone()
    }

    /// Asks the rules and routes as they are now.
    pub(super) fn judge(&self, study: &StudyUid, facts: &Facts) -> Verdict {
        let triage = Arc::clone(&self.triage.borrow());
        let verdict = triage.judge(facts);
        for rule in verdict.rules.iter().filter(|rule| rule.matched) {
            info!(%study, rule = rule.name, "a rule fired");
        }
        // Why, only `route test` says: it may hold what the study says of its patient.
        for Unasked { kind, name, .. } in &verdict.unasked {
            warn!(%study, kind, name, "a condition cannot be evaluated and counts as not met");
            self.metrics.error("triage", "condition");
        }
        verdict
    }
}

async fn failed(
    drafting: &Drafting,
    lease: DraftLease,
    error: &DraftingError,
) -> Result<(), SpoolError> {
    drafting.metrics.error("drafting", error.kind());
    let reason = crate::observe::chain(error);
    warn!(study = %lease.study, reason, "drafting failed");
    match disposition(error, lease.attempts) {
        Disposition::Retry(after) => blocking(move || lease.retry(after, &reason)).await,
        Disposition::Killed(after) => blocking(move || lease.killed(after, &reason)).await,
        Disposition::Dead => blocking(move || lease.dead(&reason)).await,
    }
}

async fn draft(
    drafting: &Arc<Drafting>,
    lease: &DraftLease,
    position: usize,
    view: View,
) -> Result<Drafted, DraftingError> {
    let started = Instant::now();
    let Some(chosen) = lease.objects.get(position) else { return Err(DraftingError::Panic) };
    let Read { study, caption, image } =
        read(drafting, &chosen.path, judge::images(&lease.objects)).await?;
    let read = started.elapsed();
    drafting.metrics.stage(Stage::Read, read);
    let answer = ask(drafting, image).await?;
    let thresholds = &drafting.engine.identity().thresholds;
    let found = answer.assessed(thresholds);
    let abnormal = Abnormal::of(answer.abnormal, thresholds);
    let facts = judge::of_draft(study, lease, &found, &answer, abnormal);
    let verdict = drafting.judge(&lease.study, &facts);
    let coded = found.iter().filter_map(CodedFinding::of).collect();
    let draft = report_of(drafting, lease, &answer, coded, verdict.priority);
    let mut deliveries = deliveries(&drafting.recipients(), &verdict.sends, &lease.objects, true);
    let looked = answer.looked.clone();
    let files = artefacts(drafting, lease, &chosen.path, &draft, looked, &mut deliveries).await?;
    let mut seconds = answer.seconds.by_step();
    seconds.insert("read".to_owned(), read.as_secs_f64().into());
    Ok(Drafted {
        text: PatientText::new(answer.text.clone()),
        image: chosen.instance.clone(),
        caption: Some(caption),
        priority: verdict.priority,
        draft: json!({
            "model": { "name": draft.model.name, "digest": draft.model.digest },
            "prompt": answer.prompt,
            "view": view,
            "abnormal": answer.abnormal,
            "abnormal_threshold": abnormal.and_then(|abnormal| abnormal.threshold),
            "scores": answer.scores,
            "findings": found,
            "rules": verdict.rules,
            "looked": answer.looked,
        }),
        seconds: seconds.into(),
        artefacts: files,
        deliveries,
    })
}

/// What is needed of an image: neither the object nor a picture of its size waits for the model.
struct Read {
    /// What triage asks.
    study: StudyFacts,
    /// What the worklist shows.
    caption: Caption,
    /// What the model looks at.
    image: Fitted,
}

async fn read(drafting: &Drafting, path: &Path, images: usize) -> Result<Read, DraftingError> {
    let (decoder, reading, path) =
        (drafting.decoder.clone(), drafting.reading.clone(), path.to_owned());
    let engine = drafting.engine.clone();
    let read = move || {
        let _turn = reading.take();
        let object = open(&path)?;
        let (study, caption) = (StudyFacts::of(&object, images), caption(&object));
        drop(object);
        let image = decoder.develop(&path, None, |rendered| engine.fitted(&rendered.image))?;
        Ok(Read { study, caption, image })
    };
    guarded(read).await?.map_err(DraftingError::Radiograph)
}

fn open(path: &Path) -> Result<StoredObject, RadiographError> {
    StoredObject::open(path).map_err(RadiographError::from)
}

/// The reports, and where they go somewhere the pictures; a delivery of a picture that cannot be
/// made is taken out.
async fn artefacts(
    drafting: &Drafting,
    lease: &DraftLease,
    path: &Path,
    draft: &Draft,
    looked: Option<Saliency>,
    deliveries: &mut Vec<NewDelivery>,
) -> Result<Vec<NewArtefact>, DraftingError> {
    let writing = Instant::now();
    let (objects, node, draft) = (lease.objects.clone(), drafting.node.clone(), draft.clone());
    let wanted = deliveries.iter().any(|delivery| is_picture(&delivery.object));
    let looked = looked.filter(|_| wanted);
    let (decoder, reading, path) =
        (drafting.decoder.clone(), drafting.reading.clone(), path.to_owned());
    let made = guarded(move || {
        let _turn = reading.take();
        let object = open(&path)?;
        let reports = reports(&object, &objects, &draft, &node);
        let pictures = looked.map(|looked| {
            let drawn = decoder.develop(&path, None, |rendered| {
                pictures(&object, &rendered.image, &looked, &objects, &draft, &node)
            });
            drawn.map_err(PictureError::Image)?.map_err(PictureError::Report)
        });
        Ok((reports, pictures))
    });
    let (reports, pictures) = made.await?.map_err(DraftingError::Radiograph)?;
    let mut files = reports.map_err(DraftingError::Report)?;
    match pictures {
        Some(Ok(pictures)) => files.extend(pictures),
        // The report is worth more than its picture.
        Some(Err(error)) => {
            let reason = crate::observe::chain(&error);
            warn!(study = %lease.study, reason, "no picture of where the model looked");
            deliveries.retain(|delivery| !is_picture(&delivery.object));
        }
        None if wanted => {
            info!(study = %lease.study, "the model cannot tell where it looked: no picture");
            deliveries.retain(|delivery| !is_picture(&delivery.object));
        }
        None => {}
    }
    drafting.metrics.stage(Stage::Report, writing.elapsed());
    Ok(files)
}

fn is_picture(object: &NewDeliveryObject) -> bool {
    matches!(object, NewDeliveryObject::Capture | NewDeliveryObject::KeyObject)
}

async fn ask(drafting: &Drafting, image: Fitted) -> Result<ModelDraft, DraftingError> {
    let answer = drafting
        .engine
        .draft(image, drafting.request.clone())
        .await
        .map_err(DraftingError::Model)?;
    let seconds = &answer.seconds;
    for (stage, value) in [
        (Stage::Encode, seconds.encode),
        (Stage::Prefill, seconds.prefill),
        (Stage::Decode, seconds.decode),
    ] {
        drafting.metrics.stage(stage, Duration::from_secs_f64(value));
    }
    drafting.metrics.generated_tokens(answer.token_ids.len() as u64);
    Ok(answer)
}

fn report_of(
    drafting: &Drafting,
    lease: &DraftLease,
    answer: &ModelDraft,
    findings: Vec<CodedFinding>,
    priority: Priority,
) -> Draft {
    let identity = drafting.engine.identity();
    let previous = lease.previous.as_ref().map_or(&[][..], |previous| &previous.artefacts);
    Draft {
        text: PatientText::new(answer.text.clone()),
        model: ModelIdentity { name: identity.name.clone(), digest: identity.digest.clone() },
        prompt: answer.prompt.clone(),
        sampling: drafting.request.sampling.to_string(),
        version: lease.version,
        created: Created::now(),
        predecessors: predecessors(previous, &lease.study),
        findings,
        priority,
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        verification: None,
    }
}

/// Runs work on an object or a model apart from the network's threads; a panic in it is an error.
pub(super) async fn guarded<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, DraftingError> {
    let run = move || catch_unwind(AssertUnwindSafe(work)).ok().ok_or(DraftingError::Panic);
    tokio::task::spawn_blocking(run).await.unwrap_or(Err(DraftingError::Panic))
}
