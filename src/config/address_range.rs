//! Addresses that a peer may call from.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An address, or a network in CIDR form (RFC 4632, RFC 4291 §2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressRange {
    network: IpAddr,
    prefix: u8,
}

/// Why a text is no range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressRangeError {
    /// No address in front.
    #[error("{0:?} is no IP address")]
    Address(String),
    /// No number of bits behind the stroke.
    #[error("{text:?} is no prefix length from 0 to {most}")]
    Prefix {
        /// What was written.
        text: String,
        /// The length of the address in bits.
        most: u8,
    },
    /// An address with bits that the prefix cuts off: which of the two is meant?
    #[error("the address has bits set beyond its prefix of {0} bits")]
    HostBits(u8),
}

impl AddressRange {
    /// Whether `address` lies in the range; IPv4 inside IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (address, width) = bits(address.to_canonical());
        let (network, own_width) = bits(self.network);
        width == own_width && masked(address, self.prefix, width) == network
    }
}

/// The address as a number, and how many bits it has.
fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

fn masked(address: u128, prefix: u8, width: u8) -> u128 {
    let cut = u32::from(width.saturating_sub(prefix));
    let mask = u128::MAX.checked_shl(cut).unwrap_or(0);
    address & mask
}

impl FromStr for AddressRange {
    type Err = AddressRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = match text.trim().split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text.trim(), None),
        };
        let network: IpAddr =
            address.parse().ok().ok_or_else(|| AddressRangeError::Address(address.to_owned()))?;
        let (number, width) = bits(network);
        let prefix = match prefix {
            None => width,
            Some(written) => {
                written.parse::<u8>().ok().filter(|prefix| *prefix <= width).ok_or_else(|| {
                    AddressRangeError::Prefix { text: written.to_owned(), most: width }
                })?
            }
        };
        if masked(number, prefix, width) != number {
            return Err(AddressRangeError::HostBits(prefix));
        }
        Ok(Self { network, prefix })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_matched_by_their_first_bits() {
        let range: AddressRange = "10.0.0.0/8".parse().unwrap();
        assert!(range.contains("10.200.3.4".parse().unwrap()));
        assert!(range.contains("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!range.contains("11.0.0.1".parse().unwrap()));
        assert!(!range.contains("::1".parse().unwrap()));
        let one: AddressRange = "192.168.0.7".parse().unwrap();
        assert!(one.contains("192.168.0.7".parse().unwrap()));
        assert!(!one.contains("192.168.0.8".parse().unwrap()));
        let all: AddressRange = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("255.255.255.255".parse().unwrap()));
        let six: AddressRange = "2001:db8::/32".parse().unwrap();
        assert!(six.contains("2001:db8:ffff::1".parse().unwrap()));
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(matches!("ten/8".parse::<AddressRange>(), Err(AddressRangeError::Address(_))));
        assert!(matches!(
            "10.0.0.0/33".parse::<AddressRange>(),
            Err(AddressRangeError::Prefix { .. })
        ));
        assert_eq!("10.0.0.1/8".parse::<AddressRange>(), Err(AddressRangeError::HostBits(8)));
    }
}
