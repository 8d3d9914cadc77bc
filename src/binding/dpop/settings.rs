//! The section `[dpop]` of the configuration, checked.

use super::proof::{NonceRule, ProofRules};
use crate::config::settings::DpopSettings;
use crate::domain::Lifetime;
use crate::jose::Algorithm;

/// What is wrong with a key of `[dpop]`, and what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`dpop.{key}` {problem}")]
pub struct DpopSettingsError {
    key: &'static str,
    problem: String,
}

/// The checked section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DpopChecked {
    /// What is asked of proofs.
    pub rules: ProofRules,
    /// How long a nonce is taken.
    pub nonce_lifetime: Lifetime,
    /// How many used proofs a process remembers.
    pub replay_entries: usize,
}

impl DpopChecked {
    /// Checks the section.
    ///
    /// # Errors
    /// For the first key with a value that is not taken.
    pub fn from_settings(settings: &DpopSettings) -> Result<Self, DpopSettingsError> {
        let within = |key, value: u32, least, most| match value {
            value if (least..=most).contains(&value) => Ok(Lifetime::from_seconds(value)),
            _ => Err(DpopSettingsError { key, problem: format!("must be {least} to {most}") }),
        };
        let mut algorithms = Vec::with_capacity(settings.algorithms.len());
        for text in &settings.algorithms {
            let algorithm: Algorithm =
                text.parse().map_err(|error| DpopSettingsError { key: "algorithms", problem: format!("is wrong: {error}") })?;
            algorithms.push(algorithm);
        }
        if algorithms.is_empty() {
            let problem = "must name at least one algorithm".to_owned();
            return Err(DpopSettingsError { key: "algorithms", problem });
        }
        if settings.replay_entries == 0 {
            return Err(DpopSettingsError { key: "replay_entries", problem: "must be at least 1".to_owned() });
        }
        Ok(Self {
            rules: ProofRules {
                algorithms,
                max_age: within("max_age_seconds", settings.max_age_seconds, 1, 600)?,
                leeway: within("leeway_seconds", settings.leeway_seconds, 0, 60)?,
                nonce: if settings.require_nonce { NonceRule::Required } else { NonceRule::Accepted },
            },
            nonce_lifetime: within("nonce_seconds", settings.nonce_seconds, 10, 3_600)?,
            replay_entries: usize::try_from(settings.replay_entries).unwrap_or(usize::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_bounds() {
        assert!(DpopChecked::from_settings(&DpopSettings::default()).is_ok());
        let table: [(fn(&mut DpopSettings), &str); 7] = [
            (|settings| settings.algorithms.clear(), "`dpop.algorithms` must name at least one algorithm"),
            (
                |settings| settings.algorithms.push("HS256".into()),
                "`dpop.algorithms` is wrong: `HS256` is not a signature algorithm we use: ES256, ES384, ES512, PS256, PS384, PS512, RS256 or EdDSA",
            ),
            (|settings| settings.max_age_seconds = 0, "`dpop.max_age_seconds` must be 1 to 600"),
            (|settings| settings.max_age_seconds = 601, "`dpop.max_age_seconds` must be 1 to 600"),
            (|settings| settings.leeway_seconds = 61, "`dpop.leeway_seconds` must be 0 to 60"),
            (|settings| settings.nonce_seconds = 9, "`dpop.nonce_seconds` must be 10 to 3600"),
            (|settings| settings.replay_entries = 0, "`dpop.replay_entries` must be at least 1"),
        ];
        for (change, message) in table {
            let mut settings = DpopSettings::default();
            change(&mut settings);
            assert_eq!(DpopChecked::from_settings(&settings).map_err(|error| error.to_string()), Err(message.to_owned()));
        }
    }
}
