//! The public validators, each with what it has against a report.

use std::path::Path;
use std::process::Command;

use crate::support::orthanc::standard_errors;
use crate::support::{dcmtk, process};

/// dciodvfy's errors.
pub(crate) fn dciodvfy(report: &Path) -> Vec<String> {
    standard_errors(report)
}

/// dsrdump's errors, when it refuses the report.
pub(crate) fn dsrdump(report: &Path) -> Vec<String> {
    let output = process::run(Command::new(dcmtk::program("dsrdump")).arg(report));
    if output.status.success() {
        return Vec::new();
    }
    process::text(&output)
        .lines()
        .filter(|line| line.starts_with(['E', 'F']))
        .map(str::to_owned)
        .collect()
}

/// What dcentvfy finds inconsistent between a report and the images of its study.
pub(crate) fn dcentvfy(files: &[&Path]) -> Vec<String> {
    let program = process::find("dcentvfy", "dicom3tools (Debian)", Path::is_file);
    let output = process::run(Command::new(program).args(files));
    process::text(&output)
        .lines()
        .filter(|line| line.starts_with("Error"))
        .map(str::to_owned)
        .collect()
}
