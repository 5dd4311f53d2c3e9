//! Lists of jobs: which, in what order, how many.

use rusqlite::params_from_iter;

use super::caption::{self, Caption};
use super::job::{self, JobState};
use super::view::{JobView, ROW, row};
use super::{Spool, SpoolError};
use crate::vocabulary::{PatientText, Priority};

/// Which jobs to list.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Only these.
    pub state: Option<JobState>,
    /// Only these.
    pub priority: Option<Priority>,
    /// Only signed reports, or only what nobody signed.
    pub signed: Option<bool>,
    /// Only those whose study UID, patient, accession number, description, sender or text holds
    /// this.
    pub q: Option<String>,
    /// No more than these.
    pub limit: Option<usize>,
}

/// A study in the worklist: its newest version.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The row.
    pub row: JobView,
    /// Who and what it is.
    pub caption: Caption,
    /// The text of the draft or the report.
    pub text: Option<PatientText>,
    /// What the drafting stage kept.
    pub draft: serde_json::Value,
    /// How long each step of drafting took.
    pub seconds: serde_json::Value,
}

/// Studies in whose newest version there is work come first; of those the urgent ones, and of
/// those the newest. An index has this order.
const BY_URGENCY: &str =
    "job.signed_at IS NOT NULL, job.priority DESC, job.first_at DESC, job.id DESC";

const NEWEST: &str = "NOT EXISTS (SELECT 1 FROM job newer WHERE newer.study = job.study
    AND newer.version > job.version AND newer.state != 'merged')";

impl JobFilter {
    /// The conditions, and the values that they name.
    fn conditions(&self) -> (String, Vec<String>) {
        let mut wanted = vec!["job.state != 'merged'".to_owned()];
        let mut values: Vec<String> = Vec::new();
        if let Some(state) = self.state {
            values.push(state.to_string());
            wanted.push(format!("job.state = ?{}", values.len()));
        }
        if let Some(priority) = self.priority {
            wanted.push(format!("job.priority = {}", job::rank(priority)));
        }
        if let Some(signed) = self.signed {
            let not = if signed { "NOT " } else { "" };
            wanted.push(format!("job.signed_at IS {not}NULL"));
        }
        if let Some(q) = &self.q {
            values.push(q.to_lowercase());
            let n = values.len();
            let holds = |text: &str| format!("instr(lower({text}), ?{n})");
            let job = holds("coalesce(job.text, '')");
            let name =
                holds("patient || ' ' || patient_id || ' ' || accession || ' ' || description");
            let sender = holds("object.calling");
            wanted.push(format!(
                "(instr(study.uid, ?{n}) OR {job}
                    OR EXISTS (SELECT 1 FROM caption WHERE caption.study = study.id AND {name})
                    OR EXISTS (SELECT 1 FROM object WHERE object.study = study.id AND {sender}))"
            ));
        }
        (wanted.join(" AND "), values)
    }

    fn limit(&self) -> i64 {
        self.limit.and_then(|n| i64::try_from(n).ok()).unwrap_or(-1)
    }
}

impl Spool {
    /// The jobs, the newest first.
    pub fn jobs(&self, filter: &JobFilter) -> Result<Vec<JobView>, SpoolError> {
        let (wanted, values) = filter.conditions();
        let limit = filter.limit();
        let query = format!("{ROW} WHERE {wanted} ORDER BY job.id DESC LIMIT {limit}");
        self.read("list jobs", |transaction| {
            let rows = transaction
                .prepare_cached(&query)?
                .query_map(params_from_iter(values), |found| row(transaction, found))?
                .map(|found| found.map(|(_, view)| view))
                .collect::<Result<_, _>>()?;
            Ok(rows)
        })
    }

    /// The newest version of each study, the most urgent first, without the first `skip` of them.
    pub fn worklist(&self, filter: &JobFilter, skip: usize) -> Result<Vec<Listed>, SpoolError> {
        let (wanted, values) = filter.conditions();
        let (limit, skip) = (filter.limit(), i64::try_from(skip).unwrap_or(i64::MAX));
        let ids = format!(
            "SELECT job.id FROM job JOIN study ON study.id = job.study
             WHERE {wanted} AND {NEWEST} ORDER BY {BY_URGENCY} LIMIT {limit} OFFSET {skip}"
        );
        self.read("list studies", |transaction| {
            let ids: Vec<i64> = transaction
                .prepare_cached(&ids)?
                .query_map(params_from_iter(values), |found| found.get(0))?
                .collect::<Result<_, _>>()?;
            let mut studies = Vec::with_capacity(ids.len());
            let mut one = transaction.prepare_cached(&format!("{ROW} WHERE job.id = ?1"))?;
            let mut rest = transaction.prepare_cached(&format!(
                "SELECT text, draft, seconds, {} FROM job
                 LEFT JOIN caption ON caption.study = job.study WHERE job.id = ?1",
                caption::COLUMNS
            ))?;
            for id in ids {
                let (_, view) = one.query_row([id], |found| row(transaction, found))?;
                studies.push(rest.query_row([id], |found| {
                    Ok(Listed {
                        row: view,
                        text: found.get::<_, Option<String>>(0)?.map(PatientText::new),
                        draft: job::json(found, 1)?,
                        seconds: job::json(found, 2)?,
                        caption: caption::of(found, 3)?,
                    })
                })?);
            }
            Ok(studies)
        })
    }
}
