//! A grant is live until its end, ends once, and never lets a credential outlive it.

use proptest::prelude::*;

use super::{Grant, GrantRecord, GrantState};
use crate::domain::{Digest, EndCause, GrantId, RequestId, ScopeSet, TaskId, Timestamp, Ttl};

const T0: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn at(secs: i64) -> Timestamp {
    T0.plus_millis(secs * 1000)
}

fn record() -> GrantRecord {
    GrantRecord {
        id: GrantId::new(T0, [1; 10]),
        request: RequestId::new(T0, [2; 10]),
        task: TaskId::new(T0, [3; 10]),
        agent: "bot".parse().unwrap(),
        backend: "demo".parse().unwrap(),
        scopes: ScopeSet::new(["demo:notes:read".parse().unwrap()]).unwrap(),
        plan: Digest::from_bytes([5; 32]),
        ttl: Ttl::TEN_MINUTES,
        given_at: T0,
        until: at(3600),
        approved: None,
        state: GrantState::Live,
    }
}

#[test]
fn it_is_live_until_its_end_and_not_at_it() {
    let grant = Grant::new(record()).unwrap();
    assert!(grant.is_live(T0) && grant.is_live(at(3600).plus_millis(-1)));
    assert!(!grant.is_live(at(3600)));
}

#[test]
fn it_ends_once_and_keeps_the_first_cause() {
    let ended = Grant::new(record()).unwrap().end(EndCause::KillSwitch, at(5)).unwrap();
    assert_eq!(ended.state, GrantState::Ended { cause: EndCause::KillSwitch, at: at(5) });
    assert!(!ended.is_live(at(6)));
    let refusal = ended.end(EndCause::Expired, at(7)).unwrap_err();
    assert_eq!((refusal.what, refusal.state), ("grant", "ended"));
}

#[test]
fn one_that_ends_before_it_begins_is_corrupt() {
    for until in [T0, at(-1)] {
        assert!(Grant::new(GrantRecord { until, ..record() }).is_err());
    }
}

proptest! {
    #[test]
    fn no_credential_outlives_its_grant_or_its_own_life(ttl in 1_i64..=86_400, until in 1_i64..200_000, now in 0_i64..200_000) {
        let ttl = Ttl::from_secs(ttl).unwrap();
        let grant = Grant::new(GrantRecord { ttl, until: at(until), ..record() }).unwrap();
        let end = grant.credential_end(at(now));
        prop_assert!(end <= grant.until && end <= at(now).plus(ttl));
        prop_assert_eq!(end > at(now), grant.is_live(at(now)), "one minted on a live grant has some life");
    }
}
