//! Where the file and the spool are (XDG Base Directory Specification, systemd.exec(5)).

use std::path::{Path, PathBuf};

use super::environment::Environment;

const NAME: &str = "thorascribe/thorascribe.toml";

/// The file to read: a named one must exist, of the usual places the first that does.
pub(super) fn file(named: Option<&Path>, environment: &Environment) -> Option<PathBuf> {
    let named = named.map(Path::to_owned).or_else(|| environment.path("THORASCRIBE_CONFIG"));
    named.or_else(|| {
        let usual = [xdg(environment, "XDG_CONFIG_HOME", ".config"), Some(PathBuf::from("/etc"))];
        usual.into_iter().flatten().map(|folder| folder.join(NAME)).find(|file| file.exists())
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
