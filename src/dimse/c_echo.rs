//! C-ECHO as provider (PS3.4 Annex A, PS3.7 §9.3.5).

use super::negotiate::Context;
use super::status::Status;
use crate::vocabulary::SopClass;

/// The status of a C-ECHO on a context.
pub(super) fn status(context: &Context) -> Status {
    if context.class == SopClass::Verification.uid() {
        Status::SUCCESS
    } else {
        Status::UNRECOGNIZED_OPERATION
    }
}
