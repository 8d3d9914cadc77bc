use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{self, cipher_suite as suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

/// Protocol versions and cipher suites of a host. Ours is the order that counts.
///
/// CBC suites and RSA key transport are in none: the former have leaked plaintext time and again, the latter has no forward secrecy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SuiteProfile {
    /// TLS 1.2 and 1.3: AES-256-GCM, AES-128-GCM, then ChaCha20-Poly1305, all with ECDHE.
    #[default]
    Default,
    /// TLS 1.2 and 1.3 with AES-GCM alone (FAPI 2.0 Security Profile §5.2.1 names these suites for TLS 1.2).
    Fapi2,
    /// TLS 1.3 alone.
    Tls13,
}

#[cfg(feature = "server")]
impl From<crate::config::settings::SuiteProfileSetting> for SuiteProfile {
    fn from(setting: crate::config::settings::SuiteProfileSetting) -> Self {
        use crate::config::settings::SuiteProfileSetting as S;
        match setting {
            S::Default => Self::Default,
            S::Fapi2 => Self::Fapi2,
            S::Tls13 => Self::Tls13,
        }
    }
}

pub(super) static VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
static TLS13_ALONE: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

const AES_13: [SupportedCipherSuite; 2] = [suite::TLS13_AES_256_GCM_SHA384, suite::TLS13_AES_128_GCM_SHA256];
const CHACHA_13: SupportedCipherSuite = suite::TLS13_CHACHA20_POLY1305_SHA256;
const AES_12: [SupportedCipherSuite; 4] = [
    suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];
const CHACHA_12: [SupportedCipherSuite; 2] =
    [suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256];

const SERVER_GROUPS: [&dyn SupportedKxGroup; 3] = [kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1];

impl SuiteProfile {
    fn suites(self) -> Vec<SupportedCipherSuite> {
        match self {
            Self::Default => [&AES_13[..], &[CHACHA_13], &AES_12, &CHACHA_12].concat(),
            Self::Fapi2 => [&AES_13[..], &AES_12].concat(),
            Self::Tls13 => [&AES_13[..], &[CHACHA_13]].concat(),
        }
    }

    pub(super) fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::Default | Self::Fapi2 => VERSIONS,
            Self::Tls13 => TLS13_ALONE,
        }
    }

    pub(super) fn provider(self) -> Arc<CryptoProvider> {
        provider(self.suites(), SERVER_GROUPS.to_vec())
    }
}

/// For connections that we open: the default profile's suites, and P-384 for servers that have nothing else.
pub(super) fn client_provider() -> Arc<CryptoProvider> {
    let mut groups = SERVER_GROUPS.to_vec();
    groups.push(kx_group::SECP384R1);
    provider(SuiteProfile::Default.suites(), groups)
}

fn provider(cipher_suites: Vec<SupportedCipherSuite>, kx_groups: Vec<&'static dyn SupportedKxGroup>) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { cipher_suites, kx_groups, ..aws_lc_rs::default_provider() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(profile: SuiteProfile) -> Vec<String> {
        profile.provider().cipher_suites.iter().map(|suite| format!("{:?}", suite.suite())).collect()
    }

    #[test]
    fn suites_stand_in_our_order() {
        let default_12 = [
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        ];
        let of_12 = |profile| names(profile).into_iter().filter(|name| name.starts_with("TLS_")).collect::<Vec<_>>();
        assert_eq!(of_12(SuiteProfile::Default), default_12);
        assert_eq!(of_12(SuiteProfile::Fapi2), default_12[..4]);
        assert!(of_12(SuiteProfile::Tls13).is_empty());
        let tls13 = ["TLS13_AES_256_GCM_SHA384", "TLS13_AES_128_GCM_SHA256", "TLS13_CHACHA20_POLY1305_SHA256"];
        assert_eq!(names(SuiteProfile::Tls13), tls13);
        assert_eq!(SuiteProfile::Tls13.versions().len(), 1);
        let groups: Vec<_> =
            SuiteProfile::Default.provider().kx_groups.iter().map(|group| format!("{:?}", group.name())).collect();
        assert_eq!(groups, ["X25519MLKEM768", "X25519", "secp256r1"]);
    }
}
