//! In debug builds a `sandbox` may be outside the process: `url` names where it is served, on this machine. Such a backend
//! outlives a broker that dies, as real ones do, so a test can see what it still honours after `kill -9`.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use url::Url;

use super::{
    BackendSettings, CredentialRef, Found, Inventory, MintError, MintOrder, Minted, Minter, MinterDeps, Probe,
    Revocability, Revoked, SandboxBackend, sandbox,
};
use crate::domain::{CatalogueEntry, Handle, MintPlan};
use crate::sys::{FetchLimits, HttpClient, Outgoing, SecretString, fingerprint};

const LIMITS: FetchLimits = FetchLimits { max_bytes: 1 << 20, allow_private: true };

struct OutsideSandbox {
    /// Plans as the sandbox inside does, and is asked for nothing else.
    inside: Arc<dyn Minter>,
    url: Url,
    http: HttpClient,
}

/// A sandbox that is served at `url`.
pub(super) fn build(settings: &BackendSettings, deps: &MinterDeps, url: Url) -> Result<Arc<dyn Minter>, MintError> {
    let mut inside = settings.clone();
    inside.rest.remove("url");
    let deps = MinterDeps { sandbox: Some(Arc::new(SandboxBackend::default())), ..deps.clone() };
    let http = HttpClient::new(None).map_err(|error| MintError::Misconfigured(error.to_string()))?;
    Ok(Arc::new(OutsideSandbox { inside: sandbox::build(&inside, &deps)?, url, http }))
}

impl OutsideSandbox {
    async fn ask(&self, question: Value) -> Result<Value, MintError> {
        let mut request = Outgoing::get(self.url.clone());
        request.method = http::Method::POST;
        request.body = question.to_string().into_bytes();
        let answer = self.http.send(request, LIMITS).await.map_err(|why| MintError::Unavailable(why.to_string()))?;
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match answer.status.as_u16() {
            200 => Ok(said),
            403 => Err(MintError::Refused(said.to_string())),
            status => Err(MintError::Unavailable(format!("status {status}"))),
        }
    }
}

fn strange(answer: &Value) -> MintError {
    MintError::Unavailable(format!(
        "an answer that is none, with the members {:?}",
        answer.as_object().map(serde_json::Map::len)
    ))
}

#[async_trait]
impl Minter for OutsideSandbox {
    fn kind(&self) -> &'static str {
        self.inside.kind()
    }

    fn revocability(&self) -> Revocability {
        self.inside.revocability()
    }

    fn bucket(&self, entry: &CatalogueEntry) -> Result<String, MintError> {
        self.inside.bucket(entry)
    }

    fn plan(&self, order: &MintOrder<'_>) -> Result<MintPlan, MintError> {
        self.inside.plan(order)
    }

    async fn mint(&self, plan: &MintPlan) -> Result<Minted, MintError> {
        let question = json!({
            "call": "mint", "handle": plan.handle, "native": plan.native,
            "ends_at": plan.ends_at.as_millis(), "native_end": plan.native_end.as_millis(),
        });
        let answer = self.ask(question).await?;
        let token = answer.get("token").and_then(Value::as_str).ok_or_else(|| strange(&answer))?;
        let fingerprint = fingerprint(token);
        let values = BTreeMap::from([("token", SecretString::from(token))]);
        Ok(Minted { kind: "sandbox", values, fingerprint, kept: None })
    }

    async fn activate(&self, handle: &Handle) -> Result<(), MintError> {
        self.ask(json!({ "call": "activate", "handle": handle })).await.map(drop)
    }

    async fn revoke(&self, credential: CredentialRef<'_>) -> Result<Revoked, MintError> {
        let question =
            json!({ "call": "revoke", "handle": credential.handle, "native_end": credential.native_end.as_millis() });
        let answer = self.ask(question).await?;
        match answer.get("gone").and_then(Value::as_str) {
            Some(proof) => Ok(Revoked::Gone(proof.to_owned())),
            None => Err(strange(&answer)),
        }
    }

    fn needs_cleanup(&self) -> bool {
        self.inside.needs_cleanup()
    }

    async fn cleanup(&self, credential: CredentialRef<'_>) -> Result<(), MintError> {
        self.ask(json!({ "call": "cleanup", "handle": credential.handle })).await.map(drop)
    }

    async fn probe(&self, credential: CredentialRef<'_>) -> Result<Probe, MintError> {
        let answer = self.ask(json!({ "call": "probe", "handle": credential.handle })).await?;
        match answer.get("honoured").and_then(Value::as_bool) {
            Some(true) => Ok(Probe::Honoured),
            Some(false) => Ok(Probe::Refused),
            None => Err(strange(&answer)),
        }
    }

    async fn inventory(&self) -> Result<Inventory, MintError> {
        let answer = self.ask(json!({ "call": "inventory" })).await?;
        let found = answer.get("found").and_then(Value::as_array).ok_or_else(|| strange(&answer))?;
        let found = found.iter().filter_map(|one| {
            let handle = Handle::new(one.get("handle")?.as_str()?);
            Some(Found { handle, lease: one.get("lease").and_then(Value::as_str).and_then(|id| id.parse().ok()) })
        });
        Ok(Inventory::Complete(found.collect()))
    }
}
