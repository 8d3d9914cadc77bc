//! Signing in, sessions and forms, over a real store.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

use super::*;
use crate::config::settings::StoreSettings;
use crate::domain::{Lifetime, Redacted, RequestId, Timestamp};
use crate::event::Reason;
use crate::jose::random::SystemRandomness;
use crate::seal::{Argon2Parameters, HashLimits, MasterKeys, Password, PasswordHasher};
use crate::store::{PersonKeys, RuleWindow, Store};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const PASSWORD: &str = "lantern-orbit-velvet-fjord";
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const WINDOW: RuleWindow = RuleWindow { before: NOW, expires: NOW };

struct House {
    people: People,
    sessions: Sessions,
    _directory: tempfile::TempDir,
}

async fn house() -> House {
    house_with(Argon2Parameters::OWASP, tempfile::tempdir().expect("a directory")).await
}

async fn house_with(cost: Argon2Parameters, directory: tempfile::TempDir) -> House {
    let settings = StoreSettings { url: "sqlite:test.db".into(), ..StoreSettings::default() };
    let masters = MasterKeys::from_keys(vec![("k".parse().expect("a name"), Redacted::new([7; 32]))]).expect("a key");
    let store = Store::open(&settings, directory.path(), Arc::new(masters), &SystemRandomness, NOW).await.expect("opens");
    let keys = PersonKeys::open(&settings, directory.path(), &store, NOW).await.expect("opens");
    let every = Duration::from_secs(60);
    let policy = PasswordPolicy {
        rule: PasswordRule::new(15, vec![]).expect("a rule"),
        hasher: PasswordHasher::new(cost, HashLimits { at_once: 2, waiting: 8 }),
        throttle: ThrottlePolicy { account: Quota { burst: 5, every }, address: Quota { burst: 50, every } },
    };
    let randomness: Arc<dyn crate::domain::Randomness> = Arc::new(SystemRandomness);
    let people = People::new(store.clone(), keys.clone(), policy, randomness.clone(), NOW).await.expect("people");
    let lives = SessionPolicy {
        idle: Lifetime::from_seconds(600),
        absolute: Lifetime::from_seconds(3_600),
        fresh: Lifetime::from_seconds(300),
    };
    House { people, sessions: Sessions::new(store, keys, lives, randomness), _directory: directory }
}

fn password(text: &str) -> Password {
    Password::prepare(text).expect("a password")
}

fn later(seconds: u32) -> Timestamp {
    NOW.plus(Lifetime::from_seconds(seconds))
}

/// A browser: its cookies.
#[derive(Clone, Default)]
struct Browser(Vec<(String, String)>);

impl Browser {
    fn take(&mut self, set: &HeaderValue) {
        let text = set.to_str().expect("text");
        let (name, value) = text.split(';').next().and_then(|pair| pair.split_once('=')).expect("a cookie");
        self.0.retain(|(known, _)| known != name);
        if !text.contains("Max-Age=0") {
            self.0.push((name.to_owned(), value.to_owned()));
        }
    }

    fn headers(&self) -> HeaderMap {
        let cookies: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, cookies.join("; ").parse().expect("a header"));
        headers.insert(header::USER_AGENT, "Browser/1.0".parse().expect("a header"));
        headers
    }
}

impl House {
    async fn add(&self, name: &str) -> crate::domain::Subject {
        let claims = PersonClaims { email: Some(format!("{name}@example.com")), ..PersonClaims::default() };
        self.people.add(name, claims, Some(&password(PASSWORD)), NOW).await.expect("added")
    }

    fn form(&self, browser: &mut Browser) -> FormChecked {
        let (token, cookie) = self.sessions.form_token(Form::SignIn, &browser.headers()).expect("a token").expect("a token");
        if let Some(cookie) = &cookie {
            browser.take(cookie);
        }
        self.sessions.check_form(Form::SignIn, &browser.headers(), token.as_str()).expect("ours")
    }

    async fn attempt(&self, name: &str, password: &str) -> Result<Authenticated, SignInError> {
        let form = self.form(&mut Browser::default());
        let attempt = Attempt { username: name, password, address: ADDRESS, monotonic: Duration::ZERO };
        match self.people.authenticate(&form, &attempt).await? {
            Proven::Whole(authenticated) => Ok(authenticated),
            Proven::First(first) => panic!("a second factor: {first:?}"),
        }
    }

    async fn sign_in(&self, name: &str, browser: &mut Browser, now: Timestamp) -> SignedIn {
        let authenticated = self.attempt(name, PASSWORD).await.expect("authenticated");
        let request_id = RequestId::random(&SystemRandomness).expect("an id");
        let headers = browser.headers();
        let at = Surroundings { headers: &headers, peer_address: SocketAddr::new(ADDRESS, 1), request_id: &request_id };
        let (signed_in, cookie) = self.sessions.begin(authenticated, at, now).await.expect("begun");
        browser.take(&cookie);
        signed_in
    }

    async fn current(&self, browser: &Browser, now: Timestamp) -> Option<SignedIn> {
        self.sessions.current(&browser.headers(), now).await.expect("asked")
    }
}

#[tokio::test]
async fn only_the_right_password_of_an_active_account_signs_in() {
    let house = house().await;
    let alice = house.add("Alice").await;
    let bob = house.add("bob").await;
    house.people.add("carol", PersonClaims::default(), None, NOW).await.expect("added");
    for name in ["alice", " ALICE ", "ａlice"] {
        let authenticated = house.attempt(name, PASSWORD).await.expect("hers");
        assert_eq!((authenticated.subject(), authenticated.amr()), (&alice, &[Amr::Password][..]));
    }
    house.people.disable(&bob, WINDOW, NOW).await.expect("disabled");
    let table = [
        ("alice", "another password", Reason::PasswordWrong),
        ("alice", "", Reason::PasswordWrong),
        ("alice", "a\0b", Reason::PasswordWrong),
        ("alice@example.com", PASSWORD, Reason::AccountUnknown),
        ("nobody", PASSWORD, Reason::AccountUnknown),
        ("", PASSWORD, Reason::AccountUnknown),
        ("a b", PASSWORD, Reason::AccountUnknown),
        ("bob", PASSWORD, Reason::AccountDisabled),
        ("bob", "another password", Reason::PasswordWrong),
        ("carol", PASSWORD, Reason::PasswordAbsent),
    ];
    for (name, password, reason) in table {
        let refused = house.attempt(name, password).await.map(|known| known.subject().clone());
        assert_eq!(refused, Err(SignInError::Wrong(reason)), "{name:?} {password:?}");
    }
    house.people.enable(&bob, NOW).await.expect("enabled");
    house.attempt("bob", PASSWORD).await.expect("again");
}

#[tokio::test]
async fn guessing_is_slowed_down_before_anything_is_hashed() {
    let house = house().await;
    house.add("alice").await;
    for _ in 0..5 {
        house.attempt("alice", "another password").await.expect_err("wrong");
    }
    let refused = house.attempt("alice", PASSWORD).await.map(drop);
    assert_eq!(refused, Err(SignInError::TooMany { retry_after_seconds: 61 }));
    for _ in 0..5 {
        assert!(matches!(house.attempt("nobody", PASSWORD).await.map(drop), Err(SignInError::Wrong(_))));
    }
    assert!(matches!(house.attempt("nobody", PASSWORD).await.map(drop), Err(SignInError::TooMany { .. })), "the same for nobody");
}

#[tokio::test]
async fn a_hash_is_made_anew_when_the_cost_was_raised() {
    let first = house().await;
    let alice = first.add("alice").await;
    let House { people, _directory: directory, .. } = first;
    drop(people);
    let raised = house_with(Argon2Parameters::new(19_456, 3, 1).expect("raised"), directory).await;
    let stored = async || {
        let account = raised.people.store.account(&alice).await.expect("asked").expect("found");
        let key = raised.people.keys.key(&alice).await.expect("asked").expect("a key");
        let hash = raised.people.store.open_password(&account, &key).expect("opens").expect("set");
        String::from_utf8(hash.to_vec()).expect("text")
    };
    assert!(stored().await.contains("t=2"));
    raised.attempt("alice", "another password").await.expect_err("wrong");
    assert!(stored().await.contains("t=2"), "a wrong password changes nothing");
    raised.attempt("alice", PASSWORD).await.expect("hers");
    assert!(stored().await.contains("t=3"));
    raised.attempt("alice", PASSWORD).await.expect("still hers");
}

#[tokio::test]
async fn a_session_lives_as_long_as_it_may() {
    let house = house().await;
    let alice = house.add("alice").await;
    let mut browser = Browser::default();
    assert_eq!(house.current(&browser, NOW).await, None);
    let signed_in = house.sign_in("alice", &mut browser, NOW).await;
    assert_eq!((&signed_in.subject, signed_in.auth_time, signed_in.acr), (&alice, NOW, Some(Acr::SingleFactor)));
    assert_eq!(house.current(&browser, later(599)).await, Some(signed_in.clone()));
    assert_eq!(house.current(&browser, later(1_198)).await, Some(signed_in.clone()), "used meanwhile");
    assert_eq!(house.current(&browser, later(1_798)).await, None, "idle");
    let mut now = 0;
    house.sign_in("alice", &mut browser, NOW).await;
    while now < 3_600 {
        assert!(house.current(&browser, later(now)).await.is_some(), "{now}");
        now += 500;
    }
    assert_eq!(house.current(&browser, later(3_600)).await, None, "over");
    assert_eq!(house.sessions.clear_expired(later(3_600), 10).await.expect("cleared"), 1);
}

/// The cookie that was in the browser before somebody signed in is worth nothing after.
#[tokio::test]
async fn the_secret_changes_when_somebody_signs_in() {
    let house = house().await;
    house.add("alice").await;
    house.add("mallory").await;
    let mut browser = Browser::default();
    let planted = house.sign_in("mallory", &mut browser, NOW).await;
    let before = browser.clone();
    let alice = house.sign_in("alice", &mut browser, later(1)).await;
    assert_ne!(alice.session_id, planted.session_id);
    assert_eq!(house.current(&before, later(2)).await, None, "the session before has ended");

    let before = browser.clone();
    let again = house.sign_in("alice", &mut browser, later(3)).await;
    assert_eq!((again.session_id, again.auth_time), (alice.session_id, later(3)), "the same session, proven anew");
    assert_eq!(house.current(&before, later(4)).await, None);
    assert!(house.current(&browser, later(4)).await.is_some());
}

#[tokio::test]
async fn a_session_of_another_deployment_is_none() {
    let (one, other) = (house().await, house().await);
    one.add("alice").await;
    other.add("alice").await;
    let mut browser = Browser::default();
    one.sign_in("alice", &mut browser, NOW).await;
    assert_eq!(other.current(&browser, NOW).await, None);
    // Not even under the other's own name for its cookie.
    let mut at_other = Browser::default();
    other.sign_in("alice", &mut at_other, NOW).await;
    let forged = Browser(vec![(at_other.0[0].0.clone(), browser.0[0].1.clone())]);
    assert_eq!(other.current(&forged, NOW).await, None);
    assert!(other.current(&at_other, NOW).await.is_some());
}

#[tokio::test]
async fn sessions_are_listed_and_ended() {
    let house = house().await;
    house.add("alice").await;
    let (mut phone, mut desk, mut work) = (Browser::default(), Browser::default(), Browser::default());
    let at_desk = house.sign_in("alice", &mut desk, NOW).await;
    let on_phone = house.sign_in("alice", &mut phone, later(1)).await;
    house.sign_in("alice", &mut work, later(2)).await;
    let views = house.sessions.list(&at_desk, later(3)).await.expect("listed");
    let told: Vec<_> = views.iter().map(|view| (view.is_current, view.user_agent.as_str(), view.auth_time)).collect();
    let name = "Browser/1.0";
    assert_eq!(told, [(false, name, later(2)), (false, name, later(1)), (true, name, NOW)]);

    let form = house.form(&mut desk);
    house.sessions.end_other(&form, &at_desk, Some(&on_phone.session_id), later(3)).await.expect("ended");
    assert_eq!(house.current(&phone, later(3)).await, None);
    assert!(house.current(&work, later(3)).await.is_some());
    house.sessions.end_other(&form, &at_desk, None, later(3)).await.expect("ended");
    assert_eq!(house.current(&work, later(3)).await, None);
    let (_, cleared) = house.sessions.end(Leave::Form(&form), &at_desk, later(3)).await.expect("ended");
    assert!(cleared.to_str().expect("text").contains("Max-Age=0"));
    assert_eq!(house.current(&desk, later(3)).await, None);
}

#[tokio::test]
async fn a_form_is_ours_only_in_the_browser_it_was_shown_in() {
    let house = house().await;
    house.add("alice").await;
    let sessions = &house.sessions;
    let (mut hers, mut his) = (Browser::default(), Browser::default());
    house.form(&mut hers);
    house.form(&mut his);
    let token = |browser: &Browser, form| sessions.form_token(form, &browser.headers()).expect("asked").map(|(token, _)| token);
    let of_hers = token(&hers, Form::SignIn).expect("a token");
    let check = |browser: &Browser, form, token: &str| sessions.check_form(form, &browser.headers(), token).is_ok();
    assert!(check(&hers, Form::SignIn, of_hers.as_str()));
    assert!(!check(&his, Form::SignIn, of_hers.as_str()), "another browser");
    assert!(!check(&Browser::default(), Form::SignIn, of_hers.as_str()), "no cookie");
    assert!(!check(&hers, Form::SignIn, ""), "no token");
    assert!(token(&hers, Form::Account).is_none(), "no session");
    house.sign_in("alice", &mut hers, NOW).await;
    let [account, consent] = [Form::Account, Form::Consent].map(|form| token(&hers, form).expect("a token"));
    assert!(check(&hers, Form::Account, account.as_str()) && check(&hers, Form::Consent, consent.as_str()));
    assert!(!check(&hers, Form::Consent, account.as_str()), "another form");
    house.sign_in("alice", &mut hers, NOW).await;
    assert!(!check(&hers, Form::Account, account.as_str()), "a session renewed");
    for (site, ours) in [("same-origin", true), ("none", true), ("same-site", false), ("cross-site", false)] {
        let mut headers = hers.headers();
        headers.insert("sec-fetch-site", HeaderValue::from_static(site));
        assert_eq!(sessions.check_form(Form::SignIn, &headers, of_hers.as_str()).is_ok(), ours, "{site}");
    }
}

#[tokio::test]
async fn one_changes_ones_own_password() {
    let house = house().await;
    house.add("alice").await;
    let (mut desk, mut phone) = (Browser::default(), Browser::default());
    let at_desk = house.sign_in("alice", &mut desk, NOW).await;
    house.sign_in("alice", &mut phone, NOW).await;
    let form = house.form(&mut desk);
    let fresh = password("meadow copper quilt ninety");
    let at = (ADDRESS, Duration::ZERO, NOW);
    let change = async |current: &str, new: &Password| house.people.change_password(&form, &at_desk, current, new, at).await;
    assert!(matches!(change("another password", &fresh).await, Err(PersonError::Unproven(Reason::PasswordWrong))));
    let own_name = password("alice@example.com");
    assert!(matches!(change(PASSWORD, &own_name).await, Err(PersonError::Password(PasswordRefused::Guessable))));
    assert!(house.current(&phone, NOW).await.is_some(), "nothing has changed yet");
    change(PASSWORD, &fresh).await.expect("changed");
    assert!(house.current(&phone, NOW).await.is_none());
    assert!(house.current(&desk, NOW).await.is_some());
    // It is no sign-in: a copy of the cookie is worth nothing any more, and the session is as old as it was.
    let later = NOW.plus(Lifetime::from_seconds(100));
    let cookie = house.sessions.renew_cookie(&at_desk, &desk.headers(), later).await.expect("renewed");
    let stolen = desk.headers();
    desk.take(&cookie);
    assert_eq!(house.sessions.current(&stolen, later).await.expect("asked"), None);
    assert_eq!(house.current(&desk, later).await, Some(at_desk.clone()));
    assert!(house.sessions.renew_cookie(&at_desk, &stolen, later).await.is_err());
    house.attempt("alice", PASSWORD).await.expect_err("the old one");
    house.attempt("alice", "meadow copper quilt ninety").await.expect("the new one");
}

#[tokio::test]
async fn a_removed_person_is_gone_and_the_name_is_free() {
    let house = house().await;
    let alice = house.add("alice").await;
    let mut browser = Browser::default();
    house.sign_in("alice", &mut browser, NOW).await;
    assert!(matches!(house.people.add("Alice", PersonClaims::default(), None, NOW).await, Err(PersonError::NameTaken)));
    let claims = house.people.claims(&alice).await.expect("asked").expect("known");
    assert_eq!((claims.preferred_username.as_deref(), claims.email_verified), (Some("alice"), Some(false)));
    house.people.remove(&alice, WINDOW, NOW).await.expect("removed");
    assert!(matches!(house.people.remove(&alice, WINDOW, NOW).await, Err(PersonError::Unknown)));
    assert_eq!(house.people.claims(&alice).await.expect("asked"), None);
    assert_eq!(house.current(&browser, NOW).await, None);
    assert_eq!(house.attempt("alice", PASSWORD).await.map(drop), Err(SignInError::Wrong(Reason::AccountUnknown)));
    let again = house.add("alice").await;
    assert_ne!(again, alice, "a subject is never given twice");
}
