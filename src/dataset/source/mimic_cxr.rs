//! MIMIC-CXR (Johnson et al., 2019): `files/p10/p10000032/s50414267.txt` is a report,
//! `files/p10/p10000032/s50414267/*.jpg` are its images, as MIMIC-CXR-JPG has them; views stand in
//! `mimic-cxr-2.0.0-metadata.csv`, the published split in `mimic-cxr-2.0.0-split.csv`, packed or not,
//! where they are there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::table::{self, Row, field};
use super::{Image, Pictures, Report, Text, entries, is};
use crate::dataset::error::DatasetError;
use crate::dataset::split::Split;

/// The reports; `None` where the layout is another.
pub(super) fn find(
    source: &Path,
    pictures: &Pictures<'_>,
) -> Result<Option<Vec<Report>>, DatasetError> {
    let Some(root) = root(source)? else { return Ok(None) };
    let images = self::root(pictures.root)?.unwrap_or_else(|| pictures.root.to_owned());
    let folders = [source, pictures.root];
    let (views, splits) = (views(&folders)?, splits(&folders)?);
    let mut reports = Vec::new();
    for group in entries(&root)?.into_iter().filter(|path| numbered(path, 'p')) {
        for patient in entries(&group)?.into_iter().filter(|path| numbered(path, 'p')) {
            let texts = entries(&patient)?.into_iter();
            for text in texts.filter(|path| is(path, "txt") && numbered(path, 's')) {
                let beside = text.with_extension("");
                let folder = beside.strip_prefix(&root).map_or(beside.clone(), |p| images.join(p));
                let found = if folder.is_dir() { entries(&folder)? } else { Vec::new() };
                let found = found.into_iter().filter(|path| is(path, "jpg"));
                let mut found: Vec<Image> =
                    found.map(|path| image(&path, pictures, &views)).collect();
                if found.is_empty() && pictures.text_only {
                    found.push(Image { file: pictures.named(&folder), view: None });
                }
                reports.push(Report {
                    split: splits.get(&name(&beside)).copied(),
                    id: name(&beside),
                    patient: name(&patient),
                    images: found,
                    text: Text::File(text),
                });
            }
        }
    }
    Ok(Some(reports))
}

fn image(path: &Path, pictures: &Pictures<'_>, views: &BTreeMap<String, String>) -> Image {
    Image { file: pictures.named(path), view: views.get(&name(&path.with_extension(""))).cloned() }
}

/// The folder of the folders p10 to p19.
fn root(source: &Path) -> Result<Option<PathBuf>, DatasetError> {
    for folder in [source.to_owned(), source.join("files")] {
        if folder.is_dir() && entries(&folder)?.iter().any(|p| p.is_dir() && numbered(p, 'p')) {
            return Ok(Some(folder));
        }
    }
    Ok(None)
}

/// By image: the view.
fn views(folders: &[&Path]) -> Result<BTreeMap<String, String>, DatasetError> {
    let Some(path) = place(folders, "metadata") else { return Ok(BTreeMap::new()) };
    let rows = table::rows(&path, &["dicom_id", "ViewPosition"])?;
    let known = rows.iter().filter(|row| !field(row, "ViewPosition").is_empty());
    Ok(known
        .map(|r| (field(r, "dicom_id").to_owned(), field(r, "ViewPosition").to_owned()))
        .collect())
}

/// By study: the split that the data set was published with.
fn splits(folders: &[&Path]) -> Result<BTreeMap<String, Split>, DatasetError> {
    let Some(path) = place(folders, "split") else { return Ok(BTreeMap::new()) };
    let rows = table::rows(&path, &["study_id", "split"])?;
    let one = |(at, row): (usize, &Row)| {
        let split = match field(row, "split") {
            "train" => Split::Train,
            "validate" => Split::Development,
            "test" => Split::Test,
            other => {
                let row = at + 1;
                let reason = format!("row {row}: split {other:?}; write train, validate or test");
                return Err(DatasetError::Malformed { path: path.clone(), reason });
            }
        };
        Ok((format!("s{}", field(row, "study_id").trim_start_matches('s')), split))
    };
    rows.iter().enumerate().map(one).collect()
}

/// One of the data set's tables, packed or not, where it is there.
fn place(folders: &[&Path], table: &str) -> Option<PathBuf> {
    let names = ["csv", "csv.gz"].map(|ending| format!("mimic-cxr-2.0.0-{table}.{ending}"));
    let mut places = folders.iter().flat_map(|f| names.iter().map(|name| f.join(name)));
    places.find(|path| path.is_file())
}

/// Whether a file is called by a letter and a number.
fn numbered(path: &Path, letter: char) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let number = stem.and_then(|stem| stem.strip_prefix(letter));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
