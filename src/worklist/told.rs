//! What the audit trail is told of those who look at pages.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::WorklistState;
use super::access::{Arrival, Viewer};
use crate::observe::audit::{self, Event, Person};
use crate::spool::{JobDetail, Spool, SpoolError};
use crate::vocabulary::StudyUid;

/// A page asks for its picture and for its list again and again: within this time that is one look.
const ONE_LOOK: Duration = Duration::from_mins(10);
/// Looks that are kept in mind.
const MOST: usize = 4096;
/// Characters of a list's address that are told.
const LONGEST: usize = 1024;

/// Who looked at what a short while ago.
#[derive(Debug, Default)]
pub(super) struct Looks(Mutex<HashMap<Look, Instant>>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Look {
    user: String,
    client: IpAddr,
    /// A study, or a list.
    at: String,
}

impl Looks {
    /// Whether this is no more of an earlier look.
    fn is_new(&self, look: Look, now: Instant) -> bool {
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if looks.len() >= MOST {
            looks.retain(|_, since| now.saturating_duration_since(*since) < ONE_LOOK);
        }
        if looks.len() >= MOST && !looks.contains_key(&look) {
            // What cannot be kept in mind is told each time.
            return true;
        }
        let since = looks.entry(look).or_insert(now);
        let new = *since == now || now.saturating_duration_since(*since) >= ONE_LOOK;
        if new {
            *since = now;
        }
        new
    }

    /// This is a look of its own, with all that follows it.
    fn begin(&self, look: Look, now: Instant) {
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if looks.len() < MOST || looks.contains_key(&look) {
            looks.insert(look, now);
        }
    }
}

/// Whose data an audit message about a job is about.
pub(super) fn study_of(job: &JobDetail) -> audit::Study {
    audit::Study { uid: job.row.study.clone(), patient_id: job.caption.patient_id.clone() }
}

/// The same for a study of which nothing else is known.
pub(super) fn study(spool: &Spool, uid: &StudyUid) -> Result<audit::Study, SpoolError> {
    Ok(audit::Study { patient_id: spool.patient_id(uid)?, uid: uid.clone() })
}

/// Who asks, and from where.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    user: String,
    client: IpAddr,
}

impl Visitor {
    pub(super) fn of(viewer: &Viewer, arrival: Arrival) -> Self {
        let user = viewer.user.as_ref().map(|user| user.name.clone()).unwrap_or_default();
        Self { user, client: arrival.client }
    }

    pub(super) fn person(&self) -> Person {
        Person::at(&self.user, self.client)
    }

    fn look(&self, at: &str) -> Look {
        Look { user: self.user.clone(), client: self.client, at: at.to_owned() }
    }
}

impl WorklistState {
    /// A study was opened, or something of it taken away.
    pub(super) fn viewed(&self, visitor: &Visitor, study: audit::Study) {
        self.looks.begin(visitor.look(study.uid.as_str()), Instant::now());
        self.audit.record(&Event::Viewed { who: visitor.person(), study });
    }

    /// A picture of a study was shown, most often on its page.
    pub(super) fn glanced(&self, visitor: &Visitor, study: audit::Study) {
        if self.looks.is_new(visitor.look(study.uid.as_str()), Instant::now()) {
            self.audit.record(&Event::Viewed { who: visitor.person(), study });
        }
    }

    /// A list of studies was shown.
    pub(super) fn listed(&self, visitor: &Visitor, address: &str) {
        let list: String = address.chars().take(LONGEST).collect();
        if self.looks.is_new(visitor.look(&list), Instant::now()) {
            self.audit.record(&Event::Listed { who: visitor.person(), list });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_told_once_and_another_in_its_own_right() {
        let (looks, now) = (Looks::default(), Instant::now());
        let look = |user: &str, at: &str| Look {
            user: user.to_owned(),
            client: [10, 0, 0, 1].into(),
            at: at.to_owned(),
        };
        let later = now + Duration::from_secs(1);
        assert!(looks.is_new(look("a", "1.2"), now));
        assert!(!looks.is_new(look("a", "1.2"), later));
        assert!(looks.is_new(look("b", "1.2"), later) && looks.is_new(look("a", "1.3"), later));
        assert!(looks.is_new(look("a", "1.2"), now + ONE_LOOK));
        looks.begin(look("a", "1.4"), now);
        assert!(!looks.is_new(look("a", "1.4"), later));
        for number in 0..2 * MOST {
            assert!(looks.is_new(look("c", &number.to_string()), later), "{number}");
        }
        assert!(looks.0.lock().unwrap().len() <= MOST);
    }
}
