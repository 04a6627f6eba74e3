//! Claims as our own code reads them (RFC 7519 §4.1): strictly, on the bytes that were verified, with nothing optional that
//! security rests on.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::settings::Rules;
use super::{Preset, Reject};
use crate::domain::{Timestamp, forbidden_characters};

/// How far clocks may be apart, in seconds: one constant for `exp`, `nbf` and `iat`.
pub(super) const LEEWAY_SECS: i64 = 30;
const MAX_NUMERIC_DATE: u64 = 1 << 53;
const MAX_SUBJECT_BYTES: usize = 512;
const MAX_AUDIENCES: usize = 64;
const MAX_GROUPS: usize = 256;
const MAX_ACR_BYTES: usize = 256;
const MAX_CLAIMS: usize = 128;
const MAX_CLAIM_BYTES: usize = 1024;

/// The times of a token, in seconds since the epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    exp: i64,
    nbf: Option<i64>,
    iat: Option<i64>,
}

impl Times {
    pub(super) fn read(claims: &Map<String, Value>) -> Result<Self, Reject> {
        let exp = numeric_date(claims, "exp")?.ok_or(Reject::ExpMissing)?;
        Ok(Self { exp, nbf: numeric_date(claims, "nbf")?, iat: numeric_date(claims, "iat")? })
    }

    pub(super) fn check(self, rules: &Rules, now: Timestamp) -> Result<(), Reject> {
        if now >= self.ends_at() {
            return Err(Reject::Expired);
        }
        let horizon = now.plus_millis(LEEWAY_SECS * 1000);
        if self.nbf.is_some_and(|nbf| Timestamp::from_secs(nbf) > horizon) {
            return Err(Reject::NotYetValid);
        }
        if self.iat.is_some_and(|iat| Timestamp::from_secs(iat) > horizon) {
            return Err(Reject::IatFuture);
        }
        let from = match (self.iat, rules.preset) {
            (Some(iat), _) => iat,
            // JWT-SVID does not ask for `iat`: what is left of the life is capped instead.
            (None, Preset::Spiffe) => now.as_secs(),
            (None, Preset::Oidc | Preset::Kubernetes | Preset::GithubActions) => return Err(Reject::IatMissing),
        };
        if self.exp.saturating_sub(from) > rules.max_lifetime_secs { Err(Reject::LifetimeTooLong) } else { Ok(()) }
    }

    /// When it was issued, if it says so.
    pub(super) fn issued_at(self) -> Option<Timestamp> {
        self.iat.map(Timestamp::from_secs)
    }

    /// When the token stops proving anything, leeway included.
    pub(super) const fn ends_at(self) -> Timestamp {
        Timestamp::from_secs(self.exp.saturating_add(LEEWAY_SECS))
    }
}

/// An integer of seconds within 0 and 2^53; no fractions, no exponents, no strings.
fn numeric_date(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, Reject> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let seconds = value.as_u64().filter(|seconds| *seconds <= MAX_NUMERIC_DATE).ok_or(Reject::Malformed)?;
    i64::try_from(seconds).map(Some).map_err(|_| Reject::Malformed)
}

/// RFC 7519 §4.1.3: a string or an array of strings, one of which is ours byte for byte.
pub(super) fn check_audience(claims: &Map<String, Value>, ours: &str) -> Result<(), Reject> {
    match claims.get("aud") {
        None | Some(Value::Null) => Err(Reject::AudMissing),
        Some(Value::String(only)) if only == ours => Ok(()),
        Some(Value::Array(list)) if list.is_empty() => Err(Reject::AudMissing),
        Some(Value::Array(list)) if list.len() > MAX_AUDIENCES || !list.iter().all(Value::is_string) => {
            Err(Reject::Malformed)
        }
        Some(Value::Array(list)) if list.iter().any(|one| one == ours) => Ok(()),
        Some(Value::String(_) | Value::Array(_)) => Err(Reject::AudMismatch),
        Some(Value::Bool(_) | Value::Number(_) | Value::Object(_)) => Err(Reject::Malformed),
    }
}

/// `sub`: text of 1 to 512 bytes that a person can read in the audit.
pub(super) fn subject(claims: &Map<String, Value>) -> Result<&str, Reject> {
    match claims.get("sub") {
        None => Err(Reject::SubMissing),
        Some(Value::String(subject)) if subject.is_empty() => Err(Reject::SubMissing),
        Some(Value::String(subject)) if subject.len() <= MAX_SUBJECT_BYTES && is_plain(subject) => Ok(subject),
        Some(_) => Err(Reject::Malformed),
    }
}

fn is_plain(text: &str) -> bool {
    !text.contains(['\n', '\t']) && forbidden_characters(text).is_empty()
}

/// A person's groups: an array of strings, or one string; absent means none.
pub(super) fn groups(claims: &Map<String, Value>, path: &str) -> Result<Vec<String>, Reject> {
    match lookup(claims, path) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(only)) => Ok(vec![only.clone()]),
        Some(Value::Array(list)) if list.len() <= MAX_GROUPS => {
            list.iter().map(|group| group.as_str().map(str::to_owned).ok_or(Reject::Malformed)).collect()
        }
        Some(_) => Err(Reject::Malformed),
    }
}

/// The claim of that very name, or the member of a member that `a.b` leads to.
fn lookup<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    claims.get(path).or_else(|| {
        let (first, rest) = path.split_once('.')?;
        lookup(claims.get(first)?.as_object()?, rest)
    })
}

/// An e-mail address, unless the issuer says that it has not verified it.
pub(super) fn email(claims: &Map<String, Value>) -> Option<String> {
    let verified = match claims.get("email_verified") {
        None | Some(Value::Bool(true)) => true,
        // Some issuers write their booleans as text.
        Some(Value::String(text)) => text == "true",
        Some(_) => false,
    };
    let email = claims.get("email")?.as_str().filter(|email| verified && email.len() <= 320 && is_plain(email))?;
    Some(email.to_owned())
}

/// OpenID Connect Core §2: when the person proved who they are. It is no later than the token, which is not from the future
/// itself but for the leeway.
pub(super) fn auth_time(claims: &Map<String, Value>) -> Result<Option<Timestamp>, Reject> {
    let (at, issued) = (numeric_date(claims, "auth_time")?, numeric_date(claims, "iat")?);
    match (at, issued) {
        (Some(at), Some(issued)) if at > issued.saturating_add(LEEWAY_SECS) => Err(Reject::Malformed),
        (Some(at), Some(issued)) => Ok(Some(Timestamp::from_secs(at.min(issued)))),
        (_, _) => Ok(None),
    }
}

/// OpenID Connect Core §2: the authentication context class, a text without spaces of at most 256 bytes.
pub(super) fn acr(claims: &Map<String, Value>) -> Result<Option<String>, Reject> {
    match claims.get("acr") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(acr)) if acr.len() <= MAX_ACR_BYTES && is_plain(acr) => Ok(Some(acr.clone())),
        Some(_) => Err(Reject::Malformed),
    }
}

/// What ties an ID token to the sign-in it was asked for by, and to us alone (OpenID Connect Core §3.1.3.7): the nonce, and
/// that no other client is the authorized party.
pub(super) fn check_sign_in(claims: &Map<String, Value>, client: &str, nonce: &str) -> Result<(), Reject> {
    if claims.get("nonce").and_then(Value::as_str) != Some(nonce) {
        return Err(Reject::NonceMismatch);
    }
    let several = claims.get("aud").and_then(Value::as_array).is_some_and(|all| all.len() > 1);
    match claims.get("azp") {
        None if several => Err(Reject::AudMismatch),
        None => Ok(()),
        Some(party) if party.as_str() == Some(client) => Ok(()),
        Some(_) => Err(Reject::AudMismatch),
    }
}

/// Scalar claims as text, nested ones under `a.b`. What two claims would be called is called nothing, and what is longer or
/// more than a binding can use is left out, so that no binding can match it.
pub(super) fn flatten(claims: &Map<String, Value>) -> BTreeMap<String, String> {
    let mut flat = Flat::default();
    flat.add("", claims);
    flat.texts.retain(|name, _| !flat.ambiguous.contains(name));
    flat.texts
}

#[derive(Default)]
struct Flat {
    texts: BTreeMap<String, String>,
    seen: BTreeSet<String>,
    ambiguous: BTreeSet<String>,
}

impl Flat {
    fn add(&mut self, prefix: &str, claims: &Map<String, Value>) {
        for (name, value) in claims {
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            let text = match value {
                Value::Object(inner) => {
                    self.add(&path, inner);
                    continue;
                }
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Bool(truth) => truth.to_string(),
                Value::Null | Value::Array(_) => continue,
            };
            if !self.seen.insert(path.clone()) {
                self.ambiguous.insert(path);
            } else if path.len().saturating_add(text.len()) <= MAX_CLAIM_BYTES && self.texts.len() < MAX_CLAIMS {
                self.texts.insert(path, text);
            }
        }
    }
}

#[cfg(test)]
mod tests;
