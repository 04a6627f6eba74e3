//! When keys are asked for anew, what is answered meanwhile, and when there are none any more.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::api::RevocationView;
use crate::sys::ManualClock;
use serde_json::Value;

const T0: Timestamp = Timestamp::from_secs(1_800_000_000);

/// Keys with this name, for so long.
pub(in crate::cli::exec) fn keys(name: &str, until_secs: i64) -> Credential {
    let values = [
        ("access_key_id", format!("ASIA{name}")),
        ("secret_access_key", format!("the-secret-key-of-{name}")),
        ("session_token", format!("the-session-token-of-{name}")),
    ];
    Credential {
        id: format!("lse_{name}"),
        request: "req_1".to_owned(),
        kind: "aws".to_owned(),
        scopes: vec!["aws:releases:read".to_owned()],
        values: values.into_iter().map(|(member, value)| (member.to_owned(), value)).collect(),
        sealed: None,
        usable_until: T0.plus_millis(until_secs * 1000),
        native_end: T0.plus_millis(until_secs * 1000),
        revocation: RevocationView { how: String::new(), strength: String::new() },
    }
}

/// Answers what it was told to, and counts; without an answer it never comes back.
#[derive(Default)]
pub(in crate::cli::exec) struct Told {
    answers: Mutex<VecDeque<Result<Credential, Trouble>>>,
    asked: AtomicUsize,
}

impl Told {
    pub(in crate::cli::exec) fn to(&self, answer: Result<Credential, Trouble>) {
        self.answers.lock().unwrap().push_back(answer);
    }

    pub(in crate::cli::exec) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Source for Told {
    fn ask<'s>(&'s self, scopes: &'s [String]) -> BoxFuture<'s, Result<Credential, Trouble>> {
        assert_eq!(scopes, ["aws:releases:read"]);
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.answers.lock().unwrap().pop_front();
        Box::pin(async move {
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        })
    }
}

pub(in crate::cli::exec) struct Stage {
    pub(in crate::cli::exec) clock: Arc<ManualClock>,
    pub(in crate::cli::exec) told: Arc<Told>,
    pub(in crate::cli::exec) keeping: Keeping,
    pub(in crate::cli::exec) fresh: Arc<Fresh>,
}

impl Stage {
    /// Keys for 15 minutes in a task of 8 hours.
    pub(in crate::cli::exec) fn new() -> Self {
        Self::with(900, 8 * 3600)
    }

    fn with(secs: i64, task_secs: i64) -> Self {
        let (clock, told) = (Arc::new(ManualClock::new(T0)), Arc::new(Told::default()));
        let keeping = Keeping {
            source: told.clone(),
            clock: clock.clone(),
            task_ends_at: T0.plus_millis(task_secs * 1000),
            secrets: Secrets::default(),
            ended: CancellationToken::new(),
        };
        let fresh = Arc::new(Fresh::new(&keys("1", secs), &keeping).unwrap());
        Self { clock, told, keeping, fresh }
    }

    /// At this second: whose keys there are, or the code of why there are none.
    async fn at(&self, secs: i64) -> String {
        self.clock.set(T0.plus_millis(secs * 1000));
        match self.fresh.keys().await {
            Ok(keys) => {
                let shown: Value = serde_json::from_str(&keys.for_container().unwrap()).unwrap();
                shown["AccessKeyId"].as_str().unwrap().to_owned()
            }
            Err(trouble) => trouble.code,
        }
    }
}

fn trouble(exit: Exit, code: &str) -> Trouble {
    Trouble::new(exit, code, "it was told to")
}

#[tokio::test]
async fn keys_are_asked_for_anew_when_a_third_of_their_life_is_left() {
    let stage = Stage::new();
    assert_eq!(stage.at(0).await, "ASIA1");
    assert_eq!(stage.at(599).await, "ASIA1");
    assert_eq!(stage.told.asked(), 0, "an SDK that comes for every call costs nothing");
    stage.told.to(Ok(keys("2", 1500)));
    assert_eq!(stage.at(600).await, "ASIA2");
    assert_eq!(stage.at(601).await, "ASIA2");
    assert_eq!(stage.told.asked(), 1);
}

#[tokio::test]
async fn long_lived_keys_are_asked_for_five_minutes_before_their_end() {
    let stage = Stage::with(3600, 8 * 3600);
    assert_eq!(stage.at(3299).await, "ASIA1");
    assert_eq!(stage.told.asked(), 0);
    stage.told.to(Ok(keys("2", 7200)));
    assert_eq!(stage.at(3300).await, "ASIA2");
}

#[tokio::test]
async fn what_is_held_is_good_until_its_end_whatever_is_said_of_the_next() {
    let stage = Stage::new();
    stage.told.to(Err(trouble(Exit::Denied, "policy-denied")));
    assert_eq!(stage.at(700).await, "ASIA1");
    assert_eq!(stage.at(729).await, "ASIA1");
    assert_eq!(stage.told.asked(), 1, "who said no is not asked again at once");
    stage.told.to(Err(trouble(Exit::Unreachable, "unreachable")));
    assert_eq!(stage.at(730).await, "ASIA1");
    stage.told.to(Err(trouble(Exit::Denied, "policy-denied")));
    assert_eq!(stage.at(899).await, "ASIA1");
    assert_eq!(stage.at(900).await, "policy-denied", "and then there are none");
    stage.told.to(Ok(keys("2", 1900)));
    assert_eq!(stage.at(960).await, "ASIA2", "until policy says yes again");
    assert_eq!(stage.told.asked(), 4);
}

#[tokio::test]
async fn many_who_come_at_once_cost_one_question() {
    let stage = Stage::new();
    stage.told.to(Ok(keys("2", 1500)));
    let at = stage.at(600);
    let others = futures_util::future::join_all((0..20).map(|_| stage.at(600)));
    let (one, others) = tokio::join!(at, others);
    assert!(one == "ASIA2" && others.iter().all(|other| other == "ASIA2"), "{others:?}");
    assert_eq!(stage.told.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_broker_keeps_nobody_longer_than_an_sdk_waits() {
    let stage = Stage::new();
    assert_eq!(stage.at(600).await, "ASIA1", "it never answers");
    assert_eq!(stage.at(899).await, "ASIA1");
    assert_eq!(stage.at(900).await, "retry-later");
    assert_eq!(stage.told.asked(), 1, "and is asked once");
}

#[tokio::test]
async fn new_keys_are_secrets_before_anybody_can_print_them() {
    let stage = Stage::new();
    stage.told.to(Ok(keys("2", 1500)));
    stage.at(600).await;
    let mut masker = super::super::mask::Masker::new(stage.keeping.secrets.clone());
    let text = "ASIA2 the-secret-key-of-2 the-session-token-of-2";
    let shown = [masker.push(text.as_bytes()), masker.finish()].concat();
    assert_eq!(String::from_utf8(shown).unwrap(), "ASIA2 [masked] [masked]");
}

#[tokio::test]
async fn with_the_task_everything_ends() {
    let stage = Stage::with(900, 900);
    assert_eq!(stage.at(899).await, "ASIA1");
    assert_eq!(stage.told.asked(), 0, "nothing outlives its task, so there is nothing to ask for");
    assert_eq!(stage.at(900).await, "task-closed");

    let stage = Stage::new();
    stage.keeping.ended.cancel();
    assert_eq!(stage.at(1).await, "task-closed", "also before its time");

    let stage = Stage::new();
    stage.told.to(Err(trouble(Exit::Ended, "task-closed")));
    assert_eq!(stage.at(600).await, "task-closed", "as soon as the broker says so");
    assert_eq!(stage.at(601).await, "task-closed");
    assert_eq!(stage.told.asked(), 1);
}

#[tokio::test]
async fn what_is_no_credential_of_aws_is_not_served() {
    let stage = Stage::new();
    stage.told.to(Ok(Credential { kind: "sandbox".to_owned(), ..keys("2", 1500) }));
    assert_eq!(stage.at(600).await, "ASIA1");
    assert_eq!(stage.at(900).await, "not-aws");
}

/// A task whose answers were written down beforehand, and what it was asked.
struct Written {
    source: TaskSource,
    answers: Arc<Mutex<VecDeque<Value>>>,
    calls: Arc<Mutex<Vec<String>>>,
}

/// Requests with their states, and credentials.
type Answer<'a> = (&'a [(&'a str, &'a str)], &'a [Credential]);

impl Written {
    async fn start() -> Self {
        let (answers, calls) = (Arc::new(Mutex::new(VecDeque::<Value>::new())), Arc::new(Mutex::new(Vec::new())));
        let (told, heard) = (Arc::clone(&answers), Arc::clone(&calls));
        let router = axum::Router::new().fallback(async move |request: axum::extract::Request| {
            heard.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
            axum::Json(told.lock().unwrap().pop_front().unwrap())
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let (tokens, ids) = (crate::client::TokenSource::Nobody, crate::cli::session::system_ids());
        let client = Client::new(crate::client::ClientSettings { server, tokens, ca_file: None, ids }).unwrap();
        Self { source: TaskSource::new(&client, "tsk_1", Some(900)), answers, calls }
    }

    /// What comes of asking once, when these are the answers; and which calls were made.
    async fn ask(&self, answers: &[Answer<'_>]) -> (Result<String, String>, Vec<String>) {
        for (requests, credentials) in answers {
            let requests = requests.iter().map(|(id, state)| {
                serde_json::json!({ "id": id, "state": state, "scopes": ["aws:releases:read"], "decision": "dec_1" })
            });
            self.answers.lock().unwrap().push_back(serde_json::json!({
                "id": "tsk_1", "state": "open", "agent": "a", "purpose": "p", "agent_action": "proceed",
                "opened_at": T0, "expires_at": T0, "message": "m", "requests": requests.collect::<Vec<_>>(),
                "credentials": credentials,
            }));
        }
        let asked = self.source.ask(&["aws:releases:read".to_owned()]).await;
        assert!(self.answers.lock().unwrap().is_empty());
        let calls = std::mem::take(&mut *self.calls.lock().unwrap());
        (asked.map(|credential| credential.id).map_err(|trouble| trouble.code), calls)
    }
}

const ASKED: &str = "POST /v1/tasks/tsk_1/requests";
const LOOKED: &str = "GET /v1/tasks/tsk_1";

#[tokio::test]
async fn a_request_that_waits_for_a_person_is_looked_after_and_not_repeated() {
    let written = Written::start().await;
    let answer = written.ask(&[(&[("req_1", "pending")], &[])]).await;
    assert_eq!(answer, (Err("pending".to_owned()), vec![ASKED.to_owned()]));
    let all = [("req_0", "granted"), ("req_1", "pending")];
    let answer = written.ask(&[(&all, &[])]).await;
    assert_eq!(answer, (Err("pending".to_owned()), vec![LOOKED.to_owned()]));
    let all = [("req_0", "granted"), ("req_1", "granted")];
    let others = Credential { request: "req_0".to_owned(), ..keys("0", 900) };
    let answer = written.ask(&[(&all, &[]), (&all, &[others, keys("1", 900)])]).await;
    let collected = vec![LOOKED.to_owned(), "POST /v1/tasks/tsk_1/credentials".to_owned()];
    assert_eq!(answer, (Ok("lse_1".to_owned()), collected));
    let answer = written.ask(&[(&[("req_1", "granted")], &[keys("2", 900)])]).await;
    assert_eq!(answer, (Ok("lse_2".to_owned()), vec![ASKED.to_owned()]));
}

#[tokio::test]
async fn what_a_person_denied_is_said_once_and_asked_again_after() {
    let written = Written::start().await;
    assert_eq!(written.ask(&[(&[("req_1", "pending")], &[])]).await.0, Err("pending".to_owned()));
    assert_eq!(written.ask(&[(&[("req_1", "denied")], &[])]).await.0, Err("denied".to_owned()));
    let answer = written.ask(&[(&[("req_1", "granted")], &[])]).await;
    assert_eq!(answer, (Err("no-credential".to_owned()), vec![ASKED.to_owned()]));
}

#[tokio::test]
async fn half_of_the_scopes_is_no_answer() {
    let written = Written::start().await;
    let answer = written.ask(&[(&[("req_1", "granted"), ("req_2", "pending")], &[keys("1", 900)])]).await;
    assert_eq!(answer.0, Err("policy-changed".to_owned()));
}
