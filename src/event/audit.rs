use std::net::SocketAddr;

use serde::Serialize;

use super::Reason;
use crate::domain::{
    AccountLinkId, Actors, Audience, CertificateLinkId, ClientId, Cnf, FamilyId, Issuer, KeyId, PasskeyId, RequestId, RuleKind,
    Scope, SessionId, Subject, Thumbprint, Timestamp, TokenId,
};

/// How an access token travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TokenFormat {
    /// A signed JWT (RFC 9068), verified by anyone with the issuer's keys.
    Jwt,
    /// A sealed value that only the issuer can read; others introspect it (RFC 7662).
    Opaque,
}

impl TokenFormat {
    /// The name, as configuration and metrics have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::Opaque => "opaque",
        }
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionEnd {
    /// The person signed out in that browser.
    SignedOut,
    /// A client signed the person out (OpenID Connect RP-Initiated Logout).
    EndedByClient,
    /// The person ended it from another session.
    EndedByPerson,
    /// Another person signed in in the same browser.
    Replaced,
    /// The person has begun more sessions than there may be; this one was used longest ago.
    TooMany,
    /// Its time was over, or it was not used for too long.
    Expired,
    /// The password was changed elsewhere.
    PasswordChanged,
    /// A second factor was set up elsewhere.
    SecondFactorAdded,
    /// A certificate that the person signs in with was taken away.
    CertificateUnlinked,
    /// A passkey of the person's was taken away.
    PasskeyRemoved,
    /// An account elsewhere that the person signs in with was taken away.
    AccountUnlinked,
    /// The certificate by which the person signed in was revoked.
    CertificateRevoked,
    /// An operator ended the person's sessions.
    EndedByOperator,
    /// An operator keeps the person out.
    AccountDisabled,
    /// The account was removed.
    AccountRemoved,
}

/// One line of the audit trail: when, and what.
#[derive(Clone, Debug, Serialize)]
pub struct Trailed {
    /// When it happened, in seconds since the epoch.
    pub time: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub event: AuditEvent,
}

impl Trailed {
    /// The line of the audit trail for what an administrator changed: as ever, with a member `by`. Nobody's changes have none.
    ///
    /// # Errors
    /// When the event has no form in JSON.
    pub fn line(&self, by: Option<&Administrator>) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct By<'a> {
            #[serde(flatten)]
            trailed: &'a Trailed,
            #[serde(skip_serializing_if = "Option::is_none")]
            by: Option<&'a Administrator>,
        }
        serde_json::to_string(&By { trailed: self, by })
    }
}

/// Who changed something over HTTP: what the access token of the request says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Administrator {
    /// The token's `client_id`.
    pub client_id: ClientId,
    /// The token's `sub`: a person's, or the client's own.
    pub subject: Subject,
    /// The token's `jti`.
    pub token_id: Option<TokenId>,
    /// The request.
    pub request_id: RequestId,
}

/// What a token was issued in exchange for (RFC 8693): every hop with the key that it was bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exchanged {
    /// `jti` of the subject token.
    pub subject_token: Option<TokenId>,
    /// Whom that token was issued to.
    pub subject_client: Option<ClientId>,
    /// What it was bound to.
    pub subject_cnf: Option<Cnf>,
    /// `jti` of the actor token, where there was one.
    pub actor_token: Option<TokenId>,
    /// What that was bound to.
    pub actor_cnf: Option<Cnf>,
    /// Who acts now, the current actor first.
    pub actors: Actors,
}

/// Where the certificate of a request came from, or would have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum CertificateOrigin {
    /// The handshake of the connection.
    Handshake,
    /// The handshake of an earlier connection, whose session this one resumes.
    ResumedHandshake,
    /// The header field of a trusted proxy.
    ProxyHeader {
        /// What the listener's `preset` says that the field looks like.
        preset: &'static str,
        /// The proxy, and what it was known by.
        proxy: String,
    },
    /// Nowhere: the listener takes certificates from trusted proxies alone, and the connection is none's.
    UntrustedProxy {
        /// The listener's `preset`.
        preset: &'static str,
    },
}

/// The facts of one decision at a protected resource. Allow and deny carry the same fields; an absent one was not known yet.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AccessDecision {
    /// The id told to the caller.
    pub request_id: Option<RequestId>,
    /// The name of the route, when one matched.
    pub route: Option<String>,
    /// The request's method.
    pub method: String,
    /// The request's authority.
    pub authority: String,
    /// The request's path, without query.
    pub path: String,
    /// Who connected.
    pub peer_address: Option<SocketAddr>,
    /// The SHA-256 thumbprint of the certificate on the connection.
    pub certificate: Option<Thumbprint>,
    /// Where it came from; absent where the client has shown none in the handshake.
    pub certificate_origin: Option<CertificateOrigin>,
    /// The RFC 7638 thumbprint of the key of a good DPoP proof.
    pub dpop_key: Option<Thumbprint>,
    /// What the certificate was worth, on routes that tell their upstream: `SUCCESS`, `FAILED:reason`, `NONE`.
    pub certificate_verdict: Option<String>,
    /// The token's `iss`.
    pub issuer: Option<Issuer>,
    /// The token's `client_id`.
    pub client_id: Option<ClientId>,
    /// The token's `sub`.
    pub subject: Option<Subject>,
    /// The token's `jti`.
    pub token_id: Option<TokenId>,
    /// The token's `cnf`.
    pub cnf: Option<Cnf>,
    /// Why it was refused; absent when it was admitted.
    pub reason: Option<Reason>,
    /// The status the caller got.
    pub status: u16,
}

/// The facts of one decision about a connection that is not HTTP. Allow and deny carry the same fields; an absent one was not known yet.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TcpDecision {
    /// What the connection is called: in the log, in this trail, and to an upstream that gets a PROXY protocol header.
    pub request_id: Option<RequestId>,
    /// The name of the route.
    pub route: String,
    /// The server name that the client asked for.
    pub server_name: Option<String>,
    /// Who connected.
    pub peer_address: Option<SocketAddr>,
    /// The SHA-256 thumbprint of the certificate that was shown.
    pub certificate: Option<Thumbprint>,
    /// Where it came from; absent where the client has shown none.
    pub certificate_origin: Option<CertificateOrigin>,
    /// Where it was led.
    pub upstream: Option<String>,
    /// Why it was not; absent when it was.
    pub reason: Option<Reason>,
}

impl AuditEvent {
    /// The request or connection that this event refuses, if it refuses one.
    pub fn refused_request(&self) -> Option<&RequestId> {
        match self {
            Self::RequestRefused { request_id, .. } => Some(request_id),
            Self::TokenIntrospected { request_id, reason: Some(_), .. } => Some(request_id),
            Self::TcpConnection(decision) if decision.reason.is_some() => decision.request_id.as_ref(),
            Self::TcpConnectionEnded { request_id, reason: Some(_), .. } => Some(request_id),
            Self::Access(decision) if decision.reason.is_some() => decision.request_id.as_ref(),
            _ => None,
        }
    }
}

/// Everything the audit trail can say.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[allow(missing_docs, reason = "field names are the standards' and the docs of each variant say what happened")]
pub enum AuditEvent {
    /// An access token was issued.
    TokenIssued {
        request_id: RequestId,
        client_id: ClientId,
        subject: Subject,
        grant_type: &'static str,
        client_authentication: &'static str,
        format: TokenFormat,
        token_id: TokenId,
        family: FamilyId,
        audience: Vec<Audience>,
        scope: Scope,
        cnf: Option<Cnf>,
        expires: Timestamp,
        #[serde(skip_serializing_if = "Option::is_none")]
        exchanged: Option<Box<Exchanged>>,
    },
    /// An endpoint of the authorization server refused a request or failed.
    RequestRefused {
        request_id: RequestId,
        endpoint: &'static str,
        client_id: Option<ClientId>,
        peer_address: Option<SocketAddr>,
        certificate: Option<Thumbprint>,
        certificate_origin: Option<CertificateOrigin>,
        error: &'static str,
        reason: Reason,
        status: u16,
    },
    /// A client was given an authorization code. Commits with the code.
    AuthorizationGranted {
        request_id: RequestId,
        client_id: ClientId,
        subject: Subject,
        session_id: SessionId,
        family: FamilyId,
        scope: Scope,
    },
    /// A person denied what a client asked for. Commits with the end of the request.
    AuthorizationDenied { request_id: RequestId, client_id: ClientId, subject: Subject, session_id: SessionId },
    /// A person allowed a client something for the next time too. Commits with it.
    ConsentGiven { request_id: RequestId, client_id: ClientId, subject: Subject, scope: Scope },
    /// A person took back what they had allowed a client; its grants of theirs ended, their tokens are revoked. Commits with it.
    ConsentWithdrawn { request_id: RequestId, client_id: ClientId, subject: Subject },
    /// A code or a refresh token came again: everything that descends from its grant is revoked. Commits with the rule.
    FamilyRevoked { request_id: RequestId, client_id: ClientId, family: FamilyId, reason: Reason },
    /// A refresh token was bound to the next certificate of its client, which ends at `not_after`. Commits with it.
    RefreshTokenRebound {
        request_id: RequestId,
        client_id: ClientId,
        family: FamilyId,
        certificate: Option<Thumbprint>,
        next_certificate: Thumbprint,
        not_after: Timestamp,
    },
    /// A client revoked a refresh token, and with it everything that descends from its grant. Commits with the rule.
    GrantRevoked { request_id: RequestId, client_id: ClientId, family: FamilyId },
    /// A token was introspected.
    TokenIntrospected {
        request_id: RequestId,
        client_id: ClientId,
        token_id: Option<TokenId>,
        active: bool,
        reason: Option<Reason>,
    },
    /// A token was revoked by the client it was issued to. Commits with the rule.
    TokenRevoked { request_id: RequestId, client_id: ClientId, token_id: TokenId },
    /// Tokens were revoked by the operator: one, or those of a grant, a client or a subject. Commits with the rules.
    TokensRevoked { kind: RuleKind, value: String, note: Option<String> },
    /// A certificate was revoked by the operator. Commits with the rule.
    CertificateRevoked { certificate: Thumbprint, note: Option<String> },
    /// Certificates were revoked by their key, or by number and issuer. Commits with the rules.
    CertificatesRevoked { kind: RuleKind, value: String, note: Option<String> },
    /// A revocation of certificates was taken back. Commits with the rules.
    CertificatesRestored { kind: RuleKind, value: String, note: Option<String> },
    /// An authority was added to an anchor set: its key, and the certificate that has it. Commits with it.
    AnchorAdded { anchor_set: String, anchor: Thumbprint, certificate: Thumbprint, subject: String },
    /// An authority was removed from an anchor set. Commits with the removal.
    AnchorRemoved { anchor_set: String, anchor: Thumbprint },
    /// A client was registered. Commits with the registration.
    ClientAdded { client_id: ClientId },
    /// A registration was changed. Commits with the change.
    ClientChanged { client_id: ClientId },
    /// A client was given another secret; the ones it had end at `others_until`. Commits with the secret.
    ClientSecretAdded { client_id: ClientId, secret: u32, others_until: Timestamp },
    /// A secret of a client was removed. Commits with the removal.
    ClientSecretRevoked { client_id: ClientId, secret: u32 },
    /// A certificate that a client registered ends soon, or has ended. `later` of its others end later. Told once a day.
    ClientCertificateEnding { client_id: ClientId, certificate: Thumbprint, not_after: Timestamp, later: usize },
    /// A client was removed; its tokens are revoked. Commits with the removal.
    ClientRemoved { client_id: ClientId },
    /// A signing key was made. Commits with the key.
    SigningKeyCreated { key_id: KeyId, algorithm: String },
    /// A ring key was made; it seals from `activates` on. Commits with the key.
    SealKeyCreated { seal_key: String, activates: Timestamp },
    /// A ring key that nothing needed any more was deleted. Commits with the deletion.
    SealKeyDeleted { seal_key: String },
    /// The first master key now wraps what another one wrapped. Commits with the change.
    SealKeysRewrapped { master_key: String, keys: u32 },
    /// A signing key began to sign; the one before it stopped. Commits with the change.
    SigningKeyActivated { key_id: KeyId, algorithm: String, retired: Option<KeyId> },
    /// A signing key stopped signing: nothing asks for its algorithm any more. Commits with the change.
    SigningKeyRetired { key_id: KeyId },
    /// A retired signing key was deleted: nothing that it signed can be alive. Commits with the change.
    SigningKeyDeleted { key_id: KeyId },
    /// A signing key was revoked, and with it everything it signed. Commits with the change.
    SigningKeyRevoked { key_id: KeyId },
    /// An account was made. Commits with it.
    AccountAdded { subject: Subject },
    /// What is known of a person was changed. Commits with the change.
    AccountChanged { subject: Subject },
    /// A person was kept out; sessions ended, tokens are revoked. Commits with the change.
    AccountDisabled { subject: Subject },
    /// A person may sign in again. Commits with the change.
    AccountEnabled { subject: Subject },
    /// An account was removed; sessions ended, tokens are revoked. Commits with the removal.
    AccountRemoved { subject: Subject },
    /// A password was set; other sessions ended. Commits with it.
    PasswordChanged { subject: Subject },
    /// A person set a second factor up; other sessions ended. Commits with it.
    SecondFactorAdded { subject: Subject },
    /// A person's second factor was taken away, by them or an operator. Commits with it.
    SecondFactorRemoved { subject: Subject },
    /// A person signed in with a recovery code, which is gone. Commits with its end.
    RecoveryCodeUsed { subject: Subject },
    /// A certificate was linked to an account, by its person or an operator. Commits with it.
    CertificateLinked { subject: Subject, link: CertificateLinkId },
    /// A certificate was taken away from an account; other sessions ended. Commits with it.
    CertificateUnlinked { subject: Subject, link: CertificateLinkId },
    /// A person made a passkey. Commits with it.
    PasskeyAdded { subject: Subject, passkey: PasskeyId },
    /// A passkey was taken away, by its person or an operator; other sessions ended. Commits with it.
    PasskeyRemoved { subject: Subject, passkey: PasskeyId },
    /// A passkey's counter did not go up, so that there may be a copy of it. Nobody was signed in.
    PasskeySuspected { subject: Subject, passkey: PasskeyId },
    /// An account at another provider was linked to an account, by its person or as it was made. Commits with it.
    AccountLinked { subject: Subject, link: AccountLinkId, provider: String },
    /// An account at another provider was taken away from an account; other sessions ended. Commits with it.
    AccountUnlinked { subject: Subject, link: AccountLinkId },
    /// A person signed in: a session began, or one of theirs in the same browser was renewed. Commits with it.
    SignedIn {
        request_id: RequestId,
        subject: Subject,
        session_id: SessionId,
        peer_address: SocketAddr,
        amr: Vec<&'static str>,
        /// The certificate that they showed, if it was that.
        #[serde(skip_serializing_if = "Option::is_none")]
        certificate: Option<Thumbprint>,
        /// The provider that they signed in at, if it was that.
        #[serde(skip_serializing_if = "Option::is_none")]
        provider: Option<String>,
    },
    /// A session ended. Commits with the end.
    SessionEnded { subject: Subject, session_id: SessionId, why: SessionEnd },
    /// A client was told that a session ended (OpenID Connect Back-Channel Logout). Commits with the end of the notice.
    LogoutTold { client_id: ClientId, session_id: SessionId, attempts: i64 },
    /// A client could not be told that a session ended, and is not tried again. Commits with the end of the notice.
    LogoutLost { client_id: ClientId, session_id: SessionId, attempts: i64, problem: String },
    /// A person signed in at a gateway: a session of a browser began.
    BrowserSessionBegun {
        request_id: RequestId,
        sessions: String,
        issuer: Issuer,
        subject: Subject,
        session_id: SessionId,
        certificate: Option<Thumbprint>,
        peer_address: SocketAddr,
    },
    /// A person signed out of a session with a gateway.
    BrowserSessionEnded { request_id: RequestId, sessions: String, subject: Subject, session_id: SessionId },
    /// A provider told a gateway that sessions have ended (OpenID Connect Back-Channel Logout): those of its own `provider_session`, or
    /// all of a person.
    BrowserSessionsEnded {
        request_id: RequestId,
        sessions: String,
        issuer: Issuer,
        subject: Option<Subject>,
        provider_session: Option<SessionId>,
    },
    /// A protected resource decided about a request.
    Access(AccessDecision),
    /// The gateway decided about a connection of a TCP route.
    TcpConnection(TcpDecision),
    /// A connection of a TCP route that had been let through ended: because both sides had said all, or for this reason.
    TcpConnectionEnded { request_id: RequestId, route: String, reason: Option<Reason> },
    /// The configuration, or files it names, were read again and are in force.
    Reloaded { what: String },
    /// A reload failed; the old state stays in force.
    ReloadFailed { what: String, problem: String },
}
