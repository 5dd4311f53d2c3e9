//! How many warnings a peer may cause: a peer that misbehaves a thousand times fills no log.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Warnings of one address in a [`WINDOW`].
const MOST: u32 = 20;
const WINDOW: Duration = Duration::from_mins(1);
/// Addresses that are kept in mind.
const ADDRESSES: usize = 1024;

/// What was said of each address.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<HashMap<IpAddr, Said>>);

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
        if all.len() >= ADDRESSES && !all.contains_key(&address) {
            all.retain(|_, said| now.saturating_duration_since(said.since) < WINDOW);
            if all.len() >= ADDRESSES {
                return Say::Debug;
            }
        }
        let said = all.entry(address).or_insert(Said { since: now, count: 0 });
        if now.saturating_duration_since(said.since) >= WINDOW {
            *said = Said { since: now, count: 0 };
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
    fn many_addresses_take_bounded_memory() {
        let (complaints, now) = (Complaints::default(), Instant::now());
        for address in 0..5000_u32 {
            complaints.of(IpAddr::from(address.to_be_bytes()), now);
        }
        assert_eq!(complaints.0.lock().unwrap().len(), ADDRESSES);
        assert_eq!(complaints.of(IpAddr::from([9, 9, 9, 9]), now + WINDOW), Say::Warning);
    }
}
