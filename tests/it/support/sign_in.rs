//! An identity provider at which people sign in, and the browser they do it with. The provider checks what it is asked as a careful
//! one does, and misbehaves as a test tells it; the browser keeps cookies and follows nothing by itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use hallpass::sys::{Clock as _, ManualClock, sha256};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use super::harness::{Harness, Options, Reply};
use super::idp::{TestKey, b64};

/// By which the provider knows the broker.
pub(crate) const CLIENT: &str = "hallpass";

/// How the provider misbehaves.
pub(crate) struct Manners {
    /// Claims of its ID tokens that are otherwise; `null` takes one away.
    pub(crate) claims: Value,
    /// Whether its metadata says that its answers name it (RFC 9207).
    pub(crate) says_iss: bool,
    /// The `iss` of its answers.
    pub(crate) iss: Option<String>,
    /// Whether a code is good more than once.
    pub(crate) forgetful: bool,
    /// Who signs its tokens instead of itself.
    pub(crate) signer: Option<TestKey>,
    /// Nothing works.
    pub(crate) down: bool,
}

struct Granted {
    who: String,
    groups: Vec<String>,
    query: HashMap<String, String>,
}

struct Shared {
    issuer: String,
    key: TestKey,
    manners: Mutex<Manners>,
    codes: Mutex<HashMap<String, Granted>>,
    clock: Mutex<Option<Arc<ManualClock>>>,
}

/// The provider; it stops when the test's runtime does.
#[derive(Clone)]
pub(crate) struct People(Arc<Shared>);

impl People {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let manners = Manners {
            claims: json!({}),
            says_iss: true,
            iss: Some(issuer.clone()),
            forgetful: false,
            signer: None,
            down: false,
        };
        let shared = Arc::new(Shared {
            issuer,
            key: TestKey::es256("people-1"),
            manners: Mutex::new(manners),
            codes: Mutex::default(),
            clock: Mutex::default(),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self(shared)
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.0.issuer
    }

    pub(crate) fn be(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.0.manners.lock().unwrap());
    }

    /// A broker whose people sign in here.
    pub(crate) async fn harness(&self, options: Options) -> Harness {
        let harness = Harness::with(Options { provider: Some(self.issuer().to_owned()), ..options }).await;
        *self.0.clock.lock().unwrap() = Some(Arc::clone(&harness.clock));
        harness
    }

    /// What a person does at the provider's page: sign in, and be sent back. The path and query of ours they come back to.
    pub(crate) fn sign_in(&self, sent_to: &Url, who: &str, groups: &[&str]) -> String {
        assert_eq!(sent_to.as_str().split('?').next(), Some(format!("{}/authorize", self.issuer()).as_str()));
        let query: HashMap<String, String> = sent_to.query_pairs().into_owned().collect();
        assert_eq!(query["response_type"], "code");
        assert_eq!(query["client_id"], CLIENT);
        assert_eq!(query["redirect_uri"], "https://hallpass.test/sign-in/callback");
        assert_eq!(query["code_challenge_method"], "S256");
        assert_eq!(query["scope"], "openid email profile");
        assert!(query["state"].len() >= 43 && query["nonce"].len() >= 43 && query["code_challenge"].len() == 43);
        let mut codes = self.0.codes.lock().unwrap();
        let code = format!("code-{}", &query["state"][..10]);
        let mut back = form_urlencoded::Serializer::new("/sign-in/callback?".to_owned());
        back.append_pair("code", &code).append_pair("state", &query["state"]);
        if let Some(iss) = &self.0.manners.lock().unwrap().iss {
            back.append_pair("iss", iss);
        }
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        codes.insert(code, Granted { who: who.to_owned(), groups, query });
        back.finish()
    }
}

async fn metadata(State(shared): State<Arc<Shared>>) -> Result<Json<Value>, StatusCode> {
    let (issuer, manners) = (&shared.issuer, shared.manners.lock().unwrap());
    if manners.down {
        return Err(StatusCode::BAD_GATEWAY);
    }
    Ok(Json(json!({
        "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"), "jwks_uri": format!("{issuer}/keys"),
        "authorization_response_iss_parameter_supported": manners.says_iss,
        "code_challenge_methods_supported": ["S256"],
    })))
}

async fn keys(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!({ "keys": [shared.key.public] }))
}

async fn token(State(shared): State<Arc<Shared>>, body: Bytes) -> (StatusCode, Json<Value>) {
    let form: HashMap<String, String> = form_urlencoded::parse(&body).into_owned().collect();
    let manners = shared.manners.lock().unwrap();
    let mut codes = shared.codes.lock().unwrap();
    let code = form.get("code").map(String::as_str).unwrap_or_default();
    let known = codes.contains_key(code);
    let granted = if manners.forgetful { codes.get(code) } else { None };
    let taken;
    let granted = match granted {
        Some(granted) => granted,
        None if known => {
            taken = codes.remove(code).unwrap();
            &taken
        }
        None => return (StatusCode::BAD_REQUEST, Json(json!({ "error": "invalid_grant" }))),
    };
    let verifier = form.get("code_verifier").cloned().unwrap_or_default();
    let proven = b64(sha256(&verifier).as_bytes()) == granted.query["code_challenge"];
    let same = form["redirect_uri"] == granted.query["redirect_uri"] && form["client_id"] == CLIENT;
    if !proven || !same || form["grant_type"] != "authorization_code" {
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": "invalid_grant" })));
    }
    let now = shared.clock.lock().unwrap().as_ref().unwrap().now().as_secs();
    let mut claims = json!({
        "iss": shared.issuer, "sub": granted.who, "aud": CLIENT, "iat": now, "exp": now + 300,
        "nonce": granted.query["nonce"], "auth_time": now, "acr": granted.query.get("acr_values").map_or("1", |acr| acr),
        "groups": granted.groups, "email": format!("{}@idp.example", granted.who), "email_verified": true,
    });
    for (name, value) in manners.claims.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    let signer = manners.signer.as_ref().unwrap_or(&shared.key);
    let answer =
        json!({ "access_token": "at", "token_type": "Bearer", "expires_in": 60, "id_token": signer.sign(&claims) });
    (StatusCode::OK, Json(answer))
}

/// A browser: it keeps cookies, and does what the test tells it.
pub(crate) struct Browser<'h> {
    harness: &'h Harness,
    pub(crate) cookies: BTreeMap<String, String>,
}

impl<'h> Browser<'h> {
    pub(crate) const fn new(harness: &'h Harness) -> Self {
        Self { harness, cookies: BTreeMap::new() }
    }

    /// One that has somebody signed in already.
    pub(crate) async fn signed_in(harness: &'h Harness, people: &People, who: &str, groups: &[&str]) -> Self {
        let mut browser = Self::new(harness);
        let reply = browser.sign_in(people, "/sign-in", who, groups).await;
        assert_eq!(reply.status, 303, "{}", text(&reply));
        browser
    }

    /// Begin there, sign in at the provider, and come back.
    pub(crate) async fn sign_in(&mut self, people: &People, from: &str, who: &str, groups: &[&str]) -> Reply {
        let sent_to = self.begin(from).await;
        let back = people.sign_in(&sent_to, who, groups);
        self.get(&back).await
    }

    /// Begin there; where the provider is.
    pub(crate) async fn begin(&mut self, from: &str) -> Url {
        let reply = self.get(from).await;
        assert_eq!(reply.status, 303, "{}", text(&reply));
        Url::parse(location(&reply)).unwrap()
    }

    pub(crate) async fn get(&mut self, path: &str) -> Reply {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// Send a form as a page of ours does.
    pub(crate) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Reply {
        self.post_from(path, fields, &[("origin", "https://hallpass.test"), ("sec-fetch-site", "same-origin")]).await
    }

    /// Send a form with these headers.
    pub(crate) async fn post_from(&mut self, path: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Reply {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let mut request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(form)).unwrap()).await
    }

    /// Send anything, with the cookies; keep those that come back.
    pub(crate) async fn send(&mut self, mut request: Request<Body>) -> Reply {
        let line: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !line.is_empty() {
            request.headers_mut().insert("cookie", line.join("; ").parse().unwrap());
        }
        let reply = self.harness.send(request).await;
        for line in reply.headers.get_all("set-cookie") {
            let line = line.to_str().unwrap();
            // What a browser demands of such a name (RFC 6265bis §4.1.3.2), and what no script may read.
            for part in ["; Path=/", "; Secure", "; HttpOnly", "; SameSite=Lax"] {
                assert!(line.starts_with("__Host-") && line.contains(part) && !line.contains("Domain"), "{line}");
            }
            let (name, rest) = line.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if line.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        reply
    }

    /// The session's secret.
    pub(crate) fn session(&self) -> Option<&str> {
        self.cookies.get("__Host-hallpass").map(String::as_str)
    }

    /// The token of this session's forms, read from a page that has one.
    pub(crate) async fn csrf(&mut self) -> String {
        let harness = self.harness;
        let asked = harness.broker.ask_device_sign_in("a test", "192.0.2.1").await;
        let code = asked.unwrap_or_else(|error| panic!("{error}")).user_code;
        let page = text(&self.get(&format!("/device?user_code={code}")).await);
        hidden(&page, "csrf")
    }
}

/// The value of a page's hidden field.
pub(crate) fn hidden(page: &str, name: &str) -> String {
    let field = format!("name=\"{name}\" value=\"");
    let rest = page.split_once(&field).unwrap_or_else(|| panic!("no {name}: {page}")).1;
    rest.split('"').next().unwrap().to_owned()
}

pub(crate) fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).into_owned()
}

pub(crate) fn location(reply: &Reply) -> &str {
    reply.headers.get("location").map_or("", |to| to.to_str().unwrap())
}
