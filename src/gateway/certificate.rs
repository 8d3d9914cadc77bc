//! What the connection's certificate is worth, judged for every request against what is in force now: every anchor set that the
//! listener, the host and the route name, dates, and revocation rules. Signatures were verified once for the connection.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use tokio::sync::watch;

use super::Route;
use super::certificate_header::Bound;
use crate::domain::{Thumbprint, Timestamp};
use crate::event::Reason;
use crate::resource::{Admission, Condition, Revocations};
use crate::tls::{CertificateMode, ConnectionFacts};
use crate::trust::{CurrentAnchors, PeerTrust, TrustError};

/// The header that tells an upstream what the certificate is worth, on routes that judge it: set there, removed elsewhere.
pub const VERIFY: HeaderName = HeaderName::from_static("x-symbolon-client-verify");

/// What a certificate is worth to one request, in the words that nginx has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every set that applies accepts it, it is within its dates and not revoked.
    Success,
    /// One is shown, and is not good.
    Failed(Reason),
    /// None is shown.
    None,
}

impl Verdict {
    /// `SUCCESS`, `FAILED:reason` or `NONE`.
    pub fn text(self) -> String {
        match self {
            Self::Success => "SUCCESS".into(),
            Self::Failed(reason) => format!("FAILED:{reason}"),
            Self::None => "NONE".into(),
        }
    }

    /// The same as a header's value.
    pub fn header_value(self) -> Option<HeaderValue> {
        HeaderValue::try_from(self.text()).ok()
    }
}

/// What one connection's certificate must satisfy on one route, now and for as long as something streams.
#[derive(Debug)]
struct Judge {
    trust: Arc<PeerTrust>,
    /// Names of sets, all of which must accept it.
    sets: Vec<Box<str>>,
    /// Whether a set must be named at all.
    wants_sets: WantsSets,
    anchors: Arc<CurrentAnchors>,
    revocations: Option<Arc<Revocations>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WantsSets {
    No,
    Yes,
}

impl Judge {
    fn check(&self, now: Timestamp) -> Result<Timestamp, Reason> {
        let peer = self.trust.peer();
        if let Some(revocations) = &self.revocations {
            revocations.rules().check_certificate(peer.leaf()).map_err(|revoked| revoked.reason())?;
        }
        if self.sets.is_empty() && self.wants_sets == WantsSets::No {
            peer.leaf().check_dates(now).map_err(|error| error.reason())?;
            return Ok(peer.leaf().not_after());
        }
        let current = self.anchors.load();
        let sets = self.sets.iter().map(|name| current.get(name).ok_or(TrustError::NoAnchors)).collect::<Result<Vec<_>, _>>();
        let trusted = sets.and_then(|sets| self.trust.judge(&sets, now)).map_err(|error| error.reason())?;
        Ok(trusted.not_after())
    }
}

/// An admission rests on the certificate too.
impl Condition for Judge {
    fn standing(&self, now: Timestamp) -> Result<Timestamp, Reason> {
        self.check(now)
    }

    fn subscribe(&self) -> watch::Receiver<()> {
        self.anchors.subscribe()
    }
}

/// That a certificate is accepted by every one of these sets, without any token: no set accepts nobody.
pub(super) fn accepted(trust: &Arc<PeerTrust>, sets: Vec<Box<str>>, anchors: &Arc<CurrentAnchors>) -> Arc<dyn Condition> {
    let (trust, anchors) = (Arc::clone(trust), Arc::clone(anchors));
    Arc::new(Judge { trust, sets, wants_sets: WantsSets::Yes, anchors, revocations: None })
}

/// That no rule of an authorization server revokes a certificate.
#[derive(Debug)]
struct Unrevoked {
    trust: Arc<PeerTrust>,
    revocations: Arc<Revocations>,
}

impl Condition for Unrevoked {
    fn standing(&self, _now: Timestamp) -> Result<Timestamp, Reason> {
        let leaf = self.trust.peer().leaf();
        self.revocations.rules().check_certificate(leaf).map_err(|revoked| revoked.reason())?;
        Ok(leaf.not_after())
    }

    fn subscribe(&self) -> watch::Receiver<()> {
        self.revocations.subscribe()
    }
}

/// That none of these rules revokes a certificate.
pub(super) fn unrevoked(trust: &Arc<PeerTrust>, revocations: &Arc<Revocations>) -> Arc<dyn Condition> {
    Arc::new(Unrevoked { trust: Arc::clone(trust), revocations: Arc::clone(revocations) })
}

/// What the connection's certificate is worth by every anchor set that applies; without any, it is worth nothing.
pub(super) fn worth(
    admission: &Admission,
    route: &Route,
    connection: &ConnectionFacts,
    trust: Option<&Arc<PeerTrust>>,
    anchors: &Arc<CurrentAnchors>,
    now: Timestamp,
) -> Verdict {
    let judge = trust.map(|trust| Judge {
        trust: Arc::clone(trust),
        sets: sets(route.anchor_set.as_ref(), connection),
        wants_sets: WantsSets::Yes,
        anchors: Arc::clone(anchors),
        revocations: admission.revocations().map(Arc::clone),
    });
    judge.map_or(Verdict::None, |judge| judge.check(now).map_or_else(Verdict::Failed, |_| Verdict::Success))
}

/// Whether no anchor set is asked about the certificate, and it is the one that the token or the session is bound to, in its dates and not revoked.
pub(super) fn bound(
    admission: &Admission,
    rests_on: Option<Thumbprint>,
    route: &Route,
    connection: &ConnectionFacts,
    trust: Option<&Arc<PeerTrust>>,
    anchors: &Arc<CurrentAnchors>,
    now: Timestamp,
) -> Bound {
    let (Some(trust), Some(named)) = (trust, rests_on) else { return Bound::No };
    let sets = sets(route.anchor_set.as_ref(), connection);
    if !sets.is_empty() || !named.matches(&trust.peer().thumbprint()) {
        return Bound::No;
    }
    let judge = Judge {
        trust: Arc::clone(trust),
        sets,
        wants_sets: WantsSets::No,
        anchors: Arc::clone(anchors),
        revocations: admission.revocations().map(Arc::clone),
    };
    judge.check(now).map_or(Bound::No, |_| Bound::Yes)
}

/// The names of the anchor sets that apply.
pub(super) fn sets(of_route: Option<&String>, connection: &ConnectionFacts) -> Vec<Box<str>> {
    connection.policy.anchor_sets().iter().chain(of_route).map(|name| name.as_str().into()).collect()
}

/// Whether a route is for good certificates alone, whosever they are.
pub(super) fn is_demanded(route: &Route, connection: &ConnectionFacts) -> bool {
    let mode = route.certificate_mode.or(connection.policy.certificate_mode()).unwrap_or_default();
    mode == CertificateMode::Enforce || !route.certificate_rules.is_empty()
}

/// Judges the certificate as the route's mode wants it, and makes the admission rest on it.
///
/// `rests_on` is the certificate that the token is bound to, or the session that it comes from. The mode is the route's own, or the
/// host's, or else [`CertificateMode::Bound`]. The second value is what the upstream is told.
///
/// # Errors
/// Why the certificate does not do, where it must.
pub(super) fn judge(
    admission: Admission,
    rests_on: Option<Thumbprint>,
    route: &Route,
    connection: &ConnectionFacts,
    trust: Option<&Arc<PeerTrust>>,
    anchors: &Arc<CurrentAnchors>,
    now: Timestamp,
) -> Result<(Admission, Option<Verdict>), Reason> {
    let mode = route.certificate_mode.or(connection.policy.certificate_mode()).unwrap_or_default();
    let rules = &route.certificate_rules;
    // A token that is bound to nothing, or to another kind of key, does not rest on the certificate.
    if mode == CertificateMode::Bound && rests_on.is_none() && rules.is_empty() {
        return Ok((admission, None));
    }
    let sets = sets(route.anchor_set.as_ref(), connection);
    let of_session = rests_on.filter(|named| admission.facts().certificate() != Some(named));
    // Of a thumbprint alone there are neither authority nor dates: it does where none are asked for. A rule that revokes it hits the token.
    if let (None, Some(told), Some(named)) = (trust, &connection.peer_thumbprint, admission.facts().certificate())
        && mode == CertificateMode::Bound
        && rules.is_empty()
        && sets.is_empty()
        && named.matches(&told.thumbprint())
    {
        return Ok((admission, None));
    }
    let judge = trust.map(|trust| Judge {
        trust: Arc::clone(trust),
        sets,
        wants_sets: match mode {
            CertificateMode::Bound if !rules.rests_on_an_authority() => WantsSets::No,
            _ => WantsSets::Yes,
        },
        anchors: Arc::clone(anchors),
        revocations: admission.revocations().map(Arc::clone),
    });
    let verdict = match &judge {
        None => Verdict::None,
        Some(judge) => judge.check(now).map_or_else(Verdict::Failed, |_| Verdict::Success),
    };
    // Rules are for good certificates: where there are some, one is needed whatever the mode.
    match (&judge, verdict) {
        _ if rules.is_empty() => {}
        (Some(judge), Verdict::Success) => {
            rules.check(judge.trust.peer().leaf()).ok_or(Reason::PolicyCertificate)?;
        }
        (_, Verdict::Failed(reason)) => return Err(reason),
        (_, Verdict::None | Verdict::Success) => return Err(Reason::CertificateAbsent),
    }
    match (mode, verdict) {
        (CertificateMode::Permissive, verdict) if rules.is_empty() => match (trust, of_session) {
            // What is wrong with the certificate of a token is found with the token. A session's must stand whatever the mode.
            (Some(trust), Some(_)) => {
                let judge = Judge {
                    trust: Arc::clone(trust),
                    sets: Vec::new(),
                    wants_sets: WantsSets::No,
                    anchors: Arc::clone(anchors),
                    revocations: admission.revocations().map(Arc::clone),
                };
                judge.check(now)?;
                Ok((admission.on_condition(Arc::new(judge)), Some(verdict)))
            }
            (None, Some(_)) => Err(Reason::CertificateAbsent),
            (_, None) => Ok((admission, Some(verdict))),
        },
        (CertificateMode::Bound | CertificateMode::Enforce, Verdict::Failed(reason)) => Err(reason),
        (CertificateMode::Bound | CertificateMode::Enforce, Verdict::None) => Err(Reason::CertificateAbsent),
        (_, Verdict::Success | Verdict::Failed(_) | Verdict::None) => {
            let told = (mode != CertificateMode::Bound).then_some(verdict);
            let admission = match judge {
                Some(judge) => admission.on_condition(Arc::new(judge)),
                None => admission,
            };
            Ok((admission, told))
        }
    }
}
