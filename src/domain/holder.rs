//! Whose an address is, where shares and attempts are counted.

use std::net::{IpAddr, Ipv6Addr};

/// Who holds an address: the address itself, or the whole /64 that an IPv6 host has to itself. IPv4 is IPv4 however it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Holder(IpAddr);

impl Holder {
    /// The holder of this address.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
            address => address,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_one() {
        let holder = |address: &str| Holder::of(address.parse().expect("an address"));
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", false),
        ] {
            assert_eq!(holder(one) == holder(other), same, "{one} and {other}");
        }
    }
}
