//! Where requests may go whose URL somebody else chose: never inside, unless the operator says so.
//!
//! A name is resolved once, every address is checked, and the connection goes to a checked address: a name that answers differently
//! the next time (DNS rebinding) changes nothing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Why a request does not go out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutboundRefusal {
    /// The host is not on the list.
    #[error("the host `{0}` is not one of outbound.allow_hosts")]
    Host(String),
    /// The host has no address that may be connected to.
    #[error("`{host}` has the address {address}, which is not public: add its range to outbound.allow_ranges if it is meant")]
    Address {
        /// The host.
        host: String,
        /// One of its addresses.
        address: IpAddr,
    },
}

/// A range of addresses: `10.0.0.0/8`, `fd00::/8`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    first: IpAddr,
    prefix: u8,
}

/// The text is no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a range of addresses, such as `10.0.0.0/8` or `fd00::/8`, with zeros after the prefix")]
pub struct AddressRangeError(String);

impl AddressRange {
    const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Self {
        Self { first: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix }
    }

    const fn v6(a: u16, b: u16, c: u16, prefix: u8) -> Self {
        Self { first: IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)), prefix }
    }

    /// Whether the address is in it. IPv4 written as IPv6 is IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let shift = 32u32.saturating_sub(self.prefix.into());
                first.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let shift = 128u32.saturating_sub(self.prefix.into());
                first.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
            }
            _ => false,
        }
    }
}

impl FromStr for AddressRange {
    type Err = AddressRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || AddressRangeError(text.to_owned());
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let first: IpAddr = address.parse().map_err(|_| refused())?;
        let longest = if first.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(prefix) => prefix.parse().ok().filter(|prefix| *prefix <= longest).ok_or_else(refused)?,
        };
        let host_bits = match first {
            IpAddr::V4(first) => u128::from(first.to_bits().checked_shl(prefix.into()).unwrap_or(0)),
            IpAddr::V6(first) => first.to_bits().checked_shl(prefix.into()).unwrap_or(0),
        };
        if host_bits == 0 { Ok(Self { first, prefix }) } else { Err(refused()) }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

/// IPv4 that is not public (IANA IPv4 Special-Purpose Address Registry), and what clouds serve their secrets from.
const NOT_PUBLIC_V4: [AddressRange; 16] = [
    AddressRange::v4(0, 0, 0, 0, 8),
    AddressRange::v4(10, 0, 0, 0, 8),
    AddressRange::v4(100, 64, 0, 0, 10),
    AddressRange::v4(127, 0, 0, 0, 8),
    AddressRange::v4(169, 254, 0, 0, 16),
    AddressRange::v4(172, 16, 0, 0, 12),
    AddressRange::v4(192, 0, 0, 0, 24),
    AddressRange::v4(192, 0, 2, 0, 24),
    AddressRange::v4(192, 88, 99, 0, 24),
    AddressRange::v4(192, 168, 0, 0, 16),
    AddressRange::v4(198, 18, 0, 0, 15),
    AddressRange::v4(198, 51, 100, 0, 24),
    AddressRange::v4(203, 0, 113, 0, 24),
    AddressRange::v4(224, 0, 0, 0, 4),
    AddressRange::v4(240, 0, 0, 0, 4),
    // Azure's host agent has a public address, and answers to its guests alone.
    AddressRange::v4(168, 63, 129, 16, 32),
];

/// IPv6 that is public at all, and what in it is not (IANA IPv6 Special-Purpose Address Registry): protocol assignments with Teredo,
/// documentation, 6to4.
const GLOBAL_V6: AddressRange = AddressRange::v6(0x2000, 0, 0, 3);
const NOT_PUBLIC_V6: [AddressRange; 4] = [
    AddressRange::v6(0x2001, 0, 0, 23),
    AddressRange::v6(0x2001, 0xdb8, 0, 32),
    AddressRange::v6(0x2002, 0, 0, 16),
    AddressRange::v6(0x3fff, 0, 0, 20),
];
/// NAT64 (RFC 6052 §2.1): an IPv4 address in its last four bytes, which is what counts.
const NAT64: AddressRange = AddressRange::v6(0x64, 0xff9b, 0, 96);

fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(_) => !NOT_PUBLIC_V4.iter().any(|range| range.contains(address)),
        IpAddr::V6(inner) if NAT64.contains(address) => {
            let [.., high, low] = inner.segments();
            is_public(IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))))
        }
        IpAddr::V6(_) => GLOBAL_V6.contains(address) && !NOT_PUBLIC_V6.iter().any(|range| range.contains(address)),
    }
}

/// Where requests may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboundPolicy {
    hosts: Vec<String>,
    ranges: Vec<AddressRange>,
    /// A host that the operator named, wherever it is.
    named: Option<String>,
}

impl OutboundPolicy {
    /// `hosts`: the only ones that may be named, or all when there are none; `*.example` stands for every name below. `ranges`: those
    /// that are not public and may be connected to.
    pub fn new(hosts: impl IntoIterator<Item = String>, ranges: Vec<AddressRange>) -> Self {
        Self { hosts: hosts.into_iter().map(|host| plain(&host)).collect(), ranges, named: None }
    }

    /// The same, and to this host in any case: it is the operator's own word, and may be inside.
    #[must_use]
    pub fn naming(self, host: &str) -> Self {
        Self { named: Some(plain(host)), ..self }
    }

    /// Whether the host may be named.
    ///
    /// # Errors
    /// [`OutboundRefusal::Host`].
    pub fn check_host(&self, host: &str) -> Result<(), OutboundRefusal> {
        let host = plain(host);
        let allowed = self.hosts.is_empty()
            || self.named.as_ref() == Some(&host)
            || self.hosts.iter().any(|allowed| match allowed.strip_prefix('*') {
                Some(end) => host.len() > end.len() && host.ends_with(end),
                None => *allowed == host,
            });
        if allowed { Ok(()) } else { Err(OutboundRefusal::Host(host)) }
    }

    /// Whether the address, one of the host's, may be connected to.
    ///
    /// # Errors
    /// [`OutboundRefusal::Address`].
    pub fn check_address(&self, host: &str, address: IpAddr) -> Result<(), OutboundRefusal> {
        if is_public(address)
            || self.named.as_ref() == Some(&plain(host))
            || self.ranges.iter().any(|range| range.contains(address))
        {
            return Ok(());
        }
        Err(OutboundRefusal::Address { host: host.to_owned(), address })
    }
}

/// A host as it is compared.
fn plain(host: &str) -> String {
    host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the operator named is reached wherever it is; what it names in turn is not.
    #[test]
    fn one_host_may_be_inside() {
        let policy = OutboundPolicy::new(["*.example".to_owned()], vec![]).naming("IdP.corp.");
        let inside: IpAddr = "10.0.0.1".parse().expect("an address");
        for (host, named, connected) in [("idp.corp", true, true), ("a.example", true, false), ("other.corp", false, false)] {
            assert_eq!(policy.check_host(host).is_ok(), named, "{host}");
            assert_eq!(policy.check_address(host, inside).is_ok(), connected, "{host}");
        }
    }

    #[test]
    fn only_public_addresses_are_connected_to() {
        let inside = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::7f00:1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ];
        let outside = [
            "1.1.1.1",
            "8.8.8.8",
            "93.184.216.34",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.255.255",
            "198.20.0.1",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:4860:4860::8888",
        ];
        let policy = OutboundPolicy::default();
        for (addresses, expected) in [(&inside[..], false), (&outside[..], true)] {
            for text in addresses {
                let address: IpAddr = text.parse().expect(text);
                assert_eq!(policy.check_address("host", address).is_ok(), expected, "{text}");
            }
        }
    }

    #[test]
    fn the_operator_opens_ranges() {
        let ranges = ["10.1.0.0/16", "127.0.0.1", "fd00:1::/32"].map(|text| text.parse().expect(text));
        let policy = OutboundPolicy::new([], ranges.to_vec());
        let table = [
            ("10.1.255.255", true),
            ("10.2.0.0", false),
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("::ffff:127.0.0.1", true),
            ("fd00:1:ffff::1", true),
            ("fd00:2::1", false),
            ("8.8.8.8", true),
        ];
        for (text, expected) in table {
            assert_eq!(policy.check_address("host", text.parse().expect(text)).is_ok(), expected, "{text}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0.1/8", "fd00::1/8", "localhost", "10.0.0.0/-1", "fd00::/129", "10.0.0/8"] {
            assert_eq!(text.parse::<AddressRange>(), Err(AddressRangeError(text.into())), "{text}");
        }
        for text in ["0.0.0.0/0", "::/0"] {
            let range: AddressRange = text.parse().expect(text);
            assert_eq!(range.contains("127.0.0.1".parse().expect("an address")), text == "0.0.0.0/0");
            assert_eq!(range.contains("::1".parse().expect("an address")), text == "::/0");
            assert_eq!(range.to_string(), text);
        }
    }

    #[test]
    fn the_operator_lists_hosts() {
        let policy = OutboundPolicy::new(["Keys.example".into(), "*.partner.example".into(), "192.0.2.1".into()], vec![]);
        let table = [
            ("keys.example", true),
            ("KEYS.example.", true),
            ("other.example", false),
            ("a.partner.example", true),
            ("a.b.partner.example", true),
            ("partner.example", false),
            (".partner.example", false),
            ("evilpartner.example", false),
            ("192.0.2.1", true),
            ("[::1]", false),
        ];
        for (host, expected) in table {
            assert_eq!(policy.check_host(host).is_ok(), expected, "{host}");
        }
        assert!(OutboundPolicy::default().check_host("anything.example").is_ok());
    }
}
