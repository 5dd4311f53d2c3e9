//! Files in TOML: the configuration, and the manifest of a model directory.

use std::path::Path;

use thorascribe::config::{Environment, show};
use thorascribe::model::Manifest;
use thorascribe::triage::{Facts, Triage};

use super::scratch::with_file;

/// A configuration; and, since it is TOML too, a manifest.
pub fn settings(bytes: &[u8]) {
    let environment = Environment::empty().with_spool(Path::new("/nowhere"));
    match with_file(bytes, |path| show(Some(path), &environment)) {
        Err(problems) => assert!(!problems.to_string().is_empty()),
        Ok((config, shown)) => {
            assert!(!shown.is_empty());
            match Triage::new(&config) {
                Err(problems) => assert!(!problems.to_string().is_empty()),
                Ok(triage) => {
                    let verdict = triage.judge(&Facts::default());
                    assert_eq!(verdict.rules.len(), config.rules.len());
                }
            }
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Manifest::parse(text) {
        Err(problem) => assert!(!problem.is_empty()),
        Ok(manifest) => {
            let again = manifest.to_text().expect("a manifest can be written");
            let read = Manifest::parse(&again).expect("and read again");
            assert_eq!(read.to_text(), Ok(again));
        }
    }
}
