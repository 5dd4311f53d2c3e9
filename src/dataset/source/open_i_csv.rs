//! Open-i's Indiana collection as CSV: `indiana_reports.csv` (uid, findings, impression) and
//! `indiana_projections.csv` (uid, filename, projection), the images anywhere below.

use std::collections::BTreeMap;
use std::path::Path;

use super::table::{self, field};
use super::{Image, Pictures, Report, Text};
use crate::dataset::error::DatasetError;
use crate::dataset::sections::Sections;

/// The reports; `None` where the layout is another.
pub(super) fn find(
    source: &Path,
    pictures: &Pictures<'_>,
) -> Result<Option<Vec<Report>>, DatasetError> {
    let path = source.join("indiana_reports.csv");
    if !path.is_file() {
        return Ok(None);
    }
    let known = pictures.by_stem()?;
    let projections = source.join("indiana_projections.csv");
    let mut images = BTreeMap::<String, Vec<Image>>::new();
    for row in table::rows(&projections, &["uid", "filename", "projection"])? {
        let file = field(&row, "filename");
        let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        let view = Some(field(&row, "projection").to_owned()).filter(|view| !view.is_empty());
        if let Some(file) = pictures.choose(stem, &known) {
            images.entry(field(&row, "uid").to_owned()).or_default().push(Image { file, view });
        }
    }
    let rows = table::rows(&path, &["uid", "findings", "impression"])?;
    let report = |row: &table::Row| {
        let uid = field(row, "uid");
        let id = format!("CXR{uid}");
        let text = Text::Parted(Sections {
            findings: field(row, "findings").to_owned(),
            impression: field(row, "impression").to_owned(),
        });
        let images = images.get(uid).cloned().unwrap_or_default();
        Report { patient: id.clone(), id, images, split: None, text }
    };
    Ok(Some(rows.iter().map(report).collect()))
}
