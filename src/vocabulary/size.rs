//! Sizes and durations as people write them: `"2 GiB"`, `"10s"`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes; written with a unit (`B`, `KiB`, `MiB`, `GiB`, `TiB`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ByteSize(pub u64);

/// A duration; written with a unit (`ms`, `s`, `m`, `h`, `d`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(pub Duration);

/// Why a text is no size or duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// No whole number in front.
    #[error("{0:?} does not start with a whole number")]
    Number(String),
    /// A unit that is not known here.
    #[error("unit {unit:?} is not one of {known}")]
    Unit {
        /// What was written.
        unit: String,
        /// What would be understood.
        known: &'static str,
    },
    /// Larger than the program can count.
    #[error("{0:?} is too large")]
    TooLarge(String),
}

const SIZES: [(&str, u64); 5] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
const SPANS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

fn parse(text: &str, units: &[(&str, u64)], known: &'static str) -> Result<u64, UnitError> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(UnitError::Number(text.to_owned()));
    }
    let too_large = || UnitError::TooLarge(text.to_owned());
    let unit = unit.trim();
    let factor = units
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, factor)| *factor)
        .ok_or_else(|| UnitError::Unit { unit: unit.to_owned(), known })?;
    let number: u64 = number.parse().ok().ok_or_else(too_large)?;
    number.checked_mul(factor).ok_or_else(too_large)
}

fn write(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)], gap: &str) -> fmt::Result {
    let fits = |(_, factor): &&(&str, u64)| value > 0 && value.is_multiple_of(*factor);
    match units.iter().rev().find(fits).or(units.first()) {
        Some((unit, factor)) => write!(f, "{}{gap}{unit}", value / factor),
        None => write!(f, "{value}"),
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text, &SIZES, "B, KiB, MiB, GiB, TiB").map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0, &SIZES, " ")
    }
}

impl FromStr for Span {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text, &SPANS, "ms, s, m, h, d").map(|ms| Self(Duration::from_millis(ms)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        write(f, ms, &SPANS, "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_value_go_both_ways() {
        assert_eq!("2 GiB".parse::<ByteSize>().unwrap().to_string(), "2 GiB");
        assert_eq!("90s".parse::<Span>().unwrap().to_string(), "90s");
        assert_eq!("10m".parse::<Span>().unwrap().0, Duration::from_mins(10));
        assert!("10".parse::<Span>().is_err());
        assert!("GiB".parse::<ByteSize>().is_err());
        assert!("99999999999 TiB".parse::<ByteSize>().is_err());
    }
}
