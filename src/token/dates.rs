use super::{TokenError, TokenFacts};
use crate::domain::{Lifetime, Timestamp};

/// Proof that a token was within its dates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InDate {
    expires: Timestamp,
}

impl InDate {
    /// When the token expires, without leeway: whatever was admitted with it ends here.
    pub const fn expires(self) -> Timestamp {
        self.expires
    }
}

/// Judges `exp`, `nbf` and `iat` (RFC 7519 §4.1.4 to §4.1.6). `leeway` is for clocks that disagree and widens both ends; at `exp`
/// itself the token has expired.
///
/// # Errors
/// [`TokenError::Expired`] and [`TokenError::NotYetValid`].
pub fn check_dates(facts: &TokenFacts, now: Timestamp, leeway: Lifetime) -> Result<InDate, TokenError> {
    if now >= facts.expires.plus(leeway) {
        return Err(TokenError::Expired(facts.expires));
    }
    for start in [facts.not_before, facts.issued_at].into_iter().flatten() {
        if now.plus(leeway) < start {
            return Err(TokenError::NotYetValid(start));
        }
    }
    Ok(InDate { expires: facts.expires })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::tests::access_token;

    #[test]
    fn both_ends_to_the_second() {
        // (now, leeway, nbf, verdict): issued at 1000, expires at 1300.
        let expired = Err(TokenError::Expired(Timestamp::from_seconds(1300)));
        let early = |start| Err(TokenError::NotYetValid(Timestamp::from_seconds(start)));
        let table = [
            (1000, 0, None, Ok(())),
            (999, 0, None, early(1000)),
            (999, 1, None, Ok(())),
            (990, 9, None, early(1000)),
            (1299, 0, None, Ok(())),
            (1300, 0, None, expired.clone()),
            (1300, 1, None, Ok(())),
            (1301, 1, None, expired.clone()),
            (1100, 0, Some(1101), early(1101)),
            (1101, 0, Some(1101), Ok(())),
            (i64::MAX, 60, None, expired),
        ];
        for (now, leeway, not_before, verdict) in table {
            let mut facts = access_token().facts(None);
            facts.not_before = not_before.map(Timestamp::from_seconds);
            let checked = check_dates(&facts, Timestamp::from_seconds(now), Lifetime::from_seconds(leeway));
            assert_eq!(checked.map(|_| ()), verdict, "{now} {leeway} {not_before:?}");
        }
    }

    #[test]
    fn an_expiry_at_the_end_of_time_does_not_overflow() {
        let mut facts = access_token().facts(None);
        facts.expires = Timestamp::from_seconds(i64::MAX);
        assert!(check_dates(&facts, Timestamp::from_seconds(2000), Lifetime::from_seconds(60)).is_ok());
    }
}
