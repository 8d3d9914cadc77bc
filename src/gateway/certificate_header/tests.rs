use CertificateHeaderSetting::*;

use super::*;
use crate::domain::Lifetime;
use crate::event::Reason;
use crate::jose::digest::sha256;
use crate::jose::random::SystemRandomness;
use crate::pki::authority::{CertificateUsage, DevelopmentAuthority, IssueRequest};
use crate::pki::pem as read_pem;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn peer() -> PeerCertificate {
    let day = Lifetime::from_seconds(86_400);
    let authority = DevelopmentAuthority::generate("CA", NOW, day, &SystemRandomness).expect("an authority");
    let subject = "CN=alice\\, \\\"a\\\",O=Example".parse().expect("a name");
    let mut request = IssueRequest::new(subject, CertificateUsage::Client, day);
    request.dns = vec!["a.example".into(), "b.example".into()];
    let leaf = authority.issue(&request, NOW, &SystemRandomness).expect("a certificate").certificate;
    PeerCertificate::for_test(leaf, vec![authority.certificate().der().clone()])
}

fn shown(peer: &PeerCertificate, verdict: Verdict, bound: Bound, dialect: CertificateHeaderSetting) -> Vec<(String, String)> {
    let fields = write(dialect, &Shown { peer: Some(peer), verdict, bound });
    fields.iter().map(|(name, value)| (name.to_string(), value.to_str().expect("ASCII").to_owned())).collect()
}

/// Every field that is written is one of those that a dialect is said to set.
#[test]
fn dialects_set_the_fields_that_are_theirs() {
    let peer = peer();
    for dialect in [Rfc9440, Rfc9440WithChain, Xfcc, Nginx, Traefik, Alb, XSslClientCert] {
        let written = shown(&peer, Verdict::Success, Bound::No, dialect);
        assert_eq!(written.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names(dialect), "{dialect:?}");
    }
}

#[test]
fn every_dialect_carries_the_certificate() {
    let peer = peer();
    let leaf = peer.leaf();
    let of = |dialect| shown(&peer, Verdict::Success, Bound::No, dialect);
    let decoded = |text: &str| {
        let text = text.replace("%0A", "\n").replace("%20", " ").replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
        read_pem::certificates(text.as_bytes()).expect("PEM").remove(0)
    };
    // RFC 9440 §2.2: a Byte Sequence of RFC 8941, with padding.
    let [(name, value)] = of(Rfc9440).try_into().expect("one field");
    assert_eq!(name, "client-cert");
    let inner = value.strip_prefix(':').and_then(|rest| rest.strip_suffix(':')).expect("colons");
    assert_eq!(STANDARD.decode(inner).expect("base64"), leaf.der().as_ref());
    let [_, (name, value)] = of(Rfc9440WithChain).try_into().expect("two fields");
    assert_eq!((name.as_str(), value), ("client-cert-chain", format!(":{}:", STANDARD.encode(&peer.chain()[0]))));

    let [(_, value)] = of(Xfcc).try_into().expect("one field");
    let hash = hex(&sha256(leaf.der()));
    assert!(value.starts_with(&format!("Hash={hash};Cert=\"-----BEGIN%20CERTIFICATE-----%0A")), "{value}");
    assert!(value.ends_with(";DNS=a.example;DNS=b.example"), "{value}");
    // The subject's own quotes and backslashes cannot end the value.
    assert!(value.contains(r#"Subject="CN=alice\\, \\\"a\\\",O=Example";"#), "{value}");

    let fields = of(Traefik);
    assert_eq!(fields[0].1.split(',').next(), Some(STANDARD.encode(leaf.der()).as_str()));
    assert!(fields[1].1.starts_with("Subject%3D%22CN%3Dalice"), "{}", fields[1].1);

    let fields = of(Alb);
    let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    let parts = ["serial-number", "issuer", "subject", "validity", "leaf"];
    assert_eq!(names, parts.map(|part| format!("x-amzn-mtls-clientcert-{part}")));
    assert!(fields[3].1.starts_with("NotBefore=2027-01-1") && fields[3].1.contains("Z;NotAfter=2027-01-16T"), "{}", fields[3].1);
    assert!(!fields[4].1.contains("%2B") && !fields[4].1.contains("%2F"), "{}", fields[4].1);
    assert_eq!(decoded(&fields[4].1).thumbprint(), leaf.thumbprint());

    let [(_, value)] = of(XSslClientCert).try_into().expect("one field");
    assert_eq!(decoded(&value).thumbprint(), leaf.thumbprint());

    let fields = of(Nginx);
    assert_eq!(fields[0], ("ssl-client-verify".into(), "SUCCESS".into()));
    assert_eq!(decoded(&fields[1].1).thumbprint(), leaf.thumbprint());
}

#[test]
fn names_that_no_authority_stands_for_are_carried_only_with_a_word_about_them() {
    let peer = peer();
    let failed = Verdict::Failed(Reason::CertificateNoAnchors);
    for dialect in [Rfc9440, Rfc9440WithChain, Xfcc, Traefik, Alb, XSslClientCert] {
        assert!(shown(&peer, failed, Bound::No, dialect).is_empty(), "{dialect:?}");
        // The certificate that the token is bound to, alone, where dialects have a field for just that.
        let fields = usize::from(matches!(dialect, Rfc9440 | Rfc9440WithChain | XSslClientCert));
        assert_eq!(shown(&peer, failed, Bound::Yes, dialect).len(), fields, "{dialect:?}");
        assert!(!shown(&peer, Verdict::Success, Bound::No, dialect).is_empty(), "{dialect:?}");
        let nobody = Shown { peer: None, verdict: Verdict::None, bound: Bound::No };
        assert!(write(dialect, &nobody).is_empty(), "{dialect:?}");
    }
    assert_eq!(shown(&peer, failed, Bound::No, Nginx)[0].1, "FAILED:certificate_no_anchors");
}

#[test]
fn dates_are_written_as_others_write_them() {
    assert_eq!(openssl_date(Timestamp::from_seconds(1_788_350_400)).as_deref(), Some("Sep  2 12:00:00 2026 GMT"));
    assert_eq!(compact_date(Timestamp::from_seconds(1_788_350_400)).as_deref(), Some("20260902120000"));
}
