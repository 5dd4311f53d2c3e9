//! Signed-in users: random ids in a cookie, what they stand for in memory. A restart ends them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::header::{COOKIE, HeaderMap};

use super::access::{Access, Viewer};
use crate::config::User;
use crate::vocabulary::hexadecimal;

/// Sessions at a time; the one that is idle longest gives way.
const MOST: usize = 1024;
/// A session ends after this long, however busy.
const LONGEST: Duration = Duration::from_hours(12);

/// The open sessions, by the id in the cookie.
pub(super) struct Sessions {
    idle: Duration,
    open: Mutex<HashMap<String, Session>>,
}

struct Session {
    /// As the user was when signing in: another password or role ends the session.
    user: User,
    csrf: String,
    begun: Instant,
    used: Instant,
}

/// Whether a request shows that somebody is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// By a person: the session goes on.
    ByHand,
    /// By the page itself: the session ages.
    ByScript,
}

impl Sessions {
    pub(super) fn new(idle: Duration) -> Self {
        Self { idle, open: Mutex::default() }
    }

    /// Opens a session and gives its id.
    pub(super) fn begin(&self, user: User) -> String {
        let (id, now) = (random(), Instant::now());
        let mut open = self.open();
        open.retain(|_, session| self.lives(session, now));
        if open.len() >= MOST {
            let idlest = open.iter().min_by_key(|(_, session)| session.used);
            if let Some(idlest) = idlest.map(|(id, _)| id.clone()) {
                open.remove(&idlest);
            }
        }
        open.insert(id.clone(), Session { user, csrf: random(), begun: now, used: now });
        id
    }

    /// Ends a session.
    pub(super) fn end(&self, id: &str) {
        self.open().remove(id);
    }

    /// Who a session's id stands for, if it still stands for somebody.
    pub(super) fn viewer(&self, access: &Access, id: &str, asked: Asked) -> Option<Viewer> {
        let now = Instant::now();
        let mut open = self.open();
        let session = open.get_mut(id)?;
        let current = access.user(&session.user.name).filter(|user| *user == session.user);
        if !self.lives(session, now) || current.is_none() {
            open.remove(id);
            return None;
        }
        if asked == Asked::ByHand {
            session.used = now;
        }
        Some(Viewer { user: current, csrf: session.csrf.clone() })
    }

    fn lives(&self, session: &Session, now: Instant) -> bool {
        now.duration_since(session.used) < self.idle && now.duration_since(session.begun) < LONGEST
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 256 random bits, hexadecimal.
pub(super) fn random() -> String {
    hexadecimal(&rand::random::<[u8; 32]>())
}

/// Whether two secrets are the same, in a time that does not tell where they differ.
pub(super) fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let differences = one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b));
    !one.is_empty() && one.len() == other.len() && differences == 0
}

/// A cookie of a request. Over TLS the names are those that only this host can have set.
pub(super) fn cookie(headers: &HeaderMap, name: &str, secure: bool) -> Option<String> {
    let name = cookie_name(name, secure);
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(found, _)| found.trim() == name)?;
    Some(value.trim().to_owned())
}

/// A cookie for an answer; an empty value ends it.
pub(super) fn set_cookie(name: &str, value: &str, secure: bool) -> String {
    let name = cookie_name(name, secure);
    let ends = if value.is_empty() { "; Max-Age=0" } else { "" };
    let secure = if secure { "; Secure" } else { "" };
    format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{ends}")
}

fn cookie_name(name: &str, secure: bool) -> String {
    format!("{}thorascribe_{name}", if secure { "__Host-" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Role;

    fn access(names: &[&str]) -> Access {
        let hash: crate::vocabulary::Credential =
            crate::vocabulary::Credential::of("long enough").unwrap();
        let users = names.iter().map(|name| User {
            name: (*name).to_owned(),
            display_name: "Doe^Jane".to_owned(),
            organization: String::new(),
            hash: hash.clone(),
            role: Role::Reader,
        });
        let (sender, receiver) = tokio::sync::watch::channel(users.collect());
        drop(sender);
        Access { users: receiver, ..Access::local() }
    }

    #[test]
    fn a_session_ends_when_idle_and_polling_keeps_none_alive() {
        let access = access(&["jane"]);
        let sessions = Sessions::new(Duration::from_millis(200));
        let id = sessions.begin(access.user("jane").unwrap());
        assert!(sessions.viewer(&access, &id, Asked::ByHand).is_some());
        assert!(sessions.viewer(&access, "other", Asked::ByHand).is_none());
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(300) {
            sessions.viewer(&access, &id, Asked::ByScript);
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(sessions.viewer(&access, &id, Asked::ByHand).is_none());
    }

    #[test]
    fn a_user_who_is_no_longer_configured_is_signed_out() {
        let before = access(&["jane", "john"]);
        let sessions = Sessions::new(Duration::from_mins(1));
        let id = sessions.begin(before.user("jane").unwrap());
        // Another salt: another password.
        assert!(sessions.viewer(&access(&["jane"]), &id, Asked::ByHand).is_none());
        assert!(sessions.viewer(&before, &id, Asked::ByHand).is_none(), "it stays ended");
    }

    #[test]
    fn sessions_are_bounded_and_secrets_compared_whole() {
        let access = access(&["jane"]);
        let sessions = Sessions::new(Duration::from_mins(1));
        let first = sessions.begin(access.user("jane").unwrap());
        for _ in 0..MOST {
            sessions.begin(access.user("jane").unwrap());
        }
        assert!(sessions.viewer(&access, &first, Asked::ByHand).is_none());
        assert!(same("abc", "abc") && !same("abc", "abd") && !same("abc", "ab") && !same("", ""));
    }
}
