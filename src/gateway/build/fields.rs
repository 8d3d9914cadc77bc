//! Whether the fields that a route sets are each said once.

use std::collections::BTreeSet;

use http::HeaderName;

use super::{BuildError, setting};
use crate::gateway::Route;
use crate::gateway::certificate::VERIFY;
use crate::gateway::certificate_header;

/// The name as the laxest upstream reads it.
fn folded(name: &str) -> String {
    name.chars().map(|character| if character.is_ascii_alphanumeric() { character.to_ascii_lowercase() } else { '-' }).collect()
}

/// A field of the operator's own must not take the place of another that the gateway sets: of the assertion least of all.
///
/// # Errors
/// The first field of a route whose name is taken.
pub(super) fn check(route: &Route, assertion: &HeaderName) -> Result<(), BuildError> {
    let dialects = route.certificate_headers.iter().flat_map(|dialect| certificate_header::names(*dialect));
    check_names(&route.name, route.request_headers.iter().map(|(name, _)| name), dialects, assertion)
}

fn check_names<'a>(
    route: &str,
    own: impl Iterator<Item = &'a HeaderName>,
    dialects: impl Iterator<Item = &'a &'static str>,
    assertion: &HeaderName,
) -> Result<(), BuildError> {
    let mut taken: BTreeSet<String> = dialects.map(|name| folded(name)).collect();
    taken.extend([folded(assertion.as_str()), folded(VERIFY.as_str())]);
    for name in own {
        if !taken.insert(folded(name.as_str())) {
            let problem = "is a field that is set already: by the gateway itself, `certificate_headers`, or another entry";
            return Err(setting(format!("route.{route}.request_header.{name}"), problem));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::CertificateHeaderSetting;

    #[test]
    fn every_field_is_said_once() {
        use CertificateHeaderSetting::{Nginx, Rfc9440, Xfcc};
        let assertion = HeaderName::from_static("x-word");
        let table: [(&[&'static str], &[CertificateHeaderSetting], bool); 9] = [
            (&["x-a", "x-b"], &[Nginx, Xfcc], true),
            (&["x-word"], &[], false),
            (&["x_word"], &[], false),
            (&["x-symbolon-client-verify"], &[], false),
            (&["x-a", "x_a"], &[], false),
            (&["client-cert"], &[Xfcc], true),
            (&["client-cert"], &[Rfc9440], false),
            (&["ssl-client-verify"], &[Rfc9440, Nginx], false),
            (&["x-forwarded-client-cert"], &[Xfcc], false),
        ];
        for (own, dialects, fits) in table {
            let names: Vec<HeaderName> = own.iter().map(|name| HeaderName::from_static(name)).collect();
            let of_dialects = dialects.iter().flat_map(|dialect| certificate_header::names(*dialect));
            let result = check_names("r", names.iter(), of_dialects, &assertion);
            assert_eq!(result.is_ok(), fits, "{own:?} {dialects:?}");
        }
    }
}
