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

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn pauses_grow_threefold_to_four_hours_and_are_shortened_by_at_most_a_half() {
        let mut rng = StdRng::seed_from_u64(1);
        let whole = [2, 6, 18, 54, 162, 486, 1458, 4374, 13122, 14400, 14400, 14400];
        for (attempt, seconds) in (1..).zip(whole) {
            let whole = Duration::from_secs(seconds);
            let pauses: Vec<_> = (0..200).map(|_| delay(attempt, &mut rng)).collect();
            assert!(pauses.iter().all(|p| *p >= whole / 2 && *p <= whole), "attempt {attempt}");
            let (least, most) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
            assert!(*most > *least + whole / 3, "attempt {attempt}: {least:?} to {most:?}");
        }
    }

    #[test]
    fn no_attempt_is_too_many() {
        let mut rng = StdRng::seed_from_u64(1);
        assert!(delay(0, &mut rng) <= FIRST);
        assert!(delay(u32::MAX, &mut rng) <= LONGEST);
    }
}
