//! Public keys that agents send as JWK (RFC 7517), parsed once at the door. What gets through is a public key of a kind and
//! size we accept; a private member is refused loudly, because whoever sent it must make a new key.

use josekit::jwk::Jwk;
use josekit::jws::{ES256, ES384};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::sha256;

/// The longest JWK, in bytes: an RSA key of 4,096 bits with some members to spare.
const MAX_BYTES: usize = 4096;

/// A key that is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwkError {
    /// Not a JWK of a form we know.
    #[error("not a public JWK: {0}")]
    Shape(String),
    /// It has a private member.
    #[error("it has the private member `{0}`: send the public key only, and make a new key, as this one has been sent")]
    Private(&'static str),
    /// Its kind, curve or size is not accepted.
    #[error("{0}; use EC P-256, EC P-384, OKP Ed25519, or RSA of 2048 to 4096 bits")]
    Unsupported(String),
}

/// The members a JWK may have; serde refuses any of them twice.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    // Informative only (RFC 7517 §4; `ext` is what browsers add).
    #[serde(rename = "kid")]
    _kid: Option<IgnoredAny>,
    #[serde(rename = "use")]
    _use: Option<IgnoredAny>,
    #[serde(rename = "alg")]
    _alg: Option<IgnoredAny>,
    #[serde(rename = "key_ops")]
    _key_ops: Option<IgnoredAny>,
    #[serde(rename = "ext")]
    _ext: Option<IgnoredAny>,
    // Private or symmetric (RFC 7518 §6).
    d: Option<IgnoredAny>,
    p: Option<IgnoredAny>,
    q: Option<IgnoredAny>,
    dp: Option<IgnoredAny>,
    dq: Option<IgnoredAny>,
    qi: Option<IgnoredAny>,
    oth: Option<IgnoredAny>,
    k: Option<IgnoredAny>,
}

impl Members {
    fn private(&self) -> Option<&'static str> {
        let members = [
            ("d", &self.d),
            ("p", &self.p),
            ("q", &self.q),
            ("dp", &self.dp),
            ("dq", &self.dq),
            ("qi", &self.qi),
            ("oth", &self.oth),
            ("k", &self.k),
        ];
        members.into_iter().find_map(|(name, member)| member.is_some().then_some(name))
    }
}

/// The bytes of a public key of the kinds that certificates are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawKey {
    /// Ed25519 (RFC 8032 §5.1.5).
    Ed25519([u8; 32]),
    /// A point on P-256, uncompressed (SEC 1 §2.3.3).
    P256([u8; 65]),
}

/// A public key that an agent sent, known to be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicJwk {
    canonical: String,
}

impl PublicJwk {
    /// Parse and check a JWK.
    ///
    /// # Errors
    /// [`JwkError`].
    pub fn parse(text: &str) -> Result<Self, JwkError> {
        if text.len() > MAX_BYTES {
            return Err(JwkError::Shape(format!("{} bytes are more than the {MAX_BYTES} allowed", text.len())));
        }
        let members: Members = serde_json::from_str(text).map_err(|error| JwkError::Shape(error.to_string()))?;
        if let Some(name) = members.private() {
            return Err(JwkError::Private(name));
        }
        let Members { kty, crv, x, y, n, e, .. } = &members;
        let canonical = match (kty.as_str(), crv.as_deref(), x, y, n, e) {
            ("EC", Some(crv @ ("P-256" | "P-384")), Some(x), Some(y), None, None) => ec(crv, x, y)?,
            ("OKP", Some("Ed25519"), Some(x), None, None, None) => okp(x)?,
            ("RSA", None, None, None, Some(n), Some(e)) => rsa(n, e)?,
            ("EC" | "OKP", Some(crv), ..) if !matches!(crv, "P-256" | "P-384" | "Ed25519") => {
                return Err(JwkError::Unsupported(format!("the curve `{}` is not accepted", cut(crv))));
            }
            ("EC" | "OKP" | "RSA", ..) => {
                return Err(JwkError::Shape("members are missing or do not belong to its kind".to_owned()));
            }
            (other, ..) => return Err(JwkError::Unsupported(format!("the kind `{}` is not accepted", cut(other)))),
        };
        Ok(Self { canonical })
    }

    /// The required members alone, in lexicographic order without white space: one text for one key, and the input of its
    /// thumbprint (RFC 7638 §3.2).
    #[must_use]
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// Its bytes, of Ed25519 and P-256; `None` for keys of other kinds.
    #[must_use]
    pub fn raw(&self) -> Option<RawKey> {
        let members: Members = serde_json::from_str(&self.canonical).ok()?;
        let number = |text: &Option<String>| decode("", text.as_deref().unwrap_or_default()).ok();
        match members.crv.as_deref() {
            Some("Ed25519") => number(&members.x)?.try_into().ok().map(RawKey::Ed25519),
            Some("P-256") => {
                let bytes = [vec![4], number(&members.x)?, number(&members.y)?].concat();
                bytes.try_into().ok().map(RawKey::P256)
            }
            Some(_) | None => None,
        }
    }

    /// The SHA-256 thumbprint in base64url (RFC 7638), as in `cnf.jkt` (RFC 9449 §6.1).
    #[must_use]
    pub fn thumbprint(&self) -> String {
        data_encoding::BASE64URL_NOPAD.encode(sha256(&self.canonical).as_bytes())
    }
}

fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Strict base64url: no padding, no white space, no spare bits; so one number has one written form.
fn decode(member: &str, text: &str) -> Result<Vec<u8>, JwkError> {
    data_encoding::BASE64URL_NOPAD
        .decode(text.as_bytes())
        .map_err(|_| JwkError::Shape(format!("`{member}` is not base64url without padding")))
}

fn ec(crv: &str, x: &str, y: &str) -> Result<String, JwkError> {
    let (length, algorithm) = if crv == "P-256" { (32, ES256) } else { (48, ES384) };
    if decode("x", x)?.len() != length || decode("y", y)?.len() != length {
        return Err(JwkError::Shape(format!("`x` and `y` of {crv} have {length} bytes each")));
    }
    let canonical = format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#);
    // OpenSSL, through josekit, refuses a point that is not on the curve.
    Jwk::from_bytes(&canonical)
        .and_then(|jwk| algorithm.verifier_from_jwk(&jwk))
        .map_err(|_| JwkError::Shape(format!("`x` and `y` are not a point on {crv}")))?;
    Ok(canonical)
}

fn okp(x: &str) -> Result<String, JwkError> {
    if decode("x", x)?.len() != 32 {
        return Err(JwkError::Shape("`x` of Ed25519 has 32 bytes".to_owned()));
    }
    Ok(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#))
}

fn rsa(n: &str, e: &str) -> Result<String, JwkError> {
    let modulus = decode("n", n)?;
    // RFC 7518 §2, Base64urlUInt: no leading zero octets.
    let Some(first) = modulus.first().filter(|first| **first != 0) else {
        return Err(JwkError::Shape("`n` begins with a zero octet".to_owned()));
    };
    let bits = modulus.len().saturating_mul(8).saturating_sub(usize::try_from(first.leading_zeros()).unwrap_or(0));
    if !(2048..=4096).contains(&bits) || modulus.last().is_some_and(|last| last % 2 == 0) {
        return Err(JwkError::Unsupported(format!("an RSA modulus of {bits} bits, or an even one, is not accepted")));
    }
    if e != "AQAB" {
        return Err(JwkError::Unsupported("an RSA exponent other than 65537 is not accepted".to_owned()));
    }
    Ok(format!(r#"{{"e":"AQAB","kty":"RSA","n":"{n}"}}"#))
}

#[cfg(test)]
mod tests;
