//! A sandbox beside the broker: a backend that is served on loopback and outlives the process that uses it, so that what it
//! still honours can be seen after a crash. A debug build of the broker reaches it as `kind = "sandbox"` with a `url`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Json, Router};
use hallpass::domain::{Handle, MintPlan, Name, Timestamp};
use hallpass::minter::{
    BackendSettings, CredentialRef, Found, Inventory, MintError, MinterDeps, Minters, Probe, Revoked, SandboxBackend,
};
use hallpass::sys::keys::KeyRing;
use hallpass::sys::{Clock as _, ExposeSecret as _, SystemClock, SystemEntropy, sha256};
use serde_json::{Value, json};

/// The backend, and where it is served.
pub(crate) struct Outside {
    pub(crate) sandbox: Arc<SandboxBackend>,
    pub(crate) address: SocketAddr,
}

#[derive(Clone)]
struct Served {
    minters: Minters,
    name: Name,
}

impl Outside {
    /// Serve a sandbox for the backend of this name, as long as the runtime lives.
    pub(crate) async fn start(backend: &str) -> Self {
        let sandbox = Arc::new(SandboxBackend::default());
        let deps = MinterDeps {
            keyring: Arc::new(KeyRing::new(Vec::new())),
            issuer_url: "https://outside.test".to_owned(),
            deployment: "outside".to_owned(),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy::default()),
            folder: std::env::temp_dir(),
            sandbox: Some(Arc::clone(&sandbox)),
        };
        let settings: BackendSettings =
            toml::from_str(&format!("name='{backend}'\nkind='sandbox'\ndebris=true")).unwrap();
        let served = Served { minters: Minters::build(&[settings], &deps).unwrap(), name: backend.parse().unwrap() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(served);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { sandbox, address }
    }

    /// What it honours now, by handle.
    pub(crate) fn honoured(&self) -> Vec<String> {
        self.sandbox.honoured(SystemClock.now()).into_iter().map(|held| held.handle.to_string()).collect()
    }
}

async fn answer(State(served): State<Served>, body: String) -> (StatusCode, Json<Value>) {
    // Who asks may die in the middle of a question.
    let Ok(question) = serde_json::from_str(&body) else { return (StatusCode::BAD_REQUEST, Json(json!("cut short"))) };
    match act(&served, &question).await {
        Ok(said) => (StatusCode::OK, Json(said)),
        Err(MintError::Unavailable(why)) => (StatusCode::SERVICE_UNAVAILABLE, Json(json!(why))),
        Err(refused) => (StatusCode::FORBIDDEN, Json(json!(refused.to_string()))),
    }
}

async fn act(served: &Served, question: &Value) -> Result<Value, MintError> {
    let minter = served.minters.find(&served.name).unwrap();
    let handle = Handle::new(question["handle"].as_str().unwrap_or_default());
    let there =
        CredentialRef { handle: &handle, native_end: Timestamp::from_millis(0), kept: None, ending_since: None };
    let at = |member: &str| Timestamp::from_millis(question[member].as_i64().unwrap());
    match question["call"].as_str().unwrap() {
        "mint" => {
            let plan = MintPlan {
                backend: served.name.clone(),
                digest: sha256(""),
                effect: String::new(),
                summary: Vec::new(),
                handle,
                ends_at: at("ends_at"),
                native_end: at("native_end"),
                native: question["native"].clone(),
            };
            let minted = minter.mint(&plan).await?;
            Ok(json!({ "token": minted.values["token"].expose_secret() }))
        }
        "activate" => minter.activate(&handle).await.map(|()| json!({})),
        "revoke" => match minter.revoke(CredentialRef { native_end: at("native_end"), ..there }).await? {
            Revoked::Gone(proof) => Ok(json!({ "gone": proof })),
            Revoked::EndsBy(by) => panic!("a sandbox ends at once, not by {by}"),
        },
        "cleanup" => minter.cleanup(there).await.map(|()| json!({})),
        "probe" => Ok(json!({ "honoured": minter.probe(there).await? == Probe::Honoured })),
        "inventory" => match minter.inventory().await? {
            Inventory::Complete(found) => {
                let told = |one: &Found| json!({ "handle": one.handle, "lease": one.lease.map(|id| id.to_string()) });
                Ok(json!({ "found": found.iter().map(told).collect::<Vec<_>>() }))
            }
            Inventory::Unlistable => panic!("a sandbox can list"),
        },
        other => panic!("no call `{other}`"),
    }
}
