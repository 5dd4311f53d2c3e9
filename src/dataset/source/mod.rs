//! The archives that reports and images are read from, a file a layout.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{DatasetError, failed};
use super::sections::{Sections, sections};
use super::split::Split;

mod dicom;
mod mimic_cxr;
mod open_i_csv;
mod open_i_xml;
mod table;

/// How an archive lies on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// MIMIC-CXR: reports as text files by patient and study, images as JPEG in a folder beside.
    MimicCxr,
    /// Open-i's Indiana collection as the National Library of Medicine gives it: XML and PNG.
    OpenIXml,
    /// The same as two CSV tables and a folder of PNG.
    OpenICsv,
    /// DICOM images, with reports as SR objects or as text files named by study or accession number.
    Dicom,
}

impl Layout {
    /// What the paper kept of the archive, for comparison: reports.
    pub const fn paper(self) -> Option<usize> {
        match self {
            Self::MimicCxr => Some(114_690),
            Self::OpenIXml | Self::OpenICsv => Some(3_403),
            Self::Dicom => None,
        }
    }
}

/// An image of a report.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Image {
    /// Its file, relative to the source where it lies in it.
    pub file: PathBuf,
    /// The view, where the archive tells it.
    pub view: Option<String>,
}

/// Where a report's text is.
#[derive(Debug, Clone)]
pub(super) enum Text {
    /// Already parted.
    Parted(Sections),
    /// A text file.
    File(PathBuf),
    /// An Open-i document.
    Xml(PathBuf),
    /// Free text at hand.
    Free(String),
}

/// A report and its images.
#[derive(Debug, Clone)]
pub struct Report {
    /// What the archive calls it.
    pub id: String,
    /// Whose it is; for reports without a patient, the report itself.
    pub patient: String,
    /// The images that are there.
    pub images: Vec<Image>,
    /// The split that the archive itself puts it in, where it does.
    pub split: Option<Split>,
    pub(super) text: Text,
}

impl Report {
    /// Reads and parts the text.
    pub fn sections(&self) -> Result<Sections, DatasetError> {
        match &self.text {
            Text::Parted(parts) => Ok(parts.clone()),
            Text::Free(text) => sections(text),
            Text::File(path) => sections(&read_text(path)?),
            Text::Xml(path) => open_i_xml::parts(path),
        }
    }
}

/// The reports of an archive, in a fixed order. Images lie in `images` where that is given, else in
/// the archive itself. With `text_only` an image counts as there when the archive names it.
pub fn find(
    source: &Path,
    images: Option<&Path>,
    text_only: bool,
) -> Result<(Layout, Vec<Report>), DatasetError> {
    let pictures = Pictures { source, root: images.unwrap_or(source), text_only };
    if let Some(reports) = mimic_cxr::find(source, &pictures)? {
        return Ok((Layout::MimicCxr, reports));
    }
    if let Some(reports) = open_i_csv::find(source, &pictures)? {
        return Ok((Layout::OpenICsv, reports));
    }
    if let Some(reports) = open_i_xml::find(source, &pictures)? {
        return Ok((Layout::OpenIXml, reports));
    }
    if let Some(reports) = dicom::find(source)? {
        return Ok((Layout::Dicom, reports));
    }
    Err(DatasetError::Unknown { path: source.to_owned() })
}

/// Where pictures lie.
struct Pictures<'a> {
    source: &'a Path,
    root: &'a Path,
    text_only: bool,
}

impl Pictures<'_> {
    /// A path as the data set names it.
    fn named(&self, path: &Path) -> PathBuf {
        path.strip_prefix(self.source).unwrap_or(path).to_owned()
    }

    /// All PNG and JPEG files by name, without their ending.
    fn by_stem(&self) -> Result<BTreeMap<String, PathBuf>, DatasetError> {
        let picture = |path: &PathBuf| is(path, "png") || is(path, "jpg") || is(path, "jpeg");
        let found = files(self.root)?.into_iter().filter(picture);
        let named = found.filter_map(|path| {
            let stem = path.file_stem()?.to_str()?.to_owned();
            Some((stem, self.named(&path)))
        });
        Ok(named.collect())
    }

    /// The file of a name without its ending, if it is there or need not be.
    fn choose(&self, stem: &str, known: &BTreeMap<String, PathBuf>) -> Option<PathBuf> {
        let absent = || self.text_only.then(|| PathBuf::from(format!("{stem}.png")));
        known.get(stem).cloned().or_else(absent)
    }
}

/// Whether a file's name has this ending.
fn is(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(ending))
}

/// What a folder holds, sorted by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let read = std::fs::read_dir(folder).map_err(failed("read the folder", folder))?;
    let mut paths = read
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed("read the folder", folder))?;
    paths.sort();
    Ok(paths)
}

/// All files below a folder, sorted; links are not followed.
fn files(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for path in entries(&folder)? {
            let kind = path.symlink_metadata().map_err(failed("read it", &path))?.file_type();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A text file; what is no UTF-8 in it is replaced.
fn read_text(path: &Path) -> Result<String, DatasetError> {
    let bytes = std::fs::read(path).map_err(failed("read it", path))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
