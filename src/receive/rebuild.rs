//! Files whose rows are lost: what they say of themselves.

use std::net::{IpAddr, Ipv4Addr};

use tracing::{error, warn};

use super::caption::caption;
use crate::object::{ObjectError, StoredObject};
use crate::report::{identity, read_back};
use crate::spool::{FoundArtefact, Lost, Received, Sender, Spool, SpoolError, Unrecorded};
use crate::vocabulary::{AeTitle, SopClass};

/// Rows in one transaction: a start that is cut short goes on after the last of them.
const BATCH: usize = 100;

/// Gives every file without a row its row back. Who sent an object is not known any more.
///
/// # Errors
/// The spool cannot be written; the next start goes on.
pub fn rebuild(spool: &Spool, node: &AeTitle) -> Result<(), SpoolError> {
    let lost = spool.unrecorded()?;
    if lost.is_empty() && spool.damaged().is_none() {
        return Ok(());
    }
    let (mut batch, mut found) = (Vec::new(), Vec::new());
    let (mut recorded, mut unreadable) = (0, 0);
    for file in lost {
        match look(file, node) {
            Look::Object(file, received) => batch.push((file, *received)),
            Look::Artefact(artefact) => found.push(*artefact),
            Look::NotNow => {}
            Look::Nothing(file) => {
                spool.put_aside(&file)?;
                unreadable += 1;
            }
        }
        if batch.len() == BATCH {
            recorded += record(spool, &mut batch)?;
        }
    }
    recorded += record(spool, &mut batch)?;
    spool.rebuilt(&found)?;
    let drafted = found.len();
    if let Some(damaged) = spool.damaged() {
        warn!(
            recorded,
            drafted,
            unreadable,
            damaged = %damaged.display(),
            "the job store was made anew; the damaged one can be deleted"
        );
    } else {
        warn!(
            recorded,
            drafted,
            unreadable,
            "the job store knew nothing of these files, as after a crash, a restore or a loss: \
             objects are taken in anew"
        );
    }
    Ok(())
}

fn record(spool: &Spool, batch: &mut Vec<(Unrecorded, Received)>) -> Result<usize, SpoolError> {
    if !batch.is_empty() {
        spool.record(batch)?;
    }
    let recorded = batch.len();
    batch.clear();
    Ok(recorded)
}

/// What a file is.
enum Look {
    Object(Unrecorded, Box<Received>),
    Artefact(Box<FoundArtefact>),
    /// The system does not let it be read: it stays for the next start.
    NotNow,
    /// Nothing that this node can use.
    Nothing(Unrecorded),
}

fn look(file: Unrecorded, node: &AeTitle) -> Look {
    let object = match StoredObject::open(&file.path) {
        Ok(object) => object,
        Err(error) => {
            error!(file = %file.path.display(), %error, "a file cannot be read");
            let passing = matches!(error, ObjectError::Io { .. });
            return if passing { Look::NotNow } else { Look::Nothing(file) };
        }
    };
    match file.kind {
        Lost::Object => match received(&object, node) {
            Some(received) => Look::Object(file, Box::new(received)),
            None => Look::Nothing(file),
        },
        Lost::Artefact(..) => match SopClass::from_uid(object.sop_class_uid().as_str()) {
            Some(class) => Look::Artefact(Box::new(artefact(file, class, &object))),
            None => Look::Nothing(file),
        },
        Lost::Unknown => Look::Nothing(file),
    }
}

fn artefact(file: Unrecorded, sop_class: SopClass, object: &StoredObject) -> FoundArtefact {
    FoundArtefact {
        file,
        study: object.study_uid().clone(),
        sop_class,
        instance: object.instance_uid().clone(),
        series: object.series_uid().clone(),
        data_set_offset: object.data_set_offset(),
        evidence: read_back::evidence(object),
        signed: read_back::signed(object),
    }
}

fn received(object: &StoredObject, node: &AeTitle) -> Option<Received> {
    Some(Received {
        sop_class: SopClass::from_uid(object.sop_class_uid().as_str())?,
        instance: object.instance_uid().clone(),
        series: object.series_uid().clone(),
        study: object.study_uid().clone(),
        transfer_syntax: object.transfer_syntax(),
        data_set_offset: object.data_set_offset(),
        sender: Sender {
            calling: "UNKNOWN".parse().ok()?,
            called: node.clone(),
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        },
        own_object: identity::is_own(object),
        caption: caption(object),
    })
}
