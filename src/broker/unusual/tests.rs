//! Each deviation as a table of past requests: what is said, and that nothing is said of what is usual.

use super::*;
use crate::domain::{
    AccessRequestRecord, Ceiling, DecisionId, Digest, RequestId, RequestState, TaskId, TaskRecord, TaskState,
};

const NOON: Timestamp = Timestamp::from_secs(1_800_014_400);

fn ttl(secs: i64) -> Ttl {
    Ttl::from_secs(secs).unwrap()
}

fn set(scopes: &[&str]) -> ScopeSet {
    ScopeSet::new(scopes.iter().map(|scope| scope.parse().unwrap())).unwrap()
}

fn request(scopes: &[&str], secs: i64) -> AccessRequest {
    let digest: Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    AccessRequest::new(AccessRequestRecord {
        id: RequestId::new(NOON, [1; 10]),
        task: TaskId::new(NOON, [1; 10]),
        agent: "bot".parse().unwrap(),
        backend: "db".parse().unwrap(),
        scopes: set(scopes),
        ttl: ttl(secs),
        confirmation_key: None,
        digest,
        plan: digest.to_string().parse().unwrap(),
        effect: "{}".to_owned(),
        decision: DecisionId::new(NOON, [1; 10]),
        asked_at: NOON,
        settled_at: Some(NOON),
        state: RequestState::Lapsed,
    })
    .unwrap()
}

fn task() -> Task {
    Task::new(TaskRecord {
        id: TaskId::new(NOON, [1; 10]),
        agent: "bot".parse().unwrap(),
        identity: "https://issuer#bot".to_owned(),
        purpose: "test".parse().unwrap(),
        kind: None,
        beneficiary: None,
        references: std::collections::BTreeMap::new(),
        message: None,
        ceiling: Ceiling::new(vec!["db:a:read".parse().unwrap()]),
        opened_at: NOON,
        ends_at: NOON.plus(ttl(600)),
        heartbeat: None,
        heard_at: None,
        state: TaskState::Open,
    })
    .unwrap()
}

fn past(scope: &str, secs: i64, hours_ago: i64) -> PastRequest {
    let asked_at = NOON.plus_millis(-hours_ago * HOUR_MILLIS);
    PastRequest {
        id: RequestId::new(asked_at, [2; 10]),
        scopes: set(&[scope]),
        ttl: ttl(secs),
        state: "granted".to_owned(),
        asked_at,
        settled_at: Some(asked_at),
        identity: "https://issuer#bot".to_owned(),
    }
}

#[test]
fn what_an_agent_always_asks_for_is_not_unusual() {
    let before: Vec<PastRequest> = (1..=25).map(|day| past("db:a:read", 600, day * 24)).collect();
    assert_eq!(unusual(&request(&["db:a:read"], 600), &task(), &before), Vec::<String>::new());
    let told = history(&request(&["db:a:read"], 600), &before);
    assert_eq!((told.asked, told.granted, told.denied), (25, 25, 0));
    assert_eq!(told.last_granted_at, Some(NOON.plus_millis(-DAY_MILLIS)));
}

#[test]
fn an_entry_that_was_never_asked_for_is_named() {
    let before = [past("db:a:read", 600, 24)];
    let said = unusual(&request(&["db:a:read", "db:b:write"], 600), &task(), &before);
    assert_eq!(said, ["bot has not asked for db:b:write in the last 30 days."]);
    assert_eq!(history(&request(&["db:b:write"], 600), &before).asked, 0);
}

#[test]
fn a_longer_life_than_the_median_is_said_from_three_like_requests_on() {
    let mut before = vec![past("db:a:read", 60, 24), past("db:a:read", 300, 48)];
    assert!(unusual(&request(&["db:a:read"], 600), &task(), &before).is_empty());
    before.push(past("db:a:read", 300, 72));
    let said = unusual(&request(&["db:a:read"], 600), &task(), &before);
    assert_eq!(said, ["It asks for 10 minutes; half of the time it asks for 5 minutes or less."]);
    assert!(unusual(&request(&["db:a:read"], 300), &task(), &before).is_empty());
}

#[test]
fn another_hour_of_the_day_is_said_from_twenty_requests_on() {
    // Always at midnight, while this one comes at noon.
    let mut before: Vec<PastRequest> = (1..20).map(|day| past("db:a:read", 600, day * 24 + 12)).collect();
    assert!(unusual(&request(&["db:a:read"], 600), &task(), &before).is_empty());
    before.push(past("db:a:read", 600, 20 * 24 + 12));
    let said = unusual(&request(&["db:a:read"], 600), &task(), &before);
    assert_eq!(said, ["It asks at 12 o'clock UTC, when it did not ask in the last 30 days."]);
    before.push(past("db:a:read", 600, 25));
    assert!(unusual(&request(&["db:a:read"], 600), &task(), &before).is_empty());
}

#[test]
fn a_new_identity_is_said() {
    let mut one = past("db:a:read", 600, 24);
    one.identity = "https://issuer#other".to_owned();
    let said = unusual(&request(&["db:a:read"], 600), &task(), &[one]);
    assert_eq!(said, ["bot comes with an identity that it has not come with in the last 30 days."]);
}

#[test]
fn more_requests_than_on_other_days_are_said() {
    let mut before: Vec<PastRequest> = (2..10).map(|day| past("db:a:read", 600, day * 24)).collect();
    before.extend((1..=5).map(|hour| past("db:a:read", 600, hour)));
    let said = unusual(&request(&["db:a:read"], 600), &task(), &before);
    assert_eq!(said, ["6 requests within 24 hours, this one among them; 1 on a usual day."]);
}
