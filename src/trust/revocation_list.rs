use std::collections::BTreeMap;

use crate::domain::{Thumbprint, Timestamp};
use crate::event::Reason;
use crate::pki::crl::{CertificateRevocationList, CrlScope, Revoked};
use crate::pki::path::{Link, Path};

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
    by_issuer: BTreeMap<Thumbprint, BTreeMap<CrlScope, Vec<CertificateRevocationList>>>,
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
    #[error("no revocation list speaks of number {serial}, and `revocation` is `hard`: add its authority's list to `crl_files`")]
    Unknown {
        /// The serial number in hexadecimal.
        serial: String,
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
        }
    }
}

impl RevocationLists {
    /// Lists with the keys that signed them (SPKI SHA-256).
    pub fn new(mode: RevocationMode, lists: impl IntoIterator<Item = (CertificateRevocationList, Thumbprint)>) -> Self {
        let mut by_issuer: BTreeMap<Thumbprint, BTreeMap<CrlScope, Vec<_>>> = BTreeMap::new();
        for (list, issuer) in lists {
            by_issuer.entry(issuer).or_default().entry(list.scope().clone()).or_default().push(list);
        }
        for lists in by_issuer.values_mut().flat_map(BTreeMap::values_mut) {
            // Of two of one second the number tells: in decimal and without leading zeros, the longer is the higher.
            let number = |list: &CertificateRevocationList| list.number().map(|number| (number.len(), number.to_owned()));
            lists.sort_by_cached_key(|list| std::cmp::Reverse((list.this_update(), number(list))));
        }
        Self { mode, by_issuer }
    }

    /// What a missing list means.
    pub fn mode(&self) -> RevocationMode {
        self.mode
    }

    /// The newest list of each scope, with the key that signed it.
    pub fn iter(&self) -> impl Iterator<Item = (Thumbprint, &CertificateRevocationList)> {
        self.by_issuer
            .iter()
            .flat_map(|(issuer, scopes)| scopes.values().filter_map(|lists| lists.first()).map(|list| (*issuer, list)))
    }

    /// When the first of each key's lists that are the newest of their scope is too old.
    pub fn oldest(&self) -> impl Iterator<Item = (Thumbprint, Timestamp)> {
        self.by_issuer.iter().filter_map(|(issuer, scopes)| {
            let newest = scopes.values().filter_map(|lists| lists.first());
            newest.map(CertificateRevocationList::next_update).min().map(|next_update| (*issuer, next_update))
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

    fn check_link(&self, link: &Link, now: Timestamp) -> Result<Option<Timestamp>, RevocationListError> {
        let serial = || link.serial.map_or_else(|| "of more than twenty octets".to_owned(), |serial| serial.to_string());
        let scopes = self.by_issuer.get(&link.issuer).into_iter().flatten();
        let covering = scopes.filter(|(scope, _)| scope.covers(link.is_authority, &link.points)).map(|(_, lists)| lists);
        let mut newest: Option<&CertificateRevocationList> = None;
        for lists in covering {
            // One that is from the future is not in force yet; where there is no other, what it says counts all the same.
            let Some(list) = lists.iter().find(|list| list.this_update() <= now).or(lists.first()) else { continue };
            if let Some(revoked) = link.serial.and_then(|serial| list.find(serial)) {
                return Err(is_revoked(list, revoked, serial()));
            }
            if newest
                .is_none_or(|known| (known.is_current(now), known.next_update()) < (list.is_current(now), list.next_update()))
            {
                newest = Some(list);
            }
        }
        if self.mode == RevocationMode::Soft {
            return Ok(None);
        }
        match newest.filter(|_| link.serial.is_some()) {
            None => Err(RevocationListError::Unknown { serial: serial() }),
            Some(list) if list.is_current(now) => Ok(Some(list.next_update())),
            Some(list) => Err(RevocationListError::Stale {
                issuer: list.issuer().to_string(),
                this_update: list.this_update(),
                next_update: list.next_update(),
            }),
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
