//! Where things lie in the spool's folder.
//!
//! ```text
//! node.lock              held by the one node that works here
//! jobs.sqlite            the job store (WAL beside it)
//! incoming/*.part        objects in the making; a crash leaves them, the next start removes them
//! studies/3f/3f…/        one folder a study, named by the digest of its UID
//!     <instance>-<content>.dcm       an object, named by the digests of its UID and its data set
//!     v<version>-<content>.report    an artefact of a draft
//! unreadable/            files that nobody can use; nothing is deleted that may have been promised
//! ```
//! A peer's UID is never part of a path.

use std::fs;
use std::path::{Path, PathBuf};

use super::job::ArtefactKind;
use crate::vocabulary::hexadecimal;
use sha2::{Digest, Sha256};

pub(super) const LOCK: &str = "node.lock";
pub(super) const DATABASE: &str = "jobs.sqlite";
pub(super) const INCOMING: &str = "incoming";
pub(super) const STUDIES: &str = "studies";

fn short(text: &str) -> String {
    let mut name = hexadecimal(&Sha256::digest(text.as_bytes()));
    name.truncate(32);
    name
}

fn study_folder(study: &str) -> String {
    let name = short(study);
    let shelf: String = name.chars().take(2).collect();
    format!("{STUDIES}/{shelf}/{name}")
}

/// An object's path below the spool's folder.
pub(super) fn object(study: &str, instance: &str, digest: &str) -> String {
    let content: String = digest.chars().take(32).collect();
    format!("{}/{}-{content}.dcm", study_folder(study), short(instance))
}

/// An artefact's path below the spool's folder.
pub(super) fn artefact(study: &str, version: u32, kind: &str, bytes: &[u8]) -> String {
    let mut content = hexadecimal(&Sha256::digest(bytes));
    content.truncate(32);
    format!("{}/v{version}-{content}.{kind}", study_folder(study))
}

/// Version and kind of an artefact, by its file's name.
pub(super) fn artefact_of(path: &Path) -> Option<(u32, ArtefactKind)> {
    let (version, _) = path.file_stem()?.to_str()?.strip_prefix('v')?.split_once('-')?;
    Some((version.parse().ok()?, path.extension()?.to_str()?.parse().ok()?))
}

/// Every file below `studies/`, as a path below the spool's folder.
pub(super) fn files(root: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for shelf in folders(&root.join(STUDIES))? {
        for study in folders(&shelf)? {
            for entry in fs::read_dir(&study)? {
                let path = entry?.path();
                if let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str) {
                    found.push((name.to_owned(), path.clone()));
                }
            }
        }
    }
    Ok(found)
}

fn folders(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}
