//! How old the patient was.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::object::StoredObject;

/// The patient's age in years: by PatientAge (`034Y`, `006M`, `012W`, `004D`; PS3.5 6.2, AS), else
/// from the birth date to the day the image was taken, or to the study's or the series' date. `None`
/// where the object says neither.
pub fn age_years(object: &StoredObject) -> Option<f64> {
    let stated = object.value(tags::PATIENT_AGE).and_then(|text| stated_years(&text));
    stated.or_else(|| {
        let birth = born(object)?;
        let taken = DATES.into_iter().find_map(|tag| day(object.value(tag)?.get(..8)?))?;
        (taken >= birth).then_some(taken - birth)
    })
}

/// The most years that the patient can have had: [`age_years`], else from the birth date to today.
pub fn age_at_most(object: &StoredObject) -> Option<f64> {
    age_years(object).or_else(|| {
        let today = Timestamp::now().to_zoned_datetime(TimeZone::system()).date();
        Some(years(today) - born(object)?).filter(|age| *age >= 0.0)
    })
}

/// When an image was taken, the nearest to it first; of a date with a time the first eight
/// characters.
const DATES: [Tag; 5] = [
    tags::ACQUISITION_DATE_TIME,
    tags::ACQUISITION_DATE,
    tags::CONTENT_DATE,
    tags::STUDY_DATE,
    tags::SERIES_DATE,
];

fn born(object: &StoredObject) -> Option<f64> {
    day(&object.value(tags::PATIENT_BIRTH_DATE)?)
}

fn stated_years(text: &str) -> Option<f64> {
    let text = text.trim();
    let number: f64 = text.get(..text.len().checked_sub(1)?)?.parse::<u16>().ok()?.into();
    match text.as_bytes().last()? {
        b'Y' => Some(number),
        b'M' => Some(number / 12.0),
        b'W' => Some(number * 7.0 / 365.25),
        b'D' => Some(number / 365.25),
        _ => None,
    }
}

/// A date `YYYYMMDD` in years, days as parts of them: good to a day or two.
fn day(text: &str) -> Option<f64> {
    Some(years(jiff::civil::Date::strptime("%Y%m%d", text.trim()).ok()?))
}

fn years(date: jiff::civil::Date) -> f64 {
    f64::from(date.year()) + f64::from(date.day_of_year() - 1) / 365.25
}

#[cfg(test)]
mod tests {
    use super::{day, stated_years};

    #[test]
    fn ages_are_read_in_every_unit() {
        assert_eq!(stated_years("034Y"), Some(34.0));
        assert_eq!(stated_years("006M"), Some(0.5));
        assert!(stated_years("003W").is_some_and(|years| years < 0.06));
        assert!(stated_years("004D").is_some_and(|years| years < 0.02));
        for wrong in ["", "Y", "34", "abcY", "034X", "-12Y", "é"] {
            assert_eq!(stated_years(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn dates_are_a_year_apart_on_the_birthday() {
        let years = day("20260301").unwrap() - day("20080301").unwrap();
        assert!((years - 18.0).abs() < 0.01, "{years}");
        assert_eq!(day("2026-03-01"), None);
        assert_eq!(day("20261301"), None);
    }
}
