//! Until when a certificate is good: the one thing of X.509 that is read here, not by rustls.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xA0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The end of a certificate's validity (RFC 5280 §4.1.2.5); `None` for bytes that are none.
pub(super) fn valid_until(certificate: &[u8]) -> Option<Timestamp> {
    let (whole, _) = element(certificate, SEQUENCE)?;
    let (mut rest, _) = element(whole, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = skip(rest)?;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        rest = skip(rest)?;
    }
    let (validity, _) = element(rest, SEQUENCE)?;
    time(skip(validity)?)
}

/// The content of the element at the front, and what follows it.
fn next(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = match first {
        0..=0x7F => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn element(bytes: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    next(bytes).filter(|(tag, ..)| *tag == wanted).map(|(_, content, rest)| (content, rest))
}

fn skip(bytes: &[u8]) -> Option<&[u8]> {
    next(bytes).map(|(.., rest)| rest)
}

fn time(bytes: &[u8]) -> Option<Timestamp> {
    let (tag, content, _) = next(bytes)?;
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i16 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let pair = |at: usize| rest.get(at..at + 2)?.parse::<i8>().ok();
    let moment = DateTime::new(year, pair(0)?, pair(2)?, pair(4)?, pair(6)?, pair(8)?, 0).ok()?;
    TimeZone::UTC.to_timestamp(moment).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![tag, 0x82];
        out.extend_from_slice(&u16::try_from(content.len()).unwrap().to_be_bytes());
        out.extend_from_slice(content);
        out
    }

    fn certificate(until: &[u8]) -> Vec<u8> {
        let validity = der(SEQUENCE, &[&der(UTC_TIME, b"250101000000Z")[..], until].concat());
        let fields = [der(VERSION, &[2]), der(2, &[7]), der(SEQUENCE, &[]), der(SEQUENCE, &[])];
        der(SEQUENCE, &der(SEQUENCE, &[fields.concat(), validity].concat()))
    }

    #[test]
    fn both_forms_of_time_are_read_and_no_cut_panics() {
        for (tag, text) in
            [(UTC_TIME, &b"310203040506Z"[..]), (GENERALIZED_TIME, &b"20310203040506Z"[..])]
        {
            let whole = certificate(&der(tag, text));
            assert_eq!(valid_until(&whole).unwrap().to_string(), "2031-02-03T04:05:06Z");
            for end in 0..whole.len() {
                assert_eq!(valid_until(&whole[..end]), None, "{end}");
            }
        }
        assert_eq!(valid_until(&certificate(&der(UTC_TIME, b"319903040506Z"))), None);
    }
}
