//! The picture of where the model looked, and the selection that points at it.

use super::reports::{artefact, evidence};
use crate::model::Saliency;
use crate::object::StoredObject;
use crate::radiograph::{GreyImage, RadiographError};
use crate::report::{Draft, NodeIdentity, ReportError, capture, key_object};
use crate::spool::{ArtefactKind, NewArtefact, SpooledObject};

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub(super) enum PictureError {
    /// The pixels, which the model had, cannot be read again.
    #[error("the image cannot be read again")]
    Image(#[source] RadiographError),
    /// It cannot be drawn or written.
    #[error("the picture cannot be made")]
    Report(#[source] ReportError),
}

/// Builds both, for a draft of `source`, whose pixels `image` is.
pub(super) fn pictures(
    source: &StoredObject,
    image: &GreyImage,
    looked: &Saliency,
    objects: &[SpooledObject],
    draft: &Draft,
    node: &NodeIdentity,
) -> Result<[NewArtefact; 2], ReportError> {
    let evidence = evidence(objects);
    let capture = capture::build(source, image, looked, &evidence, draft, node)?;
    let selection = key_object::build(source, &capture, &evidence, draft, node)?;
    Ok([artefact(ArtefactKind::Capture, capture), artefact(ArtefactKind::KeyObject, selection)])
}
