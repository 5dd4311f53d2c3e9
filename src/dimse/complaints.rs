//! How much is said of one peer: one that misbehaves a thousand times fills neither the log nor the
//! audit trail.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Warnings of one address in a [`WINDOW`].
const MOST: u32 = 20;
const WINDOW: Duration = Duration::from_mins(1);
/// Addresses that are kept in mind; all further ones count as one.
const ADDRESSES: usize = 1024;

/// What was said of each address.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<All>);

#[derive(Debug, Default)]
struct All {
    by_address: HashMap<IpAddr, Said>,
    rest: Option<Said>,
}

#[derive(Debug)]
struct Said {
    since: Instant,
    count: u32,
}

/// How loudly something is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Say {
    /// As a warning.
    Warning,
    /// As a warning, which is the last one for now.
    LastWarning,
    /// For those alone who look closely; the metrics count it all the same.
    Debug,
}

impl Complaints {
    /// Counts one more and says how loudly it is said.
    pub(super) fn of(&self, address: IpAddr, now: Instant) -> Say {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let All { by_address, rest } = &mut *all;
        if by_address.len() >= ADDRESSES && !by_address.contains_key(&address) {
            by_address.retain(|_, said| now.saturating_duration_since(said.since) < WINDOW);
        }
        let fresh = || Said { since: now, count: 0 };
        let said = if by_address.len() >= ADDRESSES && !by_address.contains_key(&address) {
            rest.get_or_insert_with(fresh)
        } else {
            by_address.entry(address).or_insert_with(fresh)
        };
        if now.saturating_duration_since(said.since) >= WINDOW {
            *said = fresh();
        }
        said.count = said.count.saturating_add(1);
        match said.count {
            ..MOST => Say::Warning,
            MOST => Say::LastWarning,
            _ => Say::Debug,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_heard_again_after_a_while_and_silences_no_other() {
        let (complaints, now) = (Complaints::default(), Instant::now());
        let (bad, good) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let said: Vec<Say> = (0..100).map(|_| complaints.of(bad, now)).collect();
        assert_eq!(said.iter().filter(|say| **say == Say::Warning).count(), 19);
        assert_eq!(said.iter().filter(|say| **say == Say::LastWarning).count(), 1);
        assert_eq!(said[19], Say::LastWarning);
        assert_eq!(complaints.of(good, now), Say::Warning);
        assert_eq!(complaints.of(bad, now + WINDOW), Say::Warning);
    }

    #[test]
    fn many_addresses_take_bounded_memory_and_the_last_of_them_is_heard_too() {
        let (complaints, now) = (Complaints::default(), Instant::now());
        let said: Vec<Say> = (0..5000_u32)
            .map(|address| complaints.of(IpAddr::from(address.to_be_bytes()), now))
            .collect();
        assert_eq!(complaints.0.lock().unwrap().by_address.len(), ADDRESSES);
        let heard = |say: &&Say| **say != Say::Debug;
        assert_eq!(said.iter().filter(heard).count(), ADDRESSES + MOST as usize);
        assert_eq!(complaints.of(IpAddr::from([9, 9, 9, 9]), now + WINDOW), Say::Warning);
    }
}
