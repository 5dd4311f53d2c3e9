//! Open-i's Indiana collection as the National Library of Medicine gives it: one XML document a
//! report (`<AbstractText Label="FINDINGS">`, `<parentImage id="CXR1_1_IM-0001-3001">`), the images
//! as PNG of those names anywhere below.

use std::path::{Path, PathBuf};

use roxmltree::Document;

use super::{Image, Pictures, Report, Text, files, is, read_text};
use crate::dataset::error::DatasetError;
use crate::dataset::sections::Sections;

/// The reports; `None` where the layout is another.
pub(super) fn find(
    source: &Path,
    pictures: &Pictures<'_>,
) -> Result<Option<Vec<Report>>, DatasetError> {
    let documents: Vec<PathBuf> = files(source)?.into_iter().filter(|p| is(p, "xml")).collect();
    if documents.is_empty() {
        return Ok(None);
    }
    let known = pictures.by_stem()?;
    let mut reports = Vec::new();
    for path in documents {
        let text = read_text(&path)?;
        let document = parse(&text, &path)?;
        let named = document.descendants().filter(|node| node.has_tag_name("parentImage"));
        let ids = named.filter_map(|node| node.attribute("id"));
        let images = ids
            .filter_map(|id| pictures.choose(id, &known))
            .map(|file| Image { file, view: None })
            .collect();
        let number = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let id = format!("CXR{number}");
        let (patient, text) = (id.clone(), Text::Xml(path));
        reports.push(Report { patient, id, images, split: None, text });
    }
    // By number, as people count them.
    reports.sort_by_key(|r| (r.id.trim_start_matches("CXR").parse::<u64>().ok(), r.id.clone()));
    Ok(Some(reports))
}

/// Findings and impression of a document.
pub(super) fn parts(path: &Path) -> Result<Sections, DatasetError> {
    let text = read_text(path)?;
    let document = parse(&text, path)?;
    let section = |label: &str| {
        let nodes = document.descendants().filter(|node| {
            node.has_tag_name("AbstractText")
                && node.attribute("Label").is_some_and(|l| l.eq_ignore_ascii_case(label))
        });
        nodes.filter_map(|node| node.text()).map(str::trim).collect::<Vec<_>>().join(" ")
    };
    Ok(Sections { findings: section("FINDINGS"), impression: section("IMPRESSION") })
}

/// Parses a document; entities of its own are refused, so none can grow.
fn parse<'a>(text: &'a str, path: &Path) -> Result<Document<'a>, DatasetError> {
    Document::parse(text).map_err(|error| DatasetError::Malformed {
        path: path.to_owned(),
        reason: format!("no XML document: {error}"),
    })
}
