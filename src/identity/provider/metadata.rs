//! What an identity provider says about itself (OpenID Connect Discovery 1.0, RFC 8414): fetched when it is needed, kept for ten
//! minutes, and believed only as far as the settings allow: no document moves our trust to another origin.

use serde_json::{Map, Value};
use url::Url;

use crate::domain::Timestamp;
use crate::sys::parse_object;

/// The longest document that is read, in bytes.
pub(super) const MAX_DOCUMENT_BYTES: usize = 64 * 1024;
/// How deep it may be nested.
const MAX_DEPTH: usize = 16;
/// For how long it is kept, in milliseconds.
const KEEP_MILLIS: i64 = 600_000;

/// What is needed of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Metadata {
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    /// RFC 9207 §3: its answers name the issuer.
    pub(super) names_issuer: bool,
    /// Whether the client's secret goes into the body, because the provider takes it nowhere else.
    pub(super) secret_in_body: bool,
    pub(super) fetched_at: Timestamp,
}

impl Metadata {
    /// Whether it may still be relied on; one from the future is not.
    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        now.millis_since(self.fetched_at).saturating_abs() < KEEP_MILLIS
    }

    /// Read the document of this issuer, found at this URL.
    pub(super) fn read(
        bytes: &[u8],
        document: &Url,
        issuer: &str,
        hosts: &[String],
        now: Timestamp,
    ) -> Result<Self, &'static str> {
        let found = parse_object(bytes, MAX_DEPTH).map_err(|_| "the discovery document is not a strict JSON object")?;
        // Discovery §4.3: byte for byte.
        if found.get("issuer").and_then(Value::as_str) != Some(issuer) {
            return Err("the discovery document names another issuer than the settings");
        }
        let endpoint = |name: &str| -> Result<Url, &'static str> {
            let text = found.get(name).and_then(Value::as_str).ok_or("the discovery document lacks an endpoint")?;
            let url = Url::parse(text).map_err(|_| "an endpoint of the discovery document is no URL")?;
            if is_within(&url, document, hosts) && url.fragment().is_none() { Ok(url) } else { Err(ELSEWHERE) }
        };
        // RFC 7636 is what keeps a stolen code worthless; who says that he does not know S256 must not be used.
        if list(&found, "code_challenge_methods_supported").is_some_and(|methods| !methods.contains(&"S256")) {
            return Err("the provider does not take PKCE with S256");
        }
        let methods = list(&found, "token_endpoint_auth_methods_supported");
        Ok(Self {
            authorization_endpoint: endpoint("authorization_endpoint")?,
            token_endpoint: endpoint("token_endpoint")?,
            names_issuer: found.get("authorization_response_iss_parameter_supported") == Some(&Value::Bool(true)),
            secret_in_body: methods
                .is_some_and(|all| !all.contains(&"client_secret_basic") && all.contains(&"client_secret_post")),
            fetched_at: now,
        })
    }
}

const ELSEWHERE: &str =
    "an endpoint lies at another origin than the issuer; list its host in sign_in.hosts if that is right";

fn is_within(url: &Url, document: &Url, hosts: &[String]) -> bool {
    let host = url.host_str().unwrap_or_default();
    let place = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let listed = url.scheme() == document.scheme() && hosts.contains(&place);
    (url.origin() == document.origin() || listed) && url.username().is_empty() && url.password().is_none()
}

fn list<'a>(found: &'a Map<String, Value>, name: &str) -> Option<Vec<&'a str>> {
    Some(found.get(name)?.as_array()?.iter().filter_map(Value::as_str).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(changes: &Value) -> Result<Metadata, &'static str> {
        let mut document = json!({
            "issuer": "https://idp.example", "authorization_endpoint": "https://idp.example/authorize",
            "token_endpoint": "https://token.idp.example/token",
        });
        for (name, value) in changes.as_object().unwrap() {
            document[name] = value.clone();
        }
        let url = Url::parse("https://idp.example/.well-known/openid-configuration").unwrap();
        let hosts = ["token.idp.example".to_owned()];
        Metadata::read(document.to_string().as_bytes(), &url, "https://idp.example", &hosts, Timestamp::from_secs(9))
    }

    #[test]
    fn a_document_cannot_move_trust_to_another_origin() {
        assert!(read(&json!({})).is_ok());
        for elsewhere in [
            json!({ "authorization_endpoint": "https://evil.example/authorize" }),
            json!({ "token_endpoint": "http://token.idp.example/token" }),
            json!({ "token_endpoint": "https://token.idp.example:8443/token" }),
            json!({ "token_endpoint": "https://user@token.idp.example/token" }),
            json!({ "authorization_endpoint": "javascript:alert(1)" }),
        ] {
            assert_eq!(read(&elsewhere), Err(ELSEWHERE), "{elsewhere}");
        }
        assert!(read(&json!({ "issuer": "https://idp.example/" })).is_err());
    }

    #[test]
    fn a_provider_that_denies_s256_is_not_used() {
        assert!(read(&json!({ "code_challenge_methods_supported": ["plain"] })).is_err());
        assert!(read(&json!({ "code_challenge_methods_supported": ["plain", "S256"] })).is_ok());
    }

    #[test]
    fn what_the_provider_says_of_itself_is_kept() {
        let told = read(&json!({ "authorization_response_iss_parameter_supported": true,
            "token_endpoint_auth_methods_supported": ["client_secret_post"] }))
        .unwrap();
        assert!(told.names_issuer && told.secret_in_body);
        let silent = read(&json!({})).unwrap();
        assert!(!silent.names_issuer && !silent.secret_in_body);
        assert!(silent.is_fresh(Timestamp::from_secs(600)) && !silent.is_fresh(Timestamp::from_secs(609)));
    }
}
