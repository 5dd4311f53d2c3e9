//! User identities that callers give (PS3.7 §D.3.3.7): passcodes held against argon2 lines.
//!
//! A passcode costs 19 MiB and some ten milliseconds on purpose, so few are judged at a time, off
//! the network's threads, and an address or name that fails too often is not judged at all.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::vocabulary::{Attempts, Credential};

/// Passcodes that are judged at the same time.
const AT_A_TIME: usize = 2;

/// A name and a passcode that wait to be judged; `Debug` hides the passcode.
#[derive(Clone, PartialEq, Eq)]
pub struct Claim {
    pub(super) name: String,
    pub(super) passcode: String,
    /// The passcode must be one of these.
    pub(super) against: Vec<Credential>,
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Judges claims.
#[derive(Debug, Clone)]
pub(super) struct Judge {
    places: Arc<Semaphore>,
    attempts: Arc<Attempts>,
}

impl Default for Judge {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_A_TIME)), attempts: Arc::default() }
    }
}

impl Judge {
    /// Whether the claim of a caller from `address` holds.
    pub(super) async fn holds(&self, claim: Claim, address: IpAddr) -> bool {
        // Only that the semaphore is closed could fail, and nobody closes it.
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return false };
        let name = claim.name.clone();
        if self.attempts.begin(address, &name).is_err() {
            return false;
        }
        let judged = tokio::task::spawn_blocking(move || {
            let holds = claim.against.iter().any(|known| known.is_of(&claim.passcode));
            // A caller that gave up must not free the place before the work is done.
            drop(place);
            holds
        });
        let holds = judged.await.unwrap_or(false);
        if holds {
            self.attempts.succeeded(address, &name);
        }
        holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_claim_is_judged_and_too_many_wrong_ones_are_not_looked_at() {
        let judge = Judge::default();
        let address = IpAddr::from([10, 0, 0, 1]);
        let against = vec![
            Credential::of("another passcode").unwrap(),
            Credential::of("long enough").unwrap(),
        ];
        let claim = |passcode: &str| Claim {
            name: "cr1".to_owned(),
            passcode: passcode.to_owned(),
            against: against.clone(),
        };
        assert!(!format!("{:?}", claim("long enough")).contains("long enough"));
        assert!(judge.holds(claim("long enough"), address).await);
        for _ in 0..10 {
            assert!(!judge.holds(claim("wrong"), address).await);
        }
        assert!(!judge.holds(claim("long enough"), address).await, "the address is locked out");
        assert!(judge.holds(claim("long enough"), IpAddr::from([10, 0, 0, 2])).await);
    }
}
