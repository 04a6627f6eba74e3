//! An identity provider on loopback that counts who asks it, answers as it is told, and signs whatever it is given.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use data_encoding::BASE64URL_NOPAD;
use hallpass::domain::Timestamp;
use hallpass::identity::{IdentityError, IssuerSettings, PresentedToken, VerifiedIdentity, Verifiers};
use hallpass::sys::HttpClient;
use josekit::jwk::KeyPair;
use josekit::jws::{self, JwsSigner};
use serde_json::{Map, Value, json};

/// The moment at which the tests of identities happen, in seconds.
pub(crate) const NOW_SECS: i64 = 1_800_000_000;
pub(crate) const AUDIENCE: &str = "https://broker/dep-7";

/// Some seconds after [`NOW_SECS`].
pub(crate) fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(NOW_SECS + secs)
}

/// A key pair of an issuer or of an attacker.
pub(crate) struct TestKey {
    pub(crate) public: Value,
    pub(crate) public_pem: Vec<u8>,
    pub(crate) public_der: Vec<u8>,
    signer: Box<dyn JwsSigner>,
    alg: &'static str,
    kid: String,
}

impl TestKey {
    /// A fresh ES256 key.
    pub(crate) fn es256(kid: &str) -> Self {
        let pair = jws::ES256.generate_key_pair().unwrap();
        let signer = jws::ES256.signer_from_der(pair.to_der_private_key()).unwrap();
        Self::new("ES256", kid, &pair, Box::new(signer))
    }

    /// A fresh RS256 key of 2048 bits.
    pub(crate) fn rs256(kid: &str) -> Self {
        let pair = jws::RS256.generate_key_pair(2048).unwrap();
        let signer = jws::RS256.signer_from_der(pair.to_der_private_key()).unwrap();
        Self::new("RS256", kid, &pair, Box::new(signer))
    }

    /// A fresh Ed25519 key.
    pub(crate) fn eddsa(kid: &str) -> Self {
        let pair = jws::EdDSA.generate_key_pair(josekit::jwk::alg::ed::EdCurve::Ed25519).unwrap();
        let signer = jws::EdDSA.signer_from_der(pair.to_der_private_key()).unwrap();
        Self::new("EdDSA", kid, &pair, Box::new(signer))
    }

    fn new(alg: &'static str, kid: &str, pair: &dyn KeyPair, signer: Box<dyn JwsSigner>) -> Self {
        let mut public: Map<String, Value> = pair.to_jwk_public_key().as_ref().clone();
        public.insert("kid".to_owned(), json!(kid));
        public.insert("use".to_owned(), json!("sig"));
        let (public_pem, public_der) = (pair.to_pem_public_key(), pair.to_der_public_key());
        Self { public: Value::Object(public), public_pem, public_der, signer, alg, kid: kid.to_owned() }
    }

    /// The header a well-behaved issuer would write.
    pub(crate) fn header(&self) -> Value {
        json!({ "alg": self.alg, "kid": self.kid, "typ": "JWT" })
    }

    /// A token with the usual header.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_with(&self.header(), claims)
    }

    /// A token with any header.
    pub(crate) fn sign_with(&self, header: &Value, claims: &Value) -> String {
        self.sign_raw(&header.to_string(), &claims.to_string())
    }

    /// A token of any header and payload text.
    pub(crate) fn sign_raw(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", b64(header), b64(payload));
        let signature = self.signer.sign(signed.as_bytes()).unwrap();
        format!("{signed}.{}", b64(signature))
    }
}

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64URL_NOPAD.encode(bytes.as_ref())
}

/// Claims with nothing wrong; `null` in `changes` takes a claim away.
pub(crate) fn claims(issuer: &str, changes: &Value) -> Value {
    let mut claims = json!({
        "iss": issuer, "sub": "workload-1", "aud": AUDIENCE,
        "iat": NOW_SECS, "nbf": NOW_SECS, "exp": NOW_SECS + 300, "jti": "1",
    });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

/// How the provider answers when it is asked for its keys.
#[derive(Clone)]
pub(crate) enum Answer {
    /// 200 and this body.
    Body(Bytes),
    /// This status and no body.
    Status(u16),
    /// 302 to somewhere else.
    Redirect(String),
    /// 200, then one byte a second.
    Drip,
    /// 200 and these bytes said to be gzip.
    Gzip(Bytes),
}

struct Shared {
    keys: Mutex<Answer>,
    discovery: Mutex<Answer>,
    key_fetches: AtomicUsize,
    other_requests: AtomicUsize,
}

/// The provider; it stops when the test's runtime does.
pub(crate) struct FakeIdp {
    pub(crate) issuer: String,
    shared: Arc<Shared>,
}

impl FakeIdp {
    /// Start one that publishes these keys.
    pub(crate) async fn start(keys: &[&TestKey]) -> Self {
        let shared = Arc::new(Shared {
            keys: Mutex::new(Answer::Status(500)),
            discovery: Mutex::new(Answer::Status(404)),
            key_fetches: AtomicUsize::new(0),
            other_requests: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route("/keys", get(serve_keys))
            .route("/.well-known/openid-configuration", get(serve_discovery))
            .fallback(serve_nothing)
            .with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let idp = Self { issuer, shared };
        idp.publish(keys);
        idp.discover_as(&idp.issuer, &idp.keys_url());
        idp
    }

    pub(crate) fn keys_url(&self) -> String {
        format!("{}/keys", self.issuer)
    }

    pub(crate) fn publish(&self, keys: &[&TestKey]) {
        let keys: Vec<_> = keys.iter().map(|key| key.public.clone()).collect();
        self.answer(Answer::Body(json!({ "keys": keys }).to_string().into()));
    }

    pub(crate) fn answer(&self, answer: Answer) {
        *self.shared.keys.lock().unwrap() = answer;
    }

    pub(crate) fn discover_as(&self, issuer: &str, jwks_uri: &str) {
        let document = json!({ "issuer": issuer, "jwks_uri": jwks_uri }).to_string();
        *self.shared.discovery.lock().unwrap() = Answer::Body(document.into());
    }

    /// How often the keys were asked for.
    pub(crate) fn key_fetches(&self) -> usize {
        self.shared.key_fetches.load(Ordering::SeqCst)
    }

    /// How many requests there were in all.
    pub(crate) fn requests(&self) -> usize {
        self.key_fetches() + self.shared.other_requests.load(Ordering::SeqCst)
    }

    /// Settings that trust it by the address of its keys.
    pub(crate) fn settings(&self) -> IssuerSettings {
        settings(&format!(
            "name = \"idp\"\nissuer = \"{}\"\njwks_url = \"{}\"\nallow_private = true",
            self.issuer,
            self.keys_url()
        ))
    }
}

/// Settings as they are written.
pub(crate) fn settings(toml: &str) -> IssuerSettings {
    toml::from_str(toml).unwrap()
}

/// The verifiers for some settings, over the real client.
pub(crate) fn verifiers(settings: &[IssuerSettings]) -> Verifiers {
    Verifiers::new(settings, AUDIENCE, HttpClient::new(None).unwrap()).unwrap()
}

/// What becomes of a token: the subject, or the word of the refusal.
pub(crate) async fn verdict(verifiers: &Verifiers, token: &str, now: Timestamp) -> Result<String, &'static str> {
    present(verifiers, token, now).await.map(|identity| identity.subject().to_owned()).map_err(|error| error.word())
}

/// The verdict on a token with nothing wrong.
#[expect(clippy::unnecessary_wraps, reason = "it is compared with verdicts")]
pub(crate) fn fine() -> Result<String, &'static str> {
    Ok("workload-1".to_owned())
}

/// What becomes of a token, whole.
pub(crate) async fn present(
    verifiers: &Verifiers,
    token: &str,
    now: Timestamp,
) -> Result<VerifiedIdentity, IdentityError> {
    verifiers.verify(&PresentedToken::parse(token)?, now).await
}

async fn serve_keys(State(shared): State<Arc<Shared>>) -> Response {
    shared.key_fetches.fetch_add(1, Ordering::SeqCst);
    let answer = shared.keys.lock().unwrap().clone();
    respond(answer)
}

async fn serve_discovery(State(shared): State<Arc<Shared>>) -> Response {
    shared.other_requests.fetch_add(1, Ordering::SeqCst);
    let answer = shared.discovery.lock().unwrap().clone();
    respond(answer)
}

async fn serve_nothing(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.other_requests.fetch_add(1, Ordering::SeqCst);
    StatusCode::NOT_FOUND
}

fn respond(answer: Answer) -> Response {
    match answer {
        Answer::Body(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Answer::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Answer::Redirect(to) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
        Answer::Gzip(body) => ([(header::CONTENT_ENCODING, "gzip")], body).into_response(),
        Answer::Drip => {
            let tick = tokio::time::interval(Duration::from_secs(1));
            let stream = futures_util::stream::unfold(tick, |mut tick| async move {
                tick.tick().await;
                Some((Ok::<_, std::io::Error>(Bytes::from_static(b" ")), tick))
            });
            Body::from_stream(stream).into_response()
        }
    }
}
