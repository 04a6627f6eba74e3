//! The broker with people who use passkeys, and what their browsers answer.

use std::sync::Arc;

use hallpass::api::{AssertionAsk, ChallengeView, PasskeyNameAsk, PasskeyView, RegistrationAsk, VerdictAsk};
use hallpass::broker::{Broker, BrokerError, OperatorCaller, PasskeyProof, SignIn};
use hallpass::domain::{Actor, AuditEvent, EventKind, Operator, Person, Subjects, VerdictStatement};
use hallpass::store::{Store, StoreError};
use hallpass::sys::{Clock as _, Ids, SystemEntropy};
use serde_json::{Value, json};

use super::authenticator::Authenticator;
use crate::support::database;
use crate::support::harness::{Harness, PEOPLE};

/// The broker with people who use passkeys.
pub(super) struct World {
    pub(super) harness: Harness,
    pub(super) authenticator: Authenticator,
    /// The same database, as a use case writes to it.
    pub(super) store: Store,
    pub(super) ids: Ids,
    waiting: Option<(String, VerdictAsk)>,
}

impl World {
    pub(super) async fn start() -> Self {
        let harness = Harness::start().await;
        let settings = hallpass::store::StoreSettings {
            exclusive: false,
            ..database::settings_of(&harness.store, harness.dir.path())
        };
        let store = Store::open(&settings).await.unwrap();
        let ids = Ids::new(harness.clock.clone(), Arc::new(SystemEntropy::default()));
        Self { harness, authenticator: Authenticator::start(), store, ids, waiting: None }
    }

    pub(super) fn broker(&self) -> &Broker {
        &self.harness.broker
    }

    /// A person who signed in just now.
    pub(super) fn person(&self, name: &str) -> OperatorCaller {
        let operator = Operator {
            person: Person::new(name),
            issuer: PEOPLE.to_owned(),
            subject: name.to_owned(),
            email: None,
            groups: vec!["release-approvers".to_owned()],
        };
        let now = self.harness.clock.now();
        let sign_in = SignIn { at: Some(now), ..SignIn::default() };
        OperatorCaller { operator, expires_at: now.plus_millis(3_600_000), sign_in }
    }

    pub(super) async fn begin(&self, caller: &OperatorCaller) -> Result<ChallengeView, BrokerError> {
        self.broker().begin_passkey(caller, &PasskeyNameAsk { name: "laptop".to_owned() }).await
    }

    /// What the browser answers to a registration.
    pub(super) fn made(&mut self, challenge: &ChallengeView, change: &Value) -> RegistrationAsk {
        // One authenticator has no two passkeys of a person; this one stands for several.
        let mut change = change.clone();
        change["again"] = json!(true);
        let made = self.authenticator.create(challenge.create.as_ref().unwrap(), &change);
        let confirmation = challenge.get.as_ref().map(|get| {
            let signed = self.authenticator.get(get, &json!({}));
            assertion(&challenge.id, &signed)
        });
        RegistrationAsk {
            challenge: challenge.id.clone(),
            client_data: made["client_data"].as_str().unwrap().to_owned(),
            attestation_object: made["attestation_object"].as_str().unwrap().to_owned(),
            transports: vec!["internal".to_owned(), "telepathy".to_owned()],
            confirmation,
        }
    }

    pub(super) async fn register(&mut self, caller: &OperatorCaller, change: &Value) -> PasskeyView {
        let challenge = self.begin(caller).await.unwrap();
        let ask = self.made(&challenge, change);
        self.broker().finish_passkey(caller, &ask).await.unwrap()
    }

    /// A request that waits for a person: its id, and the verdict on it as shown to somebody.
    pub(super) async fn pending(&mut self) -> (String, VerdictAsk) {
        if let Some(known) = &self.waiting {
            return known.clone();
        }
        let new = self.another_pending().await;
        self.waiting = Some(new.clone());
        new
    }

    pub(super) async fn another_pending(&self) -> (String, VerdictAsk) {
        let ask =
            json!({ "purpose": "publish a release", "scopes": ["api:releases:write(prefix=v1)"], "ttl_seconds": 600 });
        let task = self.harness.post("/v1/tasks", &self.harness.agent("release-bot"), &ask).await.expect(202);
        let request = task["requests"][0]["id"].as_str().unwrap().to_owned();
        let path = format!("/v1/requests/{request}");
        let view = self.harness.get(&path, &self.harness.approver()).await.expect(200);
        let verdict = VerdictAsk {
            verdict: "approve".to_owned(),
            request_digest: view["request_digest"].as_str().unwrap().to_owned(),
            narrow: None,
            reason: Some("REL-482, „geprüft“".to_owned()),
            assertion: None,
        };
        (request, verdict)
    }

    /// The assertion for a verdict, and the statement that is signed.
    pub(super) async fn sign(&mut self, caller: &OperatorCaller, change: &Value) -> (VerdictStatement, AssertionAsk) {
        let (request, ask) = self.pending().await;
        let challenge = self.broker().challenge_for_verdict(caller, &request, &ask).await.unwrap();
        let signed = self.authenticator.get(challenge.get.as_ref().unwrap(), change);
        (statement(caller, &request, &ask), assertion(&challenge.id, &signed))
    }

    /// Commit what a use case would, with an event of its own.
    pub(super) fn commit(&self, proof: &PasskeyProof) -> impl Future<Output = Result<(), StoreError>> + use<> {
        let mut tx = self.store.begin("verdict");
        proof.record(&mut tx);
        tx.commit(self.fact())
    }

    /// An event that explains a verdict.
    pub(super) fn fact(&self) -> AuditEvent {
        AuditEvent {
            id: self.ids.event(),
            at: self.harness.clock.now(),
            kind: EventKind::ApprovalRecorded,
            actor: Actor::Broker,
            subjects: Subjects::default(),
            data: std::collections::BTreeMap::new(),
        }
    }

    /// The events of a kind, as the audit has them.
    pub(super) async fn events(&self, kind: &str) -> Vec<Value> {
        let path = format!("/v1/events?kind={kind}");
        let page = self.harness.get(&path, &self.harness.operator()).await.expect(200);
        page["items"].as_array().unwrap().iter().map(|item| item["event"].clone()).collect()
    }

    /// Why the last answer of a passkey was refused, as the audit has it.
    pub(super) async fn last_refusal(&self) -> String {
        let events = self.events("passkey.refused").await;
        events.last().map(|event| event["data"]["reason"].as_str().unwrap().to_owned()).unwrap_or_default()
    }
}

pub(super) fn statement(caller: &OperatorCaller, request: &str, ask: &VerdictAsk) -> VerdictStatement {
    VerdictStatement {
        narrow: None,
        person: caller.operator.person.clone(),
        reason: ask.reason.clone(),
        request: request.parse().unwrap(),
        request_digest: ask.request_digest.parse().unwrap(),
        v: 1,
        verdict: ask.verdict.parse().unwrap(),
    }
}

pub(super) fn assertion(challenge: &str, signed: &Value) -> AssertionAsk {
    let text = |name: &str| signed[name].as_str().unwrap().to_owned();
    AssertionAsk {
        challenge: challenge.to_owned(),
        credential: text("credential"),
        client_data: text("client_data"),
        authenticator_data: text("authenticator_data"),
        signature: text("signature"),
    }
}
