//! `GET /assets/NAME`: the stylesheet, the script and pictures. Each name has a digest of the content in it, so that browsers keep what they have.

use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path as UrlPath, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderValue, header};

use super::Web;
use super::colour::Colour;
use super::pages::PageError;
use super::reject::WebError;
use crate::jose::{base64url, digest};

/// The largest logo, in bytes.
const MAX_LOGO: usize = 256 * 1024;
/// The card on which links and buttons stand in the dark scheme, as in `templates/style.css`.
const DARK_CARD: Colour = Colour::new(0x1d, 0x20, 0x26);
/// Text on a button in the dark scheme.
const DARK_PAPER: Colour = Colour::new(0x13, 0x15, 0x18);

/// One file.
#[derive(Clone, Debug)]
struct Asset {
    name: String,
    media_type: &'static str,
    content: Bytes,
}

/// The files that pages refer to.
#[derive(Clone, Debug)]
pub struct Assets {
    stylesheet: Asset,
    passkey_script: Asset,
    icon: Asset,
    logo: Option<Asset>,
}

impl Asset {
    fn new(stem: &str, ending: &str, media_type: &'static str, content: Bytes) -> Self {
        let digest = base64url::encode(digest::sha256(&content));
        Self { name: format!("{stem}-{}.{ending}", digest.get(..16).unwrap_or_default()), media_type, content }
    }
}

impl Assets {
    /// The files for this colour and logo.
    pub fn new(colour: Colour, logo: Option<&Path>) -> Result<Self, PageError> {
        let (accent, dark) = (colour.readable_on(Colour::WHITE), colour.readable_on(DARK_CARD));
        let white = Colour::WHITE;
        let sheet = format!(
            ":root {{ --accent: {accent}; --on-accent: {white}; --accent-dark: {dark}; --on-accent-dark: {DARK_PAPER}; }}\n{}",
            include_str!("../../templates/style.css")
        );
        let icon = include_str!("../../templates/icon.svg").replace("ACCENT", &accent.to_string());
        Ok(Self {
            stylesheet: Asset::new("style", "css", "text/css; charset=utf-8", sheet.into()),
            passkey_script: Asset::new(
                "passkey",
                "js",
                "text/javascript; charset=utf-8",
                include_str!("../../templates/passkey.js").into(),
            ),
            icon: Asset::new("icon", "svg", "image/svg+xml", icon.into()),
            logo: logo.map(read_logo).transpose()?,
        })
    }

    /// The stylesheet's name.
    pub fn stylesheet(&self) -> &str {
        &self.stylesheet.name
    }

    /// The name of the script of passkeys.
    pub fn passkey_script(&self) -> &str {
        &self.passkey_script.name
    }

    /// The icon's name.
    pub fn icon(&self) -> &str {
        &self.icon.name
    }

    /// The logo's name, if there is one.
    pub fn logo(&self) -> Option<&str> {
        self.logo.as_ref().map(|logo| logo.name.as_str())
    }

    fn find(&self, name: &str) -> Option<&Asset> {
        let all = [Some(&self.stylesheet), Some(&self.passkey_script), Some(&self.icon), self.logo.as_ref()];
        all.into_iter().flatten().find(|asset| asset.name == name)
    }
}

fn read_logo(path: &Path) -> Result<Asset, PageError> {
    let broken = |problem: String| PageError::File { path: path.to_owned(), problem };
    let content = std::fs::read(path).map_err(|error| broken(error.to_string()))?;
    if content.len() > MAX_LOGO {
        return Err(broken(format!("larger than {MAX_LOGO} bytes")));
    }
    // By what it is, not by its name.
    let (ending, media_type) = match content.as_slice() {
        [0x89, b'P', b'N', b'G', ..] => ("png", "image/png"),
        [0xff, 0xd8, 0xff, ..] => ("jpg", "image/jpeg"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => ("webp", "image/webp"),
        text if std::str::from_utf8(text).is_ok_and(|text| text.contains("<svg")) => ("svg", "image/svg+xml"),
        _ => return Err(broken("not an SVG, PNG, JPEG or WebP picture".into())),
    };
    Ok(Asset::new("logo", ending, media_type, content.into()))
}

/// One file.
pub async fn get(State(web): State<Arc<Web>>, UrlPath(name): UrlPath<String>) -> Response {
    let Some(asset) = web.pages.assets.find(&name) else { return WebError::NotFound.into_response() };
    let mut response = Response::new(Body::from(asset.content.clone()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    // A picture that is opened by itself runs nothing.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_changes_with_its_content() {
        let named = |text: &str| Assets::new(text.parse().expect("a colour"), None).expect("assets").stylesheet().to_owned();
        assert_eq!(named("#1f5d4c"), named("#1f5d4c"));
        assert_ne!(named("#1f5d4c"), named("#1f5d4d"));
        assert!(named("#1f5d4c").starts_with("style-"));
    }

    #[test]
    fn a_logo_is_known_by_its_content() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("logo");
        let name = |content: &[u8]| {
            std::fs::write(&path, content).expect("written");
            Assets::new(Colour::WHITE, Some(&path)).map(|assets| assets.logo().expect("a logo").to_owned())
        };
        for (content, ending) in [
            (&b"\x89PNG\r\n\x1a\n"[..], ".png"),
            (b"\xff\xd8\xff\xe0", ".jpg"),
            (b"RIFF\0\0\0\0WEBPVP8 ", ".webp"),
            (b"<svg xmlns=''/>", ".svg"),
        ] {
            assert!(name(content).expect("a logo").ends_with(ending), "{ending}");
        }
        assert!(name(b"<html>").is_err());
        assert!(name(&[b"<svg>".as_slice(), &vec![b' '; MAX_LOGO]].concat()).is_err());
    }
}
