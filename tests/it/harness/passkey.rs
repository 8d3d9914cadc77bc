//! An authenticator in software, and the browser around it: a P-256 key, its data written byte by byte and not by the code under test
//! (W3C Web Authentication Level 3 §6.1, §6.5).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::browser::{Browser, field, unescaped};
use super::call::Answer;

/// Somebody is there.
pub const PRESENT: u8 = 0x01;
/// It is the authenticator's own person.
pub const VERIFIED: u8 = 0x04;
/// The key may be on more than one device.
pub const ELIGIBLE: u8 = 0x08;
/// It is.
pub const BACKED_UP: u8 = 0x10;
/// There is a new key in the data.
const ATTESTED: u8 = 0x40;

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(value: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(value.as_str().expect("text")).expect("base64url")
}

/// A passkey, and what its authenticator says. Whatever is public may be changed to say something else.
#[derive(Clone)]
pub struct Passkey {
    key: Vec<u8>,
    pub id: Vec<u8>,
    pub handle: Option<Vec<u8>>,
    pub origin: String,
    pub rp_id: String,
    pub flags: u8,
    pub count: u32,
    /// `webauthn.get` or `webauthn.create`; nothing for the right one.
    pub kind: Option<&'static str>,
    pub cross_origin: bool,
    /// Signs another challenge.
    pub challenge: Option<String>,
    /// Flips one bit of the signature.
    pub flipped: bool,
}

/// What a browser was given to have signed.
#[derive(Clone, Debug)]
pub struct Asked {
    pub csrf: String,
    pub interaction: Option<String>,
    pub attempt: String,
    pub options: Value,
}

impl Passkey {
    /// A new key for this origin, whose person is there and verified.
    pub fn new(origin: &str) -> Self {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).expect("a key");
        let host = url::Url::parse(origin).expect("an origin").host_str().expect("a host").to_owned();
        let digest = Sha256::digest(document.as_ref());
        Self {
            key: document.as_ref().to_vec(),
            id: digest.to_vec(),
            handle: None,
            origin: origin.to_owned(),
            rp_id: host,
            flags: PRESENT | VERIFIED,
            count: 1,
            kind: None,
            cross_origin: false,
            challenge: None,
            flipped: false,
        }
    }

    /// The same with something changed.
    pub fn but(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut changed = self.clone();
        change(&mut changed);
        changed
    }

    fn pair(&self) -> EcdsaKeyPair {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &self.key).expect("a key")
    }

    /// The public key: 4, x, y.
    pub fn public_point(&self) -> Vec<u8> {
        self.pair().public_key().as_ref().to_vec()
    }

    fn client_data(&self, kind: &str, options: &Value) -> Vec<u8> {
        let challenge = self.challenge.clone().unwrap_or_else(|| options["challenge"].as_str().expect("a challenge").to_owned());
        let (kind, origin, cross_origin) = (self.kind.unwrap_or(kind), &self.origin, self.cross_origin);
        json!({ "type": kind, "challenge": challenge, "origin": origin, "crossOrigin": cross_origin }).to_string().into_bytes()
    }

    /// Authenticator data (§6.1).
    fn data(&self, flags: u8) -> Vec<u8> {
        let mut data = Sha256::digest(self.rp_id.as_bytes()).to_vec();
        data.push(flags);
        data.extend(self.count.to_be_bytes());
        data
    }

    /// What a browser says of a passkey that it has made, with attestation `none` (§8.7).
    pub fn made(&self, options: &Value) -> String {
        let mut data = self.data(self.flags | ATTESTED);
        data.extend([0u8; 16]);
        data.extend(u16::try_from(self.id.len()).expect("short").to_be_bytes());
        data.extend(&self.id);
        // COSE_Key (RFC 9052 §7): kty EC2, alg ES256, crv P-256, x, y.
        let public = self.public_point();
        data.extend([0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20]);
        data.extend(&public[1..33]);
        data.extend([0x22, 0x58, 0x20]);
        data.extend(&public[33..65]);
        let mut object = vec![0xa3, 0x63];
        object.extend(b"fmt\x64none\x67attStmt\xa0\x68authData\x59");
        object.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
        object.extend(&data);
        json!({
            "id": encode(&self.id),
            "rawId": encode(&self.id),
            "type": "public-key",
            "response": {
                "clientDataJSON": encode(self.client_data("webauthn.create", options)),
                "attestationObject": encode(object),
                "transports": ["internal"],
            },
        })
        .to_string()
    }

    /// What a browser says whose person has used this passkey.
    pub fn used(&self, options: &Value) -> String {
        let client_data = self.client_data("webauthn.get", options);
        let data = self.data(self.flags);
        let mut signed = data.clone();
        signed.extend(Sha256::digest(&client_data));
        let signature = self.pair().sign(&SystemRandom::new(), &signed).expect("signed");
        let mut signature = signature.as_ref().to_vec();
        if self.flipped {
            // The last byte is within the second number.
            *signature.last_mut().expect("bytes") ^= 1;
        }
        json!({
            "id": encode(&self.id),
            "rawId": encode(&self.id),
            "type": "public-key",
            "response": {
                "clientDataJSON": encode(client_data),
                "authenticatorData": encode(data),
                "signature": encode(signature),
                "userHandle": self.handle.as_ref().map(encode),
            },
        })
        .to_string()
    }

    /// Makes a passkey for whoever is signed in in a browser; gives what the browser is told in the end.
    pub async fn register(&mut self, browser: &mut Browser, name: &str) -> Answer {
        let asked = ask_to_make(browser).await;
        self.handle = Some(decode(&asked.options["user"]["id"]));
        keep(browser, &asked, name, &self.made(&asked.options)).await
    }

    /// A passkey that was made so.
    pub async fn registered(origin: &str, browser: &mut Browser, name: &str) -> Self {
        let mut passkey = Self::new(origin);
        let done = passkey.register(browser, name).await;
        assert_eq!(done.header("location"), Some("/account?done=passkey"), "{}", done.text());
        passkey
    }

    /// Signs in from this page, counting on; gives what the browser is told in the end.
    pub async fn sign_in(&mut self, browser: &mut Browser, sign_in: &str) -> Answer {
        let asked = ask(browser, sign_in).await;
        if self.count > 0 {
            self.count += 1;
        }
        send(browser, &asked, &self.used(&asked.options)).await
    }
}

/// What the page that makes a passkey has in it.
pub fn read_page(page: &Answer) -> Asked {
    let text = page.text();
    let options = text.split_once("data-public-key=\"").unwrap_or_else(|| panic!("no options in {text}")).1;
    let options = unescaped(options.split('"').next().expect("a value"));
    let options = serde_json::from_str(&options).expect("JSON");
    Asked { csrf: field(page, "csrf"), interaction: None, attempt: field(page, "attempt"), options }
}

/// Goes from the account page to the one that makes a passkey.
pub async fn ask_to_make(browser: &mut Browser) -> Asked {
    let csrf = field(&browser.account().await, "csrf");
    let page = browser.post("/account/passkeys", &[("csrf", &csrf)]).await;
    assert_eq!(page.status, 200, "{}", page.text());
    read_page(&page)
}

/// Sends what was made.
pub async fn keep(browser: &mut Browser, asked: &Asked, name: &str, credential: &str) -> Answer {
    let form = [("csrf", &*asked.csrf), ("attempt", &*asked.attempt), ("name", name), ("credential", credential)];
    browser.post("/account/passkeys/add", &form).await
}

/// Asks what to sign, from this page.
pub async fn ask(browser: &mut Browser, sign_in: &str) -> Asked {
    let page = browser.get(sign_in).await;
    assert_eq!(page.status, 200, "{}", page.text());
    assert!(page.text().contains("Sign in with a passkey"), "{}", page.text());
    let csrf = field(&page, "csrf");
    let answer = browser.post("/sign-in/passkey/options", &[("csrf", &csrf)]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let said = answer.json();
    let attempt = said["attempt"].as_str().expect("an attempt").to_owned();
    let interaction = page.text().contains("name=\"interaction\"").then(|| field(&page, "interaction"));
    Asked { csrf, interaction, attempt, options: said["public_key"].clone() }
}

/// Sends what was signed.
pub async fn send(browser: &mut Browser, asked: &Asked, credential: &str) -> Answer {
    let mut form = vec![("csrf", &*asked.csrf), ("attempt", &*asked.attempt), ("credential", credential)];
    form.extend(asked.interaction.as_deref().map(|interaction| ("interaction", interaction)));
    browser.post("/sign-in/passkey", &form).await
}

/// The names of the passkeys that an account page lists.
pub fn listed(account: &Answer) -> Vec<String> {
    let text = account.text();
    let after = "aria-label=\"Remove the passkey ";
    text.split(after).skip(1).map(|rest| unescaped(rest.split('"').next().expect("a name"))).collect()
}
