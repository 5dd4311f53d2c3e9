//! One C-STORE into the spool: on a blocking thread, while the data set arrives.

use std::net::IpAddr;
use std::time::Instant;

use tracing::{debug, error, warn};

use super::caption::caption;
use super::commitment;
use super::file_meta::file_meta;
use super::status::StoreFailure;
use crate::dimse::c_store::{Peer, StoreReply, StoreRequest, StoreService};
use crate::dimse::data::Fragments;
use crate::dimse::n_event_report::CommitmentReport;
use crate::dimse::{Ended, Status};
use crate::object::{Limits, StoredObject, Turns};
use crate::observe::audit::{self, Audit, Event};
use crate::observe::metrics::{Metrics, Stage};
use crate::report::identity;
use crate::spool::{Incoming, Receipt, Received, Sender, Spool, SpoolError};
use crate::vocabulary::Excerpt;

/// Keeps objects in the spool.
pub(super) struct Keeper {
    pub(super) spool: Spool,
    pub(super) metrics: Metrics,
    pub(super) audit: Audit,
    /// What a data set may be.
    pub(super) limits: Limits,
    /// How many are inspected at a time: each may take memory that its sender chose.
    pub(super) inspecting: Turns,
}

impl StoreService for Keeper {
    fn store(&self, request: &StoreRequest, data: Fragments) -> StoreReply {
        let since = Instant::now();
        match self.keep(request, data) {
            Ok(receipt) => {
                self.metrics.stage(Stage::Receive, since.elapsed());
                self.metrics.object(word(receipt));
                debug!(instance = %request.instance, outcome = word(receipt), "object kept");
                Status::SUCCESS.into()
            }
            Err(failure) => {
                self.metrics.object(failure.outcome());
                match &failure {
                    StoreFailure::Spool(SpoolError::Full { .. }) => warn!("{failure}"),
                    StoreFailure::Spool(_) | StoreFailure::Meta(_) => {
                        error!(failure = &failure as &dyn std::error::Error, "object not kept");
                    }
                    _ => {
                        debug!(instance = %request.instance, "not kept: {}", Excerpt(&failure.to_string()));
                    }
                }
                failure.reply()
            }
        }
    }

    fn reported(&self, peer: &Peer, report: &CommitmentReport) -> Status {
        commitment::note(&self.spool, &self.metrics, report).unwrap_or_else(|error| {
            let calling = &peer.calling;
            error!(%error, %calling, "a report on a storage commitment could not be kept");
            Status::PROCESSING_FAILURE
        })
    }

    fn accepted(&self, peer: &Peer, user: Option<&str>) {
        let caller =
            audit::Peer { ae_title: peer.calling.to_string(), host: peer.address.to_string() };
        let (called, user) = (peer.called.to_string(), user.map(str::to_owned));
        self.audit.record(&Event::Accepted { caller, called, user });
    }

    fn turned_away(&self, address: IpAddr, calling: &str, ended: &Ended) {
        let caller = audit::Peer { ae_title: calling.trim().to_owned(), host: address.to_string() };
        self.audit.record(&Event::Refused { caller, reason: ended.to_string() });
    }

    fn ended(&self, ended: &Ended) {
        self.metrics.association(ended.outcome());
    }
}

const fn word(receipt: Receipt) -> &'static str {
    match receipt {
        Receipt::Stored => "stored",
        Receipt::Duplicate => "duplicate",
        Receipt::NewContent => "new_content",
    }
}

impl Keeper {
    fn keep(&self, request: &StoreRequest, mut data: Fragments) -> Result<Receipt, StoreFailure> {
        let mut incoming = self.spool.begin()?;
        incoming.write_all(&file_meta(request)?)?;
        incoming.data_set_follows();
        let mut length = 0;
        while let Some(bytes) = data.next_bytes()? {
            incoming.write_all(bytes)?;
            length += bytes.len() as u64;
        }
        let received = {
            let _turn = self.inspecting.take();
            inspect(request, &incoming, &self.limits)?
        };
        let study = audit::Study {
            uid: received.study.clone(),
            patient_id: received.caption.patient_id.clone(),
        };
        let receipt = incoming.commit(received)?;
        self.metrics.received_bytes(length);
        self.audit.record(&Event::Received {
            sender: audit::Peer {
                ae_title: request.peer.calling.to_string(),
                host: request.peer.address.to_string(),
            },
            study,
            class: request.class,
            instance: request.instance.clone(),
            known: receipt == Receipt::Duplicate,
        });
        Ok(receipt)
    }
}

/// The structure check and the identity check; nothing else reads the bytes before them.
fn inspect(
    request: &StoreRequest,
    incoming: &Incoming,
    limits: &Limits,
) -> Result<Received, StoreFailure> {
    let object = StoredObject::open_within(incoming.path(), limits)?;
    if object.sop_class_uid().as_str() != request.class.uid() {
        return Err(StoreFailure::Mismatch("SOP Class UID"));
    }
    if *object.instance_uid() != request.instance {
        return Err(StoreFailure::Mismatch("SOP Instance UID"));
    }
    let peer = &request.peer;
    Ok(Received {
        sop_class: request.class,
        instance: request.instance.clone(),
        series: object.series_uid().clone(),
        study: object.study_uid().clone(),
        transfer_syntax: request.syntax,
        data_set_offset: object.data_set_offset(),
        sender: Sender {
            calling: peer.calling.clone(),
            called: peer.called.clone(),
            address: peer.address,
        },
        own_object: identity::is_own(&object),
        caption: caption(&object),
    })
}
