//! The project's own check of its reports, for what the public validators do not see: the rows of
//! TID 2000 that must be there, relationships, meanings of codes, evidence, flags, text.
//!
//! It holds an object against the one form that this program builds, so it is stricter than the
//! standard: what it lets pass is lawful, what it does not is either unlawful or not ours.

mod attributes;
mod content;
mod source;
mod text;

use std::fmt;

pub use source::check_against;

use crate::object::StoredObject;

/// One thing that is wrong with a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where: an attribute's name or the path of a content item (`1.11.1`).
    pub place: String,
    /// What is wrong there.
    pub problem: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

/// Violations in the order found.
#[derive(Debug, Default)]
struct Findings(Vec<Violation>);

impl Findings {
    fn add(&mut self, place: impl Into<String>, problem: impl Into<String>) {
        self.0.push(Violation { place: place.into(), problem: problem.into() });
    }
}

/// Everything in a report that is not as this program builds it; nothing for a good one.
pub fn check(report: &StoredObject) -> Vec<Violation> {
    let mut findings = Findings::default();
    attributes::check(report, &mut findings);
    text::check(report, &mut findings);
    content::check(report, &mut findings);
    findings.0
}
