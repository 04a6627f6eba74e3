//! Webhooks as Standard Webhooks has them (specification 1.0.0): an id that stays the same over attempts, the time of the attempt, and a
//! signature over both and the body by each secret that is in force. No redirect is followed and no private address called, unless
//! settings say that one is meant.

use std::path::PathBuf;
use std::sync::Arc;

use ::http::{HeaderMap, HeaderValue, Method};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde::{Deserialize, Serialize};
use url::Url;
use zeroize::Zeroizing;

use super::{
    ChannelSettings, Content, FollowUp, Letter, Misconfigured, Readers, SendError, Sender, SenderDeps, event_word, web,
};
use crate::domain::Timestamp;
use crate::sys::{ExposeSecret as _, FetchLimits, HttpClient, Outgoing, SecretRef, canonical_json};

/// What is read of an answer, in bytes; nothing in it matters.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// What a secret begins with, and how many bytes it has (Standard Webhooks, "Symmetric").
const SECRET_PREFIX: &str = "whsec_";
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// The most secrets in force at once.
const MAX_SECRETS: usize = 4;

/// The keys of a webhook.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Where to: an https URL.
    url: Url,
    /// Where the secrets are, each `whsec_` and 24 to 64 bytes in base64. More than one while a secret is being replaced: every one signs.
    secrets: Vec<SecretRef>,
    /// Whether the URL may lead to a private address.
    #[serde(default)]
    allow_private: bool,
    /// Certificate authorities to trust besides the web's, PEM.
    ca_file: Option<PathBuf>,
}

struct Webhook {
    url: Url,
    keys: Vec<hmac::Key>,
    allow_private: bool,
    http: HttpClient,
}

/// The body.
#[derive(Serialize)]
struct Body<'a> {
    data: &'a Content,
    timestamp: Timestamp,
    #[serde(rename = "type")]
    kind: &'static str,
}

pub(super) fn build(settings: &ChannelSettings, deps: &SenderDeps) -> Result<Arc<dyn Sender>, Misconfigured> {
    let Settings { url, secrets, allow_private, ca_file } = settings.read()?;
    if !web::may_call(&url, allow_private) {
        return Err(
            settings.refuse("`url` must be https (http only to loopback, with allow_private), without a user name")
        );
    }
    if secrets.is_empty() || secrets.len() > MAX_SECRETS {
        return Err(settings.refuse(format_args!("`secrets` has one to {MAX_SECRETS} of them")));
    }
    let keys = secrets.into_iter().map(|secret| key(&secret.below(&deps.folder)));
    let keys = keys.collect::<Result<_, _>>().map_err(|why| settings.refuse(format_args!("`secrets`: {why}")))?;
    let http = web::client(deps, ca_file.as_ref()).map_err(|error| settings.refuse(error))?;
    Ok(Arc::new(Webhook { url, keys, allow_private, http }))
}

fn key(secret: &SecretRef) -> Result<hmac::Key, String> {
    let text = secret.read()?;
    let bytes = text.expose_secret().strip_prefix(SECRET_PREFIX).and_then(|rest| STANDARD.decode(rest).ok());
    let bytes = bytes.map(Zeroizing::new).filter(|bytes| SECRET_BYTES.contains(&bytes.len()));
    let wrong = || {
        format!(
            "{secret} is not `whsec_` and 24 to 64 bytes in base64; make one with `echo whsec_$(openssl rand -base64 32)`"
        )
    };
    bytes.map(|bytes| hmac::Key::new(hmac::HMAC_SHA256, &bytes)).ok_or_else(wrong)
}

impl Webhook {
    /// `v1,` and the signature over id, time and body, for each secret (Standard Webhooks, "Signature scheme").
    fn signatures(&self, id: &str, secs: i64, body: &str) -> String {
        let signed = format!("{id}.{secs}.{body}");
        let sign = |key: &hmac::Key| format!("v1,{}", STANDARD.encode(hmac::sign(key, signed.as_bytes())));
        self.keys.iter().map(sign).collect::<Vec<_>>().join(" ")
    }

    fn request(&self, letter: &Letter<'_>) -> Result<Outgoing, SendError> {
        let body = Body { data: letter.content, timestamp: letter.created_at, kind: event_word(letter.content.event) };
        let body = canonical_json(&body).map_err(|error| SendError::new(error.to_string()))?;
        let (id, secs) = (letter.id.to_string(), letter.now.as_secs());
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert("webhook-timestamp", HeaderValue::from(secs));
        for (name, value) in [("webhook-signature", self.signatures(&id, secs, &body)), ("webhook-id", id)] {
            let value = HeaderValue::from_str(&value).map_err(|error| SendError::new(error.to_string()))?;
            headers.insert(name, value);
        }
        Ok(Outgoing { method: Method::POST, url: self.url.clone(), headers, body: body.into_bytes() })
    }

    const fn limits(&self) -> FetchLimits {
        FetchLimits { max_bytes: MAX_ANSWER_BYTES, allow_private: self.allow_private }
    }
}

#[async_trait]
impl Sender for Webhook {
    fn readers(&self) -> Readers<'_> {
        Readers::Channel
    }

    fn follow_up(&self) -> FollowUp {
        FollowUp::Always
    }

    async fn send(&self, letter: &Letter<'_>) -> Result<Option<String>, SendError> {
        let answer = self.http.send(self.request(letter)?, self.limits()).await.map_err(web::unheard)?;
        if answer.status.is_success() { Ok(None) } else { Err(web::not_taken(answer.status, &answer.headers)) }
    }

    /// Any answer to a HEAD says that it is reached; what it makes of a notice only a notice shows.
    async fn check(&self) -> Result<String, String> {
        let ask = Outgoing { method: Method::HEAD, ..Outgoing::get(self.url.clone()) };
        let answer = self.http.send(ask, self.limits()).await.map_err(|error| error.to_string())?;
        Ok(format!("reached (status {} to a HEAD), {} secrets sign", answer.status.as_u16(), self.keys.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::content::tests::content;
    use super::*;
    use crate::domain::{NoticeId, NoticeKind};

    fn webhook(secrets: &[&str]) -> Webhook {
        let keys = secrets.iter().map(|secret| {
            let bytes = STANDARD.decode(secret.strip_prefix(SECRET_PREFIX).unwrap()).unwrap();
            hmac::Key::new(hmac::HMAC_SHA256, &bytes)
        });
        let url = "https://hooks.acme.example/hallpass".parse().unwrap();
        Webhook { url, keys: keys.collect(), allow_private: false, http: HttpClient::new(None).unwrap() }
    }

    #[test]
    fn the_vector_of_the_specification_is_signed_as_it_says() {
        // standard-webhooks/standard-webhooks, libraries/python/tests: secret, id, time, body and signature.
        let hook = webhook(&["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]);
        let signed = hook.signatures("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, "{\"test\": 2432232314}");
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn the_body_is_the_same_at_each_attempt_and_the_signature_is_not() {
        let hook = webhook(&["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]);
        let content = content(NoticeKind::Awaited);
        let created_at = Timestamp::from_secs(1_800_000_000);
        let id = NoticeId::new(created_at, [7; 10]);
        let at = |secs: i64| {
            let now = created_at.plus_millis(secs * 1000);
            let letter = Letter { id, recipient: "", content: &content, created_at, now, before: None };
            hook.request(&letter).unwrap()
        };
        let (first, second) = (at(0), at(30));
        assert_eq!(first.body, second.body);
        assert_eq!(first.headers["webhook-id"], second.headers["webhook-id"]);
        assert_ne!(first.headers["webhook-signature"], second.headers["webhook-signature"]);
        assert_eq!(first.headers["webhook-signature"].to_str().unwrap().split(' ').count(), 2);
        let body: serde_json::Value = serde_json::from_slice(&first.body).unwrap();
        assert_eq!((&body["type"], &body["data"]["not_for"][0]), (&"request.awaited".into(), &"maya".into()));
    }
}
