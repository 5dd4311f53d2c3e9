//! What a sender is told when an object is not kept (PS3.4 Table B.2-1).

use crate::dimse::Status;
use crate::dimse::c_store::StoreReply;
use crate::dimse::data::DataError;
use crate::object::ObjectError;
use crate::spool::SpoolError;

/// Why an object was not kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreFailure {
    /// Its data set did not come whole.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Its file meta information cannot be written.
    #[error("file meta information: {0}")]
    Meta(#[from] dicom_object::meta::Error),
    /// Its structure is broken, or it says not who it is.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The data set is another object than the command says.
    #[error("{0} of data set and command differ")]
    Mismatch(&'static str),
    /// The spool cannot keep it.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

impl StoreFailure {
    /// The status that says so.
    pub fn status(&self) -> Status {
        match self {
            Self::Mismatch(_) => Status::MISMATCH,
            // Of a data set that was cut off nobody is left to read the status.
            Self::Data(DataError::Cut) | Self::Meta(_) | Self::Object(ObjectError::Io { .. }) => {
                Status::PROCESSING_FAILURE
            }
            Self::Object(_) => Status::CANNOT_UNDERSTAND,
            // 0xA700 says that the fault is here and that the sender may try again.
            Self::Data(DataError::TooLarge(_)) | Self::Spool(_) => Status::OUT_OF_RESOURCES,
        }
    }

    /// A word for metrics.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Data(DataError::Cut) => "cut",
            Self::Data(DataError::TooLarge(_)) => "too_large",
            Self::Mismatch(_) => "mismatch",
            Self::Object(ObjectError::Io { .. }) | Self::Meta(_) => "failed",
            Self::Object(_) => "not_understood",
            Self::Spool(SpoolError::Full { .. }) => "no_space",
            Self::Spool(_) => "failed",
        }
    }

    /// Status and reason for the sender. The node's own troubles stay in its log.
    pub fn reply(&self) -> StoreReply {
        let comment = match self {
            Self::Spool(SpoolError::Full { .. }) => Some("no space left".to_owned()),
            Self::Spool(_) | Self::Meta(_) | Self::Object(ObjectError::Io { .. }) => None,
            Self::Data(_) | Self::Object(_) | Self::Mismatch(_) => Some(self.to_string()),
        };
        StoreReply { status: self.status(), comment }
    }
}
