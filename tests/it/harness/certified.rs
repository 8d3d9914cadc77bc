//! People who sign in with certificates: at `as.example`, which asks for them; the issuer's own host does not.

use rcgen::DnType;

use super::app::{App, add_bob};
use super::authority::{Authority, Identity, Leaf};
use super::browser::{Browser, field};
use super::call::{Answer, Call};
use super::command::symbolon;
use super::postgres;
use super::stack::{Engine, Setup, Stack};

const SETTINGS: &str = r#"
[anchor_set.people]
files = ["people-ca.pem"]
crl_files = ["people.crl"]

[certificate_sign_in]
url = "{as_url}"
anchor_set = "people"
name_field = "{name_field}"
"#;

/// A deployment with bob and an authority for people.
pub struct Certified {
    pub stack: Stack,
    /// Issues certificates of people.
    pub people: Authority,
    /// Named in its revocation list.
    pub revoked: Identity,
    /// `sub` of bob.
    pub bob: String,
}

/// A person's certificate: `CN=name`, no name of an account in it.
pub fn leaf(name: &str) -> Leaf {
    Leaf::client(name)
}

/// One that names this account (`UID`).
pub fn naming(name: &str, account: &str) -> Leaf {
    let mut leaf = Leaf::client(name);
    leaf.subject.push((DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 1]), account.to_owned()));
    leaf
}

impl Certified {
    /// Starts one, with more settings of `[certificate_sign_in]` and after. Nothing when the engine is not at hand.
    pub async fn start(engine: Engine, more: &str) -> Option<Self> {
        Self::start_by("subject:UID", engine, more).await
    }

    /// The same, where another part of certificates names accounts.
    pub async fn start_by(name_field: &str, engine: Engine, more: &str) -> Option<Self> {
        let store = match engine {
            Engine::Sqlite => "sqlite:symbolon.db".to_owned(),
            Engine::Postgres => postgres::database().await?,
        };
        let people = Authority::new("People CA");
        let revoked = people.issue(naming("revoked", "bob"));
        let list = people.revocation_list(&[&revoked.chain[0]], 3_600);
        let settings = SETTINGS.replace("{as_url}", "https://as.example:{mtls_port}").replace("{name_field}", name_field);
        // At `as.example` the authority of people counts alone.
        let host = "names = [\"as.example\"]\ncertificate_file = \"server.pem\"\nkey_file = \"server-key.pem\"\nclient_certificate = \"request\"\n";
        let changes = vec![(format!("{host}anchor_set = \"clients\"\n"), host.to_owned())];
        let setup = App::setup();
        let setup = Setup { server: format!("{settings}{more}"), server_changes: changes, ..setup };
        let files = [("people-ca.pem", people.pem.as_str()), ("people.crl", list.as_str())];
        let mut stack = setup.prepare_with(store, &files).await;
        stack.start_server().await;
        let bob = add_bob(&stack).await;
        Some(Self { stack, people, revoked, bob })
    }

    /// `symbolon user link-certificate bob`.
    pub async fn link(&self, username: &str, identity: &Identity) {
        identity.write(self.stack.dir.path());
        let file = format!("{}.pem", identity.name);
        symbolon(self.stack.dir.path(), &["user", "link-certificate", username, "--file", &file]).await.ok();
    }

    /// Presses the button on the sign-in page; gives the target at the host that asks for certificates.
    pub async fn errand(&self, browser: &mut Browser, sign_in: &str) -> String {
        let page = browser.get(sign_in).await;
        assert_eq!(page.status, 200, "{}", page.text());
        assert!(page.text().contains("Sign in with a certificate"), "{}", page.text());
        let mut form = vec![("csrf", field(&page, "csrf"))];
        if page.text().contains("name=\"interaction\"") {
            form.push(("interaction", field(&page, "interaction")));
        }
        let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let led = browser.post("/sign-in/certificate", &form).await;
        assert_eq!(led.status, 303, "{}", led.text());
        self.at_certificates(led.header("location").expect("a location"))
    }

    /// The target of a URL at the host that asks for certificates.
    pub fn at_certificates(&self, url: &str) -> String {
        let base = format!("https://{}", self.stack.as_authority);
        url.strip_prefix(&base).unwrap_or_else(|| panic!("{url}")).to_owned()
    }

    /// The target of a URL at the issuer's host.
    pub fn at_issuer(&self, answer: &Answer) -> String {
        assert_eq!(answer.status, 303, "{}", answer.text());
        let location = answer.header("location").expect("a location");
        location.strip_prefix(&self.stack.fill("{issuer}")).unwrap_or_else(|| panic!("{location}")).to_owned()
    }

    /// Goes to the host that asks for certificates, without any cookie of the issuer's host.
    pub async fn show(&self, identity: Option<&Identity>, target: &str) -> Answer {
        let caller = identity.map_or_else(|| self.stack.nobody(), |identity| self.stack.caller(identity));
        let answer = caller.send(&self.stack.as_authority, &Call::get(target)).await;
        assert!(answer.header("set-cookie").is_none(), "that host sets no cookie");
        answer
    }

    /// The way there and back; what the browser is told in the end.
    pub async fn sign_in(&self, browser: &mut Browser, identity: &Identity, sign_in: &str) -> Answer {
        let errand = self.errand(browser, sign_in).await;
        let back = self.at_issuer(&self.show(Some(identity), &errand).await);
        browser.get(&back).await
    }

    /// What a browser brings back that was sent from its account page to link a certificate.
    pub async fn bring(&self, browser: &mut Browser, identity: &Identity) -> String {
        let account = browser.account().await;
        let page = browser.post("/account/certificates", &[("csrf", &field(&account, "csrf"))]).await;
        assert_eq!(page.status, 200, "{}", page.text());
        let errand = self.at_certificates(&place(&page));
        self.at_issuer(&self.show(Some(identity), &errand).await)
    }

    /// Links a certificate as its person does.
    pub async fn add(&self, browser: &mut Browser, identity: &Identity) -> Answer {
        let back = self.bring(browser, identity).await;
        let page = browser.get(&back).await;
        assert!(page.text().contains("Add this certificate?"), "{}", page.text());
        let form = [("csrf", &*field(&page, "csrf")), ("answer", &*field(&page, "answer"))];
        browser.post("/account/certificates/add", &form).await
    }
}

/// Where the page leads on which one chooses a certificate.
fn place(page: &Answer) -> String {
    let text = page.text();
    let rest = text.split_once("class=\"button\" href=\"").expect("a link").1;
    rest.split('"').next().expect("a link").replace("&#x2f;", "/")
}
