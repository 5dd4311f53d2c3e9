//! Numbers of options, held to what can be used: what is beyond is a usage error.

use std::str::FromStr;

/// A count of things that must be there.
pub(in crate::cli) fn at_least_one<T: FromStr<Err: std::fmt::Display> + PartialOrd + From<u8>>(
    text: &str,
) -> Result<T, String> {
    match text.parse() {
        Ok(number) if number >= T::from(1) => Ok(number),
        Ok(_) => Err("at least 1".to_owned()),
        Err(error) => Err(format!("{error}")),
    }
}

/// A rate, a norm or a number of minutes: above 0 and no more than a million.
pub(in crate::cli) fn above_zero<T: FromStr<Err: std::fmt::Display> + Into<f64> + Copy>(
    text: &str,
) -> Result<T, String> {
    within(text, |number| number > 0.0 && number <= 1e6, "above 0")
}

/// A share: from 0 on, and less than 1.
pub(in crate::cli) fn below_one<T: FromStr<Err: std::fmt::Display> + Into<f64> + Copy>(
    text: &str,
) -> Result<T, String> {
    within(text, |number| (0.0..1.0).contains(&number), "from 0 on and below 1")
}

/// A number from 0 on.
pub(in crate::cli) fn not_negative<T: FromStr<Err: std::fmt::Display> + Into<f64> + Copy>(
    text: &str,
) -> Result<T, String> {
    within(text, |number| (0.0..=1e6).contains(&number), "from 0 on")
}

/// A probability that something can have.
pub(in crate::cli) fn probability<T: FromStr<Err: std::fmt::Display> + Into<f64> + Copy>(
    text: &str,
) -> Result<T, String> {
    within(text, |number| number > 0.0 && number <= 1.0, "above 0, and at most 1")
}

fn within<T: FromStr<Err: std::fmt::Display> + Into<f64> + Copy>(
    text: &str,
    is_right: impl Fn(f64) -> bool,
    wanted: &str,
) -> Result<T, String> {
    match text.parse::<T>() {
        Ok(number) if is_right(number.into()) => Ok(number),
        Ok(_) => Err(wanted.to_owned()),
        Err(error) => Err(format!("{error}")),
    }
}
