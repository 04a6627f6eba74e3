//! What the broker signs for itself and gets back through strangers: binding tokens and approval states. A token of ours is a
//! compact JWS of a stated type by a key that is still published; everything in it is checked here before anybody relies on it.

use serde_json::{Map, Value};

use super::super::{Broker, BrokerError};
use crate::domain::Timestamp;
use crate::sys::ExposeSecret as _;
use crate::sys::parse_object;

/// Longest token that is looked at, in bytes.
const MAX_BYTES: usize = 16 * 1024;
/// Deepest nesting of header and claims.
const MAX_DEPTH: usize = 8;

/// The type of a binding token (ARAP §7).
pub(super) const BINDING: &str = "authzen-binding+jwt";
/// The type of an approval's state (ARAP §12).
pub(super) const STATE: &str = "authzen-approval+jwt";
/// The type of the token that a callback is authenticated with (ARAP §13).
pub(super) const CALLBACK: &str = "authzen-callback+jwt";

/// A text claim.
pub(super) fn text<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c str> {
    claims.get(name).and_then(Value::as_str)
}

/// A claim that is a point in time, in seconds (RFC 7519 §2).
pub(super) fn time(claims: &Map<String, Value>, name: &str) -> Option<Timestamp> {
    // No date of ours is negative or beyond the year 9999.
    claims
        .get(name)
        .and_then(Value::as_i64)
        .filter(|secs| (0..253_402_300_800).contains(secs))
        .map(Timestamp::from_secs)
}

impl Broker {
    /// Sign claims; nothing when no key may sign until then.
    pub(super) fn sign_own(&self, typ: &str, claims: &Value, until: Timestamp) -> Result<Option<String>, BrokerError> {
        let now = self.clock.now();
        let key = self
            .key_algorithms
            .iter()
            .filter_map(|algorithm| self.keyring.signing_key(*algorithm, now))
            .find(|key| until < key.times.retires_at);
        let signed = key.map(|key| key.sign_compact(typ, &claims.to_string())).transpose()?;
        Ok(signed.map(|token| token.expose_secret().to_owned()))
    }

    /// The claims of a token that we signed as this type, from us to `audience`; nothing when it is not one. Whether its time is up
    /// is for the caller to say.
    pub(super) fn verify_own(&self, typ: &str, audience: &str, token: &str) -> Option<Map<String, Value>> {
        if token.len() > MAX_BYTES {
            return None;
        }
        let (message, signature) = token.rsplit_once('.')?;
        let (header, payload) = message.split_once('.')?;
        let decode = |part: &str| data_encoding::BASE64URL_NOPAD.decode(part.as_bytes()).ok();
        let header = parse_object(&decode(header)?, MAX_DEPTH).ok()?;
        let known = ["alg", "kid", "typ"];
        if header.len() != known.len() || text(&header, "typ") != Some(typ) {
            return None;
        }
        let key = self.keyring.find(text(&header, "kid")?, self.clock.now())?;
        if text(&header, "alg") != Some(key.algorithm.as_str()) || !key.verify(message.as_bytes(), &decode(signature)?)
        {
            return None;
        }
        let claims = parse_object(&decode(payload)?, MAX_DEPTH).ok()?;
        let ours = text(&claims, "iss") == Some(&*self.public_url) && text(&claims, "aud") == Some(audience);
        ours.then_some(claims)
    }
}
