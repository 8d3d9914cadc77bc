//! A client of FAPI 2.0, in each of the ways there are to be one.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::app::{CHALLENGE, Returned, VERIFIER, add_bob, go_on};
use crate::harness::assertion::{JWT_BEARER, Signer, now};
use crate::harness::browser::Browser;
use crate::harness::dpop::ath;
use crate::harness::{Answer, App, Call, Identity, Leaf, Prover, Setup, Stack};

/// How a client authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    Certificate,
    PrivateKeyJwt,
}

/// What its tokens are bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    Certificate,
    Dpop,
}

/// Every combination, each as a client of this name.
pub const WAYS: [(&str, Authentication, Binding); 4] = [
    ("mtls-mtls", Authentication::Certificate, Binding::Certificate),
    ("mtls-dpop", Authentication::Certificate, Binding::Dpop),
    ("jwt-mtls", Authentication::PrivateKeyJwt, Binding::Certificate),
    ("jwt-dpop", Authentication::PrivateKeyJwt, Binding::Dpop),
];

/// Parameters; `("name", "")` leaves one away.
pub type Changes<'a> = &'a [(&'a str, &'a str)];

/// A client with its keys.
pub struct Actor {
    pub name: &'static str,
    pub authentication: Authentication,
    pub binding: Binding,
    pub identity: Identity,
    pub signer: Signer,
    pub prover: Prover,
    pub redirect_uri: String,
    issuer: String,
    mtls_url: String,
}

/// A deployment with every actor. `more` is their metadata beside the usual.
pub async fn deployment(profile: &str, more: Value, server: &str) -> (Stack, Vec<Actor>) {
    let signers = WAYS.map(|(name, ..)| Signer::key("PS256", name));
    let clients = WAYS.iter().zip(&signers).map(|((name, authentication, binding), signer)| {
        let mut changes = more.clone();
        changes["jwks"] = signer.jwks();
        if *authentication == Authentication::PrivateKeyJwt {
            changes["token_endpoint_auth_method"] = json!("private_key_jwt");
            changes["tls_client_auth_subject_dn"] = Value::Null;
        }
        if *binding == Binding::Dpop {
            changes["dpop_bound_access_tokens"] = json!(true);
        }
        App::metadata(name, changes)
    });
    let server = format!("[authorization]\nprofile = \"{profile}\"\n{server}");
    let stack = Setup { without_gateway: true, clients: clients.collect(), server, ..Setup::default() }.start().await;
    add_bob(&stack).await;
    let actors = WAYS.into_iter().zip(signers).map(|((name, authentication, binding), signer)| Actor {
        name,
        authentication,
        binding,
        identity: stack.client_ca.issue(Leaf::client(name)),
        signer,
        prover: Prover::new(),
        redirect_uri: format!("https://{name}.example/cb"),
        issuer: format!("https://{}", stack.issuer_authority),
        mtls_url: format!("https://{}", stack.mtls_authority),
    });
    let actors = actors.collect();
    (stack, actors)
}

impl Actor {
    /// Whether it shows its certificate.
    pub fn shows_certificate(&self) -> bool {
        self.authentication == Authentication::Certificate || self.binding == Binding::Certificate
    }

    /// An endpoint as this client calls it.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", if self.shows_certificate() { &self.mtls_url } else { &self.issuer })
    }

    /// Sends a request from where this client is.
    pub async fn send(&self, stack: &Stack, call: &Call) -> Answer {
        match self.shows_certificate() {
            true => stack.caller(&self.identity).send(&stack.mtls_authority, call).await,
            false => stack.nobody().send(&stack.issuer_authority, call).await,
        }
    }

    /// The parameters by which it authenticates.
    pub fn credentials(&self) -> Vec<(String, String)> {
        let mut form = vec![("client_id".to_owned(), self.name.to_owned())];
        if self.authentication == Authentication::PrivateKeyJwt {
            form.push(("client_assertion_type".to_owned(), JWT_BEARER.to_owned()));
            form.push(("client_assertion".to_owned(), self.signer.assertion(self.name, &self.issuer)));
        }
        form
    }

    /// A form with its credentials; `changes` replaces any of it.
    pub fn form(&self, path: &str, parameters: Vec<(String, String)>, changes: Changes<'_>) -> Call {
        let mut form: BTreeMap<String, String> = self.credentials().into_iter().chain(parameters).collect();
        form.extend(changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let pairs: Vec<(&str, &str)> =
            form.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Call::form(path, &pairs)
    }

    /// The parameters of a good authorization request.
    pub fn request(&self) -> Vec<(String, String)> {
        [
            ("response_type", "code"),
            ("redirect_uri", self.redirect_uri.as_str()),
            ("scope", "openid read"),
            ("state", "af0ifjsldkj"),
            ("nonce", "n-0S6_WzA2Mj"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    pub async fn push(&self, stack: &Stack, changes: Changes<'_>) -> Answer {
        self.send(stack, &self.form("/par", self.request(), changes)).await
    }

    /// The `request_uri` of a request that is in order.
    pub async fn pushed(&self, stack: &Stack, changes: Changes<'_>) -> String {
        request_uri(&self.push(stack, changes).await)
    }

    /// The claims of a request object in order, changed; `null` removes.
    pub fn claims(&self, changes: &Value) -> Value {
        let mut claims =
            json!({ "iss": self.name, "aud": self.issuer, "nbf": now() - 1, "exp": now() + 60, "client_id": self.name });
        for (name, value) in self.request() {
            claims[name] = json!(value);
        }
        for (name, value) in changes.as_object().expect("an object") {
            match value {
                Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        claims
    }

    /// A request object in order but for these changes.
    pub fn object(&self, changes: &Value) -> String {
        self.signer.sign(json!({ "typ": "oauth-authz-req+jwt" }), &self.claims(changes))
    }

    /// Pushes a request object.
    pub async fn push_object(&self, stack: &Stack, object: &str, changes: Changes<'_>) -> Answer {
        let parameters = vec![("request".to_owned(), object.to_owned())];
        self.send(stack, &self.form("/par", parameters, changes)).await
    }

    /// The URL that the browser is sent to.
    pub fn start(&self, request_uri: &str) -> String {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("client_id", self.name), ("request_uri", request_uri)])
            .finish();
        format!("/authorize?{query}")
    }

    /// A browser goes through it.
    pub async fn authorize(&self, browser: &mut Browser, request_uri: &str) -> Returned {
        let answer = browser.get(&self.start(request_uri)).await;
        Returned::of(&go_on(browser, answer).await)
    }

    /// A code.
    pub async fn code(&self, stack: &Stack, browser: &mut Browser, changes: Changes<'_>) -> String {
        let returned = self.authorize(browser, &self.pushed(stack, changes).await).await;
        assert!(!returned.get("code").is_empty(), "{returned:?}");
        returned.get("code").to_owned()
    }

    /// The proof for a POST, where its tokens are bound to a key.
    pub fn proof(&self, path: &str) -> Option<String> {
        (self.binding == Binding::Dpop).then(|| self.prover.prove("POST", &self.url(path)))
    }

    /// A token request for a code, with this proof.
    pub fn redemption(&self, code: &str, proof: Option<&str>, changes: Changes<'_>) -> Call {
        let parameters = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.redirect_uri.as_str()),
            ("code_verifier", VERIFIER),
        ];
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let call = self.form("/token", parameters, changes);
        match proof {
            Some(proof) => call.proof(proof),
            None => call,
        }
    }

    /// Redeems a code as it should be, but for these changes.
    pub async fn redeem(&self, stack: &Stack, code: &str, changes: Changes<'_>) -> Answer {
        let proof = self.proof("/token");
        self.send(stack, &self.redemption(code, proof.as_deref(), changes)).await
    }

    pub async fn refresh(&self, stack: &Stack, refresh_token: &str) -> Answer {
        let parameters = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
        let call = self.form("/token", parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).into(), &[]);
        let call = match self.proof("/token") {
            Some(proof) => call.proof(&proof),
            None => call,
        };
        self.send(stack, &call).await
    }

    /// The resource that this server itself is, asked as it should be.
    pub async fn userinfo(&self, stack: &Stack, token: &str) -> Answer {
        let call = match self.binding {
            Binding::Certificate => Call::get("/userinfo").bearer(token),
            Binding::Dpop => {
                let claims = json!({ "ath": ath(token) });
                Call::get("/userinfo").dpop(token, &self.prover.prove_with("GET", &self.url("/userinfo"), &claims))
            }
        };
        self.send(stack, &call).await
    }

    /// The tokens of a whole flow.
    pub async fn tokens(&self, stack: &Stack, browser: &mut Browser, changes: Changes<'_>) -> Value {
        let code = self.code(stack, browser, changes).await;
        let answer = self.redeem(stack, &code, &[]).await;
        assert_eq!(answer.status, 200, "{}: {}", self.name, answer.text());
        answer.json()
    }
}

#[track_caller]
pub fn request_uri(answer: &Answer) -> String {
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["request_uri"].as_str().expect("a URI").to_owned()
}

/// A JWT that nobody has signed.
pub fn unsigned(claims: &Value) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(claims.to_string()))
}
