use proptest::prelude::*;

use super::*;
use crate::token::tests::{APPENDIX_A, access_token};

fn rule(sequence: i64, kind: RuleKind, value: &str, before: i64) -> RevocationRule {
    let (before, expires) = (Timestamp::from_seconds(before), Timestamp::from_seconds(before + 300));
    RevocationRule { sequence, kind, value: value.to_owned(), before, expires, lifted: false }
}

/// Issued at 1000.
fn facts() -> TokenFacts {
    access_token().facts(Some("key-1".parse().expect("valid")))
}

#[test]
fn every_kind_hits_its_property_and_no_other() {
    let values = [
        (RuleKind::TokenId, "jti-1"),
        (RuleKind::Family, "family-1"),
        (RuleKind::Client, "client-a"),
        (RuleKind::Subject, "alice"),
        (RuleKind::Certificate, APPENDIX_A),
        (RuleKind::Key, "key-1"),
    ];
    for (kind, _) in values {
        for (owner, value) in values {
            let rules = RevocationRules::from_rules([rule(7, kind, value, 1000)]);
            let expected = if kind == owner { Err(Revoked { kind, sequence: 7 }) } else { Ok(NotRevoked { sequence: 7 }) };
            assert_eq!(rules.check(&facts()), expected, "{kind} {value}");
        }
        let rules = RevocationRules::from_rules([rule(7, kind, "another", 1000)]);
        assert!(rules.check(&facts()).is_ok());
    }
}

#[test]
fn tokens_issued_at_the_moment_or_before_are_revoked() {
    // (before, revoked): the token was issued at 1000.
    for (before, revoked) in [(999, false), (1000, true), (1001, true)] {
        let rules = RevocationRules::from_rules([rule(1, RuleKind::Client, "client-a", before)]);
        assert_eq!(rules.check(&facts()).is_err(), revoked, "{before}");
    }
    let mut undated = facts();
    undated.issued_at = None;
    assert!(RevocationRules::from_rules([rule(1, RuleKind::Client, "client-a", 1)]).check(&undated).is_err());
    assert!(RevocationRules::default().check(&undated).is_ok());
}

#[test]
fn a_token_without_the_property_is_not_hit() {
    let mut facts = facts();
    (facts.token_id, facts.family, facts.client_id, facts.subject, facts.key_id, facts.cnf) =
        (None, None, None, None, None, None);
    let rules = RevocationRules::from_rules(RuleKind::ALL.map(|kind| rule(1, kind, "", 5000)));
    assert!(rules.check(&facts).is_ok());
}

#[test]
fn a_later_rule_never_weakens_an_earlier_one() {
    let strong = rule(1, RuleKind::Client, "client-a", 2000);
    let weak = rule(2, RuleKind::Client, "client-a", 10);
    let revoked = Err(Revoked { kind: RuleKind::Client, sequence: 2 });
    for (first, second) in [(&strong, &weak), (&weak, &strong)] {
        assert_eq!(RevocationRules::from_rules([first.clone(), second.clone()]).check(&facts()), revoked);
        assert_eq!(RevocationRules::from_rules([first.clone()]).with([second.clone()]).check(&facts()), revoked);
    }
}

#[test]
fn expired_rules_go_and_the_sequence_stays() {
    let rules =
        RevocationRules::from_rules([rule(4, RuleKind::Client, "client-a", 1000)]).with([rule(5, RuleKind::TokenId, "x", 2000)]);
    assert_eq!(rules.len(), 2);
    assert!(rules.without_expired(Timestamp::from_seconds(1299)).check(&facts()).is_err());
    let later = rules.without_expired(Timestamp::from_seconds(1300));
    assert_eq!((later.len(), later.sequence()), (1, 5));
    let empty = later.without_expired(Timestamp::from_seconds(9999));
    assert_eq!((empty.is_empty(), empty.sequence()), (true, 5));
    assert_eq!(empty.at_sequence(9).sequence(), 9);
    // The snapshot it was made of is unchanged.
    assert_eq!(rules.len(), 2);
}

#[test]
fn a_rule_travels_as_json() {
    let text = r#"{"sequence":3,"kind":"token_id","value":"jti-1","before":1000,"expires":1300}"#;
    let rule = rule(3, RuleKind::TokenId, "jti-1", 1000);
    assert_eq!(serde_json::to_string(&rule).expect("JSON"), text);
    assert_eq!(serde_json::from_str::<RevocationRule>(text).expect("a rule"), rule);
    for kind in RuleKind::ALL {
        assert_eq!(serde_json::to_value(kind).expect("JSON"), kind.name());
        assert_eq!(kind.name().parse(), Ok(kind));
    }
    assert_eq!("TokenId".parse::<RuleKind>(), Err(RuleKindUnknown));
}

#[test]
fn many_changes_one_by_one_are_all_kept() {
    let mut rules = RevocationRules::default();
    let count = RevocationRules::RECENT as i64 * 3;
    for sequence in 1..=count {
        rules = rules.with([rule(sequence, RuleKind::TokenId, &format!("jti-{sequence}"), 1000)]);
        assert!(rules.recent.len() <= RevocationRules::RECENT);
    }
    assert_eq!((rules.len() as i64, rules.sequence()), (count, count));
    for sequence in 1..=count {
        let mut facts = facts();
        facts.token_id = format!("jti-{sequence}").parse().ok();
        assert_eq!(rules.check(&facts), Err(Revoked { kind: RuleKind::TokenId, sequence }));
    }
}

/// Kinds that name a property of a token. The others name certificates.
const TOKEN_KINDS: [RuleKind; 6] =
    [RuleKind::TokenId, RuleKind::Family, RuleKind::Client, RuleKind::Subject, RuleKind::Certificate, RuleKind::Key];

proptest! {
    /// However the rules arrive, the verdict is that of looking at each of them.
    #[test]
    fn the_index_agrees_with_a_plain_search(
        rules in proptest::collection::vec((0usize..TOKEN_KINDS.len(), 0usize..3, 990i64..1010), 0..20),
        split in any::<prop::sample::Index>(),
        present in proptest::array::uniform6(0usize..3),
    ) {
        let value = |kind: RuleKind, which: usize| match kind {
            RuleKind::Certificate => Thumbprint::from_bytes([which as u8; 32]).to_string(),
            _ => format!("v{which}"),
        };
        let rules: Vec<_> = rules.iter().enumerate().map(|(sequence, (kind, which, before))| {
            let kind = TOKEN_KINDS[*kind];
            rule(sequence as i64 + 1, kind, &value(kind, *which), *before)
        }).collect();
        let mut facts = facts();
        facts.token_id = value(RuleKind::TokenId, present[0]).parse().ok();
        facts.family = value(RuleKind::Family, present[1]).parse().ok();
        facts.client_id = value(RuleKind::Client, present[2]).parse().ok();
        facts.subject = value(RuleKind::Subject, present[3]).parse().ok();
        facts.cnf = Some(crate::domain::Cnf::certificate(Thumbprint::from_bytes([present[4] as u8; 32])));
        facts.key_id = value(RuleKind::Key, present[5]).parse().ok();
        let hit = |rule: &RevocationRule| {
            TOKEN_KINDS.iter().position(|kind| *kind == rule.kind).is_some_and(|place| rule.value == value(rule.kind, present[place])) && 1000 <= rule.before.seconds()
        };
        let expected = rules.iter().any(hit);
        let (first, second) = rules.split_at(split.index(rules.len() + 1));
        let layered = RevocationRules::from_rules(first.to_vec()).with(second.to_vec());
        prop_assert_eq!(layered.check(&facts).is_err(), expected);
        prop_assert_eq!(RevocationRules::from_rules(rules.clone()).check(&facts).is_err(), expected);
        prop_assert_eq!(layered.sequence(), rules.len() as i64);
        prop_assert_eq!(layered.without_expired(Timestamp::from_seconds(0)).check(&facts).is_err(), expected);
    }
}

/// What an operator takes back hits nothing any more, in whatever order it is heard of, until it is revoked again.
#[test]
fn a_rule_that_is_taken_back_hits_nothing() {
    let revoked = rule(1, RuleKind::Certificate, APPENDIX_A, 2000);
    let lifted = RevocationRule { lifted: true, ..rule(2, RuleKind::Certificate, APPENDIX_A, 2000) };
    let again = rule(3, RuleKind::Certificate, APPENDIX_A, 2000);
    for rules in [[&revoked, &lifted], [&lifted, &revoked]] {
        let [first, second] = rules.map(RevocationRule::clone);
        assert!(RevocationRules::from_rules([first.clone(), second.clone()]).check(&facts()).is_ok());
        assert!(RevocationRules::from_rules([first.clone()]).with([second.clone()]).check(&facts()).is_ok());
        let more = RevocationRules::from_rules([first, second]).with([again.clone()]);
        assert_eq!(more.check(&facts()), Err(Revoked { kind: RuleKind::Certificate, sequence: 3 }));
    }
    let text = serde_json::to_value(&lifted).expect("JSON");
    assert_eq!(text["lifted"], true);
    assert!(serde_json::to_value(&revoked).expect("JSON").get("lifted").is_none(), "as it always was");
}

/// A certificate is hit by its own thumbprint, by its number together with its issuer, and by its key in whatever certificate that is.
#[cfg(feature = "server")]
#[test]
fn certificates_are_named_in_three_ways() {
    use crate::pki::fixture::Authority;
    let (ca, other) = (Authority::new("CA"), Authority::new("Other CA"));
    let (alice, bob) = (ca.client("alice").certificate, ca.client("bob").certificate);
    let serial = alice.serial().expect("a number");
    let table = [
        (RuleKind::Certificate, alice.thumbprint().to_string(), true),
        (RuleKind::Certificate, alice.spki_sha256().to_string(), false),
        (RuleKind::CertificateKey, alice.spki_sha256().to_string(), true),
        (RuleKind::CertificateKey, alice.thumbprint().to_string(), false),
        (RuleKind::CertificateSerial, format!("{serial}@CN=CA"), true),
        (RuleKind::CertificateSerial, serial_value(serial, other.certificate.subject()), false),
        (RuleKind::CertificateSerial, serial_value(bob.serial().expect("a number"), ca.certificate.subject()), false),
        (RuleKind::Key, alice.spki_sha256().to_string(), false),
    ];
    for (kind, value, hit) in table {
        let rules = RevocationRules::from_rules([rule(4, kind, &value, 1)]);
        assert_eq!(rules.check_certificate(&alice).err(), hit.then_some(CertificateRevoked { sequence: 4 }), "{kind} {value}");
        assert_eq!(rules.with([RevocationRule { lifted: true, ..rule(5, kind, &value, 1) }]).check_certificate(&alice), Ok(()));
    }
}
