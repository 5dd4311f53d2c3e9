//! The picture of where the model looked, and the selection that points at it.

use super::reports::{artefact, evidence};
use crate::model::Saliency;
use crate::object::StoredObject;
use crate::radiograph::render;
use crate::report::{Draft, NodeIdentity, ReportError, capture, key_object};
use crate::spool::{ArtefactKind, NewArtefact, SpooledObject};

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub(super) enum PictureError {
    /// The pixels, which the model had, cannot be read again.
    #[error("the image cannot be read again")]
    Image(#[source] crate::radiograph::RadiographError),
    /// It cannot be drawn or written.
    #[error("the picture cannot be made")]
    Report(#[source] ReportError),
}

/// Builds both, for a draft of `source`.
pub(super) fn pictures(
    source: &StoredObject,
    looked: &Saliency,
    objects: &[SpooledObject],
    draft: &Draft,
    node: &NodeIdentity,
) -> Result<[NewArtefact; 2], PictureError> {
    let image = render(source).map_err(PictureError::Image)?.image;
    let evidence = evidence(objects);
    let capture = capture::build(source, &image, looked, &evidence, draft, node)
        .map_err(PictureError::Report)?;
    let selection = key_object::build(source, &capture, &evidence, draft, node)
        .map_err(PictureError::Report)?;
    Ok([artefact(ArtefactKind::Capture, capture), artefact(ArtefactKind::KeyObject, selection)])
}
