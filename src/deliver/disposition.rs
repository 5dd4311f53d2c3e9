//! What becomes of a delivery after an attempt: decided here and nowhere else.

use crate::dimse::requestor::RequestError;
use crate::dimse::status::{Status, StatusKind};
use crate::observe::chain;
use crate::vocabulary::Excerpt;

/// The outcome of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Disposition {
    /// The destination has the object; what it remarked.
    Sent(Option<String>),
    /// It may work later.
    Retry(String),
    /// The destination cannot be reached, so nothing else can be sent there either.
    Unreachable(String),
    /// It will not work, however often it is tried.
    Dead(String),
}

/// What a C-STORE status means for the delivery (PS3.4 §B.2.3, PS3.7 Annex C).
pub(super) fn of_status(status: Status) -> Disposition {
    match status.kind() {
        StatusKind::Success => Disposition::Sent(None),
        StatusKind::Warning => {
            Disposition::Sent(Some(format!("stored; the destination answered {status}")))
        }
        // A UID of this node's names one content, so the destination has the object already: its
        // answer to an earlier attempt was lost.
        StatusKind::Failure if status == Status::DUPLICATE_INSTANCE => {
            Disposition::Sent(Some(format!("there already; the destination answered {status}")))
        }
        StatusKind::Failure | StatusKind::Other => match status.0 {
            // Out of resources, processing failure, duplicate invocation, resource limitation.
            0xA700..=0xA7FF | 0x0110 | 0x0210 | 0x0213 => {
                Disposition::Retry(format!("the destination answered {status}"))
            }
            _ => Disposition::Dead(format!("the destination answered {status}")),
        },
    }
}

/// A reason for the queue, with the destination's own words on it (Error Comment, 0000,0902). They
/// may name a patient: no log has them.
pub(super) fn in_its_words(reason: &str, words: Option<&str>) -> String {
    words.map_or_else(|| reason.to_owned(), |words| format!("{reason}: {}", Excerpt(words)))
}

/// What a failure below the status means: the network and the peer may recover, and a peer that
/// refuses the node today may be configured tomorrow.
pub(super) fn of_error(error: &RequestError) -> Disposition {
    match error {
        RequestError::NotAccepted { .. } | RequestError::Contexts(_) => {
            Disposition::Dead(chain(error))
        }
        RequestError::Connect { .. } | RequestError::Handshake { .. } => {
            Disposition::Unreachable(chain(error))
        }
        RequestError::Ended { .. } | RequestError::File { .. } => Disposition::Retry(chain(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_archive_is_tried_again_and_a_refused_class_is_not() {
        assert_eq!(of_status(Status(0x0000)), Disposition::Sent(None));
        assert!(matches!(of_status(Status(0xB000)), Disposition::Sent(Some(_))));
        assert!(matches!(of_status(Status(0x0111)), Disposition::Sent(Some(_))));
        assert!(matches!(of_status(Status(0xA700)), Disposition::Retry(_)));
        assert!(matches!(of_status(Status(0x0122)), Disposition::Dead(_)));
        assert!(matches!(of_status(Status(0xA900)), Disposition::Dead(_)));
    }
}
