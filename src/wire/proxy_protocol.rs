//! The PROXY protocol, version 2: whom a proxy that passes bytes on unread speaks for. Reading is strict, since whoever speaks it is a
//! program that we were told of.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What every header begins with: signature, version and command, family, length.
pub const FIXED_BYTES: usize = 16;
/// The longest rest of a header: addresses, and what else the proxy wants to tell, which is not read.
pub const REST_BYTES: usize = 536;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
/// Type and length of what stands behind the addresses.
const TLV_HEAD: usize = 3;

/// Members behind the addresses (§2.2), and those within the one of TLS (§2.2.6).
const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;
const SSL_CN: u8 = 0x22;
/// What the member of TLS begins with: the client spoke TLS, showed a certificate on this connection, showed one in this session.
const CLIENT_SSL: u8 = 0x01;
const CLIENT_CERT_CONN: u8 = 0x02;
const CLIENT_CERT_SESS: u8 = 0x04;
/// The certificate that was shown was verified.
const VERIFIED: [u8; 4] = [0; 4];

/// Bytes of members, at most: what is longer is left away, never cut. Together they fit into what readers take.
const AUTHORITY_BYTES: usize = 253;
/// The longest name of a protocol that is told.
pub const ALPN_BYTES: usize = 32;
const UNIQUE_ID_BYTES: usize = 32;
const SSL_VERSION_BYTES: usize = 16;
const SSL_CN_BYTES: usize = 128;

/// What is told of a client's connection beside its addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct About<'a> {
    /// The server name that the client asked for.
    pub authority: Option<&'a str>,
    /// The protocol that was agreed on (RFC 7301).
    pub alpn: Option<&'a [u8]>,
    /// What the connection is called in our log and audit trail.
    pub unique_id: Option<&'a str>,
    /// What was shown in the handshake, where it was ours.
    pub tls: Option<AboutTls<'a>>,
}

/// What is told of a client that has shown a certificate which was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AboutTls<'a> {
    /// As OpenSSL names it: `TLSv1.3`.
    pub version: &'a str,
    /// Where the certificate was shown.
    pub shown: CertificateShown,
    /// The common name of its subject.
    pub common_name: Option<&'a str>,
}

/// Where a client has shown its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateShown {
    /// In the handshake of this connection.
    Here,
    /// In the one that this connection's session comes from.
    Earlier,
}

impl About<'_> {
    fn members(&self) -> Vec<u8> {
        let mut members = Vec::new();
        put(&mut members, ALPN, self.alpn, ALPN_BYTES);
        put(&mut members, AUTHORITY, self.authority.map(str::as_bytes), AUTHORITY_BYTES);
        put(&mut members, UNIQUE_ID, self.unique_id.map(str::as_bytes), UNIQUE_ID_BYTES);
        if let Some(tls) = &self.tls {
            let shown = match tls.shown {
                CertificateShown::Here => CLIENT_CERT_CONN | CLIENT_CERT_SESS,
                CertificateShown::Earlier => CLIENT_CERT_SESS,
            };
            let mut inner = [&[CLIENT_SSL | shown][..], &VERIFIED].concat();
            put(&mut inner, SSL_VERSION, Some(tls.version.as_bytes()), SSL_VERSION_BYTES);
            put(&mut inner, SSL_CN, tls.common_name.map(str::as_bytes), SSL_CN_BYTES);
            put(&mut members, SSL, Some(&inner), usize::from(u16::MAX));
        }
        members
    }
}

/// Adds a member that is there and not too long.
fn put(members: &mut Vec<u8>, kind: u8, value: Option<&[u8]>, limit: usize) {
    let Some(value) = value.filter(|value| (1..=limit).contains(&value.len())) else { return };
    let Ok(length) = u16::try_from(value.len()) else { return };
    members.push(kind);
    members.extend(length.to_be_bytes());
    members.extend(value);
}

/// The header of a connection that is passed on for a client: who it is, where it has come to, and what else is known of it. Addresses of
/// two families are told as IPv6, an IPv4 one within it.
pub fn header(client: SocketAddr, reached: SocketAddr, about: &About<'_>) -> Vec<u8> {
    let (addresses, transport) = match (client.ip().to_canonical(), reached.ip().to_canonical()) {
        (IpAddr::V4(client), IpAddr::V4(reached)) => ([client.octets(), reached.octets()].concat(), TCP4),
        (client, reached) => ([client, reached].map(within_ipv6).concat(), TCP6),
    };
    let ports = [client.port().to_be_bytes(), reached.port().to_be_bytes()].concat();
    let members = about.members();
    // No more than `REST_BYTES`.
    let length = u16::try_from(addresses.len() + ports.len() + members.len()).unwrap_or_default();
    [&SIGNATURE[..], &[PROXY, transport], &length.to_be_bytes(), &addresses, &ports, &members].concat()
}

fn within_ipv6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The first part of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed {
    command: Command,
    rest: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Local,
    Tcp4,
    Tcp6,
}

/// Whom the connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The proxy itself, that looks whether somebody is here.
    Proxy,
    /// A client at this address.
    Client(SocketAddr),
}

/// Why there is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyProtocolError {
    /// Other bytes than every header begins with.
    #[error("the connection does not begin with a PROXY protocol header of version 2")]
    Signature,
    /// Another version, or a command that there is none of.
    #[error("the PROXY protocol header has version and command {0:#04x}")]
    Command(u8),
    /// Something else than TCP over IPv4 or IPv6.
    #[error("the PROXY protocol header is for the transport {0:#04x}, which is neither TCP over IPv4 nor over IPv6")]
    Transport(u8),
    /// Longer than any that is read.
    #[error("the PROXY protocol header is longer than {} bytes", FIXED_BYTES + REST_BYTES)]
    TooLong,
    /// Too short for its addresses, or with members that do not fill it.
    #[error("the PROXY protocol header does not fill its length")]
    Length,
}

impl Fixed {
    /// Reads the first part.
    ///
    /// # Errors
    /// What is no header of version 2, or too long.
    pub fn parse(bytes: &[u8; FIXED_BYTES]) -> Result<Self, ProxyProtocolError> {
        let [signature @ .., command, transport, high, low] = bytes;
        if *signature != SIGNATURE {
            return Err(ProxyProtocolError::Signature);
        }
        let command = match (*command, *transport) {
            // Whatever it says of addresses does not count.
            (LOCAL, _) => Command::Local,
            (PROXY, TCP4) => Command::Tcp4,
            (PROXY, TCP6) => Command::Tcp6,
            (PROXY, other) => return Err(ProxyProtocolError::Transport(other)),
            (other, _) => return Err(ProxyProtocolError::Command(other)),
        };
        let rest = usize::from(u16::from_be_bytes([*high, *low]));
        if rest > REST_BYTES {
            return Err(ProxyProtocolError::TooLong);
        }
        Ok(Self { command, rest })
    }

    /// How many bytes follow.
    pub const fn rest(&self) -> usize {
        self.rest
    }

    /// Reads what follows, which must be [`Self::rest`] bytes.
    ///
    /// # Errors
    /// Bytes that are too few for the addresses, or members behind them that do not end where the header does.
    pub fn origin(&self, rest: &[u8]) -> Result<Origin, ProxyProtocolError> {
        if rest.len() != self.rest {
            return Err(ProxyProtocolError::Length);
        }
        let (origin, members) = match self.command {
            Command::Local => return Ok(Origin::Proxy),
            Command::Tcp4 => {
                let (addresses, members) = rest.split_first_chunk::<12>().ok_or(ProxyProtocolError::Length)?;
                let [a, b, c, d, _, _, _, _, high, low, _, _] = *addresses;
                (client(Ipv4Addr::new(a, b, c, d).into(), [high, low]), members)
            }
            Command::Tcp6 => {
                let (source, after) = rest.split_first_chunk::<16>().ok_or(ProxyProtocolError::Length)?;
                let (_destination, after) = after.split_first_chunk::<16>().ok_or(ProxyProtocolError::Length)?;
                let ([high, low, _, _], members) = after.split_first_chunk::<4>().ok_or(ProxyProtocolError::Length)?;
                // IPv4 within IPv6 is IPv4, as it is where a socket tells it.
                (client(IpAddr::from(Ipv6Addr::from(*source)).to_canonical(), [*high, *low]), members)
            }
        };
        check_members(members)?;
        Ok(origin)
    }
}

const fn client(address: IpAddr, port: [u8; 2]) -> Origin {
    Origin::Client(SocketAddr::new(address, u16::from_be_bytes(port)))
}

fn check_members(mut members: &[u8]) -> Result<(), ProxyProtocolError> {
    while let Some((_, rest)) = member(members)? {
        members = rest;
    }
    Ok(())
}

/// The type and the value of a member, with what stands behind it; `None` at the end.
type Member<'a> = Option<((u8, &'a [u8]), &'a [u8])>;

fn member(members: &[u8]) -> Result<Member<'_>, ProxyProtocolError> {
    if members.is_empty() {
        return Ok(None);
    }
    let ([kind, high, low], after) = members.split_first_chunk::<TLV_HEAD>().ok_or(ProxyProtocolError::Length)?;
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let (value, rest) = after.split_at_checked(length).ok_or(ProxyProtocolError::Length)?;
    Ok(Some(((*kind, value), rest)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(command: u8, transport: u8, length: u16, rest: &[u8]) -> Vec<u8> {
        [&SIGNATURE[..], &[command, transport], &length.to_be_bytes(), rest].concat()
    }

    fn parse(bytes: &[u8]) -> Result<Origin, ProxyProtocolError> {
        let (fixed, rest) = bytes.split_first_chunk().ok_or(ProxyProtocolError::Length)?;
        Fixed::parse(fixed)?.origin(rest)
    }

    const V4: [u8; 12] = [203, 0, 113, 7, 192, 0, 2, 1, 0x12, 0x67, 0x01, 0xbb];

    fn v6(source: &str) -> Vec<u8> {
        let source: Ipv6Addr = source.parse().expect("an address");
        [&source.octets()[..], &[0; 16], &[0x12, 0x67, 0x01, 0xbb]].concat()
    }

    #[test]
    fn who_is_told_is_read_and_nothing_else_passes() {
        use ProxyProtocolError::*;
        let client = |text: &str| Ok(Origin::Client(text.parse().expect("an address")));
        let member = [&V4[..], &[0x04, 0, 2, 9, 9], &[0x20, 0, 0]].concat();
        let table: Vec<(&str, Vec<u8>, Result<Origin, ProxyProtocolError>)> = vec![
            ("IPv4", written(PROXY, TCP4, 12, &V4), client("203.0.113.7:4711")),
            ("IPv6", written(PROXY, TCP6, 36, &v6("2001:db8::7")), client("[2001:db8::7]:4711")),
            ("IPv4 within IPv6", written(PROXY, TCP6, 36, &v6("::ffff:203.0.113.7")), client("203.0.113.7:4711")),
            ("members", written(PROXY, TCP4, 20, &member), client("203.0.113.7:4711")),
            ("a health check", written(LOCAL, 0, 0, &[]), Ok(Origin::Proxy)),
            ("a health check with addresses", written(LOCAL, TCP4, 12, &V4), Ok(Origin::Proxy)),
            ("the longest", written(LOCAL, 0, 536, &[0; 536]), Ok(Origin::Proxy)),
            ("too long", written(LOCAL, 0, 537, &[0; 537]), Err(TooLong)),
            ("version 1", b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n".to_vec(), Err(Signature)),
            ("TLS", [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 20]].concat(), Err(Signature)),
            ("version 3", written(0x31, TCP4, 12, &V4), Err(Command(0x31))),
            ("another command", written(0x22, TCP4, 12, &V4), Err(Command(0x22))),
            ("UDP", written(PROXY, 0x12, 12, &V4), Err(Transport(0x12))),
            ("a Unix socket", written(PROXY, 0x31, 216, &[0; 216]), Err(Transport(0x31))),
            ("nobody knows who", written(PROXY, 0, 0, &[]), Err(Transport(0))),
            ("too short for IPv4", written(PROXY, TCP4, 11, &V4[..11]), Err(Length)),
            ("too short for IPv6", written(PROXY, TCP6, 12, &V4), Err(Length)),
            ("half a member", written(PROXY, TCP4, 14, &member[..14]), Err(Length)),
            ("a member that is cut off", written(PROXY, TCP4, 16, &member[..16]), Err(Length)),
        ];
        for (what, bytes, expected) in table {
            assert_eq!(parse(&bytes), expected, "{what}");
        }
    }

    /// The examples are those of the specification's structures (§2.2), byte by byte.
    #[test]
    fn whom_we_speak_for_is_told() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let header = |client, reached| header(client, reached, &About::default());
        assert_eq!(header(at("203.0.113.7:4711"), at("192.0.2.1:443")), written(PROXY, TCP4, 12, &V4));
        assert_eq!(header(at("[::ffff:203.0.113.7]:4711"), at("192.0.2.1:443")), written(PROXY, TCP4, 12, &V4));
        assert_eq!(header(at("[2001:db8::7]:4711"), at("[::]:443")), written(PROXY, TCP6, 36, &v6("2001:db8::7")));
        assert_eq!(parse(&header(at("203.0.113.7:4711"), at("[2001:db8::1]:443"))), Ok(Origin::Client(at("203.0.113.7:4711"))));
    }

    /// §2.2.6: `struct pp2_tlv_ssl` is the flags, the verdict in four bytes, and members of its own.
    #[test]
    fn what_is_known_of_the_client_stands_behind_the_addresses() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let tls = AboutTls { version: "TLSv1.3", shown: CertificateShown::Here, common_name: Some("alice") };
        let about = About { authority: Some("db"), alpn: Some(b"h"), unique_id: Some("i"), tls: Some(tls) };
        let inner = b"\x07\0\0\0\0\x21\0\x07TLSv1.3\x22\0\x05alice";
        let members = [&b"\x01\0\x01h\x02\0\x02db\x05\0\x01i\x20\0\x17"[..], inner].concat();
        let expected = written(PROXY, TCP4, 12 + members.len() as u16, &[&V4[..], &members].concat());
        assert_eq!(header(at("203.0.113.7:4711"), at("192.0.2.1:443"), &about), expected);
        let earlier = AboutTls { shown: CertificateShown::Earlier, common_name: None, ..tls };
        let about = About { tls: Some(earlier), ..About::default() };
        let bytes = header(at("203.0.113.7:4711"), at("192.0.2.1:443"), &about);
        assert_eq!(&bytes[28..], b"\x20\0\x0f\x05\0\0\0\0\x21\0\x07TLSv1.3");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            client: SocketAddr,
            reached: SocketAddr,
            texts in proptest::array::uniform4(proptest::option::of("[a-z\u{e9}]{0,260}")),
            resumed: bool,
        ) {
            let [authority, alpn, unique_id, common_name] = texts.each_ref().map(Option::as_deref);
            let shown = if resumed { CertificateShown::Earlier } else { CertificateShown::Here };
            let tls = common_name.map(|_| AboutTls { version: "TLSv1.2", shown, common_name });
            let about = About { authority, alpn: alpn.map(str::as_bytes), unique_id, tls };
            let bytes = header(client, reached, &about);
            let expected = SocketAddr::new(client.ip().to_canonical(), client.port());
            prop_assert_eq!(parse(&bytes), Ok(Origin::Client(expected)));
            let addresses = if bytes[13] == TCP4 { 12 } else { 36 };
            let (mut rest, mut found) = (&bytes[FIXED_BYTES + addresses..], Vec::new());
            while let Some((one, after)) = member(rest).expect("members") {
                found.push(one);
                rest = after;
            }
            let told = |kind: u8, text: Option<&str>, limit: usize| {
                let text = text.filter(|text| (1..=limit).contains(&text.len()));
                prop_assert_eq!(found.iter().find(|(one, _)| *one == kind).map(|(_, value)| *value), text.map(str::as_bytes));
                Ok(())
            };
            told(ALPN, alpn, ALPN_BYTES)?;
            told(AUTHORITY, authority, AUTHORITY_BYTES)?;
            told(UNIQUE_ID, unique_id, UNIQUE_ID_BYTES)?;
            prop_assert_eq!(found.iter().any(|(kind, _)| *kind == SSL), tls.is_some());
        }

        #[test]
        fn no_bytes_make_the_reader_fail(command: u8, transport: u8, length: u16, rest in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse(&written(command, transport, length, &rest));
            let _ = parse(&written(PROXY, if transport % 2 == 0 { TCP4 } else { TCP6 }, rest.len() as u16, &rest));
            let _ = parse(&rest);
        }
    }
}
