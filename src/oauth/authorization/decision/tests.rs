use super::super::request::ResponseMode;
use super::*;
use crate::oidc::ClaimsRequest;

const NOW: Timestamp = Timestamp::from_seconds(1_000);
/// When the person was sent away.
const BEGUN: Timestamp = Timestamp::from_seconds(950);

fn request(prompt: &[Prompt]) -> AuthorizationRequest {
    AuthorizationRequest {
        client_id: "app".parse().expect("a client"),
        redirect_uri: "https://app.example/cb".to_owned(),
        redirect_uri_named: true,
        response_mode: ResponseMode::Query,
        state: None,
        scope: "openid email".parse().expect("a scope"),
        resources: vec![],
        code_challenge: None,
        dpop_jkt: None,
        nonce: None,
        prompt: prompt.to_vec(),
        max_age: None,
        acr_values: vec![],
        claims: ClaimsRequest::default(),
        login_hint: None,
        ui_locales: None,
        hinted_subject: None,
    }
}

/// Somebody who signs in every second.
fn bob(auth_time: u32) -> SignedIn {
    SignedIn::for_test("bob", "s1", Timestamp::from_seconds(auth_time.into()), auth_time)
}

fn prior(auth_time: u32) -> Prior {
    Prior { session_id: "s1".parse().expect("a session"), sign_ins: auth_time }
}

fn remembered(scope: &str) -> Consented {
    Consented { scope: scope.parse().expect("a scope"), claims: vec![] }
}

/// The word for an outcome.
fn word(outcome: Result<Next, Refusal>) -> &'static str {
    match outcome {
        Ok(Next::SignIn) => "sign in",
        Ok(Next::Consent) => "consent",
        Ok(Next::Grant(_)) => "grant",
        Err(refusal) => refusal.code.as_str(),
    }
}

#[test]
fn what_is_asked_is_what_is_missing() {
    use ConsentSource::{AskedEachTime, Given, Remembered};
    use Progress::{Arrived, Interacted};
    let (all, less) = (remembered("openid email profile"), remembered("openid"));
    let (signed_in, again) = (bob(900), bob(999));
    let at_once = SignedIn::for_test("bob", "s1", Timestamp::from_seconds(900), 901);
    let was = prior(900);
    let other_session = Prior { session_id: "s0".parse().expect("a session"), sign_ins: 900 };
    let known = Remembered(Some(&all));
    let (none, login, consent, select) = ([Prompt::None], [Prompt::Login], [Prompt::Consent], [Prompt::SelectAccount]);
    let table: [(&str, &[Prompt], Option<&SignedIn>, Progress<'_>, ConsentSource<'_>, &str); 26] = [
        ("nobody there", &[], None, Arrived, known, "sign in"),
        ("there, and allowed before", &[], Some(&signed_in), Arrived, known, "grant"),
        ("there, never asked", &[], Some(&signed_in), Arrived, Remembered(None), "consent"),
        ("there, less allowed before", &[], Some(&signed_in), Arrived, Remembered(Some(&less)), "consent"),
        ("asked each time", &[], Some(&signed_in), Arrived, AskedEachTime, "consent"),
        ("just allowed", &[], Some(&signed_in), Interacted(Some(&was), BEGUN), Given, "grant"),
        ("just allowed, and signed out meanwhile", &[], None, Interacted(Some(&was), BEGUN), Given, "sign in"),
        // prompt=none
        ("silent, nobody there", &none, None, Arrived, known, "login_required"),
        ("silent, never asked", &none, Some(&signed_in), Arrived, Remembered(None), "consent_required"),
        ("silent, allowed before", &none, Some(&signed_in), Arrived, known, "grant"),
        ("silent, asked each time", &none, Some(&signed_in), Arrived, AskedEachTime, "consent_required"),
        // prompt=login
        ("again", &login, Some(&signed_in), Arrived, known, "sign in"),
        ("again, came back without", &login, Some(&signed_in), Interacted(Some(&was), BEGUN), known, "sign in"),
        ("again, came back with", &login, Some(&again), Interacted(Some(&was), BEGUN), known, "grant"),
        ("again, within the same second", &login, Some(&at_once), Interacted(Some(&was), BEGUN), known, "grant"),
        ("again, in another session", &login, Some(&again), Interacted(Some(&other_session), BEGUN), known, "grant"),
        ("again, nobody was there before", &login, Some(&again), Interacted(None, BEGUN), known, "grant"),
        // A session that was there all along, and comes to light only now.
        ("again, in another old session", &login, Some(&signed_in), Interacted(Some(&other_session), BEGUN), known, "sign in"),
        ("again, an old session is shown late", &login, Some(&signed_in), Interacted(None, BEGUN), known, "sign in"),
        ("choose, an old session is shown late", &select, Some(&signed_in), Interacted(None, BEGUN), known, "sign in"),
        ("again, allowed without signing in", &login, Some(&signed_in), Interacted(Some(&was), BEGUN), Given, "sign in"),
        ("choose, as login", &select, Some(&signed_in), Arrived, known, "sign in"),
        // prompt=consent
        ("asked although allowed", &consent, Some(&signed_in), Arrived, known, "consent"),
        ("asked and allowed", &consent, Some(&signed_in), Interacted(Some(&was), BEGUN), Given, "grant"),
        ("asked, nobody there", &consent, None, Arrived, known, "sign in"),
        ("came back from signing in, never asked", &[], Some(&again), Interacted(None, BEGUN), Remembered(None), "consent"),
    ];
    for (what, prompt, login, progress, consent, expected) in table {
        assert_eq!(word(decide(&request(prompt), login, |_| true, progress, consent, NOW)), expected, "{what}");
    }
}

#[test]
fn a_sign_in_may_be_too_old() {
    let all = remembered("openid email");
    let decided = |max_age: u32, prompt: &[Prompt], login: &SignedIn, progress: Progress<'_>| {
        let request = AuthorizationRequest { max_age: Some(max_age), ..request(prompt) };
        word(decide(&request, Some(login), |_| true, progress, ConsentSource::Remembered(Some(&all)), NOW))
    };
    assert_eq!(decided(100, &[], &bob(900), Progress::Arrived), "grant");
    assert_eq!(decided(99, &[], &bob(900), Progress::Arrived), "sign in");
    assert_eq!(decided(99, &[Prompt::None], &bob(900), Progress::Arrived), "login_required");
    // OpenID Connect Core §3.1.2.1 allows `max_age=0`: as `prompt=login`.
    assert_eq!(decided(0, &[], &bob(1_000), Progress::Arrived), "sign in");
    assert_eq!(decided(0, &[], &bob(998), Progress::Interacted(Some(&prior(900)), BEGUN)), "grant");
    assert_eq!(decided(0, &[], &bob(900), Progress::Interacted(Some(&prior(900)), BEGUN)), "sign in");
}

/// Whoever came by another provider proved there who they are, perhaps long ago, or nobody knows when: that is no sign-in of just now.
#[test]
fn a_sign_in_elsewhere_is_as_old_as_it_is() {
    let all = remembered("openid email");
    let decided = |request: &AuthorizationRequest, login: &SignedIn, progress: Progress<'_>| {
        word(decide(request, Some(login), |_| true, progress, ConsentSource::Remembered(Some(&all)), NOW))
    };
    let by_provider = |auth_time: u32| bob(auth_time).for_test_signed_in(Timestamp::from_seconds(999));
    let (login, aged) = (request(&[Prompt::Login]), AuthorizationRequest { max_age: Some(100), ..request(&[]) });
    for progress in [Progress::Interacted(None, BEGUN), Progress::Interacted(Some(&prior(1)), BEGUN)] {
        for (auth_time, with_login, with_age, with_neither) in
            [(999, "grant", "grant", "grant"), (949, "sign in", "grant", "grant"), (890, "sign in", "sign in", "grant")]
        {
            let person = by_provider(auth_time);
            assert_eq!(decided(&login, &person, progress), with_login, "{auth_time}");
            assert_eq!(decided(&aged, &person, progress), with_age, "{auth_time}");
            assert_eq!(decided(&request(&[]), &person, progress), with_neither, "{auth_time}");
        }
        let nobody_knows = SignedIn::for_test("bob", "s1", SignedIn::UNKNOWN, 2).for_test_signed_in(Timestamp::from_seconds(999));
        assert_eq!(decided(&aged, &nobody_knows, progress), "sign in");
        // What is a wish alone does not lead in a circle.
        let wish = AuthorizationRequest { acr_values: vec![Acr::MultiFactor.as_str().to_owned()], ..request(&[]) };
        assert_eq!(decided(&wish, &nobody_knows.by(&[]).for_test_signed_in(Timestamp::from_seconds(999)), progress), "grant");
    }
}

/// OpenID Connect Core §3.1.2.1: with `id_token_hint`, nobody but the hinted person gets a code.
#[test]
fn another_person_than_the_hinted_one_is_none() {
    let all = remembered("openid email");
    let hinted = |prompt: &[Prompt], is_hinted: bool, progress: Progress<'_>| {
        let request = AuthorizationRequest { hinted_subject: Some("carol".parse().expect("a subject")), ..request(prompt) };
        word(decide(&request, Some(&bob(900)), |_| is_hinted, progress, ConsentSource::Remembered(Some(&all)), NOW))
    };
    assert_eq!(hinted(&[Prompt::None], true, Progress::Arrived), "grant");
    assert_eq!(hinted(&[Prompt::None], false, Progress::Arrived), "login_required");
    assert_eq!(hinted(&[], false, Progress::Arrived), "sign in");
    assert_eq!(hinted(&[], false, Progress::Interacted(Some(&prior(900)), BEGUN)), "sign in");
    assert_eq!(
        hinted(&[], false, Progress::Interacted(Some(&prior(800)), BEGUN)),
        "login_required",
        "they came back as themselves"
    );
}

#[test]
fn an_essential_acr_is_met_or_refused_and_a_wish_is_a_wish() {
    let all = Consented { scope: "openid email".parse().expect("a scope"), claims: vec!["acr".into()] };
    let decided = |claims: &str| {
        let request = AuthorizationRequest { claims: ClaimsRequest::parse(claims).expect("claims"), ..request(&[]) };
        word(decide(&request, Some(&bob(900)), |_| true, Progress::Arrived, ConsentSource::Remembered(Some(&all)), NOW))
    };
    let reached = bob(900).acr.expect("a class").as_str();
    assert_eq!(decided(&format!(r#"{{"id_token":{{"acr":{{"essential":true,"values":["x","{reached}"]}}}}}}"#)), "grant");
    assert_eq!(decided(r#"{"id_token":{"acr":{"essential":true,"values":["x"]}}}"#), "unmet_authentication_requirements");
    assert_eq!(decided(r#"{"id_token":{"acr":{"values":["x"]}}}"#), "grant");
    assert_eq!(decided(r#"{"id_token":{"acr":{"essential":true}}}"#), "grant");
}

#[test]
fn a_claim_that_was_never_allowed_is_asked_for() {
    let all = remembered("openid email");
    let request =
        AuthorizationRequest { claims: ClaimsRequest::parse(r#"{"userinfo":{"name":null}}"#).expect("claims"), ..request(&[]) };
    let decided = |consented: &Consented| {
        word(decide(&request, Some(&bob(900)), |_| true, Progress::Arrived, ConsentSource::Remembered(Some(consented)), NOW))
    };
    assert_eq!(decided(&all), "consent");
    assert_eq!(decided(&all.with(&Consented::asked_by(&request))), "grant");
}

/// `acr_values` is a wish, an essential `acr` a demand; a better class counts for a lesser one.
#[test]
fn who_signed_in_with_less_is_asked_for_more() {
    use crate::identity::Amr;
    let (single, multi) = (Acr::SingleFactor.as_str(), Acr::MultiFactor.as_str());
    let essential = |value: &str| {
        let text = format!(r#"{{"id_token":{{"acr":{{"essential":true,"values":["{value}"]}}}}}}"#);
        ClaimsRequest::parse(&text).expect("claims")
    };
    let with_one = bob(900);
    let with_two = bob(900).by(&[Amr::Password, Amr::OneTimePassword, Amr::MultiFactor]);
    let was = prior(800);
    let all = Consented { claims: vec!["acr".to_owned()], ..remembered("openid email") };
    let fresh = Progress::Interacted(Some(&was), BEGUN);
    let table = [
        (vec![multi], None, &with_one, Progress::Arrived, false, "sign in"),
        (vec![multi], None, &with_one, fresh, false, "grant"),
        (vec![multi], None, &with_one, Progress::Arrived, true, "grant"),
        (vec![multi, single], None, &with_one, Progress::Arrived, false, "grant"),
        (vec!["0"], None, &with_one, Progress::Arrived, false, "grant"),
        (vec![multi], None, &with_two, Progress::Arrived, false, "grant"),
        (vec![], Some(multi), &with_one, Progress::Arrived, false, "sign in"),
        (vec![], Some(multi), &with_one, fresh, false, "unmet_authentication_requirements"),
        (vec![], Some(multi), &with_one, Progress::Arrived, true, "unmet_authentication_requirements"),
        (vec![], Some(multi), &with_two, Progress::Arrived, false, "grant"),
        (vec![], Some(single), &with_two, Progress::Arrived, false, "grant"),
        (vec![], Some("0"), &with_two, Progress::Arrived, false, "unmet_authentication_requirements"),
    ];
    for (values, demand, login, progress, silent, expected) in table {
        let prompt: &[Prompt] = if silent { &[Prompt::None] } else { &[] };
        let request = AuthorizationRequest {
            acr_values: values.iter().map(|value| (*value).to_owned()).collect(),
            claims: demand.map(essential).unwrap_or_default(),
            ..request(prompt)
        };
        let outcome = decide(&request, Some(login), |_| true, progress, ConsentSource::Remembered(Some(&all)), NOW);
        assert_eq!(word(outcome), expected, "{values:?} {demand:?} {progress:?} {silent}");
    }
    let told = |values: &[&str], login| {
        let acr_values = values.iter().map(|value| (*value).to_owned()).collect();
        told_acr(&AuthorizationRequest { acr_values, ..request(&[]) }, login)
    };
    assert_eq!(told(&[single], &with_two), Some(Acr::SingleFactor));
    assert_eq!(told(&[multi], &with_one), Some(Acr::SingleFactor));
    assert_eq!(told(&[], &with_two), Some(Acr::MultiFactor));
}
