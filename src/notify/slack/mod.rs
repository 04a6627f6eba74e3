//! Slack: a message in one channel for each request, changed when the request is settled. It carries a link and, where calls of Slack's
//! can be verified, a Deny button; nothing is ever approved from a chat. A crash between the post and its record may leave a second
//! copy, whose button then answers that the request is settled.

mod action;
mod blocks;

use std::path::PathBuf;
use std::sync::Arc;

use ::http::header::{AUTHORIZATION, CONTENT_TYPE};
use ::http::{HeaderMap, HeaderValue, Method};
use async_trait::async_trait;
use ring::hmac;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

use super::text::visible;
use super::{
    ChannelSettings, FollowUp, Letter, Misconfigured, Readers, SendError, Sender, SenderDeps, SignedCall, web,
};
use crate::domain::NoticeKind;
use crate::sys::{ExposeSecret as _, FetchLimits, HttpClient, Outgoing, SecretRef, SecretString, parse_object};

pub use action::{ChatAction, ChatRefusal};

/// The longest answer, in bytes: a post is answered with the whole message.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// How deep an answer is nested at most.
const MAX_DEPTH: usize = 32;
/// The longest piece of what Slack says that goes into an error, in characters.
const MAX_SAID: usize = 100;
/// Where Slack takes what is only for whoever pressed a button.
const RESPONSE_HOST: &str = "hooks.slack.com";

/// The keys of a Slack channel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Where the bot's token is; it needs the scope `chat:write`.
    token: SecretRef,
    /// The id of the channel to post to, e.g. `C0123456789`; the bot must be in it.
    channel: String,
    /// The id of the workspace, e.g. `T0123456789`: people are known by it as `https://slack.com/<team>`.
    team: String,
    /// Where the app's signing secret is. Without it the messages have no Deny button.
    signing_secret: Option<SecretRef>,
    /// Slack's API.
    #[serde(default = "api")]
    api_url: Url,
    /// Whether `api_url` may lead to a private address.
    #[serde(default)]
    allow_private: bool,
    /// Certificate authorities to trust besides the web's, PEM.
    ca_file: Option<PathBuf>,
}

fn api() -> Url {
    #[expect(clippy::expect_used, reason = "a literal")]
    Url::parse("https://slack.com/api/").expect("a URL")
}

struct Slack {
    token: SecretString,
    channel: String,
    team: String,
    signing_key: Option<hmac::Key>,
    api_url: Url,
    allow_private: bool,
    http: HttpClient,
}

pub(super) fn build(settings: &ChannelSettings, deps: &SenderDeps) -> Result<Arc<dyn Sender>, Misconfigured> {
    let own: Settings = settings.read()?;
    if !web::may_call(&own.api_url, own.allow_private) || !own.api_url.path().ends_with('/') {
        return Err(settings.refuse("`api_url` must be https and end in `/`"));
    }
    for (key, id) in [("channel", &own.channel), ("team", &own.team)] {
        let fits = (2..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        if !fits {
            return Err(settings.refuse(format_args!("`{key}` is an id of capitals and digits, not a name")));
        }
    }
    let read = |key: &str, secret: SecretRef| {
        secret.below(&deps.folder).read().map_err(|why| settings.refuse(format_args!("`{key}`: {why}")))
    };
    let signing_secret = own.signing_secret.map(|secret| read("signing_secret", secret)).transpose()?;
    Ok(Arc::new(Slack {
        token: read("token", own.token)?,
        channel: own.channel,
        team: own.team,
        signing_key: signing_secret.map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes())),
        http: web::client(deps, own.ca_file.as_ref()).map_err(|error| settings.refuse(error))?,
        api_url: own.api_url,
        allow_private: own.allow_private,
    }))
}

/// What of Slack's words may be shown in a log.
fn said(answer: &Map<String, Value>) -> String {
    visible(answer.get("error").and_then(Value::as_str).unwrap_or("no reason given"), MAX_SAID)
}

impl Slack {
    async fn post(&self, url: Url, body: &Value, bearer: bool) -> Result<Map<String, Value>, SendError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        if bearer {
            let value = zeroize::Zeroizing::new(format!("Bearer {}", self.token.expose_secret()));
            let mut value = HeaderValue::from_str(&value)
                .map_err(|_| SendError::new("the token is not one that HTTP can carry"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let body = body.to_string().into_bytes();
        let limits = FetchLimits { max_bytes: MAX_ANSWER_BYTES, allow_private: self.allow_private };
        let outgoing = Outgoing { method: Method::POST, url, headers, body };
        let answer = self.http.send(outgoing, limits).await.map_err(web::unheard)?;
        if !answer.status.is_success() {
            return Err(web::not_taken(answer.status, &answer.headers));
        }
        // Whoever takes what is whispered answers `ok` in plain text.
        Ok(parse_object(&answer.body, MAX_DEPTH).unwrap_or_default())
    }

    /// Call a method of the Web API; what it answers.
    async fn call(&self, method: &str, body: &Value) -> Result<Map<String, Value>, SendError> {
        let url = self.api_url.join(method).map_err(|error| SendError::new(error.to_string()))?;
        self.post(url, body, true).await
    }

    async fn publish(&self, letter: &Letter<'_>) -> Result<Option<String>, SendError> {
        let mut body = blocks::message(letter.content, self.signing_key.is_some());
        body.insert("channel".to_owned(), json!(self.channel));
        let answer = self.call("chat.postMessage", &Value::Object(body)).await?;
        let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
        match (answer.get("ok"), text("channel"), text("ts")) {
            (Some(Value::Bool(true)), Some(channel), Some(ts)) => Ok(Some(format!("{channel}/{ts}"))),
            _ => Err(SendError::new(format!("Slack did not post it: {}", said(&answer)))),
        }
    }

    async fn change(&self, letter: &Letter<'_>, reference: &str) -> Result<Option<String>, SendError> {
        let (channel, ts) = reference.split_once('/').unwrap_or((&self.channel, reference));
        let mut body = blocks::message(letter.content, false);
        body.extend([("channel".to_owned(), json!(channel)), ("ts".to_owned(), json!(ts))]);
        let answer = self.call("chat.update", &Value::Object(body)).await?;
        // Somebody deleted it: nothing looks open that is not.
        let gone = answer.get("error").and_then(Value::as_str) == Some("message_not_found");
        if gone || answer.get("ok") == Some(&Value::Bool(true)) {
            return Ok(Some(reference.to_owned()));
        }
        Err(SendError::new(format!("Slack did not change it: {}", said(&answer))))
    }
}

#[async_trait]
impl Sender for Slack {
    fn readers(&self) -> Readers<'_> {
        Readers::Channel
    }

    fn follow_up(&self) -> FollowUp {
        FollowUp::Change
    }

    async fn send(&self, letter: &Letter<'_>) -> Result<Option<String>, SendError> {
        match (letter.content.event, letter.before) {
            (NoticeKind::Resolved, Some((_, Some(reference)))) => self.change(letter, reference).await,
            (NoticeKind::Resolved, _) => Err(SendError::new("there is no message to change")),
            (NoticeKind::Awaited | NoticeKind::BreakGlass | NoticeKind::ReviewDue, _) => self.publish(letter).await,
        }
    }

    async fn check(&self) -> Result<String, String> {
        let answer = self.call("auth.test", &json!({})).await.map_err(|error| error.to_string())?;
        if answer.get("ok") != Some(&Value::Bool(true)) {
            return Err(format!("Slack does not accept the token: {}", said(&answer)));
        }
        let team = answer.get("team_id").and_then(Value::as_str).unwrap_or_default();
        if team != self.team {
            return Err(format!("the token is of the workspace {}, not of {}", visible(team, MAX_SAID), self.team));
        }
        let deny = if self.signing_key.is_some() { "with" } else { "without" };
        Ok(format!("the token is accepted; messages {deny} a Deny button"))
    }

    fn chat_action(&self, call: &SignedCall<'_>) -> Option<Result<ChatAction, ChatRefusal>> {
        self.signing_key.as_ref().map(|key| action::read(key, &self.team, call))
    }

    async fn whisper(&self, to: &ChatAction, text: &str) -> Result<(), SendError> {
        let own_host = to.response_url.origin() == self.api_url.origin();
        if !own_host && (to.response_url.host_str() != Some(RESPONSE_HOST) || to.response_url.scheme() != "https") {
            return Err(SendError::new("the address to answer at is not Slack's"));
        }
        let text = super::text::slack(text, 500);
        let body = json!({ "replace_original": false, "response_type": "ephemeral", "text": text });
        self.post(to.response_url.clone(), &body, false).await.map(drop)
    }
}
