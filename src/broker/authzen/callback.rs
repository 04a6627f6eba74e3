//! Telling whoever filed (ARAP §13): a short note that something is settled, to a host the deployment allows, authenticated by a
//! token of ours that is bound to the note. It carries no result; whoever hears it reads the filing. Trying is bounded, and who
//! was not told can always ask.

use ::http::header::{AUTHORIZATION, CONTENT_TYPE};
use ::http::{HeaderMap, HeaderName, HeaderValue, Method};
use futures_util::StreamExt as _;
use serde_json::json;
use url::Url;

use super::super::sweep::SweepReport;
use super::super::{Broker, BrokerError};
use super::token;
use crate::api::authzen::{CallbackAsk, FiledTask};
use crate::domain::{AccessRequest, Callback, Filing, forbidden_characters};
use crate::store::StoreError;
use crate::sys::{FetchError, FetchLimits, HttpClient, Outgoing, sha256};

/// Callbacks looked at in one run, and tried at the same time.
const BATCH: u32 = 100;
const PARALLEL: usize = 16;
/// How often a callback is tried: after 0, 5, 10, 20 … seconds, in all some twenty minutes.
const MAX_TRIES: u32 = 9;
const FIRST_PAUSE_MILLIS: i64 = 5_000;
/// For how long the token of a callback is good, in seconds.
const TOKEN_SECS: i64 = 300;
/// Longest endpoint in bytes, longest state in characters, and longest answer that is read, in bytes.
const MAX_ENDPOINT_BYTES: usize = 2048;
const MAX_STATE_CHARS: usize = 512;
const MAX_ANSWER_BYTES: usize = 4096;
/// What may be asked to be told.
const EVENTS: [&str; 6] = ["approved", "denied", "expired", "cancelled", "failed", "partial"];

/// Who may be called when a filing is settled.
#[derive(Clone)]
pub struct CallbackSettings {
    /// By which client.
    pub http: HttpClient,
    /// Hosts with a public address, as `host` (port 443) or `host:port`.
    pub hosts: Vec<String>,
    /// Hosts that may have any address, also one of this machine or network.
    pub private_hosts: Vec<String>,
}

/// Host and port of an entry.
fn with_port(entry: &str) -> String {
    // An IPv6 address stands in brackets and has colons of its own.
    let after = entry.rsplit(']').next().unwrap_or(entry);
    if after.contains(':') { entry.to_owned() } else { format!("{entry}:443") }
}

impl CallbackSettings {
    /// Whether this destination is allowed, and if so, whether its address may be a private one.
    fn allows(&self, url: &Url) -> Option<bool> {
        let place = format!("{}:{}", url.host_str()?, url.port_or_known_default()?);
        let lists = |entries: &[String]| entries.iter().any(|entry| with_port(entry).eq_ignore_ascii_case(&place));
        if lists(&self.private_hosts) { Some(true) } else { lists(&self.hosts).then_some(false) }
    }
}

/// A callback as it is kept, until its filing is settled.
pub(super) fn callback_of(filing: &Filing, ask: &CallbackAsk, requests: &[&AccessRequest]) -> Option<Callback> {
    let waits = requests.iter().find(|request| request.pending().is_some()).or_else(|| requests.first())?;
    Some(Callback {
        filing: filing.id,
        request: waits.id,
        endpoint: ask.endpoint.clone(),
        state: ask.state.clone(),
        events: ask.events.clone().unwrap_or_default(),
        due_at: filing.filed_at,
        tries: 0,
        keep_until: filing.readable_until,
    })
}

impl Broker {
    /// Refuse a callback that this deployment does not allow, before anything is filed.
    pub(super) async fn check_callback(&self, callback: &CallbackAsk) -> Result<(), BrokerError> {
        let refuse = |why: &str| Err(BrokerError::Invalid(format!("`callback.{why}`")));
        if callback.state.as_deref().is_some_and(|state| state.chars().count() > MAX_STATE_CHARS) {
            return refuse("state` has more than 512 characters");
        }
        if callback.events.iter().flatten().any(|event| !EVENTS.contains(&event.as_str())) {
            return refuse("events` are among approved, denied, expired, cancelled, failed and partial");
        }
        let plain =
            callback.endpoint.len() <= MAX_ENDPOINT_BYTES && forbidden_characters(&callback.endpoint).is_empty();
        let Some(url) = plain.then(|| Url::parse(&callback.endpoint).ok()).flatten() else {
            return refuse("endpoint` is no URL");
        };
        let Some(private) = self.callbacks.allows(&url) else {
            return refuse("endpoint` is on a host that this deployment does not allow; an operator allows it");
        };
        match self.callbacks.http.check(&url, private).await {
            Ok(()) => Ok(()),
            Err(FetchError::AddressBlocked) => refuse("endpoint` leads to an address that is not public"),
            Err(_) => refuse("endpoint` must be an https URL without a user name"),
        }
    }

    /// Tell those whose filings are settled.
    ///
    /// # Errors
    /// What the store says.
    pub async fn sweep_callbacks(&self) -> Result<SweepReport, BrokerError> {
        if self.quarantine().is_some() {
            return Ok(SweepReport::default());
        }
        let due = self.store.list_due_callbacks(self.clock.now(), BATCH).await?;
        let count = due.len();
        let done = futures_util::stream::iter(due)
            .map(|callback| self.call_back(callback))
            .buffer_unordered(PARALLEL)
            .collect::<Vec<_>>()
            .await;
        done.into_iter().collect::<Result<Vec<()>, _>>()?;
        Ok(SweepReport { done: count, more: u32::try_from(count).is_ok_and(|count| count >= BATCH) })
    }

    async fn call_back(&self, callback: Callback) -> Result<(), BrokerError> {
        let Some(filing) = self.store.find_filing(callback.filing).await? else {
            return Ok(self.store.forget_callback(callback.filing).await?);
        };
        let standing = self.standing_of(filing.clone()).await?;
        let next = standing.pending().next().map(|request| request.id);
        if let Some(request) = next {
            // Another item waits still.
            let after = Callback { request, ..callback.clone() };
            return was_taken(self.store.take_callback(&callback, &after).await).map(drop);
        }
        if !callback.events.is_empty() && !callback.events.iter().any(|event| event == standing.aggregate()) {
            return Ok(self.store.forget_callback(callback.filing).await?);
        }
        let pause = FIRST_PAUSE_MILLIS.saturating_mul(1_i64 << callback.tries.min(16));
        let tries = callback.tries.saturating_add(1);
        let after = Callback { tries, due_at: self.clock.now().plus_millis(pause), ..callback.clone() };
        if !was_taken(self.store.take_callback(&callback, &after).await)? {
            return Ok(());
        }
        let told = self.tell(&callback, &self.filing_answer(filing).await?.task).await;
        let outcome = if told { "heard" } else { "failed" };
        metrics::counter!("hallpass_callbacks_total", "outcome" => outcome).increment(1);
        if told || tries >= MAX_TRIES {
            if !told {
                tracing::warn!(filing.id = %callback.filing, "a callback was tried so often that it is given up");
            }
            self.store.forget_callback(callback.filing).await?;
        }
        Ok(())
    }

    /// Send one note; whether it was heard.
    async fn tell(&self, callback: &Callback, task: &FiledTask) -> bool {
        match self.try_tell(callback, task).await {
            Ok(status) => status,
            Err(error) => {
                tracing::info!(filing.id = %callback.filing, %error, "a callback was not heard");
                false
            }
        }
    }

    async fn try_tell(&self, callback: &Callback, task: &FiledTask) -> Result<bool, BrokerError> {
        let refused = |error: FetchError| BrokerError::Internal(error.to_string());
        let url = Url::parse(&callback.endpoint).map_err(|_| refused(FetchError::UrlNotAllowed))?;
        let Some(allow_private) = self.callbacks.allows(&url) else { return Err(refused(FetchError::UrlNotAllowed)) };
        let mut body = json!({
            "task": { "id": task.id, "status": task.status, "status_endpoint": task.status_endpoint },
        });
        if let (Some(state), Some(body)) = (&callback.state, body.as_object_mut()) {
            body.insert("state".to_owned(), state.as_str().into());
        }
        let body = body.to_string();
        let headers = self.callback_headers(callback, &body)?;
        let request = Outgoing { method: Method::POST, url, headers, body: body.into_bytes() };
        let limits = FetchLimits { max_bytes: MAX_ANSWER_BYTES, allow_private };
        match self.callbacks.http.send(request, limits).await {
            Ok(answer) => Ok(answer.status.is_success()),
            // Whoever answers at length has heard it.
            Err(FetchError::TooLarge { .. }) => Ok(true),
            Err(error) => Err(refused(error)),
        }
    }

    /// A bearer token of ours (RFC 6750) for this endpoint, this note and five minutes, which the keys at our `jwks_uri` verify; and
    /// a name by which a note that comes twice is recognised.
    fn callback_headers(&self, callback: &Callback, body: &str) -> Result<HeaderMap, BrokerError> {
        let now = self.clock.now();
        let until = now.plus_millis(TOKEN_SECS.saturating_mul(1000));
        let claims = json!({
            "aud": callback.endpoint, "body_sha256": data_encoding::BASE64URL_NOPAD.encode(sha256(body).as_bytes()),
            "exp": until.as_secs(), "iat": now.as_secs(), "iss": self.public_url, "jti": self.ids.opaque(),
        });
        let internal = |_| BrokerError::Internal("a header of a callback cannot be written".to_owned());
        let token = self.sign_own(token::CALLBACK, &claims, until)?;
        let token = token.ok_or_else(|| BrokerError::Internal("no key may sign a callback".to_owned()))?;
        let mut bearer = HeaderValue::try_from(format!("Bearer {token}")).map_err(internal)?;
        bearer.set_sensitive(true);
        let name = HeaderValue::try_from(callback.filing.to_string()).map_err(internal)?;
        Ok(HeaderMap::from_iter([
            (AUTHORIZATION, bearer),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (HeaderName::from_static("webhook-id"), name),
        ]))
    }
}

/// Whether it was taken; another replica may have been first.
fn was_taken(taken: Result<(), StoreError>) -> Result<bool, BrokerError> {
    match taken {
        Ok(()) => Ok(true),
        Err(StoreError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
