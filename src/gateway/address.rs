//! Ranges of addresses.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Every address that begins with these bits. An IPv4 address within IPv6 (`::ffff:a.b.c.d`) counts as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    network: IpAddr,
    bits: u32,
}

/// The text is no range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressRangeError {
    /// Neither an address nor an address with the length of a prefix.
    #[error("is neither an address nor a range such as `10.0.0.0/8` or `2001:db8::/32`")]
    Syntax,
    /// Bits are set after the prefix: one of the two is a mistake.
    #[error("has bits set after its prefix: write the first address of the range")]
    HostBits,
}

/// The bits of an address, left-aligned, and how many there are.
fn bits_of(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

fn mask(bits: u32) -> u128 {
    u128::MAX.checked_shl(128 - bits).unwrap_or_default()
}

impl AddressRange {
    /// Whether an address lies in the range.
    pub fn contains(&self, address: IpAddr) -> Option<InRange> {
        let ((network, of), (address, width)) = (bits_of(self.network), bits_of(address.to_canonical()));
        (of == width && (network ^ address) & mask(self.bits) == 0).then_some(InRange)
    }
}

/// An address lies in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InRange;

impl FromStr for AddressRange {
    type Err = AddressRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let network: IpAddr = address.parse().map_err(|_| AddressRangeError::Syntax)?;
        let (value, width) = bits_of(network);
        let bits = match length {
            None => width,
            Some(digits) if digits.len() <= 3 && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|bits| *bits <= width).ok_or(AddressRangeError::Syntax)?
            }
            Some(_) => return Err(AddressRangeError::Syntax),
        };
        if value & !mask(bits) != 0 {
            return Err(AddressRangeError::HostBits);
        }
        Ok(Self { network, bits })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_a_range_by_its_first_bits() {
        let table = [
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "a00::", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("192.0.2.6/31", "192.0.2.7", true),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "203.0.113.1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8:ffff::", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("::1", "::1", true),
            ("::1", "::2", false),
        ];
        for (range, address, expected) in table {
            let parsed: AddressRange = range.parse().expect("a range");
            assert_eq!(parsed.contains(address.parse().expect("an address")).is_some(), expected, "{range} {address}");
            assert_eq!(parsed.to_string().parse(), Ok(parsed));
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        use AddressRangeError::{HostBits, Syntax};
        let table = [
            ("", Syntax),
            ("10", Syntax),
            ("10.0.0/8", Syntax),
            ("10.0.0.0/", Syntax),
            ("10.0.0.0/33", Syntax),
            ("10.0.0.0/+8", Syntax),
            ("10.0.0.0/8/8", Syntax),
            ("::/129", Syntax),
            ("example.com", Syntax),
            ("10.0.0.1/8", HostBits),
            ("2001:db8::1/64", HostBits),
            ("0.0.0.1/0", HostBits),
        ];
        for (text, error) in table {
            assert_eq!(text.parse::<AddressRange>(), Err(error), "{text}");
        }
    }
}
