//! Settings of a backend of this kind, and what must hold for them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::Url;

use crate::sys::keys::KeyAlgorithm;
use crate::sys::{SecretRef, SecretString, is_loopback_url};

/// The life of a token that a server may give.
const LIFETIMES: std::ops::RangeInclusive<u32> = 30..=86_400;
/// The longest name of a client, in bytes.
const MAX_CLIENT: usize = 256;
/// The longest URI of a type of token, in bytes.
const MAX_TYPE: usize = 256;

/// Who checks the tokens of a backend, and so how they can be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verifiers {
    /// They ask the server's introspection endpoint for each token.
    #[default]
    Introspect,
    /// They check the signature alone.
    Offline,
}

/// As written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// The server, byte for byte as in its metadata.
    pub issuer: String,
    /// Who we are there.
    pub client_id: String,
    /// By what we say so, where not by a signature of ours.
    pub client_secret: Option<SecretRef>,
    /// What we sign subject tokens and client assertions with.
    #[serde(default = "es256")]
    pub algorithm: KeyAlgorithm,
    /// How long the server lets its tokens live, at most.
    pub token_lifetime_seconds: u32,
    #[serde(default)]
    pub verifiers: Verifiers,
    /// What the server calls the kind of token that we sign.
    #[serde(default = "jwt")]
    pub subject_token_type: String,
    /// Where to ask what, where the server publishes no metadata.
    pub endpoints: Option<Endpoints>,
    /// Whether the server may have a private address; and plain HTTP on loopback.
    #[serde(default)]
    pub allow_private: bool,
    /// Certificate authorities to trust besides the web's.
    pub ca_file: Option<PathBuf>,
}

/// Where the server is asked what; members in canonical order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Endpoints {
    /// Whether a token is active (RFC 7662).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) introspection: Option<Url>,
    /// To end a token (RFC 7009).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) revocation: Option<Url>,
    /// To get a token (RFC 6749 §3.2).
    pub(super) token: Url,
}

const fn es256() -> KeyAlgorithm {
    KeyAlgorithm::Es256
}

fn jwt() -> String {
    "urn:ietf:params:oauth:token-type:jwt".to_owned()
}

impl Settings {
    /// What is wrong with them.
    pub(super) fn check(&self) -> Result<(), String> {
        let safe = |url: &Url| {
            let scheme_fits =
                url.scheme() == "https" || (url.scheme() == "http" && self.allow_private && is_loopback_url(url));
            scheme_fits && url.username().is_empty() && url.password().is_none() && url.fragment().is_none()
        };
        let issuer = Url::parse(&self.issuer).ok().filter(|url| safe(url) && url.query().is_none());
        if issuer.is_none() {
            return Err(
                "`issuer` is an https URL without a query (http only to loopback, with `allow_private`)".to_owned()
            );
        }
        let visible =
            |text: &str, most: usize| (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if !visible(&self.client_id, MAX_CLIENT) {
            return Err(format!("`client_id` is 1 to {MAX_CLIENT} visible ASCII characters"));
        }
        if !LIFETIMES.contains(&self.token_lifetime_seconds) {
            return Err(format!("`token_lifetime_seconds` is {} to {}", LIFETIMES.start(), LIFETIMES.end()));
        }
        if !visible(&self.subject_token_type, MAX_TYPE) || Url::parse(&self.subject_token_type).is_err() {
            return Err("`subject_token_type` is a URI (RFC 8693 §3)".to_owned());
        }
        let Some(Endpoints { introspection, revocation, token }) = &self.endpoints else { return Ok(()) };
        if ![introspection.as_ref(), revocation.as_ref(), Some(token)].into_iter().flatten().all(safe) {
            return Err("`endpoints` are https URLs (http only to loopback, with `allow_private`)".to_owned());
        }
        let enough = introspection.is_some() && revocation.is_some();
        if self.verifiers == Verifiers::Introspect && !enough {
            return Err(NOT_ENDED.to_owned());
        }
        Ok(())
    }

    /// The client's secret, where there is one.
    pub(super) fn secret(&self, folder: &Path) -> Result<Option<SecretString>, String> {
        let secret = self.client_secret.clone().map(|secret| secret.below(folder).read());
        secret.transpose().map_err(|why| format!("`client_secret`: {why}"))
    }
}

/// What is wrong with a server at which a token cannot be ended, or not seen to be.
pub(super) const NOT_ENDED: &str = "the server has no revocation or no introspection endpoint, so that tokens cannot be ended early; \
     say so by `verifiers = \"offline\"`";
