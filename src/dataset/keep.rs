//! Which reports serve for training, by the paper's rules.

use serde::Serialize;

use super::sections::Sections;

/// Findings of fewer words are dropped.
pub const LEAST_FINDINGS: usize = 10;
/// Impressions of fewer words are dropped.
pub const LEAST_IMPRESSION: usize = 2;

/// Why a report is not used; the first that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Drop {
    /// It has no findings.
    NoFindings,
    /// It has no impression.
    NoImpression,
    /// Its findings have fewer than [`LEAST_FINDINGS`] words.
    ShortFindings,
    /// Its impression has fewer than [`LEAST_IMPRESSION`] words.
    ShortImpression,
    /// It has no image that is there.
    NoImage,
    /// Cleaned, nothing is left of its findings.
    NothingLeft,
}

impl Drop {
    /// All, in the order in which they are asked.
    pub const ALL: [Self; 6] = [
        Self::NoFindings,
        Self::NoImpression,
        Self::ShortFindings,
        Self::ShortImpression,
        Self::NoImage,
        Self::NothingLeft,
    ];
}

/// Whether a report serves; `None`: it does. `images`: how many of its images are there.
pub fn unfit(sections: &Sections, images: usize) -> Option<Drop> {
    let words = |text: &str| text.split_whitespace().count();
    match (words(&sections.findings), words(&sections.impression)) {
        (0, _) => Some(Drop::NoFindings),
        (_, 0) => Some(Drop::NoImpression),
        (few, _) if few < LEAST_FINDINGS => Some(Drop::ShortFindings),
        (_, few) if few < LEAST_IMPRESSION => Some(Drop::ShortImpression),
        _ if images == 0 => Some(Drop::NoImage),
        _ => None,
    }
}
