//! Anchor sets from their settings and files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{AnchorSet, AnchorSetError, AnchorSets, StoredAnchors};
use crate::config::settings::{AnchorSetSettings, RevocationSetting};
use crate::domain::Lifetime;
use crate::pki::Certificate;
use crate::pki::crl::{CertificateRevocationList, CrlError};
use crate::pki::path::PathPolicy;
use crate::trust::{ListFetching, OcspAsking, RevocationLists, RevocationMode};

impl TryFrom<&AnchorSetSettings> for PathPolicy {
    type Error = String;

    fn try_from(settings: &AnchorSetSettings) -> Result<Self, String> {
        use crate::config::settings::ExtendedKeyUsageSetting as Setting;
        use crate::pki::KeyType;
        use crate::pki::path::ExtendedKeyUsagePolicy as Policy;
        let key = |name: &String| {
            let known = KeyType::ALL.into_iter().find(|kind| kind.name() == name);
            known.ok_or_else(|| format!("`keys`: `{name}` is none of rsa, p256, p384, p521 and ed25519"))
        };
        let keys = settings.keys.iter().map(key).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err("`keys` is empty: nobody could be trusted".into());
        }
        if !(2_048..=8_192).contains(&settings.min_rsa_bits) {
            return Err("`min_rsa_bits` must be from 2048 to 8192: others are never accepted".into());
        }
        Ok(Self {
            extended_key_usage: match settings.extended_key_usage {
                Setting::ClientAuthIfPresent => Policy::ClientAuthIfPresent,
                Setting::ClientAuth => Policy::ClientAuth,
                Setting::Any => Policy::Any,
            },
            keys,
            min_rsa_bits: settings.min_rsa_bits as usize,
        })
    }
}

impl AnchorSets {
    /// Reads the sets of the configuration. Those that take anchors from the store take `stored`; where it was not looked at (`None`), they
    /// have none of these.
    ///
    /// # Errors
    /// A file that is missing, empty or garbled; a certificate that is not an authority's.
    pub fn load(
        settings: &BTreeMap<String, AnchorSetSettings>,
        base_dir: &Path,
        stored: Option<&StoredAnchors>,
    ) -> Result<Self, AnchorSetError> {
        let mut sets = Vec::with_capacity(settings.len());
        for (name, settings) in settings {
            let load = |files: &[PathBuf]| {
                let mut certificates = Vec::new();
                for file in files {
                    let loaded = crate::pki::pem::load_certificates(&base_dir.join(file));
                    let loaded = loaded.map_err(|error| AnchorSetError::Pem { set: name.clone(), error })?;
                    certificates.extend(loaded.into_iter().map(|certificate| (certificate, file.clone())));
                }
                Ok(certificates)
            };
            let (anchors, intermediates) = (load(&settings.files)?, load(&settings.intermediate_files)?);
            let places = anchors.iter().map(|(anchor, file)| (anchor.spki_sha256(), file.clone())).collect();
            let without_places = |list: Vec<(Certificate, PathBuf)>| list.into_iter().map(|(certificate, _)| certificate);
            let anchors: Vec<Certificate> = without_places(anchors).collect();
            let intermediates: Vec<Certificate> = without_places(intermediates).collect();
            let policy =
                PathPolicy::try_from(settings).map_err(|problem| AnchorSetError::Policy { set: name.clone(), problem })?;
            let of_store = stored.filter(|_| settings.stored).map(|stored| stored.of(name)).unwrap_or_default();
            let authorities: Vec<&Certificate> = anchors.iter().chain(of_store).chain(&intermediates).collect();
            let lists = revocation_lists(name, settings, &authorities, stored.is_some(), base_dir)?;
            let fetching = list_fetching(name, settings)?;
            let authorities: Vec<Certificate> = authorities.into_iter().cloned().collect();
            let intermediates = intermediates.iter().map(|certificate| certificate.der().clone()).collect();
            let set = match settings.stored {
                true => AnchorSet::with_consent(name.clone(), anchors, of_store.to_vec(), intermediates)?,
                false => AnchorSet::new(name.clone(), anchors, intermediates)?,
            };
            let set = set.with_places(places).with_policy(policy).with_revocation_lists(lists);
            let set = match fetching {
                Some(fetching) => set.with_list_fetching(fetching, authorities.clone()),
                None => set,
            };
            sets.push(match ocsp_asking(name, settings)? {
                Some(asking) => set.with_ocsp(asking, authorities),
                None => set,
            });
        }
        Ok(Self::new(sets))
    }
}

/// How lists of one set are fetched; `None` where none are.
fn list_fetching(set: &str, settings: &AnchorSetSettings) -> Result<Option<ListFetching>, AnchorSetError> {
    let policy = |problem: String| AnchorSetError::Policy { set: set.to_owned(), problem };
    if let Some(url) = settings.crl_urls.iter().find(|url| !super::super::distribution::is_fetchable(url)) {
        return Err(policy(format!("`crl_urls`: `{url}` is no URL with `http` or `https`")));
    }
    if settings.crl_urls.is_empty() && !settings.crl_fetch {
        return Ok(None);
    }
    if settings.crl_refresh_seconds == 0 {
        return Err(policy("`crl_refresh_seconds` must be at least 1".to_owned()));
    }
    Ok(Some(ListFetching {
        urls: settings.crl_urls.clone(),
        named_by_certificates: settings.crl_fetch,
        refresh: Lifetime::from_seconds(settings.crl_refresh_seconds),
    }))
}

/// Whom one set asks by OCSP; `None` for nobody.
fn ocsp_asking(set: &str, settings: &AnchorSetSettings) -> Result<Option<OcspAsking>, AnchorSetError> {
    let policy = |problem: String| AnchorSetError::Policy { set: set.to_owned(), problem };
    if let Some(url) = settings.ocsp_url.iter().find(|url| !super::super::distribution::is_fetchable(url)) {
        return Err(policy(format!("`ocsp_url`: `{url}` is no URL with `http` or `https`")));
    }
    if settings.ocsp_url.is_none() && !settings.ocsp {
        return Ok(None);
    }
    if settings.ocsp_refresh_seconds == 0 {
        return Err(policy("`ocsp_refresh_seconds` must be at least 1".to_owned()));
    }
    Ok(Some(OcspAsking {
        url: settings.ocsp_url.clone(),
        named_by_certificates: settings.ocsp,
        refresh: Lifetime::from_seconds(settings.ocsp_refresh_seconds),
    }))
}

/// Reads the revocation lists of one set. `is_complete`: the store was looked at, so that `authorities` are all.
fn revocation_lists(
    set: &str,
    settings: &AnchorSetSettings,
    authorities: &[&Certificate],
    is_complete: bool,
    base_dir: &Path,
) -> Result<RevocationLists, AnchorSetError> {
    let policy = |problem: &str| AnchorSetError::Policy { set: set.to_owned(), problem: problem.to_owned() };
    let has_lists = !settings.crl_files.is_empty() || !settings.crl_urls.is_empty() || settings.crl_fetch;
    let has_lists = has_lists || settings.ocsp || settings.ocsp_url.is_some();
    let mode = match (settings.revocation, has_lists) {
        (Some(RevocationSetting::Off), true) => {
            return Err(policy("`revocation` is `off`: leave `crl_files`, `crl_urls`, `crl_fetch` and OCSP away"));
        }
        (Some(RevocationSetting::Soft | RevocationSetting::Hard), false) => {
            return Err(policy("`revocation` needs `crl_files`, `crl_urls`, `crl_fetch` or `ocsp`: say where it is known from"));
        }
        (None | Some(RevocationSetting::Off), false) => RevocationMode::Off,
        (Some(RevocationSetting::Soft), true) => RevocationMode::Soft,
        (None | Some(RevocationSetting::Hard), true) => RevocationMode::Hard,
    };
    let pem = |error| AnchorSetError::Pem { set: set.to_owned(), error };
    let mut lists = Vec::new();
    for named in &settings.crl_files {
        for path in crate::pki::pem::files_of(&base_dir.join(named)).map_err(pem)? {
            for der in crate::pki::pem::load_revocation_lists(&path).map_err(pem)? {
                match CertificateRevocationList::verified(&der, authorities.iter().copied()) {
                    Ok(list) => lists.push(list),
                    // Its authority may have been taken from the store, or is not there yet: it speaks of nobody who is accepted.
                    Err(error @ (CrlError::UnknownIssuer(_) | CrlError::Signature(_))) if settings.stored => {
                        if is_complete {
                            let (anchor_set, path) = (set, path.display());
                            tracing::warn!(anchor_set, %path, %error, "a revocation list is of no authority of this set: it is left out");
                        }
                    }
                    Err(error) => {
                        return Err(AnchorSetError::RevocationList { set: set.to_owned(), path: path.clone(), error });
                    }
                }
            }
        }
    }
    Ok(RevocationLists::new(mode, lists))
}
