//! pynetdicom as a modality.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::objects::root;
use super::process;

/// Python with pynetdicom; `THORASCRIBE_TEST_PYTHON` names another than `python3`.
pub(crate) fn python() -> Command {
    let program = std::env::var("THORASCRIBE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let found = Command::new(&program).args(["-c", "import pydicom, pynetdicom"]).output();
    assert!(
        found.is_ok_and(|output| output.status.success()),
        "the tests need {program} with the Python packages pydicom and pynetdicom"
    );
    Command::new(program)
}

/// Sends files over parallel associations: the DIMSE status by SOP instance UID, none where no
/// answer came.
pub(crate) fn send(
    port: u16,
    associations: usize,
    files: &[&Path],
) -> BTreeMap<String, Option<u64>> {
    let mut command = python();
    command.arg(root().join("tests/all/support/modality.py"));
    command.args(["127.0.0.1", &port.to_string(), "THORASCRIBE", &associations.to_string()]);
    let output = process::run(command.args(files));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| {
            let answer: Value = serde_json::from_str(line).unwrap();
            (answer["instance"].as_str().unwrap().to_owned(), answer["status"].as_u64())
        })
        .collect()
}
