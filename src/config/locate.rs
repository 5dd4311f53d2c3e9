//! Where the file and the spool are (XDG Base Directory Specification, systemd.exec(5)).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::error::{ConfigErrors, Place, Problem};

const NAME: &str = "thorascribe/thorascribe.toml";

/// The file that the configuration is read from: a named one, which must exist, else the first that
/// is in one of the usual places; `None`: there is none, and the defaults hold.
///
/// # Errors
/// A usual place that cannot be looked at: defaults in place of a file that may be there would let
/// anybody send.
pub fn file(
    named: Option<&Path>,
    environment: &Environment,
) -> Result<Option<PathBuf>, ConfigErrors> {
    let named = named.map(Path::to_owned).or_else(|| environment.file());
    if named.is_some() {
        return Ok(named);
    }
    let usual = [xdg(environment, "XDG_CONFIG_HOME", ".config"), Some(PathBuf::from("/etc"))];
    let mut unseen = None;
    for file in usual.into_iter().flatten().map(|folder| folder.join(NAME)) {
        // A link that leads nowhere is there too, and reading it says so.
        match std::fs::symlink_metadata(&file) {
            Ok(_) => return Ok(Some(file)),
            // Below what is no folder, as a HOME of /dev/null, there is nothing either.
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            // A service may be kept out of its user's home, and have its file in /etc.
            Err(error) => drop(unseen.get_or_insert_with(|| hidden(file, &error))),
        }
    }
    unseen.map_or(Ok(None), Err)
}

fn hidden(file: PathBuf, error: &std::io::Error) -> ConfigErrors {
    ConfigErrors::one(Problem {
        place: Place::WholeFile(file),
        key: String::new(),
        message: format!("cannot see whether the configuration is here: {error}"),
        remedy: "let the user of this program look into the folder, or name a file by --config or \
                 THORASCRIBE_CONFIG (/dev/null: the defaults)"
            .to_owned(),
    })
}

/// The folder of a spool that nobody named: the service's state folder, else the user's.
pub(super) fn spool(environment: &Environment) -> Option<PathBuf> {
    let service = environment.path("STATE_DIRECTORY").and_then(|folders| {
        // systemd joins several by colons.
        let first = folders.to_str()?.split(':').next()?;
        Some(PathBuf::from(first))
    });
    let user = || Some(xdg(environment, "XDG_STATE_HOME", ".local/state")?.join("thorascribe"));
    service.or_else(user)
}

/// A folder of the specification; a relative one is ignored, as it demands.
fn xdg(environment: &Environment, variable: &str, below_home: &str) -> Option<PathBuf> {
    let set = environment.path(variable).filter(|path| path.is_absolute());
    set.or_else(|| Some(environment.path("HOME")?.join(below_home)))
}
