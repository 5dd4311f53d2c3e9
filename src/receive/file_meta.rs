//! The head of a file: preamble and file meta information (PS3.10 §7.1).

use dicom_object::FileMetaTableBuilder;

use crate::dimse::c_store::StoreRequest;
use crate::dimse::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME};

/// The bytes before the data set of a received object: 128 zeros (nothing executable), `DICM`,
/// and the meta group, all of it ASCII.
pub fn file_meta(request: &StoreRequest) -> Result<Vec<u8>, dicom_object::meta::Error> {
    let table = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(request.class.uid())
        .media_storage_sop_instance_uid(request.instance.as_str())
        .transfer_syntax(request.syntax.uid())
        .implementation_class_uid(IMPLEMENTATION_CLASS_UID)
        .implementation_version_name(IMPLEMENTATION_VERSION_NAME)
        .source_application_entity_title(request.peer.calling.as_str())
        .build()?;
    let mut bytes = vec![0; 128];
    bytes.extend_from_slice(b"DICM");
    table.write(&mut bytes)?;
    Ok(bytes)
}
