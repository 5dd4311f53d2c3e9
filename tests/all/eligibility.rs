//! Whom and how a radiograph shows, where the header says it in several places or in few.

use thorascribe::object::StoredObject;
use thorascribe::radiograph::eligible::check_age;
use thorascribe::radiograph::{NotEligible, View, eligibility};
use thorascribe::vocabulary::TransferSyntax;

use super::support::data_set::{DataSet, Tag};

const VIEW_POSITION: Tag = (0x18, 0x5101);
const SERIES_DESCRIPTION: Tag = (0x08, 0x103E);
const STUDY_DESCRIPTION: Tag = (0x08, 0x1030);
const BIRTH_DATE: Tag = (0x10, 0x30);

fn object(data: &DataSet) -> StoredObject {
    StoredObject::from_data_set(data.bytes(), TransferSyntax::ExplicitLittle).unwrap()
}

#[test]
fn the_view_is_what_the_image_states_before_what_its_study_is_called() {
    let view = |position: &str, series: &str| {
        let mut data = DataSet::default();
        data.text(VIEW_POSITION, "CS", position).text(SERIES_DESCRIPTION, "LO", series);
        data.text(STUDY_DESCRIPTION, "LO", "XR CHEST PA");
        eligibility(&object(&data), false).unwrap().view
    };
    for other in ["LLD", "RLD", "RLO", "LLO", "LAO", "RAO"] {
        assert_eq!(view(other, "CHEST PA"), View::Unknown, "{other}");
    }
    assert_eq!(view("", "left lateral decubitus"), View::Unknown);
    assert_eq!(view("", "Thorax seitl."), View::Lateral);
    assert_eq!(view("", "Thorax a.p."), View::Ap);
    assert_eq!(view("", "Thorax"), View::Pa);
    assert_eq!(view("ERECT", ""), View::Pa, "no view");
}

#[test]
fn a_child_is_known_by_its_birth_date_and_any_date_of_the_image() {
    let judged = |tag: Tag, vr, value: &str| {
        let mut data = DataSet::default();
        data.text(BIRTH_DATE, "DA", "20100601").text(tag, vr, value);
        check_age(&object(&data), Some(18))
    };
    for (tag, vr, value) in [
        ((0x08, 0x2A), "DT", "20240301101010.0"),
        ((0x08, 0x20), "DA", "20240301"),
        ((0x08, 0x21), "DA", "20240301"),
    ] {
        let refused = judged(tag, vr, value);
        assert!(matches!(refused, Err(NotEligible::TooYoung { years: 13, .. })), "{tag:?}");
    }
    judged((0x08, 0x20), "DA", "20300601").unwrap();
    // Without any date: whoever is a child today was one then.
    let born = |year: i16| {
        let mut data = DataSet::default();
        data.text(BIRTH_DATE, "DA", &format!("{year}0101"));
        check_age(&object(&data), Some(18))
    };
    let this_year = jiff::Timestamp::now().to_zoned_datetime(jiff::tz::TimeZone::UTC).year();
    born(this_year - 10).unwrap_err();
    born(this_year - 30).unwrap();
}
