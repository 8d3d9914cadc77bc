//! Pages for people: `templates/`, compiled into the binary.

use minijinja::{Environment, UndefinedBehavior, context};

/// The templates, ready to render.
#[derive(Debug)]
pub struct Pages(Environment<'static>);

/// A template does not parse or asks for something it was not given: a bug.
#[derive(Debug, thiserror::Error)]
#[error("page template: {0}")]
pub struct PageError(#[from] minijinja::Error);

/// The policy that every page is served under: nothing from elsewhere, no script, no frame.
pub const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

impl Pages {
    /// Compiles the templates.
    pub fn new() -> Result<Self, PageError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.add_template("layout.html", include_str!("../../templates/layout.html"))?;
        environment.add_template("home.html", include_str!("../../templates/home.html"))?;
        environment.add_template("error.html", include_str!("../../templates/error.html"))?;
        Ok(Self(environment))
    }

    /// The page at the issuer's own URL.
    pub fn home(&self, issuer: &str, metadata_path: &str, jwks_path: &str) -> Result<String, PageError> {
        Ok(self.0.get_template("home.html")?.render(context! { issuer, metadata_path, jwks_path })?)
    }

    /// A page that says what went wrong.
    pub fn error(&self, title: &str, description: &str, request_id: &str) -> Result<String, PageError> {
        Ok(self.0.get_template("error.html")?.render(context! { title, description, request_id })?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_escape_what_they_show() {
        let pages = Pages::new().expect("templates");
        let page = pages.error("Not found", "<script>alert(1)</script>", "r1").expect("renders");
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"), "{page}");
        assert!(pages.home("https://as.example", "/m", "/jwks").expect("renders").contains("https:&#x2f;&#x2f;as.example"));
    }
}
