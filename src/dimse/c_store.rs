//! C-STORE as provider (PS3.4 Annex B, PS3.7 §9.1.1): the command's checks, and the contract with
//! the application that keeps the data set.

use std::net::IpAddr;

use super::command::Request;
use super::data::Fragments;
use super::machine::Ended;
use super::n_event_report::CommitmentReport;
use super::negotiate::{Agreement, Context};
use super::status::Status;
use crate::vocabulary::{AeTitle, InstanceUid, SopClass, SopKind, TransferSyntax};

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its AE title, as it says.
    pub calling: AeTitle,
    /// What it called us.
    pub called: AeTitle,
    /// Its address.
    pub address: IpAddr,
}

/// A C-STORE whose command passed its checks; nothing is known of its data set yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreRequest {
    /// Who sends.
    pub peer: Peer,
    /// The class, equal in command and context.
    pub class: SopClass,
    /// The instance, as the command says.
    pub instance: InstanceUid,
    /// How the data set is encoded.
    pub syntax: TransferSyntax,
}

/// What a C-STORE is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreReply {
    /// The status.
    pub status: Status,
    /// Why, for the peer's log: no patient data.
    pub comment: Option<String>,
}

impl From<Status> for StoreReply {
    fn from(status: Status) -> Self {
        Self { status, comment: None }
    }
}

/// The application behind an acceptor.
pub trait StoreService: Send + Sync + 'static {
    /// Keeps one object. Called on a blocking thread while the data set arrives; returning early
    /// lets the rest be read and dropped. When [`Fragments::next_bytes`] fails, what came must go.
    fn store(&self, request: &StoreRequest, data: Fragments) -> StoreReply;

    /// Takes what a peer says of a storage commitment. Called on a blocking thread.
    fn reported(&self, peer: &Peer, report: &CommitmentReport) -> Status {
        let _ = (peer, report);
        Status::UNRECOGNIZED_OPERATION
    }

    /// A caller is let in, with the name of the user identity that it gave.
    fn accepted(&self, peer: &Peer, user: Option<&str>) {
        let _ = (peer, user);
    }

    /// A caller was turned away, or its handshake failed; not called for each of a flood.
    fn turned_away(&self, address: IpAddr, calling: &str, ended: &Ended) {
        let _ = (address, calling, ended);
    }

    /// An association, or an attempt at one, ended.
    fn ended(&self, ended: &Ended) {
        let _ = ended;
    }
}

/// Holds a C-STORE command against its context.
pub(super) fn check(
    request: &Request,
    context: &Context,
    agreement: &Agreement,
    address: IpAddr,
) -> Result<StoreRequest, StoreReply> {
    let class = SopClass::from_uid(&context.class)
        .filter(|class| class.kind() != SopKind::Verification)
        .ok_or_else(|| {
            refused(Status::UNRECOGNIZED_OPERATION, "the context is not of a storage class")
        })?;
    match &request.class {
        None => return Err(refused(Status::MISSING_ATTRIBUTE, "Affected SOP Class UID missing")),
        Some(stated) if *stated != context.class => {
            return Err(refused(Status::CLASS_NOT_SUPPORTED, "class is not the context's"));
        }
        Some(_) => {}
    }
    let instance = request
        .instance
        .as_deref()
        .ok_or_else(|| refused(Status::MISSING_ATTRIBUTE, "Affected SOP Instance UID missing"))?;
    let instance = instance.parse().map_err(|error: crate::vocabulary::UidError| {
        refused(Status::INVALID_INSTANCE, &error.to_string())
    })?;
    if !request.has_data {
        return Err(refused(Status::CANNOT_UNDERSTAND, "no data set"));
    }
    let peer =
        Peer { calling: agreement.calling.clone(), called: agreement.called.clone(), address };
    Ok(StoreRequest { peer, class, instance, syntax: context.syntax })
}

fn refused(status: Status, comment: &str) -> StoreReply {
    StoreReply { status, comment: Some(comment.to_owned()) }
}

impl From<StoreReply> for Status {
    fn from(reply: StoreReply) -> Self {
        reply.status
    }
}
