//! Making a model directory: whole, or not there.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::manifest::{MANIFEST, Manifest};
use crate::model::error::ModelError;

/// An output folder must be empty or absent.
pub(super) fn refuse_occupied(out: &Path) -> Result<(), ModelError> {
    match fs::read_dir(out) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(ModelError::Occupied { path: out.to_owned() }),
        },
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(ModelError::Read { path: out.to_owned(), source }),
    }
}

/// Writes into a folder beside `out` and renames it, so that `out` is whole or not there. `fill`
/// writes the files into the folder that it is given, and says each one's SHA-256, hexadecimal.
pub(super) fn write_folder(
    manifest: &mut Manifest,
    out: &Path,
    fill: impl FnOnce(&Path) -> Result<BTreeMap<String, String>, ModelError>,
) -> Result<(), ModelError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ModelError::Write { path, source }
    };
    let parent = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(failed(parent))?;
    let folder = tempfile::Builder::new().prefix(".model-").tempdir_in(parent);
    let folder = folder.map_err(failed(parent))?;
    manifest.files = fill(folder.path())?;
    let text = manifest.to_text().map_err(|e| ModelError::invalid(out.join(MANIFEST), e))?;
    let place = folder.path().join(MANIFEST);
    fs::write(&place, text).map_err(failed(&place))?;
    readable(folder.path()).map_err(failed(folder.path()))?;
    fs::rename(folder.path(), out).map_err(failed(out))?;
    // Under its new name it is no longer a temporary folder.
    drop(folder.keep());
    Ok(())
}

/// A temporary folder is its owner's alone; a model is for whoever may read its parent.
fn readable(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    for entry in fs::read_dir(folder)? {
        fs::set_permissions(entry?.path(), fs::Permissions::from_mode(0o644))?;
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
}
