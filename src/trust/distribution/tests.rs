use super::*;
use crate::pki::fixture::{Authority, Identity, ListParams, NOW};
use crate::trust::{AnchorSet, RevocationLists, RevocationMode};

fn seconds(count: u32) -> Lifetime {
    Lifetime::from_seconds(count)
}

fn pointed(authority: &Authority, name: &str, urls: &[String]) -> Identity {
    authority.leaf(name, |params| {
        params.not_after = rcgen::date_time_ymd(2040, 1, 1);
        params.crl_distribution_points = vec![rcgen::CrlDistributionPoint { uris: urls.to_vec() }];
    })
}

fn set(root: &Authority, urls: &[&str], refresh: u32) -> AnchorSet {
    let urls = urls.iter().map(|url| (*url).to_owned()).collect();
    let fetching = ListFetching { urls, named_by_certificates: true, refresh: seconds(refresh) };
    let none: [(CertificateRevocationList, Thumbprint); 0] = [];
    AnchorSet::new("clients", vec![root.certificate.clone()], vec![])
        .expect("a set")
        .with_revocation_lists(RevocationLists::new(RevocationMode::Hard, none))
        .with_list_fetching(fetching, vec![root.certificate.clone()])
}

fn judged(set: &AnchorSet, identity: &Identity, now: Timestamp) -> Result<(), Reason> {
    let path = set.path(&identity.certificate, &[], now).expect("a path");
    set.revocation_lists().check(&path, now).map(|_| ()).map_err(|error| error.reason())
}

fn awaits(set: &AnchorSet, identity: &Identity, now: Timestamp) -> bool {
    set.path(&identity.certificate, &[], now).is_ok_and(|path| set.awaits_lists(&path, &[], now))
}

fn asked(asks: &[ListAsk]) -> Vec<(&str, bool)> {
    asks.iter().map(|ask| (ask.url.as_str(), ask.by_operator)).collect()
}

const URL: &str = "http://lists.example/ca.crl";

/// Ahead of need: after the set's own interval, or three quarters of the time that the list is still good for; sooner after a failure,
/// and later with each one.
#[test]
fn lists_are_due_before_they_are_too_old() {
    let root = Authority::new("Root");
    let due_after = |set: &AnchorSet, from: Timestamp| {
        (0..=100_000).map(seconds).find(|wait| !set.due_lists(from.plus(*wait)).is_empty()).map(Lifetime::seconds)
    };
    let list = |life: u32| root.revocation_list(|list: &mut ListParams| list.next_update = Some(NOW.plus(seconds(life))));
    for (life, refresh, expected) in [(1_000, 3_600, 750), (1_000, 100, 100), (100_000, 3_600, 3_600), (4, 3_600, 3)] {
        let set = set(&root, &[URL], refresh);
        let under_way = set.due_lists(NOW);
        assert_eq!(asked(&under_way), [(URL, true)]);
        assert_eq!(asked(&set.due_lists(NOW.plus(seconds(9_999)))), [], "it is under way, however long that takes");
        drop(under_way);
        set.take_list(URL, Ok(&list(life)), NOW).expect("a list");
        assert_eq!(due_after(&set, NOW), Some(expected), "{life} {refresh}");
    }
    let set = set(&root, &[URL], 3_600);
    let mut now = NOW;
    for expected in [15, 30, 60, 120, 240, 240] {
        set.take_list(URL, Err("down".into()), now).expect_err("down");
        assert_eq!(due_after(&set, now), Some(expected));
        now = now.plus(seconds(expected));
    }
    set.take_list(URL, Ok(&list(90_000)), now).expect("a list");
    assert_eq!(due_after(&set, now), Some(3_600));
    set.take_list("http://another.example/", Ok(&list(90_000)), now).expect("nobody asked, nothing is taken");
}

/// What a verified certificate names is asked for once, and not at all where a list in force speaks of it; a URL that cannot be fetched is
/// no URL, and there is a bound.
#[test]
fn what_is_named_is_noted_once() {
    let root = Authority::new("Root");
    let set = set(&root, &[], 3_600);
    let alice = pointed(&root, "alice", &[URL.into(), "ldap://lists.example/".into(), "http://u:p@lists.example/".into()]);
    assert_eq!(judged(&set, &alice, NOW), Err(Reason::CertificateRevocationUnknown));
    assert!(awaits(&set, &alice, NOW));
    assert_eq!(judged(&set, &alice, NOW), Err(Reason::CertificateRevocationUnreachable), "not asked yet");
    assert_eq!(asked(&set.due_lists(NOW)), [(URL, false)]);
    set.take_list(URL, Err("down".into()), NOW).expect_err("down");
    assert!(!awaits(&set, &alice, NOW), "it was asked for");
    assert_eq!(judged(&set, &alice, NOW), Err(Reason::CertificateRevocationUnreachable));
    set.take_list(URL, Ok(&root.revocation_list(|_| {})), NOW).expect("a list");
    assert_eq!(judged(&set, &alice, NOW), Ok(()));
    let bob = pointed(&root, "bob", &["http://lists.example/bob.crl".into()]);
    assert!(!awaits(&set, &bob, NOW), "the list without partition speaks of it");
    let late = NOW.plus(seconds(1_001));
    assert_eq!(judged(&set, &alice, late), Err(Reason::CertificateRevocationStale));
    assert!(awaits(&set, &bob, late), "it does no more");
    // An older list than the known one is not taken.
    let older = root.revocation_list(|list: &mut ListParams| list.this_update = NOW.minus(seconds(200)));
    assert_eq!(set.take_list(URL, Ok(&older), NOW), Err(ListProblem::Older));
    assert_eq!(judged(&set, &alice, NOW), Ok(()));
    // A bound on what all certificates together name.
    let many: Vec<String> = (0..MOST_POINTS + 5).map(|number| format!("http://lists.example/{number}")).collect();
    let set = self::set(&root, &[], 3_600);
    assert!(awaits(&set, &pointed(&root, "carol", &many), NOW));
    assert_eq!(set.due_lists(NOW).len(), MOST_POINTS);
}

/// What hangs keeps its places and no others; what the operator named comes first, and then what has waited longest.
#[test]
fn as_many_are_fetched_at_once_as_there_is_room_for() {
    let root = Authority::new("Root");
    let set = set(&root, &["http://lists.example/z"], 3_600);
    for number in 0..3 {
        let urls: Vec<String> = (0..MOST_POINTS).map(|part| format!("http://lists.example/{number}/{part}")).collect();
        assert!(awaits(&set, &pointed(&root, "carol", &urls), NOW));
    }
    let hanging = set.due_lists(NOW);
    assert_eq!(hanging.len(), MOST_FETCHES);
    assert_eq!(asked(&hanging)[0], ("http://lists.example/z", true));
    assert_eq!(asked(&set.due_lists(NOW)), [], "nothing is queued behind them");
    let mut seen: Vec<String> = hanging.iter().map(|ask| ask.url.clone()).collect();
    // Whoever has failed waits behind those that were never tried.
    let mut now = NOW;
    for ask in hanging {
        set.take_list(&ask.url, Err("down".into()), now).expect_err("down");
    }
    for _ in 0..2 {
        now = now.plus(seconds(20));
        let next = set.due_lists(now);
        assert_eq!(next.len(), MOST_FETCHES);
        for ask in next.into_iter().filter(|ask| !ask.by_operator) {
            assert!(!seen.contains(&ask.url), "{} waits", ask.url);
            set.take_list(&ask.url, Err("down".into()), now).expect_err("down");
            seen.push(ask.url.clone());
        }
    }
}

/// Each authority's list stands for itself: neither put together with another's newest one nor left away does an older state come back.
#[test]
fn no_authority_goes_back_behind_another() {
    use base64::Engine as _;
    let roots = [Authority::new("A"), Authority::new("B")];
    let victim = roots[0].client("victim");
    let certificates: Vec<_> = roots.iter().map(|root| root.certificate.clone()).collect();
    let none: [(CertificateRevocationList, Thumbprint); 0] = [];
    let fetching = ListFetching { urls: vec![URL.to_owned()], named_by_certificates: false, refresh: seconds(60) };
    let set = AnchorSet::new("clients", certificates.clone(), vec![])
        .expect("a set")
        .with_revocation_lists(RevocationLists::new(RevocationMode::Hard, none))
        .with_list_fetching(fetching, certificates);
    let list = |authority: usize, age: u32, revoked: bool| {
        roots[authority].revocation_list(|list: &mut ListParams| {
            list.this_update = NOW.minus(seconds(age));
            if revoked {
                list.revoke(&victim.certificate, None);
            }
        })
    };
    let pem = |lists: &[Vec<u8>]| {
        let one = |list: &Vec<u8>| {
            let text = base64::engine::general_purpose::STANDARD.encode(list);
            let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("text")).collect();
            format!("-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n", lines.join("\n"))
        };
        lists.iter().map(one).collect::<String>().into_bytes()
    };
    let take = |lists: &[Vec<u8>], now| set.take_list(URL, Ok(&pem(lists)), now);
    let (old, revoking) = (list(0, 90, false), list(0, 80, true));
    take(&[revoking.clone(), list(1, 80, false)], NOW).expect("both");
    assert_eq!(judged(&set, &victim, NOW), Err(Reason::CertificateRevoked));
    assert_eq!(take(&[old, list(1, 10, false)], NOW), Err(ListProblem::Older), "beside a newer one of another");
    assert_eq!(judged(&set, &victim, NOW), Err(Reason::CertificateRevoked));
    take(&[list(1, 10, false)], NOW).expect("the other's alone");
    assert_eq!(judged(&set, &victim, NOW), Err(Reason::CertificateRevoked), "left away");
    assert_eq!(judged(&set, &roots[1].client("other"), NOW), Ok(()));
    take(&[list(0, 5, false)], NOW).expect("its own newest");
    assert_eq!(judged(&set, &victim, NOW), Ok(()));
    assert_eq!(judged(&set, &roots[1].client("other"), NOW), Ok(()), "still in force");
    // Past its nextUpdate it stays what it is, whatever the answer leaves away.
    let late = NOW.plus(seconds(1_001));
    let until = |root: &Authority, this_update, scope: Option<&str>| {
        root.revocation_list(|list: &mut ListParams| {
            (list.this_update, list.next_update) = (this_update, Some(NOW.plus(seconds(5_000))));
            list.extensions.extend(scope.map(partition));
        })
    };
    take(&[until(&roots[0], NOW.minus(seconds(100)), None)], late).expect_err("older");
    take(&[until(&roots[0], NOW, None)], late).expect("newest");
    assert_eq!(judged(&set, &roots[1].client("other"), late), Err(Reason::CertificateRevocationStale));
}

/// `issuingDistributionPoint` with one URI (RFC 5280 §5.2.5).
fn partition(uri: &str) -> Vec<u8> {
    use crate::pki::fixture::{der, extension};
    let uri = der(0x86, [uri.as_bytes()]);
    let name = der(0xa0, [&der(0xa0, [&uri[..]])[..]]);
    extension(&[0x55, 0x1d, 0x1c], true, &der(0x30, [&name[..]]))
}

/// What an outdated list has revoked stays revoked when its place answers with another authority's list, until one of its own authority that is
/// newer and speaks of the certificate too is in force; and so many lists stay, and no more.
#[test]
fn an_outdated_list_is_not_forgotten() {
    let roots = [Authority::new("A"), Authority::new("B")];
    let victim = pointed(&roots[0], "victim", &[URL.to_owned()]);
    let certificates: Vec<_> = roots.iter().map(|root| root.certificate.clone()).collect();
    let none: [(CertificateRevocationList, Thumbprint); 0] = [];
    let fetching = ListFetching { urls: vec![URL.to_owned()], named_by_certificates: false, refresh: seconds(60) };
    let set = AnchorSet::new("clients", certificates.clone(), vec![])
        .expect("a set")
        .with_revocation_lists(RevocationLists::new(RevocationMode::Soft, none))
        .with_list_fetching(fetching, certificates);
    let late = NOW.plus(seconds(2_000));
    let revoking = roots[0].revocation_list(|list: &mut ListParams| list.revoke(&victim.certificate, None));
    set.take_list(URL, Ok(&revoking), NOW).expect("a list");
    let of = |root: &Authority, this_update: Timestamp, scope: Option<&str>| {
        root.revocation_list(|list: &mut ListParams| {
            (list.this_update, list.next_update) = (this_update, Some(late.plus(seconds(5_000))));
            list.extensions.extend(scope.map(partition));
        })
    };
    set.take_list(URL, Ok(&of(&roots[1], late, None)), late).expect("another authority's");
    assert_eq!(judged(&set, &victim, late), Err(Reason::CertificateRevoked), "left away");
    set.take_list(URL, Ok(&of(&roots[0], late, Some("http://lists.example/other"))), late).expect("another partition");
    assert_eq!(judged(&set, &victim, late), Err(Reason::CertificateRevoked), "of others");
    set.take_list(URL, Ok(&of(&roots[0], NOW.minus(seconds(500)), Some(URL))), late).expect("an older partition");
    assert_eq!(judged(&set, &victim, late), Err(Reason::CertificateRevoked), "older");
    // A kept list counts for what it is: an older one for nothing.
    set.take_kept_list(URL, &of(&roots[0], NOW.minus(seconds(900)), Some(URL))).expect("read");
    set.take_kept_list(URL, &of(&roots[0], NOW.minus(seconds(901)), None)).expect("read");
    assert_eq!((set.list_digests(URL).len(), judged(&set, &victim, late)), (4, Err(Reason::CertificateRevoked)));
    set.take_list(URL, Ok(&of(&roots[0], late, Some(URL))), late).expect("its own partition, newer");
    assert_eq!(judged(&set, &victim, late), Ok(()), "the authority has taken it back");
    for number in 0..MOST_KEPT - 3 {
        let list = of(&roots[0], late, Some(&format!("http://lists.example/{number}")));
        set.take_list(URL, Ok(&list), late).expect("one of many");
    }
    let known = set.list_digests(URL);
    let one_more = of(&roots[0], late, Some("http://lists.example/more"));
    assert_eq!(set.take_list(URL, Ok(&one_more), late), Err(ListProblem::TooMany));
    assert_eq!(set.list_digests(URL), known, "nothing is pushed out");
}

/// Whoever comes at the same time, each list is in force in the end, and never an older one than was before.
#[test]
fn lists_that_come_together_are_all_in_force() {
    let roots = [Authority::new("A"), Authority::new("B")];
    let urls = ["http://lists.example/a", "http://lists.example/b"];
    let certificates: Vec<_> = roots.iter().map(|root| root.certificate.clone()).collect();
    let list =
        |root: &Authority, age: u32| root.revocation_list(|list: &mut ListParams| list.this_update = NOW.minus(seconds(age)));
    let lists: Vec<[Vec<u8>; 2]> = roots.iter().map(|root| [list(root, 50), list(root, 100)]).collect();
    let none = || -> [(CertificateRevocationList, Thumbprint); 0] { [] };
    for round in 0..100 {
        let fetching =
            ListFetching { urls: urls.map(str::to_owned).to_vec(), named_by_certificates: false, refresh: seconds(60) };
        let set = AnchorSet::new("clients", certificates.clone(), vec![]).expect("a set");
        let set = set.with_revocation_lists(RevocationLists::new(RevocationMode::Hard, none()));
        let set = set.with_list_fetching(fetching, certificates.clone());
        let barrier = std::sync::Barrier::new(4);
        let (set, start) = (&set, &barrier);
        std::thread::scope(|scope| {
            for (url, lists) in urls.iter().zip(&lists) {
                for list in lists {
                    scope.spawn(move || {
                        start.wait();
                        let _ = set.take_list(url, Ok(list), NOW);
                    });
                }
            }
        });
        let in_force: Vec<_> = set.revocation_lists().iter().map(|(_, list)| list.this_update()).collect();
        assert_eq!(in_force, [NOW.minus(seconds(50)); 2], "round {round}");
    }
}

/// The list of an authority that only the client sent is verified with that one's key, and with no certificate that merely has it.
#[test]
fn an_authority_that_the_client_sent_may_sign() {
    let root = Authority::new("Root");
    let intermediate = root.intermediate("Intermediate", |_| {});
    let alice = pointed(&intermediate, "alice", &[URL.into()]);
    let set = set(&root, &[], 3_600);
    let chain = [intermediate.certificate.der().clone()];
    let path = set.path(&alice.certificate, &chain, NOW).expect("a path");
    assert!(set.awaits_lists(&path, &chain, NOW));
    let twin = Authority::new("Intermediate").revocation_list(|_| {});
    let error = set.take_list(URL, Ok(&twin), NOW).expect_err("another key");
    assert_eq!(error.reason(), Reason::CertificateRevocationSigner);
    set.take_list(URL, Ok(&intermediate.revocation_list(|_| {})), NOW).expect("its own");
    // The intermediate itself is the root's to revoke, whose list is still missing.
    let checked = set.revocation_lists().check(&path, NOW).map_err(|error| error.reason());
    assert_eq!(checked, Err(Reason::CertificateRevocationUnknown));
}

/// A reload that changes a set goes on with what was fetched for it, but for what nobody of the new set has signed.
#[test]
fn a_reload_goes_on_with_what_was_fetched() {
    use crate::trust::{AnchorSets, CurrentAnchors};
    let (root, other) = (Authority::new("Root"), Authority::new("Other"));
    let intermediate = root.intermediate("Intermediate", |_| {});
    let set_of = |roots: &[&Authority]| {
        let certificates: Vec<_> = roots.iter().map(|root| root.certificate.clone()).collect();
        let fetching = ListFetching { urls: vec![URL.into()], named_by_certificates: true, refresh: seconds(3_600) };
        let none: [(CertificateRevocationList, Thumbprint); 0] = [];
        AnchorSet::new("clients", certificates.clone(), vec![])
            .expect("a set")
            .with_revocation_lists(RevocationLists::new(RevocationMode::Hard, none))
            .with_list_fetching(fetching, certificates)
    };
    let current = CurrentAnchors::new(AnchorSets::new([set_of(&[&root])]));
    let now_in_force = || Arc::clone(current.load().get("clients").expect("the set"));
    let named = "http://lists.example/named.crl";
    let (alice, victim) = (pointed(&intermediate, "alice", &[named.into()]), pointed(&intermediate, "victim", &[named.into()]));
    let chain = [intermediate.certificate.der().clone()];
    let judged = || {
        let set = now_in_force();
        [&alice, &victim].map(|identity| {
            let path = set.path(&identity.certificate, &chain, NOW).map_err(|error| error.reason())?;
            let checked = set.revocation_lists().check(&path, NOW);
            checked.map(drop).map_err(|error| error.reason())
        })
    };
    let set = now_in_force();
    let path = set.path(&alice.certificate, &chain, NOW).expect("a path");
    assert!(set.awaits_lists(&path, &chain, NOW));
    let list = intermediate.revocation_list(|list: &mut ListParams| list.revoke(&victim.certificate, None));
    set.take_list(named, Ok(&list), NOW).expect("a list");
    set.take_list(URL, Ok(&root.revocation_list(|_| {})), NOW).expect("a list");
    let expected = [Ok(()), Err(Reason::CertificateRevoked)];
    assert_eq!(judged(), expected);
    // Under way while files are read, and answered to the set that was there before.
    let later = NOW.plus(seconds(800));
    let under_way = set.due_lists(later);
    assert_eq!(under_way.len(), 2);
    let read = AnchorSets::new([set_of(&[&root, &other])]).replacing(&current.load());
    assert_eq!(judged(), expected);
    current.replace(read);
    assert!(!Arc::ptr_eq(&set, &now_in_force()));
    assert_eq!(judged(), expected, "nothing is forgotten");
    assert!(now_in_force().due_lists(NOW).is_empty(), "nor fetched before its time");
    assert_eq!(now_in_force().due_lists(later).len(), 2, "but what was under way, which came to nobody");
    let set = now_in_force();
    assert!(!set.awaits_lists(&path, &chain, NOW));
    set.take_list(named, Ok(&list), NOW).expect("the authority that was sent may sign on");
    // Without the authority that has signed it, nothing of it stays.
    let read = AnchorSets::new([set_of(&[&other])]).replacing(&current.load());
    current.replace(read);
    assert_eq!(now_in_force().revocation_lists().iter().count(), 0);
    assert_eq!(asked(&now_in_force().due_lists(NOW)), [(URL, true)]);
}

/// What nobody shows for a day is not fetched any more, and makes room; shown again it is waited for. What the operator or the set itself
/// names is fetched for ever.
#[test]
fn what_nobody_shows_is_forgotten() {
    let root = Authority::with("Root", |params| params.not_after = rcgen::date_time_ymd(2040, 1, 1));
    let own = "http://lists.example/own.crl";
    let set = set(&root, &[own], 3_600);
    let list = |partition: &str, life: u32| {
        use crate::pki::fixture::{der, extension};
        let uri = der(0x86, [partition.as_bytes()]);
        let scope = der(0x30, [&der(0xa0, [&der(0xa0, [&uri[..]])[..]])[..]]);
        root.revocation_list(|list: &mut ListParams| {
            list.next_update = Some(NOW.plus(seconds(life)));
            list.extensions.push(extension(&[0x55, 0x1d, 0x1c], true, &scope));
        })
    };
    let alice = pointed(&root, "alice", &[URL.into()]);
    set.take_list(own, Err("down".into()), NOW).expect_err("down");
    assert!(awaits(&set, &alice, NOW));
    set.take_list(URL, Ok(&list(URL, 300_000)), NOW).expect("a list");
    let day = 86_400;
    let urls = |now: Timestamp| set.due_lists(now).iter().map(|ask| ask.url.clone()).collect::<Vec<_>>();
    assert_eq!(urls(NOW.plus(seconds(day))), [own, URL], "within a day");
    assert_eq!(urls(NOW.plus(seconds(day + 1))), [own], "not any more");
    // Shown while its list is in force it goes on.
    let later = NOW.plus(seconds(day + 2));
    assert!(!awaits(&set, &alice, later));
    assert_eq!(urls(later), [own, URL]);
    let much_later = later.plus(seconds(3 * day));
    assert_eq!(urls(much_later), [own]);
    assert!(awaits(&set, &alice, much_later), "what is shown again is waited for");
    assert_eq!(urls(much_later), [own, URL]);
    // A full memory makes room by what nobody shows, and by nothing else.
    let names = |group: usize| (0..MOST_POINTS).map(|part| format!("http://lists.example/{group}/{part}")).collect::<Vec<_>>();
    for group in 0..=MOST_PLACES / MOST_POINTS {
        awaits(&set, &pointed(&root, "many", &names(group)), much_later);
    }
    let bob = pointed(&root, "bob", &["http://lists.example/bob.crl".into()]);
    set.take_list(own, Err("down".into()), much_later).expect_err("down");
    assert!(!awaits(&set, &bob, much_later), "there is no room");
    assert!(awaits(&set, &bob, much_later.plus(seconds(day + 1))));
    assert_eq!(urls(much_later.plus(seconds(day + 1))), [own, "http://lists.example/bob.crl"]);
}

/// An intermediate with a new key goes on under its old URL, also one that the operator has named: its list is waited for as if the URL were
/// new, and the old one's stays.
#[test]
fn an_authority_with_a_new_key_is_taken_note_of() {
    let root = Authority::new("Root");
    for urls in [&[][..], &[URL]] {
        let set = set(&root, urls, 3_600);
        let (first, second) = (root.intermediate("Intermediate", |_| {}), root.intermediate("Intermediate", |_| {}));
        let mut shown = Vec::new();
        for intermediate in [&first, &second] {
            let client = pointed(intermediate, "client", &[URL.into()]);
            let chain = [intermediate.certificate.der().clone()];
            let path = set.path(&client.certificate, &chain, NOW).expect("a path");
            assert!(set.awaits_lists(&path, &chain, NOW), "its list is waited for");
            let asks = set.due_lists(NOW);
            assert_eq!(asked(&asks), [(URL, !urls.is_empty())], "at once");
            set.take_list(URL, Ok(&intermediate.revocation_list(|_| {})), NOW).expect("its own");
            drop(asks);
            assert!(set.due_lists(NOW).is_empty() && set.revocation_lists().speaks_of(&path.links()[0], NOW));
            shown.push(path);
        }
        assert!(shown.iter().all(|path| set.revocation_lists().speaks_of(&path.links()[0], NOW)), "both are in force");
        // A failure of before does not count against it, and there is a bound on what is kept.
        let set = self::set(&root, urls, 3_600);
        let note = |intermediate: &Authority| {
            let client = pointed(intermediate, "client", &[URL.into()]);
            let chain = [intermediate.certificate.der().clone()];
            let path = set.path(&client.certificate, &chain, NOW).expect("a path");
            set.awaits_lists(&path, &chain, NOW)
        };
        assert!(note(&first));
        set.take_list(URL, Err("down".into()), NOW).expect_err("down");
        assert!(set.due_lists(NOW).is_empty());
        assert!(note(&second));
        assert_eq!(set.due_lists(NOW).len(), 1);
        for _ in 0..MOST_AUTHORITIES * 2 {
            note(&root.intermediate("Intermediate", |_| {}));
        }
        set.take_list(URL, Err("down".into()), NOW).expect_err("down");
        assert!(!note(&root.intermediate("Intermediate", |_| {})), "there is a bound");
    }
}
