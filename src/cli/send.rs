//! `thorascribe send`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::Outcome;
use super::echo::{Address, Own, runtime};
use crate::dimse::Timers;
use crate::dimse::negotiate::MAX_CONTEXTS;
use crate::dimse::requestor::{ProposedContext, Remote, RequestError, Requestor, StoreItem};
use crate::object::StoredObject;

/// What may be asked of `send`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The node to send to.
    #[arg(long, value_name = "AE@HOST:PORT")]
    to: Address,
    #[command(flatten)]
    own: Own,
    /// DICOM files, sent as they are stored.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, _config: Option<&Path>) -> Outcome {
    let remote = arguments.own.remote(&arguments.to)?;
    let timers = arguments.own.timers();
    let mut failed = 0_usize;
    let mut items = Vec::new();
    for path in &arguments.files {
        match item(path) {
            Ok(item) => items.push(item),
            Err(reason) => {
                failed += 1;
                line(path, &reason)?;
            }
        }
    }
    let runtime = runtime()?;
    let mut sent = 0;
    while let Some(rest) = items.get(sent..).filter(|rest| !rest.is_empty()) {
        let (done, refused) = runtime.block_on(associate(&remote, &timers, rest))?;
        sent += done;
        failed += refused;
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn item(path: &Path) -> Result<StoreItem, String> {
    let object = StoredObject::open(path).map_err(|error| error.to_string())?;
    Ok(StoreItem {
        sop_class_uid: object.sop_class_uid().to_string(),
        instance_uid: object.instance_uid().clone(),
        transfer_syntax: object.transfer_syntax(),
        path: path.to_owned(),
        data_set_offset: object.data_set_offset(),
    })
}

/// Sends as many of the items as fit one association: how many were tried, how many failed.
async fn associate(
    remote: &Remote,
    timers: &Timers,
    items: &[StoreItem],
) -> anyhow::Result<(usize, usize)> {
    let mut contexts: Vec<ProposedContext> = Vec::new();
    let mut batch = Vec::new();
    for item in items {
        let context = ProposedContext {
            abstract_syntax: item.sop_class_uid.clone(),
            transfer_syntaxes: vec![item.transfer_syntax],
        };
        if !contexts.contains(&context) {
            if contexts.len() == MAX_CONTEXTS {
                break;
            }
            contexts.push(context);
        }
        batch.push(item);
    }
    let mut association = Requestor::connect(remote, &contexts, timers).await?;
    let (mut tried, mut failed) = (0, 0);
    for item in &batch {
        tried += 1;
        match association.store_with_comment(item).await {
            Ok((status, comment)) => {
                failed += usize::from(!status.is_stored());
                let comment = comment.map(|c| format!(": {c}")).unwrap_or_default();
                line(&item.path, &format!("{status}{comment}"))?;
            }
            Err(error @ RequestError::NotAccepted { .. }) => {
                failed += 1;
                line(&item.path, &error.to_string())?;
            }
            // The association is of no more use; the rest get another.
            Err(error) => {
                failed += 1;
                line(&item.path, &error.to_string())?;
                return Ok((tried, failed));
            }
        }
    }
    association.release().await;
    Ok((tried, failed))
}

fn line(path: &Path, outcome: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{} {outcome}", path.display())
}
