//! The steps of the demo. Each asks from outside and compares; none looks into the process it is about.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use http::Method;
use serde_json::json;

use super::Seen;
use super::stage::{Stage, until};
use crate::api::{ClosureWord, ProblemKind, TaskAnswer, TaskAsk, VerdictAsk};
use crate::cli::audit::timeline;
use crate::client::{ClientError, TokenSource};

/// A step: what it claims is its name.
type Step = for<'a> fn(&'a mut Story, &'a Stage) -> LocalBoxFuture<'a, Seen>;

/// The story, in order.
pub(super) const STEPS: &[(&str, Step)] = &[
    ("an agent's identity token is exchanged for a low-risk credential", |s, on| s.low_risk(on).boxed_local()),
    ("the resource server accepts the credential, from the broker's published keys alone", |s, on| {
        s.accepted(on).boxed_local()
    }),
    ("introspection calls it active", |s, on| s.active(on).boxed_local()),
    ("an identity token is good for one call: the same one again is refused", |_, on| replayed(on).boxed_local()),
    ("an expired identity token is refused", |_, on| {
        odd(on, json!({"name": "release-bot", "ttl_seconds": -300})).boxed_local()
    }),
    ("an identity token for somebody else is refused", |_, on| {
        odd(on, json!({"name": "release-bot", "audience": "https://elsewhere.example"})).boxed_local()
    }),
    ("another agent is denied what it may not hold, and told why", |_, on| denied(on).boxed_local()),
    ("a high-risk request waits for a person, and nothing is minted", |s, on| s.waits(on).boxed_local()),
    ("the agent cannot approve its own request", |s, on| s.own_verdict(on).boxed_local()),
    ("a verdict on something else than what would be minted is refused", |s, on| s.wrong_digest(on).boxed_local()),
    ("a person approves what they were shown", |s, on| s.approve(on).boxed_local()),
    ("the agent collects the credential, and the sandbox honours it", |s, on| s.collect(on).boxed_local()),
    ("the tasks end, and with them every credential, at once", |s, on| s.end(on).boxed_local()),
    ("a credential of 2 seconds ends by itself", |s, on| s.expires(on).boxed_local()),
    ("the audit tells every step of each task, in order", |s, on| s.audited(on).boxed_local()),
    ("each decision names the policy bundle it was made by", |s, on| s.bundle(on).boxed_local()),
];

/// What one step leaves for the next.
#[derive(Default)]
pub(super) struct Story {
    low: Held,
    high: Held,
    short: Held,
    digest: String,
}

/// A task and the credential it holds.
#[derive(Default)]
struct Held {
    task: String,
    request: String,
    decision: String,
    secret: String,
}

#[expect(clippy::needless_pass_by_value, reason = "a step reads better without a reference in front of each literal")]
fn expect<T: PartialEq + std::fmt::Display>(what: &str, expected: T, seen: T) -> Result<(), String> {
    if seen == expected { Ok(()) } else { Err(format!("{what}: expected {expected}, saw {seen}")) }
}

fn said(error: &impl std::fmt::Display) -> String {
    format!("expected an answer, saw: {error}")
}

/// A call that must be refused, and so.
fn refused<T>(result: Result<T, ClientError>, kind: ProblemKind) -> Seen {
    match result {
        Ok(_) => Err(format!("expected {}, saw success", kind.slug())),
        Err(error) if error.kind() == Some(kind) => Ok(format!("{}: {error}", kind.slug())),
        Err(error) => Err(format!("expected {}, saw: {error}", kind.slug())),
    }
}

fn ask(purpose: &str, scope: &str, ttl_seconds: Option<i64>) -> TaskAsk {
    TaskAsk {
        purpose: purpose.to_owned(),
        kind: None,
        scopes: crate::cli::text::scopes(&[scope.to_owned()]),
        ttl_seconds,
        task_ttl_seconds: None,
        heartbeat_seconds: None,
        on_behalf_of: None,
        references: std::collections::BTreeMap::new(),
        message: None,
        ceiling: None,
        confirmation_key: None,
        delivery_key: None,
    }
}

impl Held {
    fn from(answer: &TaskAnswer, member: &str) -> Self {
        let request = answer.requests.first();
        let secret = answer.credentials.first().and_then(|credential| credential.values.get(member));
        Self {
            task: answer.id.clone(),
            request: request.map(|request| request.id.clone()).unwrap_or_default(),
            decision: request.map(|request| request.decision.clone()).unwrap_or_default(),
            secret: secret.cloned().unwrap_or_default(),
        }
    }
}

/// What a resource server says to a credential.
async fn tried(on: &Stage, secret: &str, method: Method, path: &str) -> Result<u16, String> {
    let client = on.releases_with(secret).map_err(|error| said(&error))?;
    client.status_of(method, path).await.map(|status| status.as_u16()).map_err(|error| said(&error))
}

/// Whether introspection calls a token active.
async fn is_active(on: &Stage, token: &str) -> Result<bool, String> {
    let secret = on.dev.resource_server_secret();
    let answer = on.agent.introspect(&on.dev.resource_server_id, &secret, token).await;
    answer.map(|answer| answer.active).map_err(|error| said(&error))
}

async fn replayed(on: &Stage) -> Seen {
    let token = on.agent.fetch_token().await.map_err(|error| said(&error))?;
    let fixed = TokenSource::Fixed(token.ok_or("expected a token, saw none")?);
    let client = on.broker_with(fixed).map_err(|error| said(&error))?;
    client.whoami().await.map_err(|error| said(&error))?;
    refused(client.whoami().await, ProblemKind::InvalidToken)
}

async fn odd(on: &Stage, ask: serde_json::Value) -> Seen {
    let client = on.broker_with(on.dev.odd_tokens(ask)).map_err(|error| said(&error))?;
    refused(client.whoami().await, ProblemKind::InvalidToken)
}

async fn denied(on: &Stage) -> Seen {
    let result = on.triage.open_task(&ask("publish v1.4.2", "sandbox:releases:write", None)).await;
    let seen = refused(result, ProblemKind::ScopeAboveCeiling)?;
    if seen.contains("sandbox:releases:write") {
        Ok(seen)
    } else {
        Err(format!("expected the scope's name, saw: {seen}"))
    }
}

impl Story {
    async fn low_risk(&mut self, on: &Stage) -> Seen {
        let answer = on.agent.open_task(&ask("read the release list", "api:releases:read", None)).await;
        let answer = answer.map_err(|error| said(&error))?;
        self.low = Held::from(&answer, "access_token");
        expect("credentials", 1, answer.credentials.len())?;
        expect("its kind", "jwt", answer.credentials.first().map_or("", |credential| &credential.kind))?;
        Ok(format!("task {} holds api:releases:read", self.low.task))
    }

    async fn accepted(&mut self, on: &Stage) -> Seen {
        let forged = format!("{}x", self.low.secret);
        expect("status without a good signature", 401, tried(on, &forged, Method::GET, "api/releases").await?)?;
        expect("status", 200, tried(on, &self.low.secret, Method::GET, "api/releases").await?)?;
        Ok("GET /api/releases answered 200; with one character more, 401".to_owned())
    }

    async fn active(&mut self, on: &Stage) -> Seen {
        expect("active", true, is_active(on, &self.low.secret).await?)?;
        expect("active, of a token nobody minted", false, is_active(on, "not-a-token").await?)?;
        Ok("active: true; of a token nobody minted, false".to_owned())
    }

    async fn waits(&mut self, on: &Stage) -> Seen {
        let answer = on.agent.open_task(&ask("publish v1.4.2", "sandbox:releases:write", None)).await;
        let answer = answer.map_err(|error| said(&error))?;
        self.high = Held::from(&answer, "token");
        let state = answer.requests.first().map_or("", |request| request.state.as_str());
        expect("its state", "pending", state)?;
        expect("credentials", 0, answer.credentials.len())?;
        let filter = crate::client::LeasesFilter { task: Some(answer.id.clone()), ..Default::default() };
        let leases = on.approver.list_leases(filter).await.map_err(|error| said(&error))?;
        expect("leases", 0, leases.items.len())?;
        Ok(format!("{} is pending: {}", self.high.request, answer.message))
    }

    fn verdict(digest: &str) -> VerdictAsk {
        VerdictAsk {
            verdict: "approve".to_owned(),
            request_digest: digest.to_owned(),
            narrow: None,
            reason: Some("checked the build".to_owned()),
            assertion: None,
        }
    }

    async fn own_verdict(&mut self, on: &Stage) -> Seen {
        let view = on.approver.read_request(&self.high.request).await.map_err(|error| said(&error))?;
        self.digest = view.request_digest;
        let result = on.agent.decide_request(&self.high.request, &Self::verdict(&self.digest)).await;
        refused(result, ProblemKind::Forbidden)
    }

    async fn wrong_digest(&mut self, on: &Stage) -> Seen {
        let other = format!("sha256:{}", "0".repeat(64));
        let result = on.approver.decide_request(&self.high.request, &Self::verdict(&other)).await;
        refused(result, ProblemKind::ApprovalStale)
    }

    async fn approve(&mut self, on: &Stage) -> Seen {
        let result = on.approver.decide_request(&self.high.request, &Self::verdict(&self.digest)).await;
        let answer = result.map_err(|error| said(&error))?;
        expect("its state", "granted", &answer.state)?;
        Ok(answer.message)
    }

    async fn collect(&mut self, on: &Stage) -> Seen {
        let answer = on.agent.collect(&self.high.task).await.map_err(|error| said(&error))?;
        self.high = Held::from(&answer, "token");
        expect("credentials", 1, answer.credentials.len())?;
        expect("status without it", 401, tried(on, "nothing", Method::PUT, "releases/v1.4.2").await?)?;
        expect("status", 201, tried(on, &self.high.secret, Method::PUT, "releases/v1.4.2").await?)?;
        expect("status of what it does not permit", 403, tried(on, &self.high.secret, Method::GET, "releases").await?)?;
        Ok("PUT /releases/v1.4.2 answered 201; GET /releases, which it does not permit, 403".to_owned())
    }

    async fn end(&mut self, on: &Stage) -> Seen {
        for held in [&self.low, &self.high] {
            let closure = on.agent.complete(&held.task).await.map_err(|error| said(&error))?;
            expect("the closure", ClosureWord::Closed, closure.closure)?;
        }
        expect("active", false, is_active(on, &self.low.secret).await?)?;
        expect("status in the sandbox", 401, tried(on, &self.high.secret, Method::PUT, "releases/v1.4.3").await?)?;
        Ok("introspection: inactive; the sandbox: 401; both closures: closed".to_owned())
    }

    async fn expires(&mut self, on: &Stage) -> Seen {
        let answer = on.agent.open_task(&ask("read once", "api:releases:read", Some(2))).await;
        let answer = answer.map_err(|error| said(&error))?;
        self.short = Held::from(&answer, "access_token");
        expect("active at first", true, is_active(on, &self.short.secret).await?)?;
        let secret = &self.short.secret;
        let ended = until(Duration::from_secs(8), async || {
            let (active, status) = (is_active(on, secret).await, tried(on, secret, Method::GET, "api/releases").await);
            (active == Ok(false) && status == Ok(401)).then_some(())
        });
        ended.await.ok_or("expected it to end within 8 s, saw it still accepted")?;
        // Its task ends with it; the audit must have that too before it is read.
        let task = &self.short.task;
        let closed = until(Duration::from_secs(8), async || {
            on.agent.read_task(task, None).await.ok().filter(|answer| answer.state == "closed")
        });
        closed.await.ok_or("expected its task to close within 8 s, saw it open")?;
        Ok("introspection: inactive; the resource server: 401".to_owned())
    }

    async fn audited(&mut self, on: &Stage) -> Seen {
        let permitted = ["task.opened", "access.requested", "policy.decided", "access.granted"];
        let waited = ["task.opened", "access.requested", "policy.decided", "approval.awaited", "approval.recorded"];
        let (lived, ended) = (["credential.minting", "credential.minted"], ["lease.ending", "lease.ended"]);
        let ends = ["credential.delivered", "task.closed", "grant.ended"];
        let stories = [
            (&self.low.task, [&permitted[..], &lived, &ends, &ended].concat()),
            (&self.high.task, [&waited[..], &["policy.decided", "access.granted"], &lived, &ends, &ended].concat()),
            (&self.short.task, [&permitted[..], &lived, &["credential.delivered"]].concat()),
        ];
        let mut count = 0;
        for (task, expected) in stories {
            let events = timeline(&on.approver, task).await.map_err(|error| said(&error))?;
            let kind = |event: &crate::api::EventView| {
                event.event.get("kind").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
            };
            let seen: Vec<String> = events.iter().map(kind).collect();
            let mut rest = seen.iter();
            if let Some(missing) = expected.iter().find(|kind| !rest.any(|seen| seen == *kind)) {
                return Err(format!("{task}: expected {missing} in its place, saw {}", seen.join(", ")));
            }
            count += seen.len();
        }
        Ok(format!("{count} events of 3 tasks"))
    }

    async fn bundle(&mut self, on: &Stage) -> Seen {
        let bundle = on.agent.scopes().await.map_err(|error| said(&error))?.bundle;
        for held in [&self.low, &self.high, &self.short] {
            let decision = on.agent.read_decision(&held.decision).await.map_err(|error| said(&error))?;
            expect("its bundle", &bundle, &decision.bundle)?;
            expect("that policies determined it", true, !decision.determining.is_empty())?;
        }
        Ok(bundle)
    }
}
