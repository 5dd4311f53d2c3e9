//! The reports of one draft: the same tree in each SR class that a destination may want.

use crate::object::StoredObject;
use crate::report::sr::{self, SrClass};
use crate::report::{Draft, Evidence, NodeIdentity, ObjectFile, Predecessor, ReportError};
use crate::spool::{Artefact, ArtefactKind, NewArtefact, SpooledObject};
use crate::vocabulary::{StudyUid, Uid};

/// The classes in the order in which destinations are offered them.
const CLASSES: [SrClass; 3] = [SrClass::Enhanced, SrClass::BasicText, SrClass::Comprehensive];

/// Builds the report of `draft` in every class.
///
/// # Errors
/// The source image lacks what a report must copy from it.
pub(crate) fn reports(
    source: &StoredObject,
    objects: &[SpooledObject],
    draft: &Draft,
    node: &NodeIdentity,
) -> Result<Vec<NewArtefact>, ReportError> {
    let evidence = evidence(objects);
    CLASSES
        .into_iter()
        .map(|class| {
            let file = sr::build(class, source, &evidence, draft, node)?;
            Ok(artefact(ArtefactKind::Report, file))
        })
        .collect()
}

/// The reports among a version's files, as those that the next one stands in for.
pub(crate) fn predecessors(files: &[Artefact], study: &StudyUid) -> Vec<Predecessor> {
    let reports = files.iter().filter(|file| file.kind == ArtefactKind::Report);
    reports
        .filter_map(|file| {
            Some(Predecessor {
                sop_class: file.sop_class.uid().parse().ok()?,
                instance: file.instance.clone(),
                study: study.clone(),
                series: file.series.clone(),
            })
        })
        .collect()
}

/// An object as the spool keeps it.
pub(super) fn artefact(kind: ArtefactKind, file: ObjectFile) -> NewArtefact {
    NewArtefact {
        kind,
        sop_class: file.sop_class,
        instance: file.instance,
        series: file.series,
        bytes: file.bytes,
        data_set_offset: file.data_set_offset,
    }
}

/// Every image of the job that another maker sent.
pub(super) fn evidence(objects: &[SpooledObject]) -> Vec<Evidence> {
    let images = objects.iter().filter(|object| object.is_image());
    images
        .filter_map(|object| {
            Some(Evidence {
                sop_class: object.sop_class.uid().parse::<Uid>().ok()?,
                instance: object.instance.clone(),
                series: object.series.clone(),
                digest: object.digest.clone(),
            })
        })
        .collect()
}
