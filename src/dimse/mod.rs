//! Message exchange over associations (PS3.7, PS3.8), as provider and as user. No policy.
//!
//! Comes in: bytes of peers, and objects to send. Goes out: verified requests with their data
//! sets as streams, and statuses. Promises: no bytes of a peer make it panic, hang or allocate
//! more than they are; every wait has a deadline; one peer never delays another. Negotiation,
//! the state of an association and command sets are pure; only `connection`, `listen`, `tls`
//! and `requestor` touch a socket. May use: vocabulary, object, config, observe.

pub mod acceptor;
mod admission;
mod c_echo;
pub mod c_store;
mod certificate;
pub mod command;
mod complaints;
mod connection;
pub mod data;
mod identity;
pub mod listen;
pub mod machine;
pub mod n_action;
pub mod n_event_report;
pub mod negotiate;
pub mod pdu;
mod places;
mod refusal;
pub mod requestor;
pub mod status;
mod stream;
pub mod timers;
pub mod tls;

pub use identity::Claim;
pub use machine::Ended;
pub use status::Status;
pub use stream::Stream;
pub use timers::Timers;

/// Names this program to peers and in file meta information (PS3.7 §D.3.3.2).
pub const IMPLEMENTATION_CLASS_UID: &str = "2.25.229415473280150070833947965847759575712";

/// The version that goes with [`IMPLEMENTATION_CLASS_UID`]; at most 16 characters.
pub const IMPLEMENTATION_VERSION_NAME: &str = "THORASCRIBE_0.1";

/// The DICOM application context (PS3.7 Annex A).
pub(crate) const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";
