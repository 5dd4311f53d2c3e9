//! After the job store was damaged: what the objects' files say of themselves.

use std::net::{IpAddr, Ipv4Addr};

use tracing::{error, warn};

use super::caption::caption;
use crate::object::StoredObject;
use crate::report::identity;
use crate::spool::{Received, Sender, Spool, SpoolError};
use crate::vocabulary::{AeTitle, SopClass};

/// Gives every object without a row its row back. Who sent it is not known any more.
///
/// # Errors
/// The spool cannot be written; the next start begins anew.
pub fn rebuild(spool: &Spool, node: &AeTitle) -> Result<(), SpoolError> {
    let Some(damaged) = spool.damaged() else { return Ok(()) };
    let lost = spool.unrecorded()?;
    let (mut recorded, mut unreadable) = (0, 0);
    for file in &lost {
        let found = StoredObject::open(&file.path);
        if let Err(error) = &found {
            error!(file = %file.path.display(), %error, "an object is damaged");
        }
        if let Some(received) = found.ok().and_then(|object| received(&object, node)) {
            spool.record(file, &received)?;
            recorded += 1;
        } else {
            spool.put_aside(file)?;
            unreadable += 1;
        }
    }
    spool.rebuilt()?;
    warn!(
        recorded,
        unreadable,
        damaged = %damaged.display(),
        "the job store was made anew; the damaged one can be deleted"
    );
    Ok(())
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
