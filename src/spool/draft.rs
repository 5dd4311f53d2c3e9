//! What drafting is given and what it makes.

use std::path::PathBuf;

use super::caption::Caption;
use super::job::ArtefactKind;
use crate::vocabulary::{
    InstanceUid, PatientText, Priority, SeriesUid, SopClass, SopKind, TransferSyntax,
};

/// An object of a job.
#[derive(Debug, Clone)]
pub struct SpooledObject {
    /// Its SOP class.
    pub sop_class: SopClass,
    /// SOP Instance UID.
    pub instance: InstanceUid,
    /// Series Instance UID.
    pub series: SeriesUid,
    /// How its data set is encoded.
    pub transfer_syntax: TransferSyntax,
    /// The Part 10 file.
    pub path: PathBuf,
    /// Where the data set starts in the file, in bytes.
    pub data_set_offset: u64,
    /// SHA-256 of the data set, in hexadecimal.
    pub digest: String,
    /// Made by this node.
    pub own_object: bool,
}

impl SpooledObject {
    /// Whether it is a radiograph of its kind, sent by another maker.
    pub fn is_image(&self) -> bool {
        !self.own_object
            && matches!(self.sop_class.kind(), SopKind::Radiograph | SopKind::SecondaryCapture)
    }
}

/// A file that drafting made.
#[derive(Debug, Clone)]
pub struct Artefact {
    /// What it is.
    pub kind: ArtefactKind,
    /// Its SOP class.
    pub sop_class: SopClass,
    /// SOP Instance UID.
    pub instance: InstanceUid,
    /// Series Instance UID.
    pub series: SeriesUid,
    /// The Part 10 file.
    pub path: PathBuf,
    /// Where the data set starts in the file, in bytes.
    pub data_set_offset: u64,
}

/// The newest version of the study that was drafted before.
#[derive(Debug, Clone)]
pub struct PreviousDraft {
    /// Its version.
    pub version: u32,
    /// The image that it was drafted from, unless that is gone.
    pub image: Option<InstanceUid>,
    /// The digest of that image's data set.
    pub image_digest: Option<String>,
    /// What [`Drafted::draft`] was.
    pub draft: serde_json::Value,
    /// Its files.
    pub artefacts: Vec<Artefact>,
    /// Those of its reports that a destination has.
    pub sent: Vec<InstanceUid>,
}

/// A file to keep with a draft.
#[derive(Debug, Clone)]
pub struct NewArtefact {
    /// What it is.
    pub kind: ArtefactKind,
    /// Its SOP class.
    pub sop_class: SopClass,
    /// SOP Instance UID.
    pub instance: InstanceUid,
    /// Series Instance UID.
    pub series: SeriesUid,
    /// The Part 10 file, explicit VR little endian.
    pub bytes: Vec<u8>,
    /// Where the data set starts, in bytes.
    pub data_set_offset: u64,
}

/// What goes where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery {
    /// The destination's name in the configuration.
    pub destination: String,
    /// What it gets.
    pub object: NewDeliveryObject,
}

/// What a destination gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewDeliveryObject {
    /// The report of the job.
    Report,
    /// An image of the job.
    Image(InstanceUid),
    /// The picture of where the model looked, which the job must have.
    Capture,
    /// The selection that points at it, which the job must have.
    KeyObject,
}

impl NewDeliveryObject {
    /// The kind of file, where drafting made it.
    pub(super) fn kind(&self) -> Option<ArtefactKind> {
        match self {
            Self::Report => Some(ArtefactKind::Report),
            Self::Capture => Some(ArtefactKind::Capture),
            Self::KeyObject => Some(ArtefactKind::KeyObject),
            Self::Image(_) => None,
        }
    }
}

/// What drafting made.
#[derive(Debug, Clone)]
pub struct Drafted {
    /// The report's text.
    pub text: PatientText,
    /// The image that it was drafted from.
    pub image: InstanceUid,
    /// Who and what the study is by that image; `None` leaves what is known.
    pub caption: Option<Caption>,
    /// How soon the study should be read.
    pub priority: Priority,
    /// What the drafting stage wants back later; opaque here.
    pub draft: serde_json::Value,
    /// How long each step took, in seconds; opaque here.
    pub seconds: serde_json::Value,
    /// The files.
    pub artefacts: Vec<NewArtefact>,
    /// Where they go, and which images beside them.
    pub deliveries: Vec<NewDelivery>,
}
