//! The closed enums of private reasons and audit events.
//!
//! A caller outside gets an RFC's error code and a safe description; the log and the audit trail get one of these. Every room's
//! errors map into [`Reason`] exhaustively, so that people and dashboards can count on the words.

mod audit;
mod code;
mod reason;
#[cfg(test)]
mod tests;

pub use audit::{
    AccessDecision, Administrator, AuditEvent, CertificateOrigin, Exchanged, SessionEnd, TcpDecision, TokenFormat, Trailed,
};
pub use reason::Reason;
