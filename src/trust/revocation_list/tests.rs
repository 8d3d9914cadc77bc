use std::sync::Arc;

use super::*;
use crate::domain::Lifetime;
use crate::pki::fixture::{Authority, Identity, ListParams, NOW};
use crate::tls::PeerCertificate;
use crate::trust::{AnchorSet, AnchorSets, CurrentAnchors, PeerTrust, TrustError};

fn seconds(count: u32) -> Lifetime {
    Lifetime::from_seconds(count)
}

fn lists(mode: RevocationMode, made: &[(&Authority, &dyn Fn(&mut ListParams))]) -> RevocationLists {
    let read = |(authority, change): &(&Authority, &dyn Fn(&mut ListParams))| {
        CertificateRevocationList::verified(&authority.revocation_list(change), [&authority.certificate].into_iter())
            .expect("a list")
    };
    RevocationLists::new(mode, made.iter().map(read))
}

fn set(root: &Authority, lists: RevocationLists) -> AnchorSet {
    AnchorSet::new("clients", vec![root.certificate.clone()], vec![]).expect("a set").with_revocation_lists(lists)
}

fn trust(identity: &Identity, above: &[&Authority]) -> PeerTrust {
    let chain = above.iter().map(|authority| authority.certificate.der().clone()).collect();
    PeerTrust::new(Arc::new(PeerCertificate::for_test(identity.certificate.clone(), chain)))
}

fn reason(trust: &PeerTrust, set: &Arc<AnchorSet>, now: Timestamp) -> Result<Timestamp, Reason> {
    trust.judge(&[set], now).map(|trusted| trusted.not_after()).map_err(|error| error.reason())
}

const NOTHING: &dyn Fn(&mut ListParams) = &|_| {};

/// Under `hard` every certificate below the authority needs a list that is in force; under `soft` only what is listed is refused.
#[test]
fn hard_fails_closed_and_soft_refuses_what_is_listed() {
    use RevocationMode::{Hard, Off, Soft};
    let root = Authority::new("Root");
    let intermediate = root.intermediate("Intermediate", |_| {});
    let alice = intermediate.client("alice");
    let shown = trust(&alice, &[&intermediate]);
    let revokes_alice: &dyn Fn(&mut ListParams) = &|list| list.revoke(&alice.certificate, Some(1));
    let revokes_intermediate: &dyn Fn(&mut ListParams) = &|list| list.revoke(&intermediate.certificate, Some(2));
    let too_old: &dyn Fn(&mut ListParams) = &|list| {
        list.this_update = NOW.minus(seconds(500));
        list.next_update = Some(NOW.minus(seconds(1)));
    };
    let too_old_and_revokes: &dyn Fn(&mut ListParams) = &|list| {
        too_old(list);
        revokes_alice(list);
    };
    let future: &dyn Fn(&mut ListParams) = &|list| list.this_update = NOW.plus(seconds(1));
    let (revoked, unknown, stale) =
        (Err(Reason::CertificateRevoked), Err(Reason::CertificateRevocationUnknown), Err(Reason::CertificateRevocationStale));
    type Made<'a> = Vec<(&'a Authority, &'a dyn Fn(&mut ListParams))>;
    let table: Vec<(&str, Made<'_>, Result<(), Reason>, Result<(), Reason>)> = vec![
        ("none", vec![], unknown, Ok(())),
        ("both", vec![(&root, NOTHING), (&intermediate, NOTHING)], Ok(()), Ok(())),
        ("only the root's", vec![(&root, NOTHING)], unknown, Ok(())),
        ("only the intermediate's", vec![(&intermediate, NOTHING)], unknown, Ok(())),
        ("the client", vec![(&root, NOTHING), (&intermediate, revokes_alice)], revoked, revoked),
        ("the intermediate", vec![(&root, revokes_intermediate), (&intermediate, NOTHING)], revoked, revoked),
        ("number of another authority", vec![(&root, revokes_alice), (&intermediate, NOTHING)], Ok(()), Ok(())),
        ("too old", vec![(&root, NOTHING), (&intermediate, too_old)], stale, Ok(())),
        ("too old, and listed", vec![(&root, NOTHING), (&intermediate, too_old_and_revokes)], revoked, revoked),
        ("from the future", vec![(&root, NOTHING), (&intermediate, future)], stale, Ok(())),
        ("a newer one beside it", vec![(&root, NOTHING), (&intermediate, too_old), (&intermediate, NOTHING)], Ok(()), Ok(())),
        (
            "released by a newer one",
            vec![(&root, NOTHING), (&intermediate, too_old_and_revokes), (&intermediate, NOTHING)],
            Ok(()),
            Ok(()),
        ),
        (
            "one in force beside a future one",
            vec![(&root, NOTHING), (&intermediate, future), (&intermediate, NOTHING)],
            Ok(()),
            Ok(()),
        ),
    ];
    for (what, made, hard, soft) in table {
        for (mode, expected) in [(Hard, hard), (Soft, soft), (Off, Ok(()))] {
            let set = Arc::new(set(&root, lists(mode, &made)));
            assert_eq!(reason(&shown, &set, NOW).map(|_| ()), expected, "{what}, {mode:?}");
        }
    }
}

/// What was good is asked again for every request: a list grows too old while a connection is open, and says until when it holds.
#[test]
fn a_list_grows_too_old() {
    let root = Authority::new("Root");
    let alice = root.client("alice");
    let shown = trust(&alice, &[]);
    let hard = Arc::new(set(&root, lists(RevocationMode::Hard, &[(&root, NOTHING)])));
    assert_eq!(reason(&shown, &hard, NOW), Ok(NOW.plus(seconds(1_000))));
    assert_eq!(reason(&shown, &hard, NOW.plus(seconds(1_000))).map(|_| ()), Ok(()));
    assert_eq!(reason(&shown, &hard, NOW.plus(seconds(1_001))), Err(Reason::CertificateRevocationStale));
    let soft = Arc::new(set(&root, lists(RevocationMode::Soft, &[(&root, NOTHING)])));
    assert_eq!(reason(&shown, &soft, NOW.plus(seconds(1_001))), Ok(alice.certificate.not_after()));
}

/// New lists are in force for connections that were there, without another look at signatures; and only together with all the rest.
#[test]
fn new_lists_leave_the_set_as_it_is() {
    let root = Authority::new("Root");
    let alice = root.client("alice");
    let shown = trust(&alice, &[]);
    let current = CurrentAnchors::new(AnchorSets::new([set(&root, lists(RevocationMode::Hard, &[(&root, NOTHING)]))]));
    let before = current.load().get("clients").cloned().expect("the set");
    assert!(reason(&shown, &before, NOW).is_ok());
    let revoking: &dyn Fn(&mut ListParams) = &|list| list.revoke(&alice.certificate, None);
    let read = AnchorSets::new([set(&root, lists(RevocationMode::Hard, &[(&root, revoking)]))]).replacing(&current.load());
    assert!(reason(&shown, &before, NOW).is_ok(), "what was read is not in force yet");
    assert_eq!(read.epoch(), current.load().epoch(), "sessions need not end: lists are asked for every request");
    current.replace(read);
    let after = current.load().get("clients").cloned().expect("the set");
    assert!(Arc::ptr_eq(&before, &after));
    assert_eq!(reason(&shown, &after, NOW), Err(Reason::CertificateRevoked));
    let error = shown.judge(&[&after], NOW).expect_err("revoked");
    assert!(
        matches!(error, TrustError::Revocation { .. }) && error.to_string().contains("`CN=Root` has revoked number"),
        "{error}"
    );
}

/// RFC 5280 §5.2.3: "CRL numbers … allow users to easily determine when a particular CRL supersedes another CRL".
#[test]
fn of_two_lists_of_one_second_the_higher_number_counts() {
    let root = Authority::new("Root");
    let numbered = |number: u8| {
        move |list: &mut ListParams| {
            let value = crate::pki::fixture::der(0x02, [&[number][..]]);
            list.extensions.push(crate::pki::fixture::extension(&[0x55, 0x1d, 0x14], false, &value));
        }
    };
    let (nine, ten) = (numbered(9), numbered(10));
    for made in [[(&root, &nine as &dyn Fn(&mut ListParams)), (&root, &ten)], [(&root, &ten), (&root, &nine)]] {
        let lists = lists(RevocationMode::Soft, &made);
        assert_eq!(lists.iter().map(|(_, list)| list.number()).collect::<Vec<_>>(), [Some("10")]);
    }
}
