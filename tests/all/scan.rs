//! The scan: the only door to a peer's bytes. Lawful objects pass whole, hostile ones are errors.

use thorascribe::object::StoredObject;

use super::support::fixtures;

#[test]
fn every_fixture_passes_with_its_uids() {
    for fixture in fixtures() {
        let object =
            StoredObject::open(&fixture.path()).unwrap_or_else(|e| panic!("{}: {e}", fixture.file));
        assert_eq!(object.transfer_syntax().uid(), fixture.transfer_syntax);
        assert_eq!(object.sop_class_uid().as_str(), fixture.sop_class);
        assert_eq!(object.instance_uid().as_str(), fixture.instance);
        assert_eq!(object.study_uid().as_str(), fixture.study);
        assert_eq!(object.series_uid().as_str(), fixture.series);
        object.to_dicom_object().unwrap_or_else(|e| panic!("{}: {e}", fixture.file));
    }
}
