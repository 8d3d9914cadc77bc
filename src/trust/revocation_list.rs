use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::{Thumbprint, Timestamp};
use crate::event::Reason;
use crate::pki::crl::{CertificateRevocationList, CrlScope, Revoked};
use crate::pki::path::{Link, Path};

use super::ListProblem;

/// What a missing list, or one that is too old, means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RevocationMode {
    /// Lists are not looked at.
    #[default]
    Off,
    /// Only a certificate that a list names is refused.
    Soft,
    /// Every certificate of the path must be spoken of by a list that is not too old.
    Hard,
}

/// The lists of revoked certificates of one anchor set, by the key that signed them.
#[derive(Debug, Default)]
pub struct RevocationLists {
    mode: RevocationMode,
    /// The lists of one scope stand together, the newest first.
    by_issuer: BTreeMap<Thumbprint, BTreeMap<CrlScope, Vec<Arc<CertificateRevocationList>>>>,
    /// Why there is no list from a URL. Those that the operator named stand for every authority.
    problems: BTreeMap<String, (ListProblem, NamedBy)>,
}

/// Who named a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamedBy {
    /// The configuration.
    Operator,
    /// A certificate whose path has verified, or one of the set.
    Certificate,
}

/// Why a certificate of a path is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevocationListError {
    /// A list names it.
    #[error("`{issuer}` has revoked number {serial} since {since} (seconds since 1970): {reason}")]
    Revoked {
        /// Who signed the list.
        issuer: String,
        /// The serial number in hexadecimal.
        serial: String,
        /// Since when.
        since: Timestamp,
        /// As RFC 5280 §5.3.1 spells it.
        reason: &'static str,
    },
    /// No list speaks of it.
    #[error(
        "no revocation list speaks of number {serial}, and `revocation` is `hard`: add its authority's list to `crl_files` or `crl_urls`, or set `crl_fetch`"
    )]
    Unknown {
        /// The serial number in hexadecimal.
        serial: String,
    },
    /// The list that would speak of it was to be fetched, and is of no use.
    #[error("the revocation list for number {serial}, from {url}: {problem}")]
    Unusable {
        /// The serial number in hexadecimal.
        serial: String,
        /// Where it is fetched from.
        url: String,
        /// What is wrong.
        #[source]
        problem: ListProblem,
    },
    /// Nobody says by OCSP whether it is revoked, and no list does.
    #[error("the status of number {serial}, from {url}: {problem}")]
    Status {
        /// The serial number in hexadecimal.
        serial: String,
        /// Who is asked.
        url: String,
        /// What is wrong.
        problem: String,
        /// The private reason.
        reason: Reason,
    },
    /// The list that speaks of it is too old, or not in force yet.
    #[error(
        "the revocation list of `{issuer}` held from {this_update} to {next_update} (seconds since 1970): get the newest one"
    )]
    Stale {
        /// Who signed the list.
        issuer: String,
        /// Since when it holds.
        this_update: Timestamp,
        /// Until when it holds.
        next_update: Timestamp,
    },
}

impl RevocationListError {
    /// The private reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Revoked { .. } => Reason::CertificateRevoked,
            Self::Unknown { .. } => Reason::CertificateRevocationUnknown,
            Self::Stale { .. } => Reason::CertificateRevocationStale,
            Self::Unusable { problem, .. } => problem.reason(),
            Self::Status { reason, .. } => *reason,
        }
    }
}

/// Date, and the number with its length.
pub(super) type Age = (Timestamp, Option<(usize, String)>);

/// The order of an authority's lists of one scope. Of two of one second the number tells: in decimal and without leading zeros, the longer
/// is the higher.
pub(super) fn age(list: &CertificateRevocationList) -> Age {
    (list.this_update(), list.number().map(|number| (number.len(), number.to_owned())))
}

impl RevocationLists {
    /// Lists with the keys that signed them (SPKI SHA-256).
    pub fn new<L>(mode: RevocationMode, lists: impl IntoIterator<Item = (L, Thumbprint)>) -> Self
    where
        L: Into<Arc<CertificateRevocationList>>,
    {
        let mut by_issuer: BTreeMap<Thumbprint, BTreeMap<CrlScope, Vec<Arc<CertificateRevocationList>>>> = BTreeMap::new();
        for (list, issuer) in lists {
            let list = list.into();
            by_issuer.entry(issuer).or_default().entry(list.scope().clone()).or_default().push(list);
        }
        for lists in by_issuer.values_mut().flat_map(BTreeMap::values_mut) {
            lists.sort_by_cached_key(|list| std::cmp::Reverse(age(list)));
        }
        Self { mode, by_issuer, problems: BTreeMap::new() }
    }

    /// These lists and others beside them, and why there are not more.
    pub(super) fn joined(
        &self,
        others: impl IntoIterator<Item = (Arc<CertificateRevocationList>, Thumbprint)>,
        problems: BTreeMap<String, (ListProblem, NamedBy)>,
    ) -> Self {
        let own =
            self.by_issuer.iter().flat_map(|(issuer, scopes)| scopes.values().flatten().map(|list| (Arc::clone(list), *issuer)));
        Self { problems, ..Self::new(self.mode, own.chain(others)) }
    }

    /// Whether a list that is in force speaks of the certificate.
    pub(super) fn speaks_of(&self, link: &Link, now: Timestamp) -> bool {
        let scopes = self.by_issuer.get(&link.issuer).into_iter().flatten();
        let mut lists = scopes.filter(|(scope, _)| scope.covers(link.is_authority, &link.points)).flat_map(|(_, lists)| lists);
        lists.any(|list| list.is_current(now))
    }

    /// What a missing list means.
    pub fn mode(&self) -> RevocationMode {
        self.mode
    }

    /// The newest list of each scope, with the key that signed it.
    pub fn iter(&self) -> impl Iterator<Item = (Thumbprint, &CertificateRevocationList)> {
        self.by_issuer
            .iter()
            .flat_map(|(issuer, scopes)| scopes.values().filter_map(|lists| lists.first()).map(|list| (*issuer, &**list)))
    }

    /// The URLs of which nothing has come that counts, and why.
    pub fn problems(&self) -> impl Iterator<Item = (&str, &ListProblem)> {
        self.problems.iter().map(|(url, (problem, _))| (url.as_str(), problem))
    }

    /// When the first of each key's lists that are the newest of their scope is too old.
    pub fn oldest(&self) -> impl Iterator<Item = (Thumbprint, Timestamp)> {
        self.by_issuer.iter().filter_map(|(issuer, scopes)| {
            let newest = scopes.values().filter_map(|lists| lists.first());
            newest.map(|list| list.next_update()).min().map(|next_update| (*issuer, next_update))
        })
    }

    /// Asks the lists about every certificate of a path. `Some` is the last second at which the answer still holds without newer lists.
    ///
    /// # Errors
    /// The first certificate that is refused, from the one that was shown upwards.
    pub fn check(&self, path: &Path, now: Timestamp) -> Result<Option<Timestamp>, RevocationListError> {
        if self.mode == RevocationMode::Off {
            return Ok(None);
        }
        let mut until = None;
        for link in path.links() {
            let holds = self.check_link(link, now)?;
            until = [until, holds].into_iter().flatten().min();
        }
        Ok(until)
    }

    pub(super) fn check_link(&self, link: &Link, now: Timestamp) -> Result<Option<Timestamp>, RevocationListError> {
        let serial = || link.serial.map_or_else(|| "of more than twenty octets".to_owned(), |serial| serial.to_string());
        let scopes = self.by_issuer.get(&link.issuer).into_iter().flatten();
        let covering = scopes.filter(|(scope, _)| scope.covers(link.is_authority, &link.points)).map(|(_, lists)| lists);
        // One that is from the future is not in force yet; where there is no other, what it says counts all the same.
        let chosen = covering.filter_map(|lists| lists.iter().find(|list| list.this_update() <= now).or(lists.first()));
        let chosen: Vec<&Arc<CertificateRevocationList>> = chosen.collect();
        let current = chosen.iter().filter(|list| list.is_current(now)).map(|list| list.this_update()).max();
        for list in &chosen {
            // What an outdated list has revoked stays revoked, until one of another scope that is newer and in force speaks of it.
            let is_superseded = !list.is_current(now) && current.is_some_and(|newest| newest > list.this_update());
            if let Some(revoked) = link.serial.and_then(|serial| list.find(serial)).filter(|_| !is_superseded) {
                return Err(is_revoked(list, revoked, serial()));
            }
        }
        let newest = chosen.into_iter().max_by_key(|list| (list.is_current(now), list.next_update()));
        if self.mode == RevocationMode::Soft {
            return Ok(None);
        }
        match newest.filter(|_| link.serial.is_some()) {
            None => Err(self.missing(link, serial())),
            Some(list) if list.is_current(now) => Ok(Some(list.next_update())),
            Some(list) => Err(RevocationListError::Stale {
                issuer: list.issuer().to_string(),
                this_update: list.this_update(),
                next_update: list.next_update(),
            }),
        }
    }

    /// Why no list speaks of a certificate: as far as is known, because of what came from a URL that it names.
    fn missing(&self, link: &Link, serial: String) -> RevocationListError {
        let named = link.points.iter().find_map(|point| self.problems.get_key_value(point));
        let configured = || self.problems.iter().find(|(_, (_, named_by))| *named_by == NamedBy::Operator);
        match named.or_else(configured) {
            Some((url, (problem, _))) => RevocationListError::Unusable { serial, url: url.clone(), problem: problem.clone() },
            None => RevocationListError::Unknown { serial },
        }
    }
}

fn is_revoked(list: &CertificateRevocationList, revoked: &Revoked, serial: String) -> RevocationListError {
    let (since, reason) = (revoked.since(), revoked.reason().name());
    RevocationListError::Revoked { issuer: list.issuer().to_string(), serial, since, reason }
}

#[cfg(test)]
#[cfg(feature = "server")]
mod tests;
