//! A token as it was presented: taken apart strictly, proven by nothing. Only this room can look inside, and there every
//! name says that what it reads is unverified.

use data_encoding::BASE64URL_NOPAD;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};

use super::{IdentityError, Reject};
use crate::domain::Digest;
use crate::sys::{parse_object, sha256};

/// The longest token that is looked at, in bytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
const MAX_KID_BYTES: usize = 256;
const MAX_TYP_BYTES: usize = 64;
const MAX_DEPTH: usize = 16;

/// Header members by which a sender would choose the key or the rules. None is understood, so each is refused rather than
/// ignored (RFC 7515 §4.1.2 to §4.1.6 and §4.1.11, RFC 7797, RFC 7516 §4.1.3).
const FORBIDDEN_MEMBERS: [&str; 7] = ["jku", "jwk", "x5u", "x5c", "crit", "b64", "zip"];

/// A compact JWS (RFC 7515 §7.1) taken apart.
pub(super) struct CompactJws {
    raw: SecretString,
    signed_len: usize,
    signature: Vec<u8>,
    /// `alg`; empty where it is absent or no string, which no list allows.
    pub(super) unverified_alg: String,
    pub(super) unverified_kid: Option<String>,
    pub(super) unverified_typ: Option<String>,
    pub(super) unverified_payload: Vec<u8>,
}

impl CompactJws {
    pub(super) fn parse(raw: &str) -> Result<Self, Reject> {
        if raw.len() > MAX_TOKEN_BYTES {
            return Err(Reject::TooLarge);
        }
        let mut segments = raw.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (segments.next(), segments.next(), segments.next(), segments.next())
        else {
            return Err(Reject::Malformed);
        };
        let signed_len = header.len().saturating_add(payload.len()).saturating_add(1);
        let header = parse_object(&decode(header)?, MAX_DEPTH).map_err(|_| Reject::Malformed)?;
        if FORBIDDEN_MEMBERS.iter().any(|name| header.contains_key(*name)) {
            return Err(Reject::HeaderNotAllowed);
        }
        Ok(Self {
            raw: raw.into(),
            signed_len,
            signature: decode(signature)?,
            unverified_alg: header.get("alg").and_then(Value::as_str).unwrap_or_default().to_owned(),
            unverified_kid: text_member(&header, "kid", MAX_KID_BYTES)?,
            unverified_typ: text_member(&header, "typ", MAX_TYP_BYTES)?,
            unverified_payload: decode(payload)?,
        })
    }

    /// What the signature is over: header, dot, payload.
    pub(super) fn signed_part(&self) -> &[u8] {
        self.raw.expose_secret().as_bytes().get(..self.signed_len).unwrap_or_default()
    }

    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }
}

/// A token somebody presented; nothing in it is proven.
pub struct PresentedToken {
    pub(super) jws: CompactJws,
    pub(super) unverified_claims: Map<String, Value>,
    unverified_issuer: Option<String>,
    digest: Digest,
}

impl PresentedToken {
    /// Take a token apart: at most 16 KiB, three segments of strict base64url, header and claims strict JSON objects.
    ///
    /// # Errors
    /// [`IdentityError::Refused`] with `too_large`, `malformed` or `header_not_allowed`.
    pub fn parse(raw: &str) -> Result<Self, IdentityError> {
        let jws = CompactJws::parse(raw)?;
        let unverified_claims = parse_object(&jws.unverified_payload, MAX_DEPTH).map_err(|_| Reject::Malformed)?;
        let unverified_issuer = match unverified_claims.get("iss") {
            None => None,
            Some(Value::String(issuer)) => Some(issuer.clone()),
            Some(_) => return Err(Reject::Malformed.into()),
        };
        Ok(Self { digest: sha256(raw), jws, unverified_claims, unverified_issuer })
    }

    /// `iss` as the token states it.
    pub(super) fn unverified_issuer(&self) -> Option<&str> {
        self.unverified_issuer.as_deref()
    }

    /// `sub` as the token states it.
    pub(super) fn unverified_subject(&self) -> Option<&str> {
        self.unverified_claims.get("sub").and_then(Value::as_str)
    }

    /// SHA-256 of the whole token.
    pub(super) const fn digest(&self) -> Digest {
        self.digest
    }
}

impl std::fmt::Debug for PresentedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PresentedToken(..)")
    }
}

/// Base64url without padding, whitespace or spare bits (RFC 7515 §2, RFC 4648 §3.5).
fn decode(segment: &str) -> Result<Vec<u8>, Reject> {
    BASE64URL_NOPAD.decode(segment.as_bytes()).map_err(|_| Reject::Malformed)
}

fn text_member(header: &Map<String, Value>, name: &str, max_bytes: usize) -> Result<Option<String>, Reject> {
    match header.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if text.len() <= max_bytes => Ok(Some(text.clone())),
        Some(_) => Err(Reject::Malformed),
    }
}
