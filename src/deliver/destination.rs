//! Where objects go, and in which classes a destination takes its reports.

use crate::config::{self, SrClassSetting};
use crate::dimse::requestor::Remote;
use crate::dimse::tls::Client;
use crate::spool::SendableFile;
use crate::vocabulary::{AeTitle, SopClass};

/// A peer that receives reports, images, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Its name in the configuration, and in the queue.
    pub name: String,
    /// Its address, and the AE title that the node calls it by.
    pub remote: Remote,
    /// The classes in which it is offered a report, the preferred one first.
    pub report_classes: Vec<SopClass>,
    /// Whether it is asked to commit to what it was sent.
    pub commitment: bool,
}

impl Destination {
    /// The destination that a configuration describes, called by the node `calling`; over TLS where
    /// `tls` was read for it.
    pub fn new(configured: &config::Destination, calling: &AeTitle, tls: Option<Client>) -> Self {
        Self {
            name: configured.name.clone(),
            remote: Remote {
                calling: calling.clone(),
                called: configured.ae_title.clone(),
                host: configured.host.clone(),
                port: configured.port,
                tls,
            },
            report_classes: configured.sr_classes.iter().map(|class| sop_class(*class)).collect(),
            commitment: configured.commitment,
        }
    }

    /// The files of a report that it may be offered, in the order of its preference.
    pub(super) fn wanted(&self, files: &[SendableFile]) -> Vec<SendableFile> {
        let of_class = |class: &SopClass| files.iter().find(|file| file.sop_class == *class);
        self.report_classes.iter().filter_map(of_class).cloned().collect()
    }
}

fn sop_class(setting: SrClassSetting) -> SopClass {
    match setting {
        SrClassSetting::Enhanced => SopClass::EnhancedSr,
        SrClassSetting::Basic => SopClass::BasicTextSr,
        SrClassSetting::Comprehensive => SopClass::ComprehensiveSr,
    }
}
