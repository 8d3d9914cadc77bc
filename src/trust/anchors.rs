use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use rustls_pki_types::CertificateDer;

use crate::domain::Timestamp;
use crate::jose::digest::sha256;
use crate::pki::Certificate;
use crate::pki::crl::CrlError;
use crate::pki::path::{AnchorError, Anchors, Path, PathError, PathPolicy, build_path};
use crate::pki::pem::PemFileError;
use crate::tls::AnchorHints;

use super::RevocationLists;

/// A named set of authorities, with intermediates that peers may leave out.
#[derive(Debug)]
pub struct AnchorSet {
    name: String,
    anchors: Anchors,
    intermediates: Vec<CertificateDer<'static>>,
    policy: PathPolicy,
    /// Replaced without the set, so that what connections know about signatures stays true.
    revocation_lists: ArcSwap<RevocationLists>,
}

/// Why an anchor set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AnchorSetError {
    /// A PEM file.
    #[error("anchor set `{set}`: {error}")]
    Pem {
        /// The set.
        set: String,
        /// What is wrong.
        #[source]
        error: PemFileError,
    },
    /// A policy that cannot be meant.
    #[error("anchor set `{set}`: {problem}")]
    Policy {
        /// The set.
        set: String,
        /// What is wrong.
        problem: String,
    },
    /// A revocation list.
    #[error("anchor set `{set}`: {}: {error}", path.display())]
    RevocationList {
        /// The set.
        set: String,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        error: CrlError,
    },
    /// A certificate that cannot be an anchor.
    #[error("anchor set `{set}`: {error}")]
    Anchor {
        /// The set.
        set: String,
        /// What is wrong.
        #[source]
        error: AnchorError,
    },
}

#[cfg(feature = "server")]
impl TryFrom<&crate::config::settings::AnchorSetSettings> for PathPolicy {
    type Error = String;

    fn try_from(settings: &crate::config::settings::AnchorSetSettings) -> Result<Self, String> {
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

impl AnchorSet {
    /// A set of authorities. A set without any accepts nobody.
    ///
    /// # Errors
    /// A certificate that is not an authority's.
    pub fn new(
        name: impl Into<String>,
        anchors: Vec<Certificate>,
        intermediates: Vec<CertificateDer<'static>>,
    ) -> Result<Self, AnchorSetError> {
        let name = name.into();
        match Anchors::new(anchors) {
            Ok(anchors) => {
                Ok(Self { name, anchors, intermediates, policy: PathPolicy::default(), revocation_lists: ArcSwap::default() })
            }
            Err(error) => Err(AnchorSetError::Anchor { set: name, error }),
        }
    }

    /// The same authorities under another policy.
    #[must_use]
    pub fn with_policy(self, policy: PathPolicy) -> Self {
        Self { policy, ..self }
    }

    /// The same authorities with their revocation lists.
    #[must_use]
    pub fn with_revocation_lists(self, lists: RevocationLists) -> Self {
        Self { revocation_lists: ArcSwap::from_pointee(lists), ..self }
    }

    /// The revocation lists as they stand.
    pub fn revocation_lists(&self) -> Guard<Arc<RevocationLists>> {
        self.revocation_lists.load()
    }

    /// What paths must be.
    pub fn policy(&self) -> &PathPolicy {
        &self.policy
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its authorities.
    pub fn anchors(&self) -> &Anchors {
        &self.anchors
    }

    /// Looks for a path from a certificate to one of the set's authorities. This is the fact that signatures verify, and nothing about
    /// whoever shows the certificate: to judge a connection's, see [`PeerTrust`](super::PeerTrust).
    ///
    /// # Errors
    /// Why there is none.
    pub fn path(&self, leaf: &Certificate, chain: &[CertificateDer<'static>], now: Timestamp) -> Result<Path, PathError> {
        let intermediates: Vec<_> = chain.iter().chain(&self.intermediates).cloned().collect();
        build_path(leaf, &intermediates, &self.anchors, &self.policy, now)
    }

    /// Intermediates that peers may leave out.
    pub fn intermediates(&self) -> &[CertificateDer<'static>] {
        &self.intermediates
    }

    /// SHA-256 over all that it is.
    fn mark(&self) -> [u8; 32] {
        let anchors = self.anchors.certificates().map(|certificate| *certificate.thumbprint().as_bytes());
        let parts = anchors.chain([[0; 32]]).chain(self.intermediates.iter().map(|der| sha256(der)));
        let mut bytes = parts.flatten().collect::<Vec<u8>>();
        bytes.extend(sha256(format!("{:?}", self.policy).as_bytes()));
        sha256(&bytes)
    }

    fn is_same(&self, other: &Self) -> bool {
        self.name == other.name
            && self.policy == other.policy
            && self.intermediates == other.intermediates
            && self.anchors.certificates().eq(other.anchors.certificates())
    }
}

/// Every anchor set at one time.
///
/// A set that a reload leaves as it was stays the same object, so that what connections know about it stays true.
#[derive(Clone, Debug, Default)]
pub struct AnchorSets {
    sets: BTreeMap<String, Arc<AnchorSet>>,
    epoch: u64,
    /// Lists for sets that are in force already and stay.
    waiting: Vec<(Arc<AnchorSet>, Arc<RevocationLists>)>,
}

impl AnchorSets {
    /// The sets at the start: epoch 1. Of two with one name the later counts.
    pub fn new(sets: impl IntoIterator<Item = AnchorSet>) -> Self {
        Self { sets: sets.into_iter().map(|set| (set.name.clone(), Arc::new(set))).collect(), epoch: 1, waiting: Vec::new() }
    }

    /// Reads the sets of the configuration.
    ///
    /// # Errors
    /// A file that is missing, empty or garbled; a certificate that is not an authority's.
    #[cfg(feature = "server")]
    pub fn load(
        settings: &BTreeMap<String, crate::config::settings::AnchorSetSettings>,
        base_dir: &std::path::Path,
    ) -> Result<Self, AnchorSetError> {
        let mut sets = Vec::with_capacity(settings.len());
        for (name, settings) in settings {
            let load = |files: &[std::path::PathBuf]| {
                let mut certificates = Vec::new();
                for file in files {
                    let loaded = crate::pki::pem::load_certificates(&base_dir.join(file));
                    certificates.extend(loaded.map_err(|error| AnchorSetError::Pem { set: name.clone(), error })?);
                }
                Ok(certificates)
            };
            let (anchors, intermediates) = (load(&settings.files)?, load(&settings.intermediate_files)?);
            let policy =
                PathPolicy::try_from(settings).map_err(|problem| AnchorSetError::Policy { set: name.clone(), problem })?;
            let authorities: Vec<&Certificate> = anchors.iter().chain(&intermediates).collect();
            let lists = revocation_lists(name, settings, &authorities, base_dir)?;
            let intermediates = intermediates.iter().map(|certificate| certificate.der().clone()).collect();
            sets.push(AnchorSet::new(name.clone(), anchors, intermediates)?.with_policy(policy).with_revocation_lists(lists));
        }
        Ok(Self::new(sets))
    }

    /// These sets in place of `previous`: unchanged sets stay the same objects, and the epoch moves on if anything changed. Of a set that
    /// stays, the revocation lists read now are put in force together with all the rest, by [`CurrentAnchors`](super::CurrentAnchors).
    #[must_use]
    pub fn replacing(mut self, previous: &Self) -> Self {
        for (name, set) in &mut self.sets {
            if let Some(known) = previous.sets.get(name).filter(|known| known.is_same(set)) {
                self.waiting.push((Arc::clone(known), set.revocation_lists.load_full()));
                *set = Arc::clone(known);
            }
        }
        let is_unchanged = self.sets.len() == previous.sets.len()
            && self.sets.values().zip(previous.sets.values()).all(|(set, known)| Arc::ptr_eq(set, known));
        self.epoch = if is_unchanged { previous.epoch } else { previous.epoch.saturating_add(1) };
        self
    }

    /// Puts the lists in force that were read for sets which stayed.
    pub(super) fn settle(&mut self) {
        for (set, lists) in self.waiting.drain(..) {
            set.revocation_lists.store(lists);
        }
    }

    /// The set of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<AnchorSet>> {
        self.sets.get(name)
    }

    /// Every set, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<AnchorSet>> {
        self.sets.values()
    }

    /// Counts the changes. TLS sessions belong to one epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What hosts need to know of every set, by its name: whom to hint at to clients, and whether it is still the same.
    pub fn hints(&self) -> BTreeMap<String, AnchorHints> {
        let hints = |set: &AnchorSet| AnchorHints { subjects: set.anchors.subjects(), mark: set.mark() };
        self.sets.iter().map(|(name, set)| (name.clone(), hints(set))).collect()
    }
}

/// Reads the revocation lists of one set.
#[cfg(feature = "server")]
fn revocation_lists(
    set: &str,
    settings: &crate::config::settings::AnchorSetSettings,
    authorities: &[&Certificate],
    base_dir: &std::path::Path,
) -> Result<RevocationLists, AnchorSetError> {
    use super::RevocationMode;
    use crate::config::settings::RevocationSetting;
    use crate::pki::crl::CertificateRevocationList;
    let policy = |problem: &str| AnchorSetError::Policy { set: set.to_owned(), problem: problem.to_owned() };
    let mode = match (settings.revocation, settings.crl_files.is_empty()) {
        (Some(RevocationSetting::Off), false) => return Err(policy("`revocation` is `off`: leave `crl_files` away")),
        (Some(RevocationSetting::Soft | RevocationSetting::Hard), true) => {
            return Err(policy("`revocation` needs `crl_files`: name the authorities' revocation lists"));
        }
        (None | Some(RevocationSetting::Off), true) => RevocationMode::Off,
        (Some(RevocationSetting::Soft), false) => RevocationMode::Soft,
        (None | Some(RevocationSetting::Hard), false) => RevocationMode::Hard,
    };
    let pem = |error| AnchorSetError::Pem { set: set.to_owned(), error };
    let mut lists = Vec::new();
    for named in &settings.crl_files {
        for path in crate::pki::pem::files_of(&base_dir.join(named)).map_err(pem)? {
            for der in crate::pki::pem::load_revocation_lists(&path).map_err(pem)? {
                let read = CertificateRevocationList::verified(&der, authorities.iter().copied());
                lists.push(read.map_err(|error| AnchorSetError::RevocationList {
                    set: set.to_owned(),
                    path: path.clone(),
                    error,
                })?);
            }
        }
    }
    Ok(RevocationLists::new(mode, lists))
}

#[cfg(test)]
#[cfg(feature = "server")]
mod tests {
    use super::*;
    use crate::config::settings::AnchorSetSettings;
    use crate::pki::authority::{CertificateUsage, DevelopmentAuthority, IssueRequest, self_signed};
    use crate::pki::fixture::{Authority, NOW, TestRandomness};

    fn set(name: &str, authority: &Authority) -> AnchorSet {
        AnchorSet::new(name, vec![authority.certificate.clone()], vec![]).expect("a set")
    }

    #[test]
    fn a_reload_keeps_what_it_does_not_change() {
        let (a, b) = (Authority::new("A"), Authority::new("B"));
        let first = AnchorSets::new([set("one", &a), set("two", &b)]);
        assert_eq!(first.epoch(), 1);
        let same = AnchorSets::new([set("one", &a), set("two", &b)]).replacing(&first);
        assert_eq!(same.epoch(), 1);
        assert!(Arc::ptr_eq(same.get("one").expect("one"), first.get("one").expect("one")));
        let changed = AnchorSets::new([set("one", &a), set("two", &a)]).replacing(&same);
        assert_eq!(changed.epoch(), 2);
        assert!(Arc::ptr_eq(changed.get("one").expect("one"), first.get("one").expect("one")));
        assert!(!Arc::ptr_eq(changed.get("two").expect("two"), first.get("two").expect("two")));
        let fewer = AnchorSets::new([set("one", &a)]).replacing(&changed);
        assert_eq!(fewer.epoch(), 3);
        let renamed = AnchorSets::new([set("uno", &a)]).replacing(&fewer);
        assert_eq!(renamed.epoch(), 4);
        assert_eq!(renamed.hints().keys().collect::<Vec<_>>(), ["uno"]);
    }

    #[test]
    fn files_are_read_whole_or_not_at_all() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let day = crate::domain::Lifetime::from_seconds(86_400);
        let authority = |name: &str| DevelopmentAuthority::generate(name, NOW, day, &TestRandomness).expect("generated");
        let both = [authority("A"), authority("B")].map(|authority| authority.certificate_pem().to_owned()).concat();
        let subject = crate::pki::DistinguishedName::parse("CN=leaf").expect("a name");
        let leaf = self_signed(&IssueRequest::new(subject, CertificateUsage::Client, day), NOW, &TestRandomness).expect("signed");
        let garbled = both.replace("MII", "MIJ");
        let files =
            [("both.pem", both.as_str()), ("leaf.pem", &leaf.certificate_pem), ("empty.pem", ""), ("garbled.pem", &garbled)];
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).expect("written");
        }
        let load = |file: &str| {
            let settings = AnchorSetSettings { files: vec![file.into()], ..AnchorSetSettings::default() };
            AnchorSets::load(&BTreeMap::from([("clients".to_owned(), settings)]), directory.path())
        };
        assert_eq!(
            load("both.pem").expect("two authorities").get("clients").expect("the set").anchors().certificates().count(),
            2
        );
        let table = [
            ("leaf.pem", "`CN=leaf` is not a certification authority's certificate"),
            ("empty.pem", "empty.pem: has no certificate"),
            ("garbled.pem", "garbled.pem: certificate 1: "),
            ("absent.pem", "absent.pem: cannot be read: "),
        ];
        for (file, expected) in table {
            let message = load(file).expect_err(file).to_string();
            assert!(message.starts_with("anchor set `clients`: ") && message.contains(expected), "{message}");
        }
    }
}
