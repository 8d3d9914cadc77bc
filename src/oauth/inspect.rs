//! Reading a token of ours, for introspection and revocation: what it says, and whether it stands.

use super::server::AuthorizationServer;
use crate::domain::{Lifetime, Timestamp};
use crate::event::Reason;
use crate::jose::jws::Compact;
use crate::token::{self, TokenFacts};

/// A token of ours whose signature or seal verified. It may be expired or revoked.
#[derive(Debug)]
pub struct Recognised(TokenFacts);

impl Recognised {
    /// What it says.
    pub const fn facts(&self) -> &TokenFacts {
        &self.0
    }
}

impl AuthorizationServer {
    /// Reads a token in any format this server issues.
    pub fn recognise(&self, text: &str) -> Result<Recognised, Reason> {
        if text.starts_with(token::OPAQUE_PREFIX) {
            return token::opaque::read(text, &self.ring, &self.issuer).map(Recognised).map_err(|error| error.reason());
        }
        let compact = Compact::parse(text).map_err(|error| error.reason())?;
        let verified = self.keys.load().verify(&compact).map_err(|error| error.reason())?;
        let facts = token::jwt::read(&verified).map_err(|error| error.reason())?;
        if facts.issuer != self.issuer {
            return Err(Reason::TokenIssuer);
        }
        Ok(Recognised(facts))
    }

    /// Why a recognised token does not stand at `now`, if it does not.
    pub fn standing(&self, recognised: &Recognised, now: Timestamp) -> Result<(), Reason> {
        token::check_dates(recognised.facts(), now, Lifetime::from_seconds(0)).map_err(|error| error.reason())?;
        self.revocations.load().check(recognised.facts()).map_err(|revoked| revoked.reason())?;
        Ok(())
    }
}
