//! This machine and the user of this process, by name.

use rustix::process::getuid;

/// The machine's name, printable ASCII, `-` where there is none. A service whose view of `/proc`
/// ends at its own processes is told it as `HOSTNAME`.
pub(super) fn name() -> String {
    let told = std::env::var("HOSTNAME").ok().filter(|name| !name.trim().is_empty());
    let name = told
        .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .unwrap_or_default();
    let name: String = name.chars().filter(char::is_ascii_graphic).take(255).collect();
    if name.is_empty() { "-".to_owned() } else { name }
}

/// The user's name, and on whose behalf where `sudo` says so; the number of one without a name.
pub(super) fn user() -> String {
    let number = getuid().as_raw();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(number)).then(|| name.to_owned())
    });
    let name = named.unwrap_or_else(|| format!("uid {number}"));
    match std::env::var("SUDO_USER") {
        Ok(behind) if !behind.is_empty() && behind != name => format!("{behind} as {name}"),
        _ => name,
    }
}
