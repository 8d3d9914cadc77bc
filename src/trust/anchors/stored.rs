//! Anchors that do not come from files: which set takes them says the configuration, which there are the store.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arc_swap::ArcSwap;

#[cfg(feature = "server")]
use super::OcspStatuses;
use super::{AnchorSet, AnchorSetError, AnchorSets, Arc, CertificateDer, DistributionPoints, Mutex};
use crate::domain::Thumbprint;
use crate::pki::Certificate;

/// Anchors of the store, by the name of the set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredAnchors(BTreeMap<String, Vec<Certificate>>);

impl StoredAnchors {
    /// Adds one.
    ///
    /// # Errors
    /// A certificate that is not an authority's: judged as those of files are.
    pub fn add(&mut self, set: &str, certificate: Certificate) -> Result<(), AnchorSetError> {
        AnchorSet::new(set, vec![certificate.clone()], vec![])?;
        self.0.entry(set.to_owned()).or_default().push(certificate);
        Ok(())
    }

    /// Those of one set.
    pub fn of(&self, set: &str) -> &[Certificate] {
        self.0.get(set).map(Vec::as_slice).unwrap_or_default()
    }

    /// Keeps those alone for which `is_there` holds.
    pub fn retain(&mut self, is_there: impl Fn(&str, &Certificate) -> bool) {
        for (set, certificates) in &mut self.0 {
            certificates.retain(|certificate| is_there(set, certificate));
        }
    }
}

/// Where an anchor comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnchorOrigin {
    /// A file that the configuration names.
    File(PathBuf),
    /// The store.
    Store,
}

impl AnchorSet {
    /// A set whose anchors come from files and from the store.
    ///
    /// # Errors
    /// A certificate that is not an authority's.
    pub fn with_consent(
        name: impl Into<String>,
        files: Vec<Certificate>,
        stored: Vec<Certificate>,
        intermediates: Vec<CertificateDer<'static>>,
    ) -> Result<Self, AnchorSetError> {
        let set = Self::new(name, files.iter().chain(&stored).cloned().collect(), intermediates)?;
        Ok(Self { files, stored: Some(stored), ..set })
    }

    /// The same with the files that its anchors were read from, by key.
    #[cfg(feature = "server")]
    #[must_use]
    pub(super) fn with_places(self, places: Vec<(Thumbprint, PathBuf)>) -> Self {
        Self { places, ..self }
    }

    /// Whether the configuration lets it take anchors from the store.
    pub fn takes_stored(&self) -> bool {
        self.stored.is_some()
    }

    /// Where the anchor with this key comes from: each file, and the store.
    pub fn origins(&self, anchor: Thumbprint) -> Vec<AnchorOrigin> {
        let files = self.places.iter().filter(|(key, _)| *key == anchor).map(|(_, file)| AnchorOrigin::File(file.clone()));
        let is_stored = self.stored.iter().flatten().any(|certificate| certificate.spki_sha256() == anchor);
        files.chain(is_stored.then_some(AnchorOrigin::Store)).collect()
    }

    /// The same set with other anchors of the store. It knows nothing yet of lists that were fetched: see [`AnchorSets::replacing`].
    fn restored(&self, stored: &[Certificate]) -> Result<Self, AnchorSetError> {
        let set = Self::with_consent(self.name.clone(), self.files.clone(), stored.to_vec(), self.intermediates.clone())?;
        let intermediates = self.intermediates.iter().filter_map(|der| Certificate::from_der(der.clone()).ok());
        let authorities: Vec<Certificate> = self.files.iter().chain(stored).cloned().chain(intermediates).collect();
        let distribution = self.distribution.as_ref();
        let set = Self {
            policy: self.policy.clone(),
            places: self.places.clone(),
            file_lists: ArcSwap::new(self.file_lists.load_full()),
            joining: Mutex::default(),
            distribution: distribution.map(|points| DistributionPoints::new(points.fetching().clone(), authorities.clone())),
            #[cfg(feature = "server")]
            ocsp: self.ocsp.as_ref().map(|ocsp| OcspStatuses::new(ocsp.asking().clone(), authorities)),
            ..set
        };
        set.join_lists();
        Ok(set)
    }
}

impl AnchorSets {
    /// Whether any set takes anchors from the store.
    pub fn take_stored(&self) -> bool {
        self.iter().any(|set| set.takes_stored())
    }

    /// The same sets with these anchors of the store: in those sets alone whose configuration says so.
    ///
    /// # Errors
    /// A certificate that is not an authority's.
    pub fn with_stored(mut self, stored: &StoredAnchors) -> Result<Self, AnchorSetError> {
        for (name, set) in &mut self.sets {
            if set.stored.as_deref().is_some_and(|known| known != stored.of(name)) {
                *set = Arc::new(set.restored(stored.of(name))?);
            }
        }
        Ok(self)
    }
}
