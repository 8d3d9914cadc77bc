//! An authenticator app.

use aws_lc_rs::hmac;

use super::browser::{Browser, field};
use super::call::Answer;
use super::dpop::now;

/// A secret, as a person typed it in.
pub struct Authenticator(Vec<u8>);

impl Authenticator {
    /// Reads the secret from the page that shows it.
    pub fn read(page: &Answer) -> Self {
        let text = page.text();
        Self::typed(text.split_once("id=\"secret\">").expect("a secret").1.split('<').next().expect("a secret"))
    }

    /// Types a secret in.
    pub fn typed(shown: &str) -> Self {
        let (mut bytes, mut buffer, mut bits) = (Vec::new(), 0u32, 0);
        for letter in shown.bytes().filter(|byte| *byte != b' ') {
            let value = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".iter().position(|known| *known == letter).expect("base32");
            buffer = (buffer << 5) | u32::try_from(value).expect("small");
            bits += 5;
            if bits >= 8 {
                bits -= 8;
                bytes.push(u8::try_from((buffer >> bits) & 0xff).expect("a byte"));
            }
        }
        assert_eq!(bytes.len(), 20, "{shown}");
        Self(bytes)
    }

    /// The code of now, or of the step that lies this many steps from now (RFC 6238 §4).
    pub fn code(&self, steps: i64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        let mac = hmac::sign(&key, &(now() / 30 + steps).to_be_bytes());
        let mac = mac.as_ref();
        let offset = usize::from(mac[19] & 15);
        let number = u32::from_be_bytes(mac[offset..offset + 4].try_into().expect("four")) & 0x7fff_ffff;
        format!("{:06}", number % 1_000_000)
    }

    /// Sets two-step sign-in up in a browser that is signed in; gives the recovery codes too.
    pub async fn set_up(browser: &mut Browser, password: &str) -> (Self, Vec<String>) {
        let account = browser.account().await;
        let page = browser.post("/account/totp", &[("csrf", &field(&account, "csrf"))]).await;
        assert_eq!(page.status, 200, "{}", page.text());
        let authenticator = Self::read(&page);
        let form = [
            ("csrf", &*field(&page, "csrf")),
            ("sealed", &*field(&page, "sealed")),
            ("code", &*authenticator.code(0)),
            ("current_password", password),
        ];
        let done = browser.post("/account/totp/confirm", &form).await;
        assert_eq!(done.status, 200, "{}", done.text());
        let text = done.text();
        let codes = text.split("<code>").skip(1).map(|rest| rest.split('<').next().expect("a code").to_owned());
        (authenticator, codes.collect())
    }
}

/// Types username and password, and gives the page that asks for the code.
pub async fn first_factor(browser: &mut Browser, username: &str, password: &str) -> Answer {
    let page = browser.sign_in(username, password).await;
    assert!(page.status == 200 && page.text().contains("Your code"), "{} {}", page.status, page.text());
    page
}

/// Types the code into that page.
pub async fn second_factor(browser: &mut Browser, page: &Answer, code: &str) -> Answer {
    let form = [("csrf", &*field(page, "csrf")), ("held", &*field(page, "held")), ("code", code)];
    browser.post("/sign-in/code", &form).await
}
