//! When a failed attempt is made again.

use std::time::Duration;

use rand::{Rng, RngExt};

const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_hours(4);

/// The pause after the `attempt`-th failure (from 1): 2 s, then three times longer each, at most
/// 4 h, less a random part of up to a half, so that jobs that failed together do not come back
/// together. Twelve attempts span a night.
pub fn delay(attempt: u32, rng: &mut impl Rng) -> Duration {
    let factor = 3_u32.saturating_pow(attempt.saturating_sub(1));
    let whole = FIRST.saturating_mul(factor).min(LONGEST);
    whole.mul_f64(rng.random_range(0.5..=1.0))
}
