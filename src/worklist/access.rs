//! Who may ask for pages about patients, and who asks.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::session::Sessions;
use crate::config::{AddressRange, Config, User};
use crate::vocabulary::Attempts;

/// Users, sessions, and the proxy before the node; clones share them.
#[derive(Clone)]
pub struct Access {
    pub(super) users: watch::Receiver<Vec<User>>,
    pub(super) trusted_proxy: Option<AddressRange>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) attempts: Arc<Attempts>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("trusted_proxy", &self.trusted_proxy).finish_non_exhaustive()
    }
}

impl Access {
    /// As the configuration says, with the users as `users` has them at each request.
    pub fn new(config: &Config, users: watch::Receiver<Vec<User>>) -> Self {
        Self::with(users, config.http.trusted_proxy, config.http.session_idle.0)
    }

    /// No users: this machine alone sees the pages.
    pub fn local() -> Self {
        Self::with(watch::Sender::new(Vec::new()).subscribe(), None, Duration::from_mins(30))
    }

    fn with(
        users: watch::Receiver<Vec<User>>,
        trusted_proxy: Option<AddressRange>,
        idle: Duration,
    ) -> Self {
        let (sessions, attempts) = (Arc::new(Sessions::new(idle)), Arc::new(Attempts::default()));
        Self { users, trusted_proxy, sessions, attempts }
    }

    /// Whether pages need a signed-in user.
    pub(super) fn has_users(&self) -> bool {
        !self.users.borrow().is_empty()
    }

    /// A user by name, as configured now.
    pub(super) fn user(&self, name: &str) -> Option<User> {
        self.users.borrow().iter().find(|user| user.name == name).cloned()
    }
}

/// The way that a request came, once it is let in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// The browser's address.
    pub(super) client: IpAddr,
    /// Whether the browser speaks TLS (to the proxy).
    pub(super) secure: bool,
}

/// Who looks at a page.
#[derive(Debug, Clone, Default)]
pub(super) struct Viewer {
    /// Nobody where no users are configured.
    pub(super) user: Option<User>,
    /// What every form of the session carries.
    pub(super) csrf: String,
}

impl Viewer {
    /// Whether this viewer signs reports.
    pub(super) fn signs(&self) -> bool {
        self.user.as_ref().is_some_and(|user| user.role.signs())
    }

    /// Whether this viewer retries and drops studies.
    pub(super) fn administers(&self) -> bool {
        self.user.as_ref().is_some_and(|user| user.role.administers())
    }
}
