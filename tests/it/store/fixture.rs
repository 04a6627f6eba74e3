//! Things to store: a task with everything that may follow from it, and a store in a folder that goes away.

use std::collections::BTreeMap;
use std::sync::Arc;

use hallpass::domain::*;
use hallpass::store::{Store, StoreSettings};
use hallpass::sys::{Ids, ManualClock, SeededEntropy, sha256};

/// A store on a real file, and what makes ids for it.
pub(super) struct Fixture {
    pub(super) folder: tempfile::TempDir,
    url: String,
    pub(super) ids: Ids,
    pub(super) store: Store,
}

/// One task and one of everything below it.
pub(super) struct Story {
    pub(super) task: Task,
    pub(super) request: AccessRequest,
    pub(super) decision: Decision,
    pub(super) grant: Grant,
    pub(super) lease: Lease,
}

pub(super) const START: Timestamp = Timestamp::from_secs(1_800_000_000);

pub(super) fn agent(name: &str) -> AgentId {
    name.parse().unwrap()
}

pub(super) fn ttl(secs: i64) -> Ttl {
    Ttl::from_secs(secs).unwrap()
}

pub(super) fn digest(text: &str) -> Digest {
    sha256(text)
}

impl Fixture {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = url(&folder);
        Self::on(folder, url).await
    }

    /// On a file, whatever the other tests run on.
    pub(super) async fn on_a_file() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("hallpass.db").display());
        Self::on(folder, url).await
    }

    /// On any database.
    pub(super) async fn on(folder: tempfile::TempDir, url: String) -> Self {
        let clock = Arc::new(ManualClock::new(START));
        let ids = Ids::new(clock, Arc::new(SeededEntropy::new(7)));
        let store = Store::open(&StoreSettings::new(&url)).await.unwrap();
        Self { folder, url, ids, store }
    }

    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    /// The same store opened once more, as another replica has it.
    pub(super) async fn open_again(&self) -> Store {
        open(&self.folder).await
    }

    /// Move a lease on.
    pub(super) async fn step(&self, before: &Lease, after: &Lease) {
        let mut tx = self.store.begin("step");
        tx.update_lease(before, after);
        tx.commit(self.fact()).await.unwrap();
    }

    /// A second way to the same file, as somebody behind our back would have.
    pub(super) async fn behind_our_back(&self) -> sqlx::AnyConnection {
        connect(&self.url).await
    }

    pub(super) fn task(&self, agent: &AgentId) -> Task {
        Task::new(TaskRecord {
            id: self.ids.task(),
            agent: agent.clone(),
            identity: "https://issuer.example#repo:acme/app".to_owned(),
            purpose: "Rotate the \"orders\" table, row by row\n\\ and report 🦀".parse().unwrap(),
            kind: Some("maintenance".parse().unwrap()),
            beneficiary: Some("ann@acme.example".to_owned()),
            references: BTreeMap::from([("ticket".to_owned(), "OPS-1".to_owned())]),
            message: Some("please".parse().unwrap()),
            ceiling: Ceiling::new(vec!["db:orders:read".parse().unwrap()]),
            opened_at: START,
            ends_at: START.plus(ttl(3600)),
            heartbeat: Some(ttl(60)),
            heard_at: Some(START),
            state: TaskState::Open,
        })
        .unwrap()
    }

    pub(super) fn request(&self, task: &Task, state: RequestState) -> AccessRequest {
        let settled_at = if matches!(state, RequestState::Pending { .. }) { None } else { Some(START) };
        AccessRequest::new(AccessRequestRecord {
            id: self.ids.request(),
            task: task.id,
            agent: task.agent.clone(),
            backend: "db".parse().unwrap(),
            scopes: ScopeSet::new(["db:orders:read(path=\"a b\")".parse().unwrap()]).unwrap(),
            ttl: ttl(900),
            confirmation_key: Some("{\"kty\":\"EC\"}".to_owned()),
            digest: digest("request"),
            plan: digest("plan"),
            effect: "{\"grant\":\"SELECT\"}".to_owned(),
            decision: self.ids.decision(),
            asked_at: START,
            settled_at,
            state,
        })
        .unwrap()
    }

    pub(super) fn pending(&self, task: &Task) -> AccessRequest {
        let rule = "2 of sre-oncall".parse().unwrap();
        let terms = ApprovalTerms { uses: 3, window: Some(ttl(600)), ..ApprovalTerms::default() };
        self.request(task, RequestState::Pending { rule, terms, lapses_at: START.plus(ttl(600)) })
    }

    #[expect(clippy::unused_self, reason = "made like everything else of the fixture")]
    pub(super) fn decision(&self, request: &AccessRequest) -> Decision {
        Decision {
            id: request.decision,
            outcome: Outcome::Permit(Terms::of(ttl(900))),
            determining: vec![PolicyRef { id: "readers".to_owned(), reason: "they read".to_owned() }],
            bundle: digest("bundle"),
            input: format!("{{\"question\":\"{}\"}}", "x".repeat(1200)),
            at: START,
        }
    }

    #[expect(clippy::unused_self, reason = "made like everything else of the fixture")]
    pub(super) fn grant(&self, request: &AccessRequest, id: GrantId) -> Grant {
        Grant::new(GrantRecord {
            id,
            request: request.id,
            task: request.task,
            agent: request.agent.clone(),
            backend: request.backend.clone(),
            scopes: request.scopes.clone(),
            plan: request.plan,
            ttl: request.ttl,
            given_at: START,
            until: START.plus(ttl(3600)),
            approved: None,
            state: GrantState::Live,
        })
        .unwrap()
    }

    pub(super) fn lease(&self, grant: &Grant) -> Lease {
        Lease::new(LeaseRecord {
            id: self.ids.lease(),
            grant: grant.id,
            request: grant.request,
            task: grant.task,
            agent: grant.agent.clone(),
            backend: grant.backend.clone(),
            scopes: grant.scopes.clone(),
            plan: grant.plan,
            handle: Handle::new("hp_1"),
            intent_at: START,
            ends_at: START.plus(ttl(900)),
            native_end: START.plus(ttl(900)),
            fence: 1,
            state: LeaseState::Minting,
        })
        .unwrap()
    }

    pub(super) fn story(&self, agent: &AgentId) -> Story {
        let task = self.task(agent);
        let id = self.ids.grant();
        let request = self.request(&task, RequestState::Granted { grant: id });
        let grant = self.grant(&request, id);
        Story { decision: self.decision(&request), lease: self.lease(&grant), task, request, grant }
    }

    /// An event about some of it.
    pub(super) fn event(
        &self,
        kind: EventKind,
        agent: &AgentId,
        task: Option<TaskId>,
        lease: Option<LeaseId>,
    ) -> AuditEvent {
        let subjects = Subjects { agent: Some(agent.clone()), task, lease, ..Subjects::default() };
        AuditEvent {
            id: self.ids.event(),
            at: START,
            kind,
            actor: Actor::Agent(agent.clone()),
            subjects,
            data: BTreeMap::from([("note", Datum::Text("said \"so\"".to_owned())), ("n", Datum::Number(-3))]),
        }
    }

    /// Any event, for changes whose explanation does not matter to a test.
    pub(super) fn fact(&self) -> AuditEvent {
        self.event(EventKind::TaskOpened, &agent("builder"), None, None)
    }

    /// Write a whole story.
    pub(super) async fn write(&self, story: &Story) {
        let mut tx = self.store.begin("story");
        tx.insert_task(&story.task);
        tx.insert_request(&story.request);
        tx.insert_decision(&story.decision, Some(story.request.id), Some(story.task.id), &story.task.agent);
        tx.insert_grant(&story.grant);
        tx.insert_lease(&story.lease);
        let (agent, task) = (&story.task.agent, Some(story.task.id));
        let mut facts = Facts::new(self.event(EventKind::TaskOpened, agent, task, None));
        facts.push(self.event(EventKind::CredentialMinting, agent, task, Some(story.lease.id)));
        tx.commit(facts).await.unwrap();
    }
}

pub(super) fn url(folder: &tempfile::TempDir) -> String {
    crate::support::database::url(folder.path())
}

pub(super) async fn open(folder: &tempfile::TempDir) -> Store {
    Store::open(&StoreSettings::new(url(folder))).await.unwrap()
}

/// Another way to a database, as somebody behind our back would have.
pub(super) async fn connect(url: &str) -> sqlx::AnyConnection {
    use sqlx::Connection as _;
    sqlx::any::install_default_drivers();
    sqlx::AnyConnection::connect(url).await.unwrap()
}
