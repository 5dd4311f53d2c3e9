//! Failed sign-ins of people and of nodes, so that passwords cannot be tried at will.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures within [`SPAN`] after which an address must wait.
const OF_AN_ADDRESS: u32 = 10;
/// The same for a name, from wherever: more, so that a stranger does not lock a reader out soon.
const OF_A_NAME: u32 = 30;
/// How long failures count.
const SPAN: Duration = Duration::from_mins(5);
/// Addresses and names that are remembered.
const MOST: usize = 8192;

/// Counts failures by address and by name.
#[derive(Debug, Default)]
pub struct Attempts {
    counts: Mutex<HashMap<Key, Count>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Address(IpAddr),
    Name(String),
}

#[derive(Debug, Clone, Copy)]
struct Count {
    failures: u32,
    since: Instant,
}

impl Attempts {
    /// Counts an attempt before it is judged, so that many at once are no way around.
    ///
    /// # Errors
    /// How long to wait: too many failed.
    pub fn begin(&self, address: IpAddr, name: &str) -> Result<(), Duration> {
        let now = Instant::now();
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |count: &Count| now.duration_since(count.since) >= SPAN;
        counts.retain(|_, count| !over(count));
        let keys = keys(address, name);
        for (key, most) in &keys {
            if let Some(count) = counts.get(key)
                && count.failures >= *most
            {
                return Err(SPAN.saturating_sub(now.duration_since(count.since)));
            }
        }
        if counts.len() + keys.len() > MOST {
            return Err(SPAN);
        }
        for (key, _) in keys {
            counts.entry(key).or_insert(Count { failures: 0, since: now }).failures += 1;
        }
        Ok(())
    }

    /// The attempt was good: it does not count, nor do the ones before from this address.
    pub fn succeeded(&self, address: IpAddr, name: &str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, _) in keys(address, name) {
            counts.remove(&key);
        }
    }
}

fn keys(address: IpAddr, name: &str) -> [(Key, u32); 2] {
    let name = name.chars().take(64).collect();
    [(Key::Address(address), OF_AN_ADDRESS), (Key::Name(name), OF_A_NAME)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_ten_failures_an_address_waits_and_others_do_not() {
        let attempts = Attempts::default();
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        for _ in 0..OF_AN_ADDRESS {
            attempts.begin(here, "jane").unwrap();
        }
        assert!(attempts.begin(here, "john").unwrap_err() > Duration::from_mins(4));
        attempts.begin(there, "jane").unwrap();
        attempts.succeeded(here, "jane");
        attempts.begin(here, "jane").unwrap();
    }

    #[test]
    fn a_name_is_guarded_against_many_addresses() {
        let attempts = Attempts::default();
        for last in 0..OF_A_NAME {
            attempts.begin(IpAddr::from([10, 0, 1, last as u8]), "jane").unwrap();
        }
        assert!(attempts.begin(IpAddr::from([10, 0, 2, 1]), "jane").is_err());
        attempts.begin(IpAddr::from([10, 0, 2, 1]), "john").unwrap();
    }
}
