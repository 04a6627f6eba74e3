//! Who looks at the console, and that it is really they who sent a form. A browser is recognised by one cookie that no script can
//! read and no other site can set; a form counts only with the token of its session, from a page of our own.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, OriginalUri, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;
use url::{Url, form_urlencoded};

use crate::api::ProblemKind;
use crate::broker::{BrokerError, Caller, OperatorCaller};
use crate::http::HttpState;
use crate::http::address::client_address;
use crate::http::body::{media_type, read};
use crate::http::refusal::Refusal;
use crate::sys::{ExposeSecret as _, SecretString, mac};

use super::next::{Next, sign_in_url};

/// The session's cookie. Its prefix makes browsers demand `Secure`, `Path=/` and no `Domain` (RFC 6265bis §4.1.3.2).
pub(super) const SESSION_COOKIE: &str = "__Host-hallpass";
/// Most fields of a form.
const MAX_FIELDS: usize = 1000;
const HX_REQUEST: HeaderName = HeaderName::from_static("hx-request");
const HX_REDIRECT: HeaderName = HeaderName::from_static("hx-redirect");
const HX_CURRENT_URL: HeaderName = HeaderName::from_static("hx-current-url");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a form of this session must send back in its field `csrf`.
#[derive(Clone)]
pub(in crate::http) struct Csrf(String);

impl Csrf {
    /// Of the session with this secret: whoever does not hold the secret cannot make it, and it tells nothing of the secret.
    fn of(secret: &SecretString) -> Self {
        let tag = mac(secret.expose_secret().as_bytes(), b"hallpass console form v1");
        Self(data_encoding::BASE64URL_NOPAD.encode(tag.as_bytes()))
    }

    /// The field's value.
    pub(in crate::http) fn as_str(&self) -> &str {
        &self.0
    }

    fn is(&self, sent: &str) -> bool {
        self.0.as_bytes().ct_eq(sent.as_bytes()).into()
    }
}

impl std::fmt::Display for Csrf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A person who is signed in to the console; whoever is not is sent to sign in and comes back.
#[derive(Clone)]
pub(in crate::http) struct SignedIn {
    /// Who.
    pub(in crate::http) caller: OperatorCaller,
    /// For the forms of the page.
    pub(in crate::http) csrf: Csrf,
}

/// A form that one of our own pages sent. Every field is a text and comes once, but for those whose name ends in `[]`: `scopes[]`
/// may come as often as it likes, and is the list of texts `scopes`.
pub(in crate::http) struct Posted<T>(pub(in crate::http) T);

/// Why there is no page.
pub(in crate::http) enum NotSignedIn {
    /// The person signs in first.
    Away(Response),
    /// The problem.
    Refused(Refusal),
}

impl IntoResponse for NotSignedIn {
    fn into_response(self) -> Response {
        match self {
            Self::Away(response) => response,
            Self::Refused(refusal) => refusal.into_response(),
        }
    }
}

impl<E: Into<Refusal>> From<E> for NotSignedIn {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

impl FromRequestParts<Arc<HttpState>> for SignedIn {
    type Rejection = NotSignedIn;
    async fn from_request_parts(parts: &mut Parts, state: &Arc<HttpState>) -> Result<Self, NotSignedIn> {
        if let Some(signed_in) = find(parts, state).await? {
            return Ok(signed_in);
        }
        let mut response = away(parts, state);
        if cookie(&parts.headers, SESSION_COOKIE).is_some() {
            // What opens nothing any more need not be tried again.
            response.headers_mut().append(header::SET_COOKIE, set_cookie(SESSION_COOKIE, "", 0));
        }
        Err(NotSignedIn::Away(response))
    }
}

/// Who looks, if anybody is signed in. Looked up once for each request.
pub(super) async fn find(parts: &mut Parts, state: &HttpState) -> Result<Option<SignedIn>, Refusal> {
    if let Some(known) = parts.extensions.get::<SignedIn>() {
        return Ok(Some(known.clone()));
    }
    let Some(secret) = cookie(&parts.headers, SESSION_COOKIE) else { return Ok(None) };
    let found = match state.broker.session_caller(&secret).await {
        Ok(caller) => {
            let signed_in = SignedIn { caller, csrf: Csrf::of(&SecretString::from(secret)) };
            state.broker.admit(&Caller::Operator(signed_in.caller.clone()))?;
            signed_in
        }
        Err(BrokerError::IdentityRefused) => {
            // Guesses count against the address; over its budget it learns nothing more.
            state.broker.admit_address(client_address(parts, &state.trusted_proxies))?;
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    parts.extensions.insert(found.clone());
    Ok(Some(found))
}

/// To the sign-in and back: a redirect for a page, a word to htmx for a part of one, and a plain no for a stream.
fn away(parts: &Parts, state: &HttpState) -> Response {
    let wants = |name: HeaderName, value: &str| {
        parts.headers.get(name).and_then(|text| text.to_str().ok()).is_some_and(|text| text.contains(value))
    };
    if wants(HX_REQUEST, "true") {
        let to = sign_in_url(state, &current_page(&parts.headers, state));
        let to = HeaderValue::try_from(to).unwrap_or(HeaderValue::from_static(super::SIGN_IN));
        return (StatusCode::UNAUTHORIZED, [(HX_REDIRECT, to)]).into_response();
    }
    if wants(header::ACCEPT, "text/event-stream") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let asked = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |OriginalUri(uri)| uri);
    let asked = asked.path_and_query().map_or("/", |asked| asked.as_str());
    // What was to be changed cannot be repeated after a detour.
    let next = if parts.method == http::Method::GET { Next::parse(asked) } else { None };
    super::see_other(&sign_in_url(state, &next.unwrap_or_default()))
}

/// The page that htmx is on, if it is one of ours.
fn current_page(headers: &HeaderMap, state: &HttpState) -> Next {
    let url = headers.get(HX_CURRENT_URL).and_then(|text| Url::parse(text.to_str().ok()?).ok());
    let ours = url.filter(|url| url.origin().ascii_serialization() == own_origin(state));
    let path = |url: Url| match url.query() {
        Some(query) => Next::parse(&format!("{}?{query}", url.path())),
        None => Next::parse(url.path()),
    };
    ours.and_then(path).unwrap_or_default()
}

impl<T: DeserializeOwned> FromRequest<Arc<HttpState>> for Posted<T> {
    type Rejection = NotSignedIn;
    async fn from_request(request: Request, state: &Arc<HttpState>) -> Result<Self, NotSignedIn> {
        let (mut parts, body) = request.into_parts();
        let SignedIn { csrf, .. } = SignedIn::from_request_parts(&mut parts, state).await?;
        if !comes_from_us(&parts.headers, &own_origin(state)) {
            return Err(refused("origin").into());
        }
        let is_form = media_type(&parts.headers)
            .is_some_and(|(kind, _)| kind.eq_ignore_ascii_case("application/x-www-form-urlencoded"));
        if !is_form {
            return Err(refused("content_type").into());
        }
        let mut fields = fields(&read(&parts.headers, body).await?)?;
        match fields.remove("csrf").as_deref() {
            Some([sent]) if csrf.is(sent) => {}
            Some(_) | None => return Err(refused("token").into()),
        }
        let mut object = Map::new();
        for (name, mut texts) in fields {
            let (name, value) = match (name.strip_suffix("[]"), texts.pop()) {
                (Some(name), last) => (name.to_owned(), texts.into_iter().chain(last).map(Value::String).collect()),
                (None, Some(only)) if texts.is_empty() => (name, Value::String(only)),
                (None, _) => return Err(unreadable().into()),
            };
            object.insert(name, value);
        }
        serde_json::from_value(Value::Object(object)).map(Self).map_err(|_| unreadable().into())
    }
}

fn fields(body: &[u8]) -> Result<BTreeMap<String, Vec<String>>, Refusal> {
    let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (count, (name, value)) in form_urlencoded::parse(body).enumerate() {
        if count >= MAX_FIELDS {
            return Err(Refusal::invalid("The form has too many fields."));
        }
        fields.entry(name.into_owned()).or_default().push(value.into_owned());
    }
    Ok(fields)
}

fn unreadable() -> Refusal {
    Refusal::invalid("The form lacks a field or has one too many; load the page again.")
}

fn refused(why: &'static str) -> Refusal {
    let detail = "The form did not come from a page of this session. Load the page again and repeat what you did.";
    Refusal::new(ProblemKind::CsrfFailed, detail).because_of(why)
}

fn own_origin(state: &HttpState) -> String {
    Url::parse(&state.public_url).map(|url| url.origin().ascii_serialization()).unwrap_or_default()
}

/// What browsers say of where a form comes from must not contradict that it is one of ours; what does not come from a browser
/// says nothing, and has no cookie either unless somebody gave it one. A page under `Referrer-Policy: no-referrer` sends the
/// origin `null` (Fetch §3.2.4): then Sec-Fetch-Site must vouch for it.
fn comes_from_us(headers: &HeaderMap, own: &str) -> bool {
    let one = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Some(None),
            (Some(value), None) => value.to_str().ok().map(Some),
            (Some(_), Some(_)) => None,
        }
    };
    let (Some(origin), Some(site)) = (one(header::ORIGIN), one(SEC_FETCH_SITE)) else { return false };
    let same_site = site.map(|site| site == "same-origin");
    match origin {
        Some("null") => same_site == Some(true),
        Some(origin) => origin == own && same_site != Some(false),
        None => same_site != Some(false),
    }
}

/// The one cookie of that name; of two, neither is believed.
pub(super) fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut found = lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(found, _)| *found == name);
    match (found.next(), found.next()) {
        (Some((_, value)), None) => Some(value.to_owned()),
        (_, _) => None,
    }
}

/// The line that sets a cookie for at most so many seconds; zero takes it away.
pub(super) fn set_cookie(name: &str, value: &str, max_age_secs: i64) -> HeaderValue {
    let line = format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={}", max_age_secs.max(0));
    let mut line = HeaderValue::try_from(line).unwrap_or(HeaderValue::from_static(""));
    line.set_sensitive(true);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn con_01_a_form_of_another_site_is_told_by_what_browsers_say() {
        let own = "https://hallpass.test";
        let from = |origin: Option<&str>, site: Option<&str>| {
            let mut map = HeaderMap::new();
            for (name, value) in [(header::ORIGIN, origin), (SEC_FETCH_SITE, site)] {
                value.map(|value| map.insert(name, value.parse().unwrap()));
            }
            comes_from_us(&map, own)
        };
        assert!(from(Some(own), Some("same-origin")) && from(Some(own), None) && from(None, Some("same-origin")));
        assert!(from(Some("null"), Some("same-origin")), "a page that sends no referrer");
        for (origin, site) in [
            (Some("https://evil.example"), None),
            (Some("https://evil.example"), Some("same-origin")),
            (Some("http://hallpass.test"), None),
            (Some("https://hallpass.test:8443"), None),
            (Some("null"), None),
            (Some("null"), Some("cross-site")),
            (Some(own), Some("cross-site")),
            (Some(own), Some("same-site")),
            (None, Some("cross-site")),
            (None, Some("none")),
        ] {
            assert!(!from(origin, site), "{origin:?} {site:?}");
        }
    }

    #[test]
    fn of_two_cookies_of_one_name_neither_is_believed() {
        let one = headers(&[(header::COOKIE, "a=1; __Host-hallpass=x; b=2")]);
        assert_eq!(cookie(&one, SESSION_COOKIE).as_deref(), Some("x"));
        let two = headers(&[(header::COOKIE, "__Host-hallpass=x; __Host-hallpass=y")]);
        assert_eq!(cookie(&two, SESSION_COOKIE), None);
        assert_eq!(cookie(&headers(&[(header::COOKIE, "hallpass=x")]), SESSION_COOKIE), None);
    }

    #[test]
    fn con_06_a_cookie_is_of_this_host_secure_and_out_of_reach_of_scripts() {
        let line = set_cookie(SESSION_COOKIE, "v", 60);
        let line = line.to_str().unwrap();
        assert_eq!(line, "__Host-hallpass=v; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=60");
    }
}
