use crate::domain::{SessionId, Subject, Timestamp};

/// How a person proved who they are: a value of `amr` (RFC 8176 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Amr {
    /// With a password.
    Password,
    /// With a one-time password, or a recovery code, which is one too.
    OneTimePassword,
    /// With a key in software.
    SoftwareKey,
    /// With a key in hardware.
    HardwareKey,
    /// With a smart card.
    SmartCard,
    /// With a PIN, which unlocks a key.
    Pin,
    /// By a touch, which shows that somebody is there.
    UserPresence,
    /// With more than one factor.
    MultiFactor,
}

impl Amr {
    const ALL: [Self; 8] = [
        Self::Password,
        Self::OneTimePassword,
        Self::SoftwareKey,
        Self::HardwareKey,
        Self::SmartCard,
        Self::Pin,
        Self::UserPresence,
        Self::MultiFactor,
    ];

    /// The value as RFC 8176 spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "pwd",
            Self::OneTimePassword => "otp",
            Self::SoftwareKey => "swk",
            Self::HardwareKey => "hwk",
            Self::SmartCard => "sc",
            Self::Pin => "pin",
            Self::UserPresence => "user",
            Self::MultiFactor => "mfa",
        }
    }

    /// The method of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == name)
    }
}

/// How far an authentication can be relied upon: a value of `acr` (OpenID Connect Core §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Acr {
    /// One factor that meets the REFEDS single-factor profile: passwords of its length and throttled guessing, or a key that nobody guesses.
    SingleFactor,
    /// Two factors that meet the REFEDS multi-factor profile: of different kinds, and independent.
    MultiFactor,
}

impl Acr {
    /// Every class that a person of this server can reach.
    pub const ALL: [Self; 2] = [Self::SingleFactor, Self::MultiFactor];

    /// The value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SingleFactor => "https://refeds.org/profile/sfa",
            Self::MultiFactor => "https://refeds.org/profile/mfa",
        }
    }

    /// The class of this value.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == name)
    }

    /// What these methods together amount to; nothing when there are none.
    pub fn of(methods: &[Amr]) -> Option<Self> {
        if methods.contains(&Amr::MultiFactor) {
            return Some(Self::MultiFactor);
        }
        let is_factor = |method: &Amr| matches!(method, Amr::Password | Amr::SoftwareKey | Amr::HardwareKey);
        methods.iter().any(is_factor).then_some(Self::SingleFactor)
    }
}

/// When somebody proved who they are, as far as it is known. Another provider may keep it to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtTime {
    /// Then.
    At(Timestamp),
    /// Nobody says: it counts as too long ago for whatever asks.
    Unknown,
}

impl AtTime {
    /// The moment that is kept.
    pub(super) const fn kept(self) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Unknown => SignedIn::UNKNOWN,
        }
    }

    /// What was kept of it.
    pub(super) fn of_kept(at: Timestamp) -> Self {
        if at == SignedIn::UNKNOWN { Self::Unknown } else { Self::At(at) }
    }
}

/// A person whose browser showed the cookie of a live session. Nothing but a session makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedIn {
    /// Who.
    pub subject: Subject,
    /// In which session: the `sid` of ID tokens. It stays the same when the same person signs in again in the same browser.
    pub session_id: SessionId,
    /// When they last proved who they are: `auth_time`; [`SignedIn::UNKNOWN`] where nobody says.
    pub auth_time: Timestamp,
    /// When they last signed in in this session. It is `auth_time`, unless they proved who they are to another provider before.
    pub signed_in: Timestamp,
    /// How often they have done so in this session. Two sign-ins of one second are told apart by it.
    pub sign_ins: u32,
    /// By what.
    pub amr: Vec<Amr>,
    /// How far that can be relied upon.
    pub acr: Option<Acr>,
    proof: Live,
}

/// The session was found alive. Private, so that nobody outside of this room can make a [`SignedIn`].
#[derive(Clone, Debug, PartialEq, Eq)]
struct Live;

impl SignedIn {
    /// `auth_time` of somebody who signed in at a provider that does not say when: longer ago than anything asks for, and told to no
    /// client.
    pub const UNKNOWN: Timestamp = Timestamp::from_seconds(0);

    pub(super) fn new(subject: Subject, session_id: SessionId, auth_time: Timestamp, sign_ins: u32, amr: Vec<Amr>) -> Self {
        let acr = Acr::of(&amr);
        Self { subject, session_id, auth_time, signed_in: auth_time, sign_ins, amr, acr, proof: Live }
    }

    /// The same, who signed in at this moment, having proven elsewhere who they are.
    pub(super) fn signed_in_at(self, signed_in: Timestamp) -> Self {
        Self { signed_in, ..self }
    }

    /// One for the tests of rules that take one.
    #[cfg(test)]
    pub(crate) fn for_test(subject: &str, session_id: &str, auth_time: Timestamp, sign_ins: u32) -> Self {
        let (subject, session_id) = (subject.parse().expect("a subject"), session_id.parse().expect("a session"));
        Self::new(subject, session_id, auth_time, sign_ins, vec![Amr::Password])
    }

    /// The same, by these methods.
    #[cfg(test)]
    pub(crate) fn by(self, amr: &[Amr]) -> Self {
        Self::new(self.subject, self.session_id, self.auth_time, self.sign_ins, amr.to_vec())
    }

    /// The same, who signed in here then.
    #[cfg(test)]
    pub(crate) fn for_test_signed_in(self, signed_in: Timestamp) -> Self {
        self.signed_in_at(signed_in)
    }
}
