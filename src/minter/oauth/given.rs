//! What an authorization server gave, held against what was asked: a token that permits more, lives longer, can be renewed or needs
//! what its holder has not is not handed over. An answer says only a part of it, so where it can be asked its introspection must
//! say the same.

use std::collections::BTreeSet;

use ::http::StatusCode;
use serde_json::{Map, Value};

use super::super::MintError;
use super::effect::Ask;
use super::server::{Answer, fit};
use crate::domain::Timestamp;
use crate::sys::{ExposeSecret as _, SecretString};

/// The type of token that is asked for (RFC 8693 §3).
pub(super) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A successful answer (RFC 8693 §2.2.1).
pub(super) struct Given {
    pub(super) token: SecretString,
    /// What could renew it; never asked for.
    pub(super) refresh: Option<SecretString>,
    rest: Map<String, Value>,
}

impl Given {
    /// # Errors
    /// [`MintError`]: there is no token, or there may be one and nobody knows it.
    pub(super) fn read(answer: &Answer) -> Result<Self, MintError> {
        if answer.status != StatusCode::OK {
            let error = answer.refusal("does not exchange the token");
            // Whatever is a success was one, and not one that can be read.
            return Err(if answer.status.is_success() { MintError::Unavailable(error.to_string()) } else { error });
        }
        let mut rest = answer.object().unwrap_or_default();
        let mut take = |member: &str| match rest.remove(member) {
            Some(Value::String(text)) if !text.is_empty() => Some(SecretString::from(text)),
            Some(_) | None => None,
        };
        let (token, refresh) = (take("access_token"), take("refresh_token"));
        let token = token.ok_or_else(|| {
            MintError::Unavailable("the authorization server says that it made a token, and not which".to_owned())
        })?;
        Ok(Self { token, refresh, rest })
    }

    /// How many seconds it lives from now, as the answer says.
    pub(super) fn expires_in(&self) -> Option<u32> {
        self.rest.get("expires_in").and_then(Value::as_u64).and_then(|secs| u32::try_from(secs).ok())
    }

    /// Why this is not what was asked for, if it is not.
    pub(super) fn differs(&self, ask: &Ask, lifetime: u32) -> Option<String> {
        let text = |member: &str| self.rest.get(member).and_then(Value::as_str);
        if self.refresh.is_some() {
            return Some("a refresh token too; take that grant from the client".to_owned());
        }
        if self.rest.contains_key("authorization_details") {
            return Some("authorization details, which nobody asked for".to_owned());
        }
        if text("issued_token_type") != Some(ACCESS_TOKEN) {
            return Some(format!("a token of type `{}`", fit(text("issued_token_type").unwrap_or_default())));
        }
        // One that is bound to a key would be bound to none of its holder's.
        if !text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("Bearer")) {
            return Some(format!("a token to be used as `{}`", fit(text("token_type").unwrap_or_default())));
        }
        match self.expires_in() {
            None | Some(0) => return Some("a token of which it does not say how long it lives".to_owned()),
            Some(secs) if secs > lifetime => {
                return Some(format!("a token for {secs} s, and `token_lifetime_seconds` is {lifetime}"));
            }
            Some(_) => {}
        }
        if !self.token.expose_secret().bytes().all(|b| b.is_ascii_graphic()) {
            return Some("a token that HTTP cannot carry".to_owned());
        }
        scope_differs(&self.rest, ask)
    }
}

/// Why what the server says of the token that it has just given (RFC 7662 §2.2) is not what was asked for, if it is not.
pub(super) fn state_differs(state: Option<&Map<String, Value>>, ask: &Ask, native_end: Timestamp) -> Option<String> {
    let Some(state) = state else {
        return Some(
            "a token that its own introspection calls inactive; let this client introspect its tokens, as its word that one \
             has ended would mean nothing"
                .to_owned(),
        );
    };
    if state.get("exp").is_some_and(|exp| exp.as_i64().is_none_or(|exp| exp > native_end.as_secs())) {
        return Some(format!("a token that lives after {native_end}"));
    }
    let for_target = |aud: &Value| aud.as_str() == Some(ask.aud.as_str());
    match state.get("aud") {
        None => {}
        Some(Value::Array(several)) if !several.is_empty() && several.iter().all(for_target) => {}
        Some(aud) if for_target(aud) => {}
        Some(aud) => return Some(format!("a token whose `aud` is {}, not `{}`", fit(&aud.to_string()), ask.aud)),
    }
    scope_differs(state, ask)
}

/// RFC 6749 §5.1: an absent scope is the one that was asked for.
fn scope_differs(said: &Map<String, Value>, ask: &Ask) -> Option<String> {
    let given = said.get("scope")?;
    let asked: BTreeSet<&str> = ask.scope.iter().map(String::as_str).collect();
    let values: Option<BTreeSet<&str>> = given.as_str().map(|text| text.split(' ').filter(|v| !v.is_empty()).collect());
    match values {
        Some(values) if values == asked => None,
        Some(values) if values.is_subset(&asked) => Some(format!(
            "only the scope `{}`; let the client have the others there too",
            fit(given.as_str().unwrap_or_default())
        )),
        Some(_) | None => Some(format!("the scope {}", fit(&given.to_string()))),
    }
}
