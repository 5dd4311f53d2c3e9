//! A trouble that comes again and again: said at once, then at growing intervals, and once more when
//! it is over, so that it does not fill the log.

use std::time::{Duration, Instant};

/// From the first time that it is said to the second; then twice as long each time.
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_mins(10);
/// Without it for this long it is over.
const QUIET: Duration = Duration::from_mins(1);

/// What was said of one kind of trouble.
#[derive(Debug, Default)]
pub struct Recurring(Option<Trouble>);

#[derive(Debug)]
struct Trouble {
    times: u64,
    last: Instant,
    /// When it is said again, and how long after that once more.
    say_at: Instant,
    pause: Duration,
}

impl Recurring {
    /// It happened: how often by now, where that is to be said.
    pub fn happened(&mut self, now: Instant) -> Option<u64> {
        let Some(trouble) = &mut self.0 else {
            self.0 = Some(Trouble { times: 1, last: now, say_at: now + FIRST, pause: FIRST * 2 });
            return Some(1);
        };
        trouble.times += 1;
        trouble.last = now;
        if now < trouble.say_at {
            return None;
        }
        trouble.say_at = now + trouble.pause;
        trouble.pause = (trouble.pause * 2).min(LONGEST);
        Some(trouble.times)
    }

    /// It did not happen this time: how often it did, where it is over by now.
    pub fn passed(&mut self, now: Instant) -> Option<u64> {
        self.0
            .take_if(|trouble| now.saturating_duration_since(trouble.last) >= QUIET)
            .map(|trouble| trouble.times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_twenty_times_a_second_is_said_a_few_times_an_hour_and_when_it_is_over() {
        let (mut trouble, begin) = (Recurring::default(), Instant::now());
        let at = |tick: u32| begin + Duration::from_millis(50) * tick;
        let hour = 20 * 3600;
        let said: Vec<u64> = (0..hour).filter_map(|tick| trouble.happened(at(tick))).collect();
        assert_eq!(said[..4], [1, 201, 601, 1401]);
        assert!(said.len() < 15, "{said:?}");
        assert_eq!(trouble.passed(at(hour)), None);
        assert_eq!(trouble.passed(at(hour) + QUIET), Some(u64::from(hour)));
        assert_eq!(trouble.passed(at(hour) + QUIET), None);
        assert_eq!(trouble.happened(at(hour) + QUIET), Some(1));
    }
}
