//! The change feed, within one process and between two.

use super::*;

/// Says to a process of this program that it is the second one, and where the database is.
const SECOND_PROCESS: &str = "SYMBOLON_TEST_SECOND_PROCESS";

on_both_engines! {
    async fn a_number_is_seen_only_after_every_smaller_one(place: &Place) {
        let (one, two) = (place.open().await, place.open().await);
        // The first unit of work has its number and dawdles.
        let mut slow = NumberedWork::begin(&one.inner.db).await.expect("begun");
        assert_eq!(slow.record_change(ChangeKind::Client, "slow", NOW).await.expect("recorded"), 1);
        let quick = tokio::spawn({
            let two = two.clone();
            async move { two.put_client(&client("quick", "{}"), PutMode::Add, NOW).await }
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!quick.is_finished(), "the second must wait for the first");
        assert_eq!(two.changes_after(0, 10).await.expect("feed"), Changes::Next(vec![]));
        let event = Trailed { time: NOW, event: AuditEvent::ClientAdded { client_id: id("slow") } };
        slow.commit(&one, &event).await.expect("committed");
        assert_eq!(quick.await.expect("joined").expect("put"), Put::Added);
        let keys: Vec<_> = next(one.changes_after(0, 10).await.expect("feed")).into_iter().map(|change| change.key).collect();
        assert_eq!(keys, ["slow", "quick"]);
    }

    async fn no_late_commit_is_skipped_under_concurrency(place: &Place) {
        const WRITERS: usize = 6;
        const EACH: usize = 15;
        let stores = [place.open().await, place.open().await];
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let store = stores[writer % 2].clone();
                tokio::spawn(async move {
                    for number in 0..EACH {
                        let name = format!("c-{writer}-{number}");
                        store.put_client(&client(&name, "{}"), PutMode::Add, NOW).await.expect("put");
                        if number % 3 == 0 {
                            // Takes the lock, finds nothing to do, and must leave no gap.
                            store.put_client(&client(&name, "{}"), PutMode::Add, NOW).await.expect("put");
                        }
                    }
                })
            })
            .collect();
        let reader = place.open().await;
        let watch = reader.watch_changes();
        let mut cursor = watch.cursor(0);
        let mut seen = Vec::new();
        while seen.len() < WRITERS * EACH {
            let page = tokio::time::timeout(Duration::from_secs(30), cursor.next()).await.expect("no change is missed");
            seen.extend(next(page.expect("page")));
        }
        for writer in writers {
            writer.await.expect("joined");
        }
        let numbers: Vec<_> = seen.iter().map(|change| change.sequence).collect();
        assert_eq!(numbers, (1..=(WRITERS * EACH) as i64).collect::<Vec<_>>());
        let keys: BTreeSet<_> = seen.iter().map(|change| change.key.as_str()).collect();
        assert_eq!(keys.len(), WRITERS * EACH);
        assert_eq!(reader.clients().await.expect("clients").len(), WRITERS * EACH);
    }

    async fn a_change_elsewhere_is_known_within_a_second(place: &Place) {
        let (here, there) = (place.open().await, place.open().await);
        let watch = here.watch_changes();
        let mut newest = watch.subscribe();
        for number in 1..=3 {
            there.put_client(&client(&format!("c{number}"), "{}"), PutMode::Add, NOW).await.expect("put");
            let within = tokio::time::timeout(Duration::from_secs(1), newest.wait_for(|sequence| *sequence >= number)).await;
            assert_eq!(*within.expect("within a second").expect("watching"), number);
        }
        // Changes of this process are known at once, whatever the poll does.
        drop(watch);
        here.put_client(&client("c4", "{}"), PutMode::Add, NOW).await.expect("put");
        assert_eq!(*newest.borrow(), 4);
    }

    /// Without the poll behind it: PostgreSQL tells of the commit.
    async fn a_commit_elsewhere_is_told_and_not_asked_for(place: &Place) {
        let (here, there) = (place.open().await, place.open().await);
        if matches!(here.inner.db, Db::Sqlite { .. }) {
            return;
        }
        let watch = here.watch_changes_with(Duration::from_secs(3_600));
        let mut newest = watch.subscribe();
        let mut number = 0;
        let mut put = async || {
            number += 1;
            there.put_client(&client(&format!("c{number}"), "{}"), PutMode::Add, NOW).await.expect("put");
            number
        };
        // Until it listens.
        for _ in 0..100 {
            put().await;
            if tokio::time::timeout(Duration::from_millis(100), newest.changed()).await.is_ok() && *newest.borrow_and_update() > 1 {
                break;
            }
        }
        for _ in 0..5 {
            let put = put().await;
            let within = tokio::time::timeout(Duration::from_secs(1), newest.wait_for(|sequence| *sequence >= put)).await;
            assert_eq!(*within.expect("told within a second").expect("watching"), put);
        }
    }

    /// Without a word from PostgreSQL, which may be lost with its connection: whoever asks finds out within a second all the same.
    async fn a_commit_that_nobody_tells_is_found(place: &Place) {
        let (here, there) = (place.open().await, place.open().await);
        let watch = here.watch_changes();
        let mut newest = watch.subscribe();
        for number in 1..=3_i64 {
            // What a transaction writes, but for the notification.
            execute(&there, "INSERT INTO change (sequence, kind, key, at) SELECT value + 1, 'client', 'c', 1 FROM change_counter").await;
            execute(&there, "UPDATE change_counter SET value = value + 1").await;
            let within = tokio::time::timeout(Duration::from_secs(1), newest.wait_for(|sequence| *sequence >= number)).await;
            assert_eq!(*within.expect("found within a second").expect("watching"), number);
        }
    }

    async fn whoever_is_too_far_behind_is_told_to_read_anew(place: &Place) {
        let store = place.open().await;
        for number in 0..6 {
            store.put_client(&client(&format!("c{number}"), "{}"), PutMode::Add, NOW).await.expect("put");
        }
        assert_eq!(store.forget_changes(2, 3).await.expect("forgotten"), 3);
        assert_eq!(store.forget_changes(2, 3).await.expect("forgotten"), 1);
        assert_eq!(store.forget_changes(2, 3).await.expect("forgotten"), 0);
        assert_eq!(store.changes_after(3, 10).await.expect("feed"), Changes::Forgotten);
        assert_eq!(next(store.changes_after(4, 10).await.expect("feed")).len(), 2);
        assert_eq!(store.changes_after(7, 10).await.expect("feed"), Changes::Forgotten, "a number from before a restore");
        let watch = store.watch_changes();
        let mut cursor = watch.cursor(0);
        assert_eq!(cursor.next().await.expect("feed"), Changes::Forgotten);
        assert_eq!(cursor.position(), 6);
    }

    async fn another_process_writes_and_is_noticed(place: &Place) {
        // In the second process, which is this very test once more.
        if let Ok(url) = std::env::var(SECOND_PROCESS) {
            let store = Place::at(url).open().await;
            for number in 0..20 {
                store.put_client(&client(&format!("there-{number}"), "{}"), PutMode::Add, NOW).await.expect("put");
            }
            return;
        }
        let store = place.open().await;
        let watch = store.watch_changes();
        let mut newest = watch.subscribe();
        let url = match place.settings.url.strip_prefix("sqlite:") {
            Some(file) => format!("sqlite:{}", place.directory.path().join(file).display()),
            None => place.settings.url.clone(),
        };
        let mut child = std::process::Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "store::tests::feed::another_process_writes_and_is_noticed::sqlite", "--nocapture"])
            .env(SECOND_PROCESS, url)
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("a second process");
        let writing = async {
            for number in 0..20 {
                store.put_client(&client(&format!("here-{number}"), "{}"), PutMode::Add, NOW).await.expect("put");
            }
        };
        let noticing = tokio::time::timeout(Duration::from_secs(30), newest.wait_for(|sequence| *sequence >= 40));
        let ((), noticed) = tokio::join!(writing, noticing);
        assert_eq!(*noticed.expect("noticed").expect("watching"), 40);
        assert!(child.wait().expect("ended").success());
        let changes = next(store.changes_after(0, 100).await.expect("feed"));
        let numbers: Vec<_> = changes.iter().map(|change| change.sequence).collect();
        assert_eq!(numbers, (1..=40).collect::<Vec<_>>());
    }
}
