use rcgen::{
    BasicConstraints, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints, SanType,
};

use crate::domain::Lifetime;
use crate::pki::fixture::{Authority, Identity, NOW, date, self_signed};

use super::*;

fn seconds(count: u32) -> Lifetime {
    Lifetime::from_seconds(count)
}

fn anchors(authorities: &[&Authority]) -> Anchors {
    Anchors::new(authorities.iter().map(|authority| authority.certificate.clone())).expect("authorities")
}

fn verdict(leaf: &Identity, intermediates: &[&Authority], anchors: &Anchors) -> Result<Path, PathError> {
    let intermediates: Vec<_> = intermediates.iter().map(|authority| authority.certificate.der().clone()).collect();
    build_path(&leaf.certificate, &intermediates, anchors, &PathPolicy::default(), NOW)
}

#[test]
fn authorities_of_one_name_are_told_apart_by_key() {
    let (ours, theirs) = (Authority::new("CA"), Authority::new("CA"));
    let (alice, mallory) = (ours.client("alice"), theirs.client("alice"));
    assert_eq!(verdict(&alice, &[], &anchors(&[&ours])).expect("a path").anchor(), ours.certificate.spki_sha256());
    assert_eq!(verdict(&mallory, &[], &anchors(&[&ours])), Err(PathError::Signature));
    // Both accepted: each path still names its own.
    for set in [anchors(&[&ours, &theirs]), anchors(&[&theirs, &ours])] {
        assert_eq!(verdict(&alice, &[], &set).expect("a path").anchor(), ours.certificate.spki_sha256());
        assert_eq!(verdict(&mallory, &[], &set).expect("a path").anchor(), theirs.certificate.spki_sha256());
        assert_eq!(set.subjects().len(), 1);
    }
    assert_eq!(verdict(&alice, &[], &anchors(&[])), Err(PathError::UnknownIssuer));
    assert_eq!(verdict(&alice, &[], &anchors(&[&Authority::new("Other")])), Err(PathError::UnknownIssuer));
}

#[test]
fn usages_and_authorities() {
    let ca = Authority::new("CA");
    let set = anchors(&[&ca]);
    let with_usages = |usages: Vec<ExtendedKeyUsagePurpose>| ca.leaf("a", |params| params.extended_key_usages = usages);
    let any = with_usages(vec![ExtendedKeyUsagePurpose::Any]);
    assert_eq!(verdict(&any, &[], &set), Err(PathError::ExtendedKeyUsage));
    let server = with_usages(vec![ExtendedKeyUsagePurpose::ServerAuth]);
    assert_eq!(verdict(&server, &[], &set), Err(PathError::ExtendedKeyUsage));
    let both = with_usages(vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]);
    verdict(&both, &[], &set).expect("client authentication is among them");
    verdict(&with_usages(vec![]), &[], &set).expect("the certificate does not say");

    let agreement = ca.leaf("a", |params| params.key_usages = vec![KeyUsagePurpose::KeyAgreement]);
    assert_eq!(verdict(&agreement, &[], &set), Err(PathError::KeyUsage));
    verdict(&ca.leaf("a", |params| params.key_usages = vec![]), &[], &set).expect("the certificate does not say");

    let authority = ca.leaf("a", |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert_eq!(verdict(&authority, &[], &set), Err(PathError::Authority));
    let unlisted = self_signed("alice");
    assert_eq!(verdict(&unlisted, &[], &set), Err(PathError::UnknownIssuer));
}

#[test]
fn a_leaf_is_no_anchor() {
    let leaf = self_signed("alice");
    let error = Anchors::new([leaf.certificate.clone()]).expect_err("not an authority");
    assert_eq!(error, AnchorError::NotAnAuthority { subject: "CN=alice".into() });
    let no_signing = Authority::with("CA", |params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    assert!(Anchors::new([no_signing.certificate]).is_err());
}

#[test]
fn every_date_on_the_path_counts() {
    let (early, late) = (NOW.minus(seconds(100)), NOW.plus(seconds(100)));
    let ca = Authority::new("CA");
    let leaf = ca.leaf("a", |params| params.not_after = date(late));
    let set = anchors(&[&ca]);
    let path = build_path(&leaf.certificate, &[], &set, &PathPolicy::default(), late).expect("the last second is valid");
    assert_eq!((path.not_before(), path.not_after()), (NOW.minus(seconds(1_000)), late));
    let after = late.plus(seconds(1));
    let expired = DateError::Expired { not_after: late };
    assert_eq!(path.check_dates(after), Err(expired));
    assert_eq!(build_path(&leaf.certificate, &[], &set, &PathPolicy::default(), after), Err(PathError::Dates(expired)));
    let unborn = ca.leaf("a", |params| params.not_before = date(late));
    assert_eq!(verdict(&unborn, &[], &set), Err(PathError::Dates(DateError::NotYetValid { not_before: late })));

    // webpki looks at no anchor's dates.
    let expired = Authority::with("CA", |params| params.not_after = date(early));
    assert_eq!(verdict(&expired.client("a"), &[], &anchors(&[&expired])), Err(PathError::IssuerExpired));
    let unborn = Authority::with("CA", |params| params.not_before = date(late));
    assert_eq!(verdict(&unborn.client("a"), &[], &anchors(&[&unborn])), Err(PathError::IssuerNotYetValid));
    let stranger = Authority::new("Stranger").client("a");
    assert_eq!(verdict(&stranger, &[], &anchors(&[&expired])), Err(PathError::UnknownIssuer));

    let ending = Authority::with("Root", |params| params.not_after = date(late));
    let path = verdict(&ending.client("a"), &[], &anchors(&[&ending])).expect("a path");
    assert_eq!(path.not_after(), late);

    let intermediate = ca.intermediate("Intermediate", |params| params.not_after = date(late));
    let path = verdict(&intermediate.client("a"), &[&intermediate], &set).expect("a path");
    assert_eq!((path.anchor(), path.not_after()), (ca.certificate.spki_sha256(), late));
    let expired = ca.intermediate("Intermediate", |params| params.not_after = date(early));
    assert_eq!(verdict(&expired.client("a"), &[&expired], &set), Err(PathError::IssuerExpired));
}

#[test]
fn intermediates_help_and_garbage_among_them_does_not_hurt() {
    let root = Authority::new("Root");
    let intermediate = root.intermediate("Intermediate", |_| {});
    let leaf = intermediate.client("a");
    let set = anchors(&[&root]);
    assert_eq!(verdict(&leaf, &[], &set), Err(PathError::UnknownIssuer));
    verdict(&leaf, &[&intermediate], &set).expect("a path");
    let garbage = [CertificateDer::from(vec![0x30, 0x80]), CertificateDer::from(vec![]), intermediate.certificate.der().clone()];
    build_path(&leaf.certificate, &garbage, &set, &PathPolicy::default(), NOW).expect("a path");
    let constrained = Authority::with("Root", |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let below = constrained.intermediate("A", |_| {}).intermediate("B", |_| {});
    assert!(verdict(&below.client("a"), &[&below], &anchors(&[&constrained])).is_err());
    // A client that issues certificates.
    let client = root.leaf("alice", |_| {});
    let chain = [client.certificate.der().clone()];
    let forged = Authority::new("alice").client("bob");
    assert!(build_path(&forged.certificate, &chain, &set, &PathPolicy::default(), NOW).is_err());
}

/// The same as [`verdict`] under another policy.
fn under(policy: &PathPolicy, leaf: &Identity, intermediates: &[&Authority], anchors: &Anchors) -> Result<(), PathError> {
    let intermediates: Vec<_> = intermediates.iter().map(|authority| authority.certificate.der().clone()).collect();
    build_path(&leaf.certificate, &intermediates, anchors, policy, NOW).map(|_| ())
}

#[test]
fn the_policy_says_what_certificates_must_be_for() {
    use ExtendedKeyUsagePolicy as E;
    let ca = Authority::new("CA");
    let set = anchors(&[&ca]);
    let with = |usages: Vec<ExtendedKeyUsagePurpose>| ca.leaf("a", |params| params.extended_key_usages = usages);
    let (client, server, silent) =
        (with(vec![ExtendedKeyUsagePurpose::ClientAuth]), with(vec![ExtendedKeyUsagePurpose::ServerAuth]), with(vec![]));
    let refused = Err(PathError::ExtendedKeyUsage);
    let table = [
        (E::ClientAuthIfPresent, &client, Ok(())),
        (E::ClientAuthIfPresent, &server, refused.clone()),
        (E::ClientAuthIfPresent, &silent, Ok(())),
        (E::ClientAuth, &client, Ok(())),
        (E::ClientAuth, &server, refused.clone()),
        (E::ClientAuth, &silent, refused),
        (E::Any, &client, Ok(())),
        (E::Any, &server, Ok(())),
        (E::Any, &silent, Ok(())),
    ];
    for (extended_key_usage, leaf, expected) in table {
        let policy = PathPolicy { extended_key_usage, ..PathPolicy::default() };
        assert_eq!(under(&policy, leaf, &[], &set), expected, "{extended_key_usage:?} {:?}", leaf.certificate);
    }
}

#[test]
fn every_key_on_the_path_must_be_of_an_accepted_kind() {
    let p256 = Authority::new("CA");
    let strong_key = || KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key");
    let p384 = Authority::with_key("CA", strong_key());
    let only = |keys: &[KeyType]| PathPolicy { keys: keys.to_vec(), ..PathPolicy::default() };
    let refused = Err(PathError::Key("EC P-256".into()));
    let set = anchors(&[&p256]);
    assert_eq!(under(&only(&[KeyType::P256]), &p256.client("a"), &[], &set), Ok(()));
    assert_eq!(under(&only(&[KeyType::P384]), &p256.client("a"), &[], &set), refused, "the client's own");
    let strong = p256.with_own_key(strong_key(), "a");
    assert_eq!(under(&only(&[KeyType::P384]), &strong, &[], &set), refused, "the authority's");
    assert_eq!(under(&only(&[KeyType::P384]), &p384.with_own_key(strong_key(), "a"), &[], &anchors(&[&p384])), Ok(()));
    let weak = p384.intermediate("Between", |_| {});
    let leaf = weak.with_own_key(strong_key(), "a");
    assert_eq!(under(&only(&[KeyType::P384]), &leaf, &[&weak], &anchors(&[&p384])), refused, "the intermediate's");
    assert_eq!(under(&only(&[KeyType::P384, KeyType::P256]), &leaf, &[&weak], &anchors(&[&p384])), Ok(()));
}

#[test]
fn an_rsa_key_has_a_size() {
    let key = || KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).expect("a key");
    let ca = Authority::with_key("CA", key());
    let leaf = ca.client("a");
    let set = anchors(&[&ca]);
    assert_eq!(under(&PathPolicy::default(), &leaf, &[], &set), Ok(()));
    let policy = PathPolicy { min_rsa_bits: 2_049, ..PathPolicy::default() };
    assert_eq!(under(&policy, &leaf, &[], &set), Err(PathError::Key("RSA with 2048 bits".into())));
    assert_eq!(ca.certificate.key(), &PublicKeyKind::Rsa { bits: 2_048 });
}

#[test]
fn constraints_of_a_kind_that_is_not_understood_let_nothing_of_that_kind_through() {
    let ca = Authority::with("CA", |params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::Rfc822Name("good.example".into())],
            excluded_subtrees: vec![],
        });
    });
    let named = |address: &str| {
        ca.leaf("a", |params| params.subject_alt_names = vec![SanType::Rfc822Name(address.try_into().expect("IA5"))])
    };
    let set = anchors(&[&ca]);
    assert_eq!(verdict(&named("a@bad.example"), &[], &set).map(|_| ()), Err(PathError::NameConstraints));
    verdict(&ca.client("a"), &[], &set).expect("it has no such name");
}

#[test]
fn name_constraints_hold() {
    let ca = Authority::with("CA", |params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("good.example".into())],
            excluded_subtrees: vec![],
        });
    });
    let named =
        |name: &str| ca.leaf("a", |params| params.subject_alt_names = vec![SanType::DnsName(name.try_into().expect("IA5"))]);
    verdict(&named("a.good.example"), &[], &anchors(&[&ca])).expect("a permitted name");
    assert_eq!(verdict(&named("a.bad.example"), &[], &anchors(&[&ca])), Err(PathError::NameConstraints));
}

#[test]
fn reasons_are_told() {
    let table = [
        (PathError::UnknownIssuer, "certificate_unknown_issuer"),
        (PathError::Signature, "certificate_signature"),
        (PathError::ExtendedKeyUsage, "certificate_extended_key_usage"),
        (PathError::KeyUsage, "certificate_key_usage"),
        (PathError::Authority, "certificate_authority_as_client"),
        (PathError::IssuerExpired, "certificate_expired"),
        (PathError::NameConstraints, "certificate_name_constraints"),
        (PathError::Key("RSA with 1024 bits".into()), "certificate_key"),
    ];
    for (error, code) in table {
        assert_eq!(error.reason().code(), code);
    }
}
