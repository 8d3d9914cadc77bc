//! Versions, suites and groups, seen by clients that offer one thing at a time and by scanners of other people.

use std::process::Stdio;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::harness::{Leaf, Setup, Stack, left_out, ports};

/// What a server says to a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    /// The suite and the compression that it chose.
    Hello(u16, u8),
    /// A fatal alert.
    Alert(u8),
}

const HANDSHAKE_FAILURE: Reply = Reply::Alert(40);
const PROTOCOL_VERSION: Reply = Reply::Alert(70);

/// A hello by hand (RFC 5246 §7.4.1.2, RFC 8446 §4.1.2): offers what no library of today would.
#[derive(Clone)]
struct Hello<'a> {
    name: &'a str,
    /// The old version field.
    version: u16,
    /// TLS 1.3, with a share of this group.
    tls13: Option<u16>,
    suites: Vec<u16>,
    compression: Vec<u8>,
    groups: Vec<u16>,
}

const X25519: u16 = 0x001d;
const P256: u16 = 0x0017;
const P384: u16 = 0x0018;
const X25519MLKEM768: u16 = 0x11ec;

impl<'a> Hello<'a> {
    fn tls12(name: &'a str, suites: &[u16]) -> Self {
        Self { name, version: 0x0303, tls13: None, suites: suites.to_vec(), compression: vec![0], groups: vec![X25519, P256] }
    }

    fn tls13(name: &'a str, suites: &[u16]) -> Self {
        Self { tls13: Some(X25519), groups: vec![X25519], ..Self::tls12(name, suites) }
    }

    fn bytes(&self) -> Vec<u8> {
        let list = |values: &[u16]| values.iter().flat_map(|value| value.to_be_bytes()).collect::<Vec<u8>>();
        let long = |bytes: &[u8]| [&u16::try_from(bytes.len()).expect("short").to_be_bytes()[..], bytes].concat();
        let short = |bytes: &[u8]| [&[u8::try_from(bytes.len()).expect("short")][..], bytes].concat();
        let extension = |kind: u16, body: &[u8]| [&kind.to_be_bytes()[..], &long(body)].concat();
        let name = [&[0][..], &long(self.name.as_bytes())].concat();
        let mut extensions = [
            extension(0, &long(&name)),
            extension(10, &long(&list(&self.groups))),
            extension(11, &[1, 0]),
            // ECDSA and RSA-PSS with SHA-256, RSA with SHA-256.
            extension(13, &long(&list(&[0x0403, 0x0804, 0x0401]))),
            extension(23, &[]),
        ]
        .concat();
        if let Some(group) = self.tls13 {
            extensions.extend(extension(43, &short(&list(&[0x0304]))));
            // The base point is a point like any other.
            let share = [[9].as_slice(), &[0; 31]].concat();
            extensions.extend(extension(51, &long(&[&group.to_be_bytes()[..], &long(&share)].concat())));
        }
        let body = [
            &self.version.to_be_bytes()[..],
            &[7; 32],
            &[0],
            &long(&list(&self.suites)),
            &short(&self.compression),
            &long(&extensions),
        ]
        .concat();
        let length = u32::try_from(body.len()).expect("short").to_be_bytes();
        let message = [&[1][..], &length[1..], &body].concat();
        [&[22, 3, 1][..], &long(&message)].concat()
    }

    async fn send(&self, port: u16) -> Reply {
        self.send_in_records(port, usize::MAX).await
    }

    /// The same, cut into records of so many bytes (RFC 8446 §5.1), each written apart.
    async fn send_in_records(&self, port: u16, size: usize) -> Reply {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
        stream.set_nodelay(true).expect("set");
        for piece in self.bytes()[5..].chunks(size) {
            let length = u16::try_from(piece.len()).expect("short").to_be_bytes();
            stream.write_all(&[&[22, 3, 1][..], &length, piece].concat()).await.expect("written");
            tokio::task::yield_now().await;
        }
        let mut head = [0u8; 5];
        stream.read_exact(&mut head).await.expect("a record");
        let mut body = vec![0u8; usize::from(u16::from_be_bytes([head[3], head[4]]))];
        stream.read_exact(&mut body).await.expect("its contents");
        match (head[0], body.as_slice()) {
            (21, [2, code]) => Reply::Alert(*code),
            (22, [2, _, _, _, _, _, rest @ ..]) => {
                let session = usize::from(rest[32]);
                Reply::Hello(u16::from_be_bytes([rest[33 + session], rest[34 + session]]), rest[35 + session])
            }
            other => panic!("neither alert nor hello: {other:02x?}"),
        }
    }
}

const ECDSA: [u16; 3] = [0xc02c, 0xc02b, 0xcca9];
const RSA: [u16; 3] = [0xc030, 0xc02f, 0xcca8];
const TLS13: [u16; 3] = [0x1302, 0x1301, 0x1303];
/// Static RSA, CBC, CCM, finite-field Diffie-Hellman, RC4, 3DES, NULL, anonymous, PSK, and the Camellia and ARIA of GCM.
const OTHERS: [u16; 22] = [
    0x009c, 0x009d, 0x002f, 0x0035, 0x003c, 0xc009, 0xc00a, 0xc013, 0xc014, 0xc023, 0xc024, 0xc027, 0xc028, 0xc0ac, 0xc0ad,
    0x009e, 0x009f, 0x0005, 0x000a, 0x003b, 0xc07b, 0xc05d,
];

/// A listener with a host of each profile and kind of certificate.
async fn scanned() -> (Stack, u16) {
    let port = ports::free();
    let host = |name: &str, certificate: &str, suites: &str| {
        format!(
            "\n[[listener.host]]\nnames = [\"{name}\"]\ncertificate_file = \"{certificate}.pem\"\n\
             key_file = \"{certificate}-key.pem\"\nsuites = \"{suites}\"\n"
        )
    };
    let listener =
        format!("\n[[listener]]\nname = \"scanned\"\naddress = \"127.0.0.1:{port}\"\nservices = [\"authorization_server\"]\n");
    let hosts = [
        host("*", "server", "default"),
        host("rsa.example", "rsa", "default"),
        host("fapi2.example", "server", "fapi2"),
        host("fapi2-rsa.example", "rsa", "fapi2"),
        host("tls13.example", "server", "tls13"),
    ];
    let setup = Setup { server: format!("{listener}{}", hosts.concat()), without_gateway: true, ..Setup::default() };
    let mut stack = setup.prepare("sqlite:symbolon.db".into()).await;
    let leaf = Leaf { name: "rsa".into(), ..Leaf::server(&["rsa.example", "fapi2-rsa.example"]) };
    stack.server_ca.issue_rsa(leaf).write(stack.dir.path());
    stack.start_server().await;
    (stack, port)
}

/// RFC 5246 §7.4.1.3, RFC 9325 §4.2: one suite at a time, and our order whatever the client's.
#[tokio::test]
async fn suites_are_those_of_the_profile_in_its_order() {
    let (_stack, port) = scanned().await;
    let table: [(&str, &[u16], &[u16]); 5] = [
        ("other.example", &ECDSA, &TLS13),
        ("rsa.example", &RSA, &TLS13),
        ("fapi2.example", &ECDSA[..2], &TLS13[..2]),
        ("fapi2-rsa.example", &RSA[..2], &TLS13[..2]),
        ("tls13.example", &[], &TLS13),
    ];
    for (name, tls12, tls13) in table {
        let none = if tls12.is_empty() { PROTOCOL_VERSION } else { HANDSHAKE_FAILURE };
        for suite in OTHERS.iter().chain(&ECDSA).chain(&RSA) {
            let expected = if tls12.contains(suite) { Reply::Hello(*suite, 0) } else { none };
            assert_eq!(Hello::tls12(name, &[*suite]).send(port).await, expected, "{name} {suite:04x}");
        }
        for suite in TLS13 {
            let expected = if tls13.contains(&suite) { Reply::Hello(suite, 0) } else { HANDSHAKE_FAILURE };
            assert_eq!(Hello::tls13(name, &[suite]).send(port).await, expected, "{name} {suite:04x}");
        }
        // Offered backwards, with everything else in front; then without the one that was chosen.
        let mut left = [&OTHERS[..], &tls12.iter().rev().copied().collect::<Vec<_>>()].concat();
        for suite in tls12 {
            assert_eq!(Hello::tls12(name, &left).send(port).await, Reply::Hello(*suite, 0), "{name}");
            left.retain(|offered| offered != suite);
        }
        let mut left: Vec<u16> = tls13.iter().rev().copied().collect();
        for suite in tls13 {
            assert_eq!(Hello::tls13(name, &left).send(port).await, Reply::Hello(*suite, 0), "{name}");
            left.retain(|offered| offered != suite);
        }
    }
}

/// A name in other letters, and a hello in pieces, find the same host and not a laxer one: a proxy that reads only the first record, or
/// compares letters, would let TLS 1.2 in by the host for all other names.
#[tokio::test]
async fn a_name_in_other_letters_or_in_pieces_is_the_same_name() {
    let (_stack, port) = scanned().await;
    assert_eq!(Hello::tls12("other.example", &ECDSA).send_in_records(port, 7).await, Reply::Hello(ECDSA[0], 0));
    for name in ["tls13.example", "TLS13.Example", "TLS13.EXAMPLE"] {
        for size in [usize::MAX, 50, 7, 1] {
            let hello = Hello::tls12(name, &ECDSA);
            assert_eq!(hello.send_in_records(port, size).await, PROTOCOL_VERSION, "{name} {size}");
            let hello = Hello::tls13(name, &TLS13[..1]);
            assert_eq!(hello.send_in_records(port, size).await, Reply::Hello(TLS13[0], 0), "{name} {size}");
        }
    }
    // A name with a trailing dot is none (RFC 6066 §3).
    for size in [usize::MAX, 7] {
        let reply = Hello::tls12("tls13.example.", &ECDSA).send_in_records(port, size).await;
        assert!(matches!(reply, Reply::Alert(_)), "{reply:?}");
    }
}

/// RFC 8996: TLS 1.0 and 1.1 are over. RFC 9325 §3.3: no compression.
#[tokio::test]
async fn old_versions_compression_and_other_groups_are_refused() {
    let (_stack, port) = scanned().await;
    let good = Hello::tls12("other.example", &ECDSA);
    assert_eq!(good.send(port).await, Reply::Hello(ECDSA[0], 0));
    for version in [0x0300, 0x0301, 0x0302] {
        assert_eq!(Hello { version, ..good.clone() }.send(port).await, PROTOCOL_VERSION, "{version:04x}");
    }
    assert_eq!(Hello { compression: vec![1, 0], ..good.clone() }.send(port).await, Reply::Hello(ECDSA[0], 0));
    assert!(matches!(Hello { compression: vec![1], ..good.clone() }.send(port).await, Reply::Alert(_)));
    // P-384, P-521, X448, ffdhe2048, and the curves of Brainpool.
    for group in [P384, 0x0019, 0x001e, 0x0100, 0x001a, 0x001b, 0x001c] {
        let only = Hello { groups: vec![group], ..good.clone() };
        assert_eq!(only.send(port).await, HANDSHAKE_FAILURE, "{group:04x}");
        let only = Hello { groups: vec![group], tls13: Some(group), ..Hello::tls13("other.example", &TLS13) };
        assert!(matches!(only.send(port).await, Reply::Alert(_)), "{group:04x}");
    }
    for group in [X25519, P256] {
        assert_eq!(Hello { groups: vec![group], ..good.clone() }.send(port).await, Reply::Hello(ECDSA[0], 0), "{group:04x}");
    }
    // Who can do better is asked to (a retry request is a hello too): ours is the order of groups that counts.
    let both = Hello { groups: vec![P256, X25519, X25519MLKEM768], ..Hello::tls13("other.example", &TLS13) };
    assert!(matches!(both.send(port).await, Reply::Hello(..)));
}

async fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    let output = command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).output();
    match tokio::time::timeout(std::time::Duration::from_secs(120), output).await {
        Ok(Ok(output)) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(Err(_)) => {
            left_out(&format!("what `{program}` says of the TLS policy: it is not installed"));
            None
        }
        Err(_) => panic!("{program} does not end"),
    }
}

/// The order of suites as a scanner of other people sees it: nmap's `ssl-enum-ciphers`, and sslscan.
#[tokio::test]
async fn scanners_confirm_the_policy() {
    let (_stack, port) = scanned().await;
    let port = port.to_string();
    let order = [
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    ];
    if let Some(said) = output_of("nmap", &["-Pn", "-p", &port, "--script", "ssl-enum-ciphers", "127.0.0.1"]).await {
        let section = said.split("TLSv1.2:").nth(1).unwrap_or_else(|| panic!("no TLS 1.2 in\n{said}"));
        let section = section.split("TLSv1.3:").next().unwrap_or_default();
        let found: Vec<&str> = section.split_whitespace().filter(|word| word.starts_with("TLS_")).collect();
        assert_eq!(found, order, "{said}");
        assert!(section.contains("cipher preference: server"), "{said}");
        for word in ["SSLv3:", "TLSv1.0:", "TLSv1.1:", "_CBC_", "_RSA_WITH"] {
            assert!(!said.contains(word), "{word} in\n{said}");
        }
    }
    if let Some(said) = output_of("sslscan", &["--no-colour", "--show-sigs", &format!("127.0.0.1:{port}")]).await {
        for line in ["TLSv1.0   disabled", "TLSv1.1   disabled", "TLSv1.2   enabled", "TLSv1.3   enabled"] {
            assert!(said.contains(line), "{line} is not in\n{said}");
        }
        assert!(!said.contains("Compression enabled") && !said.contains("Insecure session renegotiation"), "{said}");
        assert!(said.contains("Preferred TLSv1.2  256 bits  ECDHE-ECDSA-AES256-GCM-SHA384"), "{said}");
    }
}
