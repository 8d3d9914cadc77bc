use super::*;
use crate::config::settings::AnchorSetSettings;
use crate::pki::authority::{CertificateUsage, DevelopmentAuthority, IssueRequest, self_signed};
use crate::pki::fixture::{Authority, NOW, TestRandomness};

fn set(name: &str, authority: &Authority) -> AnchorSet {
    AnchorSet::new(name, vec![authority.certificate.clone()], vec![]).expect("a set")
}

#[test]
fn a_reload_keeps_what_it_does_not_change() {
    let (a, b) = (Authority::new("A"), Authority::new("B"));
    let first = AnchorSets::new([set("one", &a), set("two", &b)]);
    assert_eq!(first.epoch(), 1);
    let same = AnchorSets::new([set("one", &a), set("two", &b)]).replacing(&first);
    assert_eq!(same.epoch(), 1);
    assert!(Arc::ptr_eq(same.get("one").expect("one"), first.get("one").expect("one")));
    let changed = AnchorSets::new([set("one", &a), set("two", &a)]).replacing(&same);
    assert_eq!(changed.epoch(), 2);
    assert!(Arc::ptr_eq(changed.get("one").expect("one"), first.get("one").expect("one")));
    assert!(!Arc::ptr_eq(changed.get("two").expect("two"), first.get("two").expect("two")));
    let fewer = AnchorSets::new([set("one", &a)]).replacing(&changed);
    assert_eq!(fewer.epoch(), 3);
    let renamed = AnchorSets::new([set("uno", &a)]).replacing(&fewer);
    assert_eq!(renamed.epoch(), 4);
    assert_eq!(renamed.hints().keys().collect::<Vec<_>>(), ["uno"]);
}

/// Anchors of the store go to sets that may have them, change nothing of others, and are not taken for those of files.
#[test]
fn anchors_of_the_store_need_consent() {
    let (a, b, c) = (Authority::new("A"), Authority::new("B"), Authority::new("C"));
    let open = |files: &[&Authority]| {
        let files = files.iter().map(|authority| authority.certificate.clone()).collect();
        AnchorSet::with_consent("open", files, vec![], vec![]).expect("a set")
    };
    let stored = |authorities: &[&Authority]| {
        let mut stored = StoredAnchors::default();
        for authority in authorities {
            stored.add("open", authority.certificate.clone()).expect("an authority");
            stored.add("closed", authority.certificate.clone()).expect("an authority");
        }
        stored
    };
    let subjects = |sets: &AnchorSets, name: &str| -> Vec<String> {
        let set = sets.get(name).expect("a set");
        set.anchors().certificates().map(|certificate| certificate.subject().to_string()).collect()
    };
    let first = AnchorSets::new([open(&[&a]), set("closed", &a)]);
    assert!(first.take_stored() && !AnchorSets::new([set("closed", &a)]).take_stored());
    let with = first.clone().with_stored(&stored(&[&b, &c])).expect("authorities").replacing(&first);
    assert_eq!((subjects(&with, "open"), with.epoch()), (vec!["CN=A".into(), "CN=B".into(), "CN=C".into()], 2));
    assert_eq!(subjects(&with, "closed"), ["CN=A"]);
    assert!(Arc::ptr_eq(with.get("closed").expect("closed"), first.get("closed").expect("closed")));
    let origins =
        |sets: &AnchorSets, authority: &Authority| sets.get("open").expect("a set").origins(authority.certificate.spki_sha256());
    assert_eq!((origins(&with, &b), origins(&with, &a)), (vec![AnchorOrigin::Store], vec![]));
    let same = with.clone().with_stored(&stored(&[&b, &c])).expect("authorities").replacing(&with);
    assert!(same.epoch() == 2 && Arc::ptr_eq(same.get("open").expect("open"), with.get("open").expect("open")));
    let less = with.clone().with_stored(&stored(&[&c])).expect("authorities").replacing(&with);
    assert_eq!((subjects(&less, "open"), less.epoch()), (vec!["CN=A".into(), "CN=C".into()], 3));
    // What moves from a file to the store is another set, although the same are accepted: removed from the store, it is gone.
    let moved =
        AnchorSets::new([open(&[]), set("closed", &a)]).with_stored(&stored(&[&a, &c])).expect("authorities").replacing(&less);
    assert_eq!((subjects(&moved, "open"), moved.epoch()), (vec!["CN=A".into(), "CN=C".into()], 4));
    let gone = moved.clone().with_stored(&StoredAnchors::default()).expect("none").replacing(&moved);
    assert_eq!(subjects(&gone, "open"), Vec::<String>::new());
    let leaf = a.client("leaf").certificate;
    assert!(StoredAnchors::default().add("open", leaf).is_err(), "no authority's");
}

/// What was joined later is in force later: nobody joins while somebody else does.
#[test]
fn lists_are_joined_one_after_another() {
    let root = Authority::new("A");
    let url = "http://lists.example/a";
    let refresh = crate::domain::Lifetime::from_seconds(60);
    let fetching = ListFetching { urls: vec![url.to_owned()], named_by_certificates: false, refresh };
    let set = set("one", &root).with_list_fetching(fetching, vec![root.certificate.clone()]);
    let list = root.revocation_list(|_| {});
    let joining = set.joining.lock().expect("nobody joins");
    std::thread::scope(|scope| {
        let taking = scope.spawn(|| set.take_list(url, Ok(&list), NOW));
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert!(!taking.is_finished() && set.revocation_lists().iter().count() == 0);
        drop(joining);
        taking.join().expect("it has ended").expect("a list");
    });
    assert_eq!(set.revocation_lists().iter().count(), 1);
}

#[test]
fn files_are_read_whole_or_not_at_all() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let day = crate::domain::Lifetime::from_seconds(86_400);
    let authority = |name: &str| DevelopmentAuthority::generate(name, NOW, day, &TestRandomness).expect("generated");
    let both = [authority("A"), authority("B")].map(|authority| authority.certificate_pem().to_owned()).concat();
    let subject = crate::pki::DistinguishedName::parse("CN=leaf").expect("a name");
    let leaf = self_signed(&IssueRequest::new(subject, CertificateUsage::Client, day), NOW, &TestRandomness).expect("signed");
    let garbled = both.replace("MII", "MIJ");
    let files = [("both.pem", both.as_str()), ("leaf.pem", &leaf.certificate_pem), ("empty.pem", ""), ("garbled.pem", &garbled)];
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).expect("written");
    }
    let load = |file: &str| {
        let settings = AnchorSetSettings { files: vec![file.into()], ..AnchorSetSettings::default() };
        AnchorSets::load(&BTreeMap::from([("clients".to_owned(), settings)]), directory.path(), None)
    };
    assert_eq!(load("both.pem").expect("two authorities").get("clients").expect("the set").anchors().certificates().count(), 2);
    let table = [
        ("leaf.pem", "`CN=leaf` is not a certification authority's certificate"),
        ("empty.pem", "empty.pem: has no certificate"),
        ("garbled.pem", "garbled.pem: certificate 1: "),
        ("absent.pem", "absent.pem: cannot be read: "),
    ];
    for (file, expected) in table {
        let message = load(file).expect_err(file).to_string();
        assert!(message.starts_with("anchor set `clients`: ") && message.contains(expected), "{message}");
    }
}
