//! Signing in at the issuer of `hallpass dev`: the authorization code flow with PKCE (OpenID Connect Core 1.0 §3.1), for one
//! client and for sample people who need no password. Whoever can reach this port of this machine may be any of them, which is
//! what trying things takes, and why `dev` listens on loopback only.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{RawForm, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use axum::{Json, Router, routing};
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;
use url::form_urlencoded;

use super::issuer::Issuer;
use crate::sys::{Clock as _, Entropy as _, ExposeSecret as _, SecretString, SystemClock, SystemEntropy, sha256};

/// By which the issuer knows the broker.
pub(super) const CLIENT: &str = "hallpass-dev";
/// For how long a code may be exchanged, in seconds.
const CODE_SECS: i64 = 60;
/// For how long the link of the greeting signs somebody in, in seconds.
const LINK_SECS: i64 = 600;
/// How many codes may wait to be exchanged.
const MAX_CODES: usize = 100;
/// What a link's code is made of: nothing that looks like something else.
const ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
/// The authentication context class of somebody who just said who they are.
const ACR: &str = "urn:hallpass:dev";

/// A sample person.
pub(super) struct Sample {
    pub(super) name: &'static str,
    pub(super) email: &'static str,
    pub(super) groups: &'static [&'static str],
    pub(super) what: &'static str,
}

/// The sample people, as policies/people.toml has them. The first is who the greeting's link signs in.
pub(super) const PEOPLE: &[Sample] = &[
    Sample {
        name: "dev-approver",
        email: "dev-approver@hallpass.example",
        groups: &["release-approvers", "hallpass-operators", "hallpass-auditors"],
        what: "approves releases, runs the broker, reads the audit",
    },
    Sample {
        name: "jonas",
        email: "jonas@acme.example",
        groups: &["release-approvers"],
        what: "approves releases too; owns triage-bot",
    },
    Sample {
        name: "maya",
        email: "maya@acme.example",
        groups: &["release-approvers"],
        what: "owns release-bot, so she never decides what it asks for",
    },
];

/// What a code stands for.
struct Granted {
    who: &'static Sample,
    nonce: String,
    challenge: String,
    acr: String,
    at: i64,
}

/// Who may sign in, and who is about to.
pub(super) struct SignIns {
    /// Where the broker wants its answers.
    callback: String,
    codes: Mutex<HashMap<String, Granted>>,
    link: Mutex<Option<(String, i64)>>,
}

impl SignIns {
    /// With a link that signs the first sample person in once; its code.
    pub(super) fn new(callback: String) -> (Self, String) {
        let mut random = [0_u8; 8];
        SystemEntropy::default().fill(&mut random);
        let mut code: String = random
            .iter()
            .filter_map(|byte| ALPHABET.get(usize::from(*byte) % ALPHABET.len()).copied().map(char::from))
            .collect();
        code.insert(4, '-');
        let until = SystemClock.now().as_secs().saturating_add(LINK_SECS);
        let link = Mutex::new(Some((code.clone(), until)));
        (Self { callback, codes: Mutex::default(), link }, code)
    }

    /// Use the link up, if it is this one and still good.
    fn use_link(&self, code: &str, now: i64) -> bool {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let good = link.as_ref().is_some_and(|(ours, until)| {
            now < *until && bool::from(ours.as_bytes().ct_eq(code.to_ascii_uppercase().as_bytes()))
        });
        if good {
            *link = None;
        }
        good
    }

    fn grant(&self, code: String, granted: Granted) -> bool {
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        let now = granted.at;
        codes.retain(|_, known| now.saturating_sub(known.at) < CODE_SECS);
        let room = codes.len() < MAX_CODES;
        if room {
            codes.insert(code, granted);
        }
        room
    }

    fn take(&self, code: &str, now: i64) -> Option<Granted> {
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        codes.remove(code).filter(|granted| now.saturating_sub(granted.at) < CODE_SECS)
    }
}

/// What the discovery document says besides the usual.
pub(super) fn metadata(url: &str) -> Value {
    json!({
        "authorization_endpoint": format!("{url}/people/authorize"),
        "token_endpoint": format!("{url}/people/token"),
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
        "authorization_response_iss_parameter_supported": true,
    })
}

/// The routes by which people sign in.
pub(super) fn routes() -> Router<Arc<Issuer>> {
    Router::new().route("/people/authorize", routing::get(authorize)).route("/people/token", routing::post(exchange))
}

/// Query or form members; of several of one name, none.
fn members(text: &str) -> HashMap<String, String> {
    let mut found = HashMap::new();
    let mut twice = Vec::new();
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        if found.insert(name.to_string(), value.into_owned()).is_some() {
            twice.push(name.into_owned());
        }
    }
    found.retain(|name, _| !twice.contains(name));
    found
}

async fn authorize(State(issuer): State<Arc<Issuer>>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let asked = members(&query);
    let is = |name: &str, value: &str| asked.get(name).is_some_and(|found| found == value);
    // A page elsewhere whose name leads here is not whom we talk to.
    let here = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    if here != Some(issuer.host()) {
        return refuse("this is not the address of the dev issuer");
    }
    // RFC 6749 §4.1.2.1: nobody is sent to an address that is not the client's.
    if !is("client_id", CLIENT) || !is("redirect_uri", &issuer.sign_ins().callback) {
        return refuse("the dev issuer has one client, the broker beside it");
    }
    if !is("response_type", "code") || !is("code_challenge_method", "S256") {
        return refuse("the dev issuer knows the code flow with PKCE (S256) only");
    }
    let now = SystemClock.now().as_secs();
    let by_link = asked.get("login_hint").is_some_and(|code| issuer.sign_ins().use_link(code, now));
    let chosen = asked.get("sign_in_as").and_then(|name| PEOPLE.iter().find(|person| person.name == name));
    let who = if by_link { PEOPLE.first() } else { chosen };
    let Some(who) = who else { return Html(choose(&query)).into_response() };
    let text = |name: &str| asked.get(name).cloned().unwrap_or_default();
    let acr = text("acr_values").split(' ').next().filter(|acr| !acr.is_empty()).unwrap_or(ACR).to_owned();
    let code = issuer.ids().opaque();
    let granted = Granted { who, nonce: text("nonce"), challenge: text("code_challenge"), acr, at: now };
    if !issuer.sign_ins().grant(code.clone(), granted) {
        return refuse("too many sign-ins are under way");
    }
    let answer = form_urlencoded::Serializer::new(String::new())
        .append_pair("code", &code)
        .append_pair("state", &text("state"))
        .append_pair("iss", &issuer.people())
        .finish();
    Redirect::to(&format!("{}?{answer}", issuer.sign_ins().callback)).into_response()
}

fn refuse(why: &str) -> Response {
    (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response()
}

/// A page that lists the sample people; the query says what to come back with, and is escaped by its encoding.
fn choose(query: &str) -> String {
    let kept: String = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(
            form_urlencoded::parse(query.as_bytes())
                .filter(|(name, _)| !matches!(&**name, "sign_in_as" | "login_hint")),
        )
        .finish();
    let mut list = String::new();
    for Sample { name, what, .. } in PEOPLE {
        // Writing to a string cannot fail. `&` stands in an attribute, where it must be escaped.
        let kept = kept.replace('&', "&amp;");
        let _ = write!(list, "<li><a href=\"?{kept}&amp;sign_in_as={name}\">{name}</a>: {what}</li>");
    }
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><title>Sign in · hallpass dev</title></head><body><main>\
         <h1>Sign in as whom?</h1><p>The identity provider of <code>hallpass dev</code>, on this machine only. \
         Nobody here has a password.</p><ul>{list}</ul></main></body></html>"
    )
}

async fn exchange(State(issuer): State<Arc<Issuer>>, RawForm(form): RawForm) -> (StatusCode, Json<Value>) {
    let refuse = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": error })));
    let form = members(&String::from_utf8_lossy(&form));
    let is = |name: &str, value: &str| form.get(name).is_some_and(|found| found == value);
    if !is("grant_type", "authorization_code") {
        return refuse("unsupported_grant_type");
    }
    if !is("client_id", CLIENT) {
        return refuse("invalid_client");
    }
    let now = SystemClock.now().as_secs();
    let granted = form.get("code").and_then(|code| issuer.sign_ins().take(code, now));
    let verifier = form.get("code_verifier").map(String::as_str).unwrap_or_default();
    let shown = data_encoding::BASE64URL_NOPAD.encode(sha256(verifier).as_bytes());
    let Some(granted) =
        granted.filter(|granted| is("redirect_uri", &issuer.sign_ins().callback) && granted.challenge == shown)
    else {
        return refuse("invalid_grant");
    };
    match id_token(&issuer, &granted, now) {
        Ok(token) => {
            let answer = json!({
                "access_token": issuer.ids().opaque(), "token_type": "Bearer", "expires_in": CODE_SECS,
                "id_token": token.expose_secret(),
            });
            (StatusCode::OK, Json(answer))
        }
        Err(error) => {
            tracing::error!(%error, "the dev issuer could not sign");
            (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": "server_error" })))
        }
    }
}

fn id_token(issuer: &Issuer, granted: &Granted, now: i64) -> anyhow::Result<SecretString> {
    let Sample { name, email, groups, .. } = granted.who;
    issuer.sign(&json!({
        "iss": issuer.people(), "sub": name, "aud": CLIENT, "iat": now, "exp": now.saturating_add(300),
        "jti": issuer.ids().opaque(), "nonce": granted.nonce, "auth_time": granted.at, "acr": granted.acr,
        "email": email, "email_verified": true, "groups": groups,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_people_are_those_of_the_shipped_bundle() {
        let register = include_str!("../../../policies/people.toml");
        for Sample { name, email, .. } in PEOPLE {
            assert!(register.contains(&format!("name = \"{name}\"\nemail = \"{email}\"\n")), "{name}");
        }
    }

    #[test]
    fn the_link_of_the_greeting_is_good_once_and_for_ten_minutes() {
        let now = SystemClock.now().as_secs();
        let (sign_ins, code) = SignIns::new("http://127.0.0.1:8600/sign-in/callback".to_owned());
        assert!(code.len() == 9 && code.as_bytes()[4] == b'-', "{code}");
        assert!(!sign_ins.use_link("AAAA-AAAA", now) && !sign_ins.use_link("", now));
        assert!(!sign_ins.use_link(&code, now + LINK_SECS + 1), "too late");
        assert!(sign_ins.use_link(&code.to_ascii_lowercase(), now));
        assert!(!sign_ins.use_link(&code, now), "used up");
    }
}
