use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::Generate as _;
use chacha20poly1305::{AeadInOut as _, KeyInit as _, XChaCha20Poly1305, XNonce};
use subtle::ConstantTimeEq as _;

use super::ring::RingKey;
use super::{KeyRing, Plaintext, SealError, SealKeyId};
use crate::domain::{DeploymentId, Redacted, Timestamp};

const VERSION: u8 = 1;
const ROW: u8 = 1;
const BEARER: u8 = 2;
/// A column's value under a master key.
pub(super) const WRAPPED: u8 = 4;
const NONCE_LENGTH: usize = 24;
const TAG_LENGTH: usize = 16;
/// The longest plaintext, in bytes.
const MAX_PLAINTEXT: usize = 1024 * 1024;
/// The longest bearer text that is looked at, in bytes.
const MAX_BEARER_TEXT: usize = 16 * 1024;

/// Where a sealed column value belongs. It opens nowhere else.
#[derive(Clone, Copy, Debug)]
pub struct RowContext<'a> {
    /// The deployment, made with its database.
    pub deployment: &'a DeploymentId,
    /// The table.
    pub table: &'a str,
    /// The column.
    pub column: &'a str,
    /// The primary key of the row.
    pub row: &'a str,
}

/// What a sealed value in other people's hands is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// An opaque access token.
    AccessToken,
    /// A refresh token.
    RefreshToken,
    /// The cookie of a browser that began an authorization.
    Interaction,
    /// A request to sign out, on its way through the browser.
    Logout,
    /// A sign-in between two factors, or a factor that is being set up, on its way through the browser.
    SecondFactor,
    /// The way to a host that asks for certificates, and back, through the browser.
    CertificateSignIn,
    /// The way to another provider, and back, through the browser.
    ProviderSignIn,
    /// A session of a browser with a gateway.
    GatewaySession,
    /// A sign-in that a browser began at a gateway.
    GatewaySignIn,
}

impl Purpose {
    pub(super) const ALL: [Self; 9] = [
        Self::AccessToken,
        Self::RefreshToken,
        Self::Interaction,
        Self::Logout,
        Self::SecondFactor,
        Self::CertificateSignIn,
        Self::ProviderSignIn,
        Self::GatewaySession,
        Self::GatewaySignIn,
    ];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::AccessToken => "access-token",
            Self::RefreshToken => "refresh-token",
            Self::Interaction => "interaction",
            Self::Logout => "logout",
            Self::SecondFactor => "second-factor",
            Self::CertificateSignIn => "certificate-sign-in",
            Self::ProviderSignIn => "provider-sign-in",
            Self::GatewaySession => "gateway-session",
            Self::GatewaySignIn => "gateway-sign-in",
        }
    }

    pub(super) const fn code(self) -> u8 {
        match self {
            Self::AccessToken => 1,
            Self::RefreshToken => 2,
            Self::Interaction => 3,
            Self::Logout => 4,
            Self::SecondFactor => 5,
            Self::GatewaySession => 6,
            Self::GatewaySignIn => 7,
            Self::CertificateSignIn => 8,
            Self::ProviderSignIn => 10,
        }
    }
}

/// Which bearer values open: those of this purpose and this issuer.
#[derive(Clone, Copy, Debug)]
pub struct BearerContext<'a> {
    /// What the value is for.
    pub purpose: Purpose,
    /// Who sealed it.
    pub issuer: &'a str,
}

/// A keyed digest of a bearer's audience, visible outside and meaning nothing there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudienceTag([u8; 16]);

/// An opened bearer value: proof that we sealed it, for this purpose and issuer. Whether it has expired is for the caller to decide.
pub struct OpenedBearer {
    /// When it expires.
    pub expires: Timestamp,
    /// What was sealed.
    pub plaintext: Plaintext,
    /// The audience it was sealed for: see [`KeyRing::audience_matches`].
    pub audience_tag: AudienceTag,
    /// The key it was sealed with.
    pub key_id: SealKeyId,
}

impl std::fmt::Debug for OpenedBearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenedBearer").field("expires", &self.expires).field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl KeyRing {
    /// Seals a column's value.
    ///
    /// # Errors
    /// [`SealError::Randomness`] and [`SealError::TooLong`].
    pub fn seal_row(&self, context: &RowContext<'_>, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        self.seal_row_with(context, plaintext, &nonce()?)
    }

    pub(super) fn seal_row_with(&self, context: &RowContext<'_>, plaintext: &[u8], nonce: &XNonce) -> Result<Vec<u8>, SealError> {
        let key = self.active();
        seal_column(ROW, &key.id, &key.row, context, plaintext, nonce)
    }

    /// Seals a column's value with the lasting key.
    ///
    /// # Errors
    /// [`SealError::Randomness`] and [`SealError::TooLong`].
    pub fn seal_lasting_row(&self, context: &RowContext<'_>, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        let key = self.lasting();
        seal_column(ROW, &key.id, &key.row, context, plaintext, &nonce()?)
    }

    /// Opens a column's value.
    ///
    /// # Errors
    /// [`SealError::Malformed`], [`SealError::KeyUnknown`], [`SealError::Broken`].
    pub fn open_row(&self, context: &RowContext<'_>, sealed: &[u8]) -> Result<Plaintext, SealError> {
        let (name, header_length) = read_name(ROW, sealed)?;
        let key = self.key_named(name)?;
        open_column(&key.id, &key.row, header_length, context, sealed)
    }

    /// What every row begins with that is sealed with the key that seals now.
    pub fn row_prefix(&self) -> Vec<u8> {
        header(ROW, &self.active_key_id())
    }

    /// Seals a value that others carry for us, in base64url.
    ///
    /// # Errors
    /// [`SealError::Randomness`] and [`SealError::TooLong`].
    pub fn seal_bearer(
        &self,
        context: &BearerContext<'_>,
        audience: &str,
        expires: Timestamp,
        plaintext: &[u8],
    ) -> Result<String, SealError> {
        self.seal_bearer_with(context, audience, expires, plaintext, &nonce()?)
    }

    pub(super) fn seal_bearer_with(
        &self,
        context: &BearerContext<'_>,
        audience: &str,
        expires: Timestamp,
        plaintext: &[u8],
        nonce: &XNonce,
    ) -> Result<String, SealError> {
        let key = self.active();
        key.note_bearer(expires);
        let mut bytes = header(BEARER, &key.id);
        bytes.push(context.purpose.code());
        bytes.extend_from_slice(&expires.seconds().to_be_bytes());
        bytes.extend_from_slice(&audience_tag(&key, context, audience).0);
        let sealed = seal(key.bearer(context.purpose), bytes, &[context.issuer], plaintext, nonce)?;
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Opens a value that [`KeyRing::seal_bearer`] wrote for the same purpose and issuer. The expiry is not judged.
    ///
    /// # Errors
    /// [`SealError::Malformed`] (also for another purpose), [`SealError::KeyUnknown`], [`SealError::Broken`].
    pub fn open_bearer(&self, context: &BearerContext<'_>, text: &str) -> Result<OpenedBearer, SealError> {
        if text.len() > MAX_BEARER_TEXT {
            return Err(SealError::Malformed);
        }
        let sealed = URL_SAFE_NO_PAD.decode(text).map_err(|_| SealError::Malformed)?;
        let (name, start) = read_name(BEARER, &sealed)?;
        let fields = sealed.get(start..).ok_or(SealError::Malformed)?;
        let (purpose, fields) = fields.split_first().ok_or(SealError::Malformed)?;
        let (expires, fields) = fields.split_first_chunk::<8>().ok_or(SealError::Malformed)?;
        let (audience, rest) = fields.split_first_chunk::<16>().ok_or(SealError::Malformed)?;
        if *purpose != context.purpose.code() {
            return Err(SealError::Malformed);
        }
        let key = self.key_named(name)?;
        let header_length = sealed.len() - rest.len();
        let plaintext = open(&key.id, key.bearer(context.purpose), header_length, &[context.issuer], &sealed)?;
        Ok(OpenedBearer {
            expires: Timestamp::from_seconds(i64::from_be_bytes(*expires)),
            plaintext,
            audience_tag: AudienceTag(*audience),
            key_id: key.id.clone(),
        })
    }

    /// Whether the value was sealed for this audience.
    pub fn audience_matches(&self, context: &BearerContext<'_>, opened: &OpenedBearer, audience: &str) -> bool {
        let expected = self.key(&opened.key_id).map(|key| audience_tag(&key, context, audience));
        expected.is_some_and(|expected| expected.0.ct_eq(&opened.audience_tag.0).into())
    }
}

/// How long a row's prefix is, up to and with the name of its key, for keys with names made by [`SealKeyId::random`].
pub const ROW_PREFIX_LENGTH: usize = 3 + SealKeyId::RANDOM_LENGTH;

/// The key that a row's prefix names.
pub fn row_key_id(prefix: &[u8]) -> Option<SealKeyId> {
    read_header(ROW, prefix).ok().map(|(id, _)| id)
}

pub(super) fn seal_column(
    kind: u8,
    id: &SealKeyId,
    key: &Redacted<[u8; 32]>,
    context: &RowContext<'_>,
    plaintext: &[u8],
    nonce: &XNonce,
) -> Result<Vec<u8>, SealError> {
    seal(key, header(kind, id), &row_parts(context), plaintext, nonce)
}

pub(super) fn open_column(
    id: &SealKeyId,
    key: &Redacted<[u8; 32]>,
    header_length: usize,
    context: &RowContext<'_>,
    sealed: &[u8],
) -> Result<Plaintext, SealError> {
    open(id, key, header_length, &row_parts(context), sealed)
}

pub(super) fn nonce() -> Result<XNonce, SealError> {
    XNonce::try_generate().map_err(|_| SealError::Randomness)
}

fn row_parts<'a>(context: &RowContext<'a>) -> [&'a str; 4] {
    [context.deployment.as_str(), context.table, context.column, context.row]
}

fn audience_tag(key: &RingKey, context: &BearerContext<'_>, audience: &str) -> AudienceTag {
    let mut tag = [0u8; 16];
    let digest = key.audience(context.issuer, audience);
    tag.iter_mut().zip(digest).for_each(|(target, byte)| *target = byte);
    AudienceTag(tag)
}

fn header(kind: u8, id: &SealKeyId) -> Vec<u8> {
    // A name has at most 32 bytes.
    let mut bytes = vec![VERSION, kind, id.as_str().len() as u8];
    bytes.extend_from_slice(id.as_str().as_bytes());
    bytes
}

/// The key's name, and where the header that both kinds share ends.
pub(super) fn read_header(kind: u8, sealed: &[u8]) -> Result<(SealKeyId, usize), SealError> {
    let (name, end) = read_name(kind, sealed)?;
    Ok((name.parse().map_err(|_| SealError::Malformed)?, end))
}

/// The same, with the name as it stands there.
fn read_name(kind: u8, sealed: &[u8]) -> Result<(&str, usize), SealError> {
    let (start, rest) = sealed.split_first_chunk::<3>().ok_or(SealError::Malformed)?;
    let [version, found, length] = *start;
    if version != VERSION || found != kind {
        return Err(SealError::Malformed);
    }
    let name = rest.get(..usize::from(length)).and_then(|name| std::str::from_utf8(name).ok()).ok_or(SealError::Malformed)?;
    Ok((name, start.len() + name.len()))
}

/// The header and where the value belongs, in a form that can be read in one way only.
fn associated_data(header: &[u8], parts: &[&str]) -> Result<Vec<u8>, SealError> {
    let mut bytes = Vec::with_capacity(header.len() + parts.iter().map(|part| part.len() + 4).sum::<usize>());
    bytes.extend_from_slice(header);
    for part in parts {
        let length = u32::try_from(part.len()).map_err(|_| SealError::TooLong)?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    Ok(bytes)
}

fn seal(
    key: &Redacted<[u8; 32]>,
    header: Vec<u8>,
    parts: &[&str],
    plaintext: &[u8],
    nonce: &XNonce,
) -> Result<Vec<u8>, SealError> {
    if plaintext.len() > MAX_PLAINTEXT {
        return Err(SealError::TooLong);
    }
    let associated = associated_data(&header, parts)?;
    let mut sealed = header;
    sealed.reserve_exact(NONCE_LENGTH + plaintext.len() + TAG_LENGTH);
    sealed.extend_from_slice(nonce);
    let start = sealed.len();
    sealed.extend_from_slice(plaintext);
    let cipher = XChaCha20Poly1305::new(key.expose().into());
    let body = sealed.get_mut(start..).ok_or(SealError::TooLong)?;
    let tag = cipher.encrypt_inout_detached(nonce, &associated, body.into()).map_err(|_| SealError::TooLong)?;
    sealed.extend_from_slice(&tag);
    Ok(sealed)
}

fn open(
    id: &SealKeyId,
    cipher_key: &Redacted<[u8; 32]>,
    header_length: usize,
    parts: &[&str],
    sealed: &[u8],
) -> Result<Plaintext, SealError> {
    let (header, rest) = sealed.split_at_checked(header_length).ok_or(SealError::Malformed)?;
    let (nonce, rest) = rest.split_at_checked(NONCE_LENGTH).ok_or(SealError::Malformed)?;
    let (body, tag) = rest.len().checked_sub(TAG_LENGTH).and_then(|at| rest.split_at_checked(at)).ok_or(SealError::Malformed)?;
    let nonce = XNonce::try_from(nonce).map_err(|_| SealError::Malformed)?;
    let tag = tag.try_into().map_err(|_| SealError::Malformed)?;
    let associated = associated_data(header, parts)?;
    let mut plaintext = Plaintext::from(body.to_vec());
    let cipher = XChaCha20Poly1305::new(cipher_key.expose().into());
    let opened = cipher.decrypt_inout_detached(&nonce, &associated, plaintext.as_mut_slice().into(), &tag);
    opened.map_err(|_| SealError::Broken(id.clone()))?;
    Ok(plaintext)
}
