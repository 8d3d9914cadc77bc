//! The private reasons themselves. Each code stands here once.

use super::code::reasons;

reasons! {
    // -- the certificate -------------------------------------------------------------------------------------------
    /// The connection carries no client certificate.
    CertificateAbsent = "certificate_absent";
    /// A certificate is not DER, has trailing bytes, duplicate extensions or a field we refuse to guess at.
    CertificateMalformed = "certificate_malformed";
    /// More certificates, or larger ones, than the limits allow.
    CertificateTooLarge = "certificate_too_large";
    /// After its `notAfter`, or one of its issuers is.
    CertificateExpired = "certificate_expired";
    /// Before its `notBefore`, or one of its issuers is.
    CertificateNotYetValid = "certificate_not_yet_valid";
    /// No path to an anchor of the sets that apply.
    CertificateUnknownIssuer = "certificate_unknown_issuer";
    /// A path by name whose signature does not verify.
    CertificateSignature = "certificate_signature";
    /// An extended key usage that does not allow client authentication.
    CertificateExtendedKeyUsage = "certificate_extended_key_usage";
    /// A key usage without digital signature.
    CertificateKeyUsage = "certificate_key_usage";
    /// A certification authority's certificate shown as a client's.
    CertificateAuthorityAsClient = "certificate_authority_as_client";
    /// A key on the path of a kind or size that the anchor set does not accept.
    CertificateKey = "certificate_key";
    /// A name outside an issuer's name constraints.
    CertificateNameConstraints = "certificate_name_constraints";
    /// Too long a path, too many signatures, an unsupported algorithm or critical extension.
    CertificatePath = "certificate_path";
    /// No anchor set applies, so nobody can be trusted.
    CertificateNoAnchors = "certificate_no_anchors";
    /// A revocation rule or a certificate revocation list names this certificate, or one above it.
    CertificateRevoked = "certificate_revoked";
    /// No certificate revocation list speaks of this certificate, or of one above it, and one must.
    CertificateRevocationUnknown = "certificate_revocation_unknown";
    /// The certificate revocation list that speaks of this certificate, or of one above it, is too old or not in force yet.
    CertificateRevocationStale = "certificate_revocation_stale";
    /// The certificate revocation list that must speak of this certificate could not be fetched, or has not been yet.
    CertificateRevocationUnreachable = "certificate_revocation_unreachable";
    /// The certificate revocation list that was fetched cannot be read.
    CertificateRevocationMalformed = "certificate_revocation_malformed";
    /// The certificate revocation list that was fetched is signed by somebody else, or by an authority that may not sign lists.
    CertificateRevocationSigner = "certificate_revocation_signer";
    /// The certificate revocation list that was fetched is a delta list.
    CertificateRevocationDelta = "certificate_revocation_delta";
    /// The certificate revocation list that was fetched has entries of other authorities.
    CertificateRevocationIndirect = "certificate_revocation_indirect";
    /// The certificate revocation list that was fetched is for some reasons alone.
    CertificateRevocationPartial = "certificate_revocation_partial";
    /// The certificate revocation list that was fetched has no `nextUpdate`, a signature that does not count, or a critical extension that is
    /// not known.
    CertificateRevocationUnsupported = "certificate_revocation_unsupported";
    /// The OCSP responder that must speak of this certificate was not reached, or has not answered yet.
    CertificateOcspUnreachable = "certificate_ocsp_unreachable";
    /// The OCSP response cannot be read, or is about another certificate.
    CertificateOcspMalformed = "certificate_ocsp_malformed";
    /// The OCSP responder answers with an error.
    CertificateOcspRefused = "certificate_ocsp_refused";
    /// The OCSP response is signed neither by the issuer nor by a responder of the issuer's.
    CertificateOcspSigner = "certificate_ocsp_signer";
    /// The OCSP response is out of its dates.
    CertificateOcspStale = "certificate_ocsp_stale";
    /// The OCSP responder does not know the certificate.
    CertificateOcspUnknown = "certificate_ocsp_unknown";
    /// The OCSP response is signed by a responder whose own certificate has been revoked, or may have been.
    CertificateOcspResponder = "certificate_ocsp_responder";
    /// What a trusted proxy says of its client's certificate is there twice, cut off, or no certificate.
    ProxyHeaderMalformed = "proxy_header_malformed";
    /// Whoever asks about a request is not a proxy that is trusted to.
    ProxyUntrusted = "proxy_untrusted";
    /// A trusted proxy asks about a request and does not tell it, or in more than one way.
    OriginalRequest = "original_request";
    /// A request that a proxy asks about has a field under whose name the gateway says who calls, or one like it.
    IdentityClaimed = "identity_claimed";
    /// The registered subject is not this certificate's.
    CertificateSubjectMismatch = "certificate_subject_mismatch";
    /// The registered subject alternative name is not in this certificate.
    CertificateSanMismatch = "certificate_san_mismatch";
    /// Not one of the self-signed certificates that were registered.
    CertificateNotRegistered = "certificate_not_registered";

    // -- the client ------------------------------------------------------------------------------------------------
    /// `client_id` is missing.
    ClientIdAbsent = "client_id_absent";
    /// No client has this `client_id`.
    ClientUnknown = "client_unknown";
    /// The credentials presented belong to another method than the registered one.
    ClientMethodMismatch = "client_method_mismatch";
    /// More than one way of authenticating in one request.
    ClientMethodAmbiguous = "client_method_ambiguous";
    /// The credentials name another client than `client_id` does.
    ClientIdMismatch = "client_id_mismatch";
    /// Credentials that cannot be read: `Authorization: Basic` without a client and a secret.
    ClientCredentialsMalformed = "client_credentials_malformed";
    /// The client secret is another one.
    ClientSecretMismatch = "client_secret_mismatch";
    /// The client's keys could not be fetched from its `jwks_uri`.
    ClientKeysUnavailable = "client_keys_unavailable";
    /// Too many failed authentications of this client, or from this address.
    ClientThrottled = "client_throttled";
    /// The profile that the client is under takes no client that authenticates in this way, or in none.
    ClientMethodWeak = "client_method_weak";
    /// A client assertion that is no JWT we read.
    AssertionMalformed = "assertion_malformed";
    /// A client assertion of another type: `client_assertion_type`, or `typ`.
    AssertionType = "assertion_type";
    /// A client assertion with an algorithm outside the allow list, or another than the registered one.
    AssertionAlgorithm = "assertion_algorithm";
    /// A client assertion whose header names its own key (`jwk`, `jku`, `x5u`).
    AssertionKeyReference = "assertion_key_reference";
    /// A client assertion with `crit` or `b64`.
    AssertionCritical = "assertion_critical";
    /// No registered key fits the client assertion's `kid` and `alg`.
    AssertionKeyUnknown = "assertion_key_unknown";
    /// The client assertion's signature does not verify.
    AssertionSignature = "assertion_signature";
    /// A claim of the client assertion is missing or of another type.
    AssertionClaim = "assertion_claim";
    /// The client assertion's `iss` or `sub` is not the client.
    AssertionSubject = "assertion_subject";
    /// The client assertion is for somebody else.
    AssertionAudience = "assertion_audience";
    /// The client assertion has expired.
    AssertionExpired = "assertion_expired";
    /// The client assertion's `nbf` or `iat` is in the future.
    AssertionNotYetValid = "assertion_not_yet_valid";
    /// The client assertion lives longer than is taken.
    AssertionLifetime = "assertion_lifetime";
    /// The assertion comes from an issuer that is not trusted, or not for this client.
    AssertionIssuer = "assertion_issuer";
    /// The client assertion was used before.
    AssertionReplayed = "assertion_replayed";
    /// The client exists but has been revoked by a rule.
    ClientRevoked = "client_revoked";
    /// There is a client of this name already.
    ClientExists = "client_exists";
    /// The registration does not allow what was asked.
    ClientNotAllowed = "client_not_allowed";

    // -- the request -----------------------------------------------------------------------------------------------
    /// A required parameter is missing.
    ParameterAbsent = "parameter_absent";
    /// A parameter appears more than once.
    ParameterDuplicate = "parameter_duplicate";
    /// A parameter has a value outside its syntax.
    ParameterMalformed = "parameter_malformed";
    /// The body is not of the expected media type.
    ContentType = "content_type";
    /// The body is larger than the limit.
    BodyTooLarge = "body_too_large";
    /// The body did not arrive in time or broke off.
    BodyIncomplete = "body_incomplete";
    /// The method is not one this resource knows.
    MethodNotAllowed = "method_not_allowed";
    /// What the request goes by is not so any more (RFC 9110 §13.1), or it names a precondition where none is taken.
    PreconditionFailed = "precondition_failed";
    /// No resource at this path.
    NotFound = "not_found";
    /// The request is ambiguous: `Host`, target or framing that two programs could read differently.
    RequestAmbiguous = "request_ambiguous";
    /// The request's authority belongs to another TLS policy than its connection.
    RequestMisdirected = "request_misdirected";
    /// `grant_type` is not supported.
    GrantUnsupported = "grant_unsupported";
    /// The client may not use this grant.
    GrantNotAllowed = "grant_not_allowed";
    /// A scope beyond what client and resource allow.
    ScopeNotAllowed = "scope_not_allowed";
    /// A resource that does not exist or that the client may not use.
    ResourceNotAllowed = "resource_not_allowed";
    /// The client must be sender-constrained, and nothing was proven.
    BindingRequired = "binding_required";
    /// The caller may not introspect tokens of this audience.
    IntrospectionNotAllowed = "introspection_not_allowed";
    /// There is no such signing key.
    SigningKeyUnknown = "signing_key_unknown";
    /// There is no such revocation rule, or it is not in force.
    RevocationRuleUnknown = "revocation_rule_unknown";
    /// A client asked to revoke a token that is not its own.
    RevocationNotAllowed = "revocation_not_allowed";

    // -- the person ------------------------------------------------------------------------------------------------
    /// No account has this username.
    AccountUnknown = "account_unknown";
    /// An operator keeps the account's person out.
    AccountDisabled = "account_disabled";
    /// The account has no password.
    PasswordAbsent = "password_absent";
    /// Another password than the account's.
    PasswordWrong = "password_wrong";
    /// Another code than the second factor's.
    SecondFactorWrong = "second_factor_wrong";
    /// A one-time password that was used before.
    SecondFactorReplayed = "second_factor_replayed";
    /// There is a second factor already.
    SecondFactorPresent = "second_factor_present";
    /// There is no second factor.
    SecondFactorAbsent = "second_factor_absent";
    /// Too much time went by between password and code, or between the beginning and the end of setting a second factor up.
    SignInOver = "sign_in_over";
    /// A certificate that names no account.
    CertificateUnlinked = "certificate_unlinked";
    /// A certificate that names more than one account, or is linked already.
    CertificateAmbiguous = "certificate_ambiguous";
    /// As many certificates as one person may have.
    CertificatesTooMany = "certificates_too_many";
    /// The host that a person was led to does not ask for certificates.
    CertificateNotAsked = "certificate_not_asked";
    /// The way back from the host that asks for certificates was gone before.
    CertificateAnswerReplayed = "certificate_answer_replayed";
    /// What a browser says of a passkey cannot be read, or says what no passkey of ours may.
    PasskeyMalformed = "passkey_malformed";
    /// A passkey that nobody has here, or has no more.
    PasskeyUnknown = "passkey_unknown";
    /// A passkey that says of itself that it is another person's than it is, or does not say whose.
    PasskeyUserMismatch = "passkey_user_mismatch";
    /// The challenge was made for another browser, another session or something else.
    PasskeyChallengeForeign = "passkey_challenge_foreign";
    /// Another challenge was signed than the one that was made.
    PasskeyChallengeMismatch = "passkey_challenge_mismatch";
    /// A passkey was used at another origin than ours, or within a page of another one.
    PasskeyOrigin = "passkey_origin";
    /// The hash of another relying party's id.
    PasskeyRelyingParty = "passkey_relying_party";
    /// Nobody touched the authenticator.
    PasskeyUserAbsent = "passkey_user_absent";
    /// The authenticator did not make sure who touched it.
    PasskeyUserUnverified = "passkey_user_unverified";
    /// The signature is not of the passkey's key.
    PasskeySignature = "passkey_signature";
    /// The passkey's counter did not go up: there may be a copy of it.
    PasskeyCounter = "passkey_counter";
    /// A passkey that is bound to its device says that it is backed up, or the other way round.
    PasskeyBackup = "passkey_backup";
    /// The passkey is somebody's already.
    PasskeyTaken = "passkey_taken";
    /// As many passkeys as one person may have.
    PasskeysTooMany = "passkeys_too_many";
    /// What a provider sent a browser back with has no `state`, a parameter too many, or neither a code nor an error.
    ProviderAnswerMalformed = "provider_answer_malformed";
    /// A provider's answer to a sign-in that was not begun in this browser.
    ProviderAnswerForeign = "provider_answer_foreign";
    /// A provider's answer that was taken before.
    ProviderAnswerReplayed = "provider_answer_replayed";
    /// A provider's answer at another one's redirect URI.
    ProviderMixedUp = "provider_mixed_up";
    /// A provider's answer that names another issuer, or none where it always does.
    ProviderIssuer = "provider_issuer";
    /// The provider did not sign the person in.
    ProviderDeclined = "provider_declined";
    /// A claim of the provider's has none of the values that are asked for.
    ProviderClaim = "provider_claim";
    /// Too many people sign in at providers at once.
    ProviderBusy = "provider_busy";
    /// An account elsewhere that opens none here.
    LinkedAccountUnknown = "linked_account_unknown";
    /// An account elsewhere that opens an account here already.
    LinkedAccountTaken = "linked_account_taken";
    /// As many accounts elsewhere as one person may have linked.
    LinkedAccountsTooMany = "linked_accounts_too_many";
    /// Every username that was tried for a new account is taken.
    UsernamesTaken = "usernames_taken";
    /// Without it the person could not sign in any more.
    LastWayIn = "last_way_in";
    /// The sign-in is not as recent as what was asked for demands.
    SessionStale = "session_stale";
    /// The person has taken back what they had allowed the client.
    ConsentWithdrawn = "consent_withdrawn";
    /// Another word was typed than the one that confirms.
    ConfirmationWrong = "confirmation_wrong";
    /// A password that may not be chosen.
    PasswordRefused = "password_refused";
    /// The key of the account's person is gone: they were removed, and the account was restored from a backup.
    PersonKeyAbsent = "person_key_absent";
    /// Too many attempts to sign in.
    AttemptsTooMany = "attempts_too_many";
    /// A form that did not come from our own page in the same browser.
    FormForeign = "form_foreign";
    /// Nobody is signed in in this browser, or the session that a grant hangs on has ended.
    SessionAbsent = "session_absent";
    /// A registration that cannot be, or that the policy does not allow.
    ClientMetadata = "client_metadata";
    /// Not an initial access token, or not the registration access token of this client.
    RegistrationToken = "registration_token";
    /// A client's registration was changed by somebody else while the client changed it.
    RegistrationChanged = "registration_changed";
    /// `post_logout_redirect_uri` is not one that the client registered, or no client is named.
    PostLogoutRedirectUri = "post_logout_redirect_uri";
    // -- the authorization endpoint --------------------------------------------------------------------------------
    /// `redirect_uri` is missing where it must be named.
    RedirectUriAbsent = "redirect_uri_absent";
    /// `redirect_uri` is not a registered one, or not the one of the authorization request.
    RedirectUriMismatch = "redirect_uri_mismatch";
    /// `response_type` is not served.
    ResponseTypeUnsupported = "response_type_unsupported";
    /// `response_mode` is not served.
    ResponseModeUnsupported = "response_mode_unsupported";
    /// The profile demands a code challenge.
    PkceAbsent = "pkce_absent";
    /// `dpop_jkt` and the DPoP proof name different keys, or the code is bound to another key.
    DpopJkt = "dpop_jkt";
    /// A code challenge by another method than `S256`, or none that can be one.
    PkceMalformed = "pkce_malformed";
    /// The code verifier is missing, superfluous, or not the challenge's.
    PkceMismatch = "pkce_mismatch";
    /// The request had to be pushed (RFC 9126).
    PushedRequestRequired = "pushed_request_required";
    /// The `request_uri` is unknown, too old or used.
    RequestUriUnknown = "request_uri_unknown";
    /// The `request_uri` was pushed by another client.
    RequestUriForeign = "request_uri_foreign";
    /// The `request_uri` is not one that the client is registered for.
    RequestUriUnregistered = "request_uri_unregistered";
    /// What the client's `request_uri` names could not be fetched.
    RequestUriUnavailable = "request_uri_unavailable";
    /// A request parameter that this server does not take: `registration`, a pushed or unfetchable `request_uri`.
    RequestUnsupported = "request_unsupported";
    /// The client must sign its requests (RFC 9101), and this one has no request object.
    RequestObjectAbsent = "request_object_absent";
    /// A request object that is no JWT we read, or that holds another one.
    RequestObjectMalformed = "request_object_malformed";
    /// A request object whose `typ` is another JWT's.
    RequestObjectType = "request_object_type";
    /// A request object with an algorithm outside the allow list, or another than the registered one.
    RequestObjectAlgorithm = "request_object_algorithm";
    /// A request object with `crit` or `b64`.
    RequestObjectCritical = "request_object_critical";
    /// No registered key fits the request object's `kid` and `alg`.
    RequestObjectKeyUnknown = "request_object_key_unknown";
    /// The request object's signature does not verify.
    RequestObjectSignature = "request_object_signature";
    /// A claim of the request object is missing, of another type, or contradicts the request around it.
    RequestObjectClaim = "request_object_claim";
    /// The request object is another client's.
    RequestObjectClient = "request_object_client";
    /// The request object is for somebody else.
    RequestObjectAudience = "request_object_audience";
    /// The request object has expired.
    RequestObjectExpired = "request_object_expired";
    /// The request object's `nbf` or `iat` is in the future.
    RequestObjectNotYetValid = "request_object_not_yet_valid";
    /// The request object lives longer than is taken, or its `nbf` is too long ago.
    RequestObjectLifetime = "request_object_lifetime";
    /// `id_token_hint` is not an ID token of ours for this client.
    IdTokenHint = "id_token_hint";
    /// The interaction is unknown, over, or already finished.
    InteractionUnknown = "interaction_unknown";
    /// The interaction was begun in another browser.
    InteractionForeign = "interaction_foreign";
    /// The person who granted something has no account any more, or may not use it.
    PersonUnknown = "person_unknown";
    /// The person would have to sign in, and the request forbids to ask.
    LoginRequired = "login_required";
    /// The person would have to consent, and the request forbids to ask.
    ConsentRequired = "consent_required";
    /// The person said no.
    ConsentDenied = "consent_denied";
    /// The request demands an authentication that this person did not give.
    AcrUnmet = "acr_unmet";

    // -- codes and refresh tokens ----------------------------------------------------------------------------------
    /// The authorization code is unknown or was forgotten.
    CodeUnknown = "code_unknown";
    /// The authorization code was not redeemed in time.
    CodeExpired = "code_expired";
    /// The authorization code was redeemed before.
    CodeReplayed = "code_replayed";
    /// The authorization code was issued to another client.
    CodeForeign = "code_foreign";
    /// Not a refresh token, or one whose grant has ended.
    RefreshTokenUnknown = "refresh_token_unknown";
    /// The refresh token was issued to another client.
    RefreshTokenForeign = "refresh_token_foreign";
    /// A refresh token that had been replaced.
    RefreshTokenReused = "refresh_token_reused";
    /// The client, or its refresh token, is not one that is bound to another certificate.
    RebindingNotAllowed = "rebinding_not_allowed";
    /// The next certificate is missing, cannot be used, or is not valid now.
    RebindingCertificate = "rebinding_certificate";
    /// The next certificate's key spoke of another refresh token.
    RebindingToken = "rebinding_token";
    /// The refresh token was bound to another certificate a moment ago.
    RebindingLate = "rebinding_late";

    // -- software statements ---------------------------------------------------------------------------------------
    /// The software statement is missing where there must be one, cannot be read, or does not verify.
    SoftwareStatement = "software_statement";
    /// Nobody here trusts whoever made the software statement.
    SoftwareStatementIssuer = "software_statement_issuer";
    /// The software statement has expired, or is not valid yet.
    SoftwareStatementDate = "software_statement_date";

    // -- devices ---------------------------------------------------------------------------------------------------
    /// No person has decided about the device yet.
    DevicePending = "device_pending";
    /// The device asks more often than it may.
    DevicePolledTooFast = "device_polled_too_fast";
    /// No device waits under this user code, or not any more.
    UserCodeUnknown = "user_code_unknown";

    // -- token exchange --------------------------------------------------------------------------------------------
    /// A token type that is not exchanged here, or is missing, or there without its token.
    ExchangeTokenType = "exchange_token_type";
    /// The subject token was neither issued to this client nor is it for a resource of its.
    ExchangeNotAllowed = "exchange_not_allowed";
    /// The actor token is not the client's own, or somebody acts in it; or too many have acted.
    ExchangeActor = "exchange_actor";

    // -- the token -------------------------------------------------------------------------------------------------
    /// No token in the request.
    TokenAbsent = "token_absent";
    /// More than one token, or one in a place where it may not be.
    TokenAmbiguous = "token_ambiguous";
    /// Not a token in any format we know.
    TokenMalformed = "token_malformed";
    /// The signature or the seal does not verify.
    TokenSignature = "token_signature";
    /// An algorithm outside the allow list.
    TokenAlgorithm = "token_algorithm";
    /// No key of the issuer verifies it.
    TokenKeyUnknown = "token_key_unknown";
    /// `typ` is not an access token's.
    TokenType = "token_type";
    /// `crit` names something that is not understood.
    TokenCritical = "token_critical";
    /// Another issuer, or none.
    TokenIssuer = "token_issuer";
    /// Another audience, or none.
    TokenAudience = "token_audience";
    /// A required claim is missing or has the wrong type.
    TokenClaim = "token_claim";
    /// After `exp`.
    TokenExpired = "token_expired";
    /// Before `nbf`, or `iat` in the future.
    TokenNotYetValid = "token_not_yet_valid";
    /// A revocation rule hits it.
    TokenRevoked = "token_revoked";
    /// The authorization server says it is not active.
    TokenInactive = "token_inactive";
    /// The token lacks a scope that the route requires.
    TokenScope = "token_scope";
    /// `cnf` is malformed.
    CnfMalformed = "cnf_malformed";
    /// `cnf` has a member that is not understood.
    CnfUnknown = "cnf_unknown";
    /// The route requires a bound token and this one has no `cnf`.
    CnfAbsent = "cnf_absent";
    /// The token is bound to a certificate and the connection has none.
    BindingCertificateAbsent = "binding_certificate_absent";
    /// The token is bound to another certificate.
    BindingCertificateMismatch = "binding_certificate_mismatch";
    /// The token is bound to a key whose proof this resource does not take.
    BindingProofUnsupported = "binding_proof_unsupported";
    /// The token is bound to another key than the DPoP proof's.
    BindingKeyMismatch = "binding_key_mismatch";
    /// The token is bound to a DPoP key and presented without proof, as a bearer token.
    BindingProofAbsent = "binding_proof_absent";
    /// The token is presented with the DPoP scheme and bound to no DPoP key.
    BindingSchemeMismatch = "binding_scheme_mismatch";

    // -- the DPoP proof --------------------------------------------------------------------------------------------
    /// There is none, where one is required.
    DpopProofAbsent = "dpop_proof_absent";
    /// More than one `DPoP` field.
    DpopProofAmbiguous = "dpop_proof_ambiguous";
    /// Not a JWS that is read strictly, too long, or a claim is missing or mistyped.
    DpopProofMalformed = "dpop_proof_malformed";
    /// `typ` is not `dpop+jwt`.
    DpopProofType = "dpop_proof_type";
    /// `alg` is `none`, symmetric, unknown or not on the list.
    DpopProofAlgorithm = "dpop_proof_algorithm";
    /// `jwk` is missing, private, or no key for this `alg`.
    DpopProofKey = "dpop_proof_key";
    /// The signature does not verify with `jwk`.
    DpopProofSignature = "dpop_proof_signature";
    /// Made for another method.
    DpopProofMethod = "dpop_proof_method";
    /// Made for another target.
    DpopProofTarget = "dpop_proof_target";
    /// Too old, or from the future.
    DpopProofTime = "dpop_proof_time";
    /// Made for another access token, or for none.
    DpopProofToken = "dpop_proof_token";
    /// Used before.
    DpopProofReplayed = "dpop_proof_replayed";
    /// No nonce, where one is required.
    DpopNonceAbsent = "dpop_nonce_absent";
    /// A nonce that was not made here.
    DpopNonceForeign = "dpop_nonce_foreign";
    /// A nonce that is too old.
    DpopNonceExpired = "dpop_nonce_expired";
    /// A proof where the client's registration does not provide for one.
    DpopNotAllowed = "dpop_not_allowed";

    // -- the gateway -----------------------------------------------------------------------------------------------
    /// No route for this authority and path.
    RouteUnknown = "route_unknown";
    /// The route is not for this client.
    PolicyClient = "policy_client";
    /// A claim of the token is not one that the route asks for.
    PolicyClaim = "policy_claim";
    /// The certificate has no name, key or issuer that the route is for.
    PolicyCertificate = "policy_certificate";
    /// The sign-in behind the token was not of a kind that the route asks for (RFC 9470).
    PolicyAuthenticationContext = "policy_authentication_context";
    /// The sign-in behind the token was too long ago (RFC 9470).
    PolicyAuthenticationAge = "policy_authentication_age";
    /// The route is not for this method.
    PolicyMethod = "policy_method";
    /// The route is not for this address.
    PolicyAddress = "policy_address";
    /// The route is not for pages of this origin, or not for the method that they ask about.
    PolicyOrigin = "policy_origin";
    /// Nobody is signed in in this browser: it is led to its provider.
    GatewaySessionAbsent = "gateway_session_absent";
    /// A session's cookie that does not open: altered, of another gateway, host or kind of session, or of an earlier start.
    GatewaySessionBroken = "gateway_session_broken";
    /// The session's time is over, it was not used for too long, or its token ended and cannot be renewed.
    GatewaySessionExpired = "gateway_session_expired";
    /// The session was signed out of, here or at its provider.
    GatewaySessionEnded = "gateway_session_ended";
    /// The session was opened with a certificate, and comes without one.
    GatewaySessionCertificateAbsent = "gateway_session_certificate_absent";
    /// The session was opened with another certificate.
    GatewaySessionCertificateMismatch = "gateway_session_certificate_mismatch";
    /// More than fits into cookies.
    GatewaySessionTooLarge = "gateway_session_too_large";
    /// What a provider answered a sign-in with has parameters missing, twice, or that nobody asked for.
    GatewaySignInMalformed = "gateway_sign_in_malformed";
    /// The answer is to a sign-in that was not begun in this browser, or with another certificate.
    GatewaySignInForeign = "gateway_sign_in_foreign";
    /// The sign-in was begun too long ago.
    GatewaySignInExpired = "gateway_sign_in_expired";
    /// Session after session of a browser was over as soon as it had begun: it is not led to sign in once more.
    GatewaySignInCircle = "gateway_sign_in_circle";
    /// The provider did not sign the person in.
    GatewaySignInDeclined = "gateway_sign_in_declined";
    /// The answer is another provider's (RFC 9207).
    GatewaySignInIssuer = "gateway_sign_in_issuer";
    /// The provider refused a request of the gateway's, such as to redeem a code.
    ProviderRefused = "provider_refused";
    /// The provider's ID token is not one for this sign-in.
    ProviderIdToken = "provider_id_token";
    /// The provider did not answer, or not as one does.
    ProviderUnavailable = "provider_unavailable";
    /// Not a logout token of the provider's for this gateway.
    LogoutToken = "logout_token";
    /// A logout token that came before.
    LogoutTokenReplayed = "logout_token_replayed";
    /// One request too many of a caller, by the route's `rate_limit`.
    RateLimited = "rate_limited";
    /// The route serves as many requests at once as it may.
    RouteCrowded = "route_crowded";
    /// The upstream did not answer, or not in time.
    UpstreamUnavailable = "upstream_unavailable";
    /// The upstream's answer is not HTTP we would pass on.
    UpstreamMalformed = "upstream_malformed";
    /// Every upstream of the route is set aside: they have failed again and again, or their health check does.
    UpstreamSetAside = "upstream_set_aside";
    /// Nothing was said on a connection of a TCP route for longer than it may be silent.
    StreamIdle = "stream_idle";
    /// One side of a connection of a TCP route broke it off, the client perhaps without the end that TLS has for it.
    StreamBroken = "stream_broken";
    /// The process stopped while a connection of a TCP route was open.
    StreamStopped = "stream_stopped";
    /// The issuer's keys could not be fetched.
    IssuerKeysUnavailable = "issuer_keys_unavailable";
    /// Introspection did not answer.
    IntrospectionUnavailable = "introspection_unavailable";
    /// The revocation feed is older than the route allows.
    RevocationStale = "revocation_stale";

    // -- faults of ours --------------------------------------------------------------------------------------------
    /// The database did not answer in time.
    StoreUnavailable = "store_unavailable";
    /// Nobody can say whether something was used before: the memory does not answer or is full.
    ReplayUnknown = "replay_unknown";
    /// The audit queue is full.
    AuditUnavailable = "audit_unavailable";
    /// The clock could not be read.
    ClockUnreadable = "clock_unreadable";
    /// The operating system gave no randomness.
    RandomnessUnavailable = "randomness_unavailable";
    /// A sealed value did not open: wrong key, wrong place, or altered.
    SealBroken = "seal_broken";
    /// No signing key is current.
    SigningKeyAbsent = "signing_key_absent";
    /// Too many requests at once.
    Overloaded = "overloaded";
    /// A bug: something that cannot happen did.
    Defect = "defect";
}
