//! Pages for people: `templates/`, compiled into the binary, each of which a file of the same name in `pages.templates_dir` replaces.

use std::path::{Path, PathBuf};

use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value, context};
use serde::Serialize;

use super::assets::Assets;
use super::colour::{Colour, ColourError};
use super::path;
use super::provider_pages::ProviderButton;
use super::reject::{Rejected, Rejection};
use crate::config::settings::PagesSettings;
use crate::domain::Issuer;
use crate::identity::{IdentityProvider, IdentityProviders};
use crate::oauth::metadata::path as endpoint;

/// The templates, ready to render, and what they refer to.
#[derive(Debug)]
pub struct Pages {
    environment: Environment<'static>,
    /// The stylesheet and pictures.
    pub assets: Assets,
    base: String,
    name: String,
}

/// Why there are no pages.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// A template does not parse, or asks for something it was not given.
    #[error("page template: {0:#}")]
    Template(#[from] minijinja::Error),
    /// A file cannot be read or is none of what it should be.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// `pages.colour`.
    #[error("pages.colour: {0}")]
    Colour(#[from] ColourError),
}

/// Where a page's forms may lead. Browsers hold every redirect that follows a form to this (CSP3 §6.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leads {
    /// To this server alone.
    Here,
    /// Through this server to wherever a client wants its answer, which only the server knows: a web address, a loopback address, or
    /// an app's own scheme.
    ToClient,
}

/// Nothing from elsewhere, no script, no frame.
const POLICY_HERE: &str =
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const POLICY_TO_CLIENT: &str = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The same with the one script of ours, which asks this server and nobody else.
const POLICY_HERE_SCRIPT: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const POLICY_TO_CLIENT_SCRIPT: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; \
     img-src 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The templates by name.
const TEMPLATES: [(&str, &str); 23] = [
    ("layout.html", include_str!("../../templates/layout.html")),
    ("home.html", include_str!("../../templates/home.html")),
    ("error.html", include_str!("../../templates/error.html")),
    ("sign_in.html", include_str!("../../templates/sign_in.html")),
    ("signed_out.html", include_str!("../../templates/signed_out.html")),
    ("signing_out.html", include_str!("../../templates/signing_out.html")),
    ("confirm_sign_out.html", include_str!("../../templates/confirm_sign_out.html")),
    ("account.html", include_str!("../../templates/account.html")),
    ("account_deleted.html", include_str!("../../templates/account_deleted.html")),
    ("consent.html", include_str!("../../templates/consent.html")),
    ("sign_in_code.html", include_str!("../../templates/sign_in_code.html")),
    ("totp.html", include_str!("../../templates/totp.html")),
    ("recovery_codes.html", include_str!("../../templates/recovery_codes.html")),
    ("certificate_choose.html", include_str!("../../templates/certificate_choose.html")),
    ("certificate_add.html", include_str!("../../templates/certificate_add.html")),
    ("certificate_refused.html", include_str!("../../templates/certificate_refused.html")),
    ("passkey_add.html", include_str!("../../templates/passkey_add.html")),
    ("provider_choose.html", include_str!("../../templates/provider_choose.html")),
    ("provider_link.html", include_str!("../../templates/provider_link.html")),
    ("provider_refused.html", include_str!("../../templates/provider_refused.html")),
    ("device.html", include_str!("../../templates/device.html")),
    ("device_confirm.html", include_str!("../../templates/device_confirm.html")),
    ("device_done.html", include_str!("../../templates/device_done.html")),
];

/// The largest template that is read from a file, in bytes.
const MAX_TEMPLATE: u64 = 256 * 1024;

/// What the sign-in page shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct SignInPage<'a> {
    /// The value of `csrf`.
    pub csrf: &'a str,
    /// The authorization request that waits for this.
    pub interaction: Option<&'a str>,
    /// The code of a device that waits for this.
    pub device: Option<&'a str>,
    /// What was typed as username before.
    pub username: &'a str,
    /// Why the last attempt failed.
    pub problem: Option<&'a str>,
    /// Why one is to sign in.
    pub notice: Option<&'a str>,
    /// Whether people may sign in with a certificate.
    pub certificates: bool,
    /// Whether people may sign in with a passkey.
    pub passkeys: bool,
    /// Where else they may sign in.
    pub providers: Option<&'a IdentityProviders>,
}

/// What the consent page shows.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ConsentPage<'a> {
    /// The client's name.
    pub client: &'a str,
    /// The client's home page, if it has one.
    pub client_uri: Option<&'a str>,
    /// Who is signed in.
    pub person: &'a str,
    /// What it asks for.
    pub scopes: &'a [ConsentScope<'a>],
    /// Pages of the client's.
    pub links: &'a [ConsentLink<'a>],
    /// The authorization request.
    pub interaction: &'a str,
    /// The value of `csrf`.
    pub csrf: &'a str,
}

/// A page of the client's.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ConsentLink<'a> {
    /// What it is.
    pub title: &'a str,
    /// Where.
    pub uri: &'a str,
}

/// What the page shows that asks whether to sign out.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ConfirmSignOutPage<'a> {
    /// The name of the client that wants it, where it is known.
    pub client: Option<&'a str>,
    /// Who is signed in.
    pub person: &'a str,
    /// The client's request, sealed.
    pub request: &'a str,
    /// The value of `csrf`.
    pub csrf: &'a str,
}

/// What the page shows that asks about a device.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct DeviceConfirmPage<'a> {
    /// The client's name.
    pub client: &'a str,
    /// Who is signed in.
    pub person: &'a str,
    /// The code that the device shows.
    pub user_code: &'a str,
    /// Where the device asked from.
    pub address: &'a str,
    /// When.
    pub asked: &'a str,
    /// What it asks for.
    pub scopes: &'a [ConsentScope<'a>],
    /// The value of `csrf`.
    pub csrf: &'a str,
}

/// One line of what a client asks for.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ConsentScope<'a> {
    /// What it may do, in a few words: the scope's own name if nothing better is known.
    pub title: &'a str,
    /// More about it.
    pub detail: Option<&'a str>,
}

impl Pages {
    /// Reads and compiles the templates. Files are named relative to `base_dir`.
    pub fn load(settings: &PagesSettings, base_dir: &Path, issuer: &Issuer) -> Result<Self, PageError> {
        let colour: Colour = settings.colour.parse()?;
        let assets = Assets::new(colour, settings.logo_file.as_deref().map(|file| base_dir.join(file)).as_deref())?;
        let base = issuer.path().to_owned();
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        for (name, built_in) in TEMPLATES {
            let replaced = match &settings.templates_dir {
                Some(directory) => replacement(&base_dir.join(directory).join(name))?,
                None => None,
            };
            environment.add_template_owned(name, replaced.unwrap_or_else(|| built_in.to_owned()))?;
        }
        if let Some(directory) = &settings.templates_dir {
            known_names(&base_dir.join(directory))?;
        }
        let asset = |name: &str| format!("{base}{}/{name}", path::ASSETS);
        environment.add_global(
            "site",
            context! {
                name => &settings.name,
                stylesheet => asset(assets.stylesheet()),
                icon => asset(assets.icon()),
                passkey_script => asset(assets.passkey_script()),
                logo => assets.logo().map(asset),
                base => &base,
            },
        );
        let pages = Self { environment, assets, base, name: settings.name.clone() };
        pages.try_all()?;
        Ok(pages)
    }

    /// Renders every page once, so that a template that asks for what it is not given is noticed at the start.
    fn try_all(&self) -> Result<(), PageError> {
        self.home("https://issuer.example", "/metadata", "/jwks")?;
        self.error("Title", "Description", "id")?;
        self.sign_in(&SignInPage {
            csrf: "c",
            interaction: Some("i"),
            device: Some("d"),
            username: "u",
            problem: Some("p"),
            notice: Some("n"),
            certificates: true,
            passkeys: true,
            providers: None,
        })?;
        self.sign_in(&SignInPage::default())?;
        self.signed_out()?;
        self.signing_out(&["https://a.example"], None, None)?;
        self.signing_out(&[], Some("https://a.example"), Some("s"))?;
        self.confirm_sign_out(&ConfirmSignOutPage { client: Some("c"), person: "p", request: "r", csrf: "c" })?;
        self.confirm_sign_out(&ConfirmSignOutPage { client: None, person: "p", request: "r", csrf: "c" })?;
        let scopes = [ConsentScope { title: "t", detail: Some("d") }, ConsentScope { title: "t", detail: None }];
        self.device("d", Some("p"))?;
        self.device_done("c", true)?;
        self.device_done("c", false)?;
        self.device_confirm(&DeviceConfirmPage {
            client: "c",
            person: "p",
            user_code: "u",
            address: "a",
            asked: "t",
            scopes: &scopes,
            csrf: "c",
        })?;
        let links = [ConsentLink { title: "t", uri: "https://a.example" }];
        let consent = ConsentPage {
            client: "c",
            client_uri: None,
            person: "p",
            scopes: &scopes,
            links: &links,
            interaction: "i",
            csrf: "c",
        };
        self.consent(&consent)?;
        self.try_account()?;
        self.try_certificates()?;
        self.try_passkeys()?;
        self.try_providers()?;
        self.try_second_factor()?;
        Ok(())
    }

    /// What the pages call this server.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn render(&self, name: &str, values: Value) -> Result<String, PageError> {
        Ok(self.environment.get_template(name)?.render(values)?)
    }

    /// A path below the issuer's own.
    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The page at the issuer's own URL.
    pub fn home(&self, issuer: &str, metadata_path: &str, jwks_path: &str) -> Result<String, PageError> {
        let account_path = self.path(path::ACCOUNT);
        self.render("home.html", context! { issuer, metadata_path, jwks_path, account_path })
    }

    /// A page that says what went wrong.
    pub fn error(&self, title: &str, description: &str, request_id: &str) -> Result<String, PageError> {
        self.render("error.html", context! { title, description, request_id })
    }

    /// Username and password.
    pub fn sign_in(&self, page: &SignInPage<'_>) -> Result<String, PageError> {
        let SignInPage { csrf, interaction, device, username, problem, notice, certificates, passkeys, providers } = *page;
        let button = |provider: &IdentityProvider| ProviderButton {
            action: self.provider_path(provider.name()),
            label: provider.label().to_owned(),
        };
        let providers: Vec<_> =
            providers.into_iter().flat_map(IdentityProviders::all).map(button).map(Serde).map(Value::from).collect();
        let actions = context! {
            action => self.path(path::SIGN_IN),
            certificate_action => certificates.then(|| self.path(path::SIGN_IN_CERTIFICATE)),
            passkey_action => passkeys.then(|| self.path(path::SIGN_IN_PASSKEY)),
            passkey_options => self.path(path::SIGN_IN_PASSKEY_OPTIONS),
            providers,
        };
        self.render("sign_in.html", context! { csrf, interaction, device, username, problem, notice, ..actions })
    }

    /// After signing out.
    pub fn signed_out(&self) -> Result<String, PageError> {
        self.render("signed_out.html", context! { sign_in_path => self.path(path::SIGN_IN) })
    }

    /// After signing out, while clients are told by frames. The script is the caller's own.
    pub fn signing_out(&self, frames: &[&str], onward: Option<&str>, script: Option<&'static str>) -> Result<String, PageError> {
        let script = script.map(|script| Value::from_safe_string(script.to_owned()));
        let frames: Vec<String> = frames.iter().map(|frame| (*frame).to_owned()).collect();
        let sign_in_path = self.path(path::SIGN_IN);
        self.render("signing_out.html", context! { frames, onward => onward.map(str::to_owned), script, sign_in_path })
    }

    /// Whether to sign out. Served with [`Leads::ToClient`].
    pub fn confirm_sign_out(&self, page: &ConfirmSignOutPage<'_>) -> Result<String, PageError> {
        let action = self.path(path::CONFIRM_SIGN_OUT);
        self.render("confirm_sign_out.html", context! { action, ..Value::from(Serde(page)) })
    }

    /// Allow or deny. Served with [`Leads::ToClient`].
    pub fn consent(&self, page: &ConsentPage<'_>) -> Result<String, PageError> {
        self.render("consent.html", context! { action => self.path(path::CONSENT), ..Value::from(Serde(page)) })
    }

    /// Asks for the code that a device shows.
    pub fn device(&self, user_code: &str, problem: Option<&str>) -> Result<String, PageError> {
        self.render("device.html", context! { action => self.path(endpoint::DEVICE), user_code, problem })
    }

    /// Allow or deny what a device asks for.
    pub fn device_confirm(&self, page: &DeviceConfirmPage<'_>) -> Result<String, PageError> {
        self.render("device_confirm.html", context! { action => self.path(endpoint::DEVICE), ..Value::from(Serde(page)) })
    }

    /// After that.
    pub fn device_done(&self, client: &str, allowed: bool) -> Result<String, PageError> {
        self.render("device_done.html", context! { client, allowed })
    }

    /// A refusal as a page, with what the audit trail is to know.
    pub fn refusal(&self, rejection: Rejection, request_id: &str) -> Response {
        let title = match rejection.status {
            StatusCode::NOT_FOUND => "Not found",
            status if status.is_server_error() => "That did not work",
            _ => "This request cannot be served",
        };
        let html = self.error(title, &rejection.description, request_id);
        refused(answer(html, rejection.status, Leads::Here), rejection)
    }
}

/// A page as an answer that no cache keeps and no other site frames.
pub fn answer(html: Result<String, PageError>, status: StatusCode, leads: Leads) -> Response {
    let policy = match leads {
        Leads::Here => POLICY_HERE,
        Leads::ToClient => POLICY_TO_CLIENT,
    };
    answer_under(html, status, policy)
}

/// The same for a page with the script of passkeys.
pub fn answer_with_script(html: Result<String, PageError>, status: StatusCode, leads: Leads) -> Response {
    let policy = match leads {
        Leads::Here => POLICY_HERE_SCRIPT,
        Leads::ToClient => POLICY_TO_CLIENT_SCRIPT,
    };
    answer_under(html, status, policy)
}

fn answer_under(html: Result<String, PageError>, status: StatusCode, policy: &'static str) -> Response {
    let html = match html {
        Ok(html) => html,
        Err(error) => {
            tracing::error!(%error, "a page cannot be rendered");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    let mut response = (status, html).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Leads a browser on with GET (RFC 9110 §15.4.4).
pub fn see_other(location: &str) -> Response {
    let Ok(location) = HeaderValue::try_from(location) else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Marks an answer as a refusal, for the audit trail.
pub fn refused(mut response: Response, rejection: Rejection) -> Response {
    if let Some((name, value)) = &rejection.header {
        response.headers_mut().insert(name, value.clone());
    }
    if rejection.body_unread {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response.extensions_mut().insert(Rejected { rejection, client_id: None });
    response
}

/// The template in a file; nothing when there is none.
fn replacement(path: &Path) -> Result<Option<String>, PageError> {
    let broken = |problem: String| PageError::File { path: path.to_owned(), problem };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(broken(error.to_string())),
        Ok(found) if found.len() > MAX_TEMPLATE => Err(broken(format!("larger than {MAX_TEMPLATE} bytes"))),
        Ok(_) => std::fs::read_to_string(path).map(Some).map_err(|error| broken(error.to_string())),
    }
}

/// Refuses a file whose name is no template's: it would have no effect.
fn known_names(directory: &Path) -> Result<(), PageError> {
    let broken = |problem: String| PageError::File { path: directory.to_owned(), problem };
    for entry in std::fs::read_dir(directory).map_err(|error| broken(error.to_string()))? {
        let name = entry.map_err(|error| broken(error.to_string()))?.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".html") && !TEMPLATES.iter().any(|(known, _)| *known == name) {
            let known = TEMPLATES.map(|(name, _)| name).join(", ");
            return Err(broken(format!("{name} replaces no template; there are {known}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(settings: &PagesSettings, directory: &Path) -> Result<Pages, PageError> {
        Pages::load(settings, directory, &"https://as.example/tenant".parse().expect("an issuer"))
    }

    fn pages() -> Pages {
        load(&PagesSettings::default(), Path::new("/")).expect("pages")
    }

    #[test]
    fn pages_escape_what_they_show() {
        let pages = pages();
        let bad = "<script>alert(1)</script>\"'";
        let scopes = [ConsentScope { title: bad, detail: Some(bad) }];
        let links = [ConsentLink { title: bad, uri: bad }];
        let consent = ConsentPage {
            client: bad,
            client_uri: Some(bad),
            person: bad,
            scopes: &scopes,
            links: &links,
            interaction: bad,
            csrf: bad,
        };
        let sign_in = SignInPage {
            csrf: bad,
            interaction: Some(bad),
            device: Some(bad),
            username: bad,
            problem: Some(bad),
            notice: Some(bad),
            certificates: true,
            passkeys: true,
            providers: None,
        };
        let device =
            DeviceConfirmPage { client: bad, person: bad, user_code: bad, address: bad, asked: bad, scopes: &scopes, csrf: bad };
        let confirm = ConfirmSignOutPage { client: Some(bad), person: bad, request: bad, csrf: bad };
        let signing_out = pages.signing_out(&[bad], Some(bad), None);
        for page in [
            pages.error(bad, bad, bad),
            pages.consent(&consent),
            pages.sign_in(&sign_in),
            pages.device(bad, Some(bad)),
            pages.device_confirm(&device),
            pages.device_done(bad, true),
            pages.confirm_sign_out(&confirm),
            signing_out,
        ] {
            let page = page.expect("renders");
            assert!(page.contains("&lt;script&gt;") && !page.contains("<script>") && !page.contains("\"'"), "{page}");
        }
        let home = pages.home("https://as.example", "/m", "/jwks").expect("renders");
        assert!(home.contains("https:&#x2f;&#x2f;as.example"));
    }

    /// What the policy forbids is not there: no inline style or script, nothing from elsewhere.
    #[test]
    fn pages_keep_their_own_policy() {
        for (name, template) in TEMPLATES {
            // The one page that has frames and a script brings a policy of its own.
            let template = match name {
                "signing_out.html" => {
                    template.replace("<script>{{ script }}</script>", "").replace("<iframe src=\"{{ frame }}\"", "")
                }
                // The script of passkeys is a file of ours.
                _ => template.replace(r#"<script src="{{ site.passkey_script }}" defer></script>"#, ""),
            };
            for forbidden in ["<script", "<style", "style=", "onclick", "http://", "https://", "javascript:", "<iframe"] {
                assert!(!template.contains(forbidden), "{name}: {forbidden}");
            }
        }
    }

    #[test]
    fn paths_are_below_the_issuers() {
        let page = pages().sign_in(&SignInPage::default()).expect("renders");
        assert!(page.contains(r#"action="&#x2f;tenant&#x2f;sign-in""#), "{page}");
        assert!(page.contains("&#x2f;tenant&#x2f;assets&#x2f;style-"), "{page}");
    }

    #[test]
    fn a_template_can_be_replaced_and_a_wrong_one_is_noticed() {
        let directory = tempfile::tempdir().expect("a directory");
        let settings = PagesSettings { templates_dir: Some("pages".into()), ..PagesSettings::default() };
        assert!(matches!(load(&settings, directory.path()), Err(PageError::File { .. })), "no such directory");
        let dir = directory.path().join("pages");
        std::fs::create_dir(&dir).expect("made");
        let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).expect("written");
        write("signed_out.html", "Bye from {{ site.name }}");
        assert_eq!(load(&settings, directory.path()).expect("pages").signed_out().expect("renders"), "Bye from Symbolon");
        write("signed_out.html", "{{ nothing_like_that }}");
        assert!(matches!(load(&settings, directory.path()), Err(PageError::Template(_))));
        write("signed_out.html", "Bye");
        write("singed_out.html", "Bye");
        let error = load(&settings, directory.path()).expect_err("a wrong name").to_string();
        assert!(error.contains("singed_out.html replaces no template"), "{error}");
    }
}
