//! Files that survive a power cut: write, fsync, rename, fsync the folder.
//!
//! The order matters: a name must never lead to bytes that are not on the disk, and a name is on
//! the disk only once its folder is. Each step is traced, so that a test can hold the order.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use tempfile::NamedTempFile;

/// Makes a folder (0700) and the missing ones above it, each name synced in its parent.
pub(super) fn folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        folder(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
        Some(_) => sync_folder(Path::new(".")),
        None => Ok(()),
    }
}

/// Keeps everybody else out of a folder that was there before.
pub(super) fn keep_private(path: &Path) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
        tracing::warn!(
            folder = %path.display(),
            before = format!("{mode:o}"),
            "others could look into the spool: its folder has mode 700 now"
        );
    }
    Ok(())
}

/// Puts the names of a folder on the disk.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// A file without a lasting name whose bytes are on the disk.
pub(super) struct Synced(NamedTempFile);

/// Puts a file's bytes on the disk.
pub(super) fn sync(file: NamedTempFile) -> io::Result<Synced> {
    file.as_file().sync_all()?;
    tracing::trace!("file synced");
    Ok(Synced(file))
}

/// Gives a file its lasting name, replacing what bore it.
pub(super) fn place(file: Synced, path: &Path) -> io::Result<()> {
    let parent = path.parent().ok_or_else(|| io::Error::other("a file needs a folder"))?;
    folder(parent)?;
    file.0.persist(path).map_err(|e| e.error)?;
    tracing::trace!("file named");
    sync_folder(parent)?;
    tracing::trace!("folder synced");
    Ok(())
}

/// Writes a whole file (0600); after a crash it has all of its bytes or no name.
pub(super) fn write(path: &Path, scratch: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = part(scratch)?;
    file.write_all(bytes)?;
    place(sync(file)?, path)
}

/// A file in the making (0600), gone when dropped.
pub(super) fn part(scratch: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix("")
        .suffix(".part")
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(scratch)
}

/// Deletes a file; one that is gone already is no error.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Deletes a file and the folders above it that are empty then, up to `root`.
pub(super) fn remove_below(root: &Path, path: &Path) -> io::Result<()> {
    remove(path)?;
    let folders = path.ancestors().skip(1).take_while(|folder| *folder != root);
    for folder in folders {
        // Fails for the first that still holds something.
        if fs::remove_dir(folder).is_err() {
            break;
        }
    }
    Ok(())
}
