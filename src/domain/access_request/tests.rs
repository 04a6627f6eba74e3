//! An access request leaves `pending` once, in time, and says how.

use super::{AccessRequest, AccessRequestRecord, RequestState};
use crate::domain::{
    ApprovalRule, ApprovalTerms, DecisionId, Digest, GrantId, Refusal, RequestId, ScopeSet, TaskId, Timestamp, Ttl,
};

const T0: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn at(secs: i64) -> Timestamp {
    T0.plus_millis(secs * 1000)
}

fn rule() -> ApprovalRule {
    "1 of sre-oncall".parse().unwrap()
}

fn record() -> AccessRequestRecord {
    AccessRequestRecord {
        id: RequestId::new(T0, [1; 10]),
        task: TaskId::new(T0, [2; 10]),
        agent: "bot".parse().unwrap(),
        backend: "demo".parse().unwrap(),
        scopes: ScopeSet::new(["demo:notes:read".parse().unwrap()]).unwrap(),
        ttl: Ttl::TEN_MINUTES,
        confirmation_key: None,
        digest: Digest::from_bytes([3; 32]),
        plan: Digest::from_bytes([4; 32]),
        effect: "{}".to_owned(),
        decision: DecisionId::new(T0, [5; 10]),
        asked_at: T0,
        settled_at: None,
        state: RequestState::Pending { rule: rule(), terms: ApprovalTerms::default(), lapses_at: at(900) },
    }
}

fn pending() -> AccessRequest {
    AccessRequest::new(record()).unwrap()
}

type Settle = fn(AccessRequest, Timestamp) -> Result<AccessRequest, Refusal>;

const WAYS: [(&str, Settle); 4] = [
    ("granted", |request, now| request.grant(GrantId::new(T0, [6; 10]), DecisionId::new(T0, [7; 10]), now)),
    ("denied", |request, now| request.deny("by_approver", now)),
    ("withdrawn", AccessRequest::withdraw),
    ("lapsed", AccessRequest::lapse),
];

#[test]
fn it_is_settled_once_by_any_of_four_ways() {
    for (word, settle) in WAYS {
        let settled = settle(pending(), at(5)).unwrap();
        assert_eq!((settled.state.as_str(), settled.settled_at), (word, Some(at(5))));
        assert!(settled.pending().is_none() && !settled.is_due(at(9999)));
        assert!(AccessRequest::new(AccessRequestRecord::clone(&settled)).is_ok(), "it reads back");
        for (_, again) in WAYS {
            let refusal = again(settled.clone(), at(6)).unwrap_err();
            assert_eq!((refusal.what, refusal.state), ("request", word));
        }
    }
}

#[test]
fn a_grant_rests_on_the_latest_decision() {
    let settled = WAYS[0].1(pending(), at(5)).unwrap();
    assert_eq!(settled.decision, DecisionId::new(T0, [7; 10]));
    assert_eq!(settled.state, RequestState::Granted { grant: GrantId::new(T0, [6; 10]) });
}

#[test]
fn a_grant_that_comes_too_late_is_refused_and_only_a_lapse_is_left() {
    assert!(!pending().is_due(at(899)) && pending().is_due(at(900)));
    assert!(WAYS[0].1(pending(), at(899)).is_ok());
    let refusal = WAYS[0].1(pending(), at(900)).unwrap_err();
    assert_eq!((refusal.state, refusal.verb), ("lapsed", "be granted"));
    assert!(pending().lapse(at(900)).is_ok());
}

#[test]
fn a_corrupt_row_cannot_become_a_request() {
    let mixed = ScopeSet::new(["demo:notes:read".parse().unwrap(), "other:notes:read".parse().unwrap()]).unwrap();
    let wrong = [
        AccessRequestRecord { scopes: mixed, ..record() },
        AccessRequestRecord { settled_at: Some(T0), ..record() },
        AccessRequestRecord { state: RequestState::Withdrawn, ..record() },
    ];
    for record in wrong {
        assert!(AccessRequest::new(record).is_err());
    }
}
