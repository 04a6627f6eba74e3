//! The life of a lease: every transition, allowed or refused, by a table; and retries that never come too late or too often.

use proptest::prelude::*;

use super::{Handle, Lease, LeaseRecord, LeaseState};
use crate::domain::{Digest, EndCause, GrantId, LeaseId, RequestId, ScopeSet, TaskId, Timestamp};

const T0: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn at(millis: i64) -> Timestamp {
    T0.plus_millis(millis)
}

fn record() -> LeaseRecord {
    LeaseRecord {
        id: LeaseId::new(T0, [1; 10]),
        grant: GrantId::new(T0, [2; 10]),
        request: RequestId::new(T0, [3; 10]),
        task: TaskId::new(T0, [4; 10]),
        agent: "bot".parse().unwrap(),
        backend: "demo".parse().unwrap(),
        scopes: ScopeSet::new(["demo:notes:read".parse().unwrap()]).unwrap(),
        plan: Digest::from_bytes([5; 32]),
        handle: Handle::new("h"),
        intent_at: T0,
        ends_at: at(600_000),
        native_end: at(900_000),
        fence: 1,
        state: LeaseState::Minting,
    }
}

fn minting() -> Lease {
    Lease::new(record()).unwrap()
}

fn live() -> Lease {
    minting().minted("00".to_owned(), at(1)).unwrap()
}

fn ending() -> Lease {
    live().end(EndCause::Revoked, at(2)).unwrap()
}

fn ended() -> Lease {
    ending().ended("gone".to_owned(), at(3)).unwrap()
}

#[test]
fn every_transition_is_allowed_or_refused_by_the_table() {
    for (lease, minted, end, try_again, done) in [
        (minting(), true, true, false, false),
        (live(), false, true, false, false),
        (ending(), false, false, true, true),
        (ended(), false, false, false, false),
    ] {
        let state = lease.state.as_str();
        let now = at(10);
        let steps = [
            (minted, lease.clone().minted("ff".to_owned(), now)),
            (end, lease.clone().end(EndCause::Completed, now)),
            (try_again, lease.clone().try_again(None, 1000, now)),
            (done, lease.clone().ended("proof".to_owned(), now)),
        ];
        for (allowed, step) in steps {
            match step {
                Ok(next) => {
                    assert!(allowed, "{state} allowed too much");
                    assert_eq!(next.fence, lease.fence + 1, "each step raises the fence");
                }
                Err(refusal) => assert!(!allowed && refusal.state == state, "{state}: {refusal}"),
            }
        }
    }
}

#[test]
fn what_is_held_is_left_alone_and_what_is_doubted_is_not_disabled() {
    let held = ending().held(at(5_000));
    assert_eq!((held.due_at(), held.fence), (Some(at(5_000)), ending().fence));
    assert_eq!(live().held(at(5_000)), live());
    let disabled = ending().disabled(at(10)).unwrap();
    assert!(disabled.is_disabled() && !disabled.clone().doubted().is_disabled());
    assert_eq!(disabled.due_at(), Some(at(7_002)), "told once more when nothing of its mint can land any more");
}

#[test]
fn it_is_active_only_while_live_and_before_its_end() {
    assert!(!minting().is_active(at(1)));
    assert!(live().is_active(at(599_999)));
    assert!(!live().is_active(at(600_000)));
    assert!(!ending().is_active(at(3)));
    assert!(!ended().is_active(at(3)));
}

#[test]
fn it_is_due_at_the_deadlines_of_its_mint_and_its_delivery_then_at_its_end_then_at_the_next_try() {
    assert_eq!(minting().due_at(), Some(at(15_000)));
    assert_eq!(live().due_at(), Some(at(30_001)), "until it is delivered");
    assert_eq!(live().delivered(at(4)).unwrap().due_at(), Some(at(600_000)));
    assert_eq!(ending().due_at(), Some(at(2)));
    assert_eq!(ended().due_at(), None);
}

#[test]
fn rev_12_tries_come_at_growing_distances_up_to_a_minute_and_after_ten_every_quarter_of_an_hour() {
    let mut lease = ending();
    let mut waits = Vec::new();
    for _ in 0..11 {
        lease = lease.try_again(None, 1000, at(0)).unwrap();
        waits.push(lease.due_at().unwrap().millis_since(at(0)) / 1000);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60, 900, 900]);
}

#[test]
fn what_its_mint_may_still_do_is_waited_for_unless_it_was_delivered() {
    let settles = |lease: &Lease| {
        let LeaseState::Ending { settles_at, .. } = lease.state else { panic!("{:?}", lease.state) };
        settles_at.map(|at| at.millis_since(T0))
    };
    let end = |lease: Lease, now| lease.end(EndCause::Revoked, now).unwrap();
    assert_eq!(
        settles(&end(minting(), at(10))),
        Some(15_000),
        "the call may be made for eight seconds and land for seven"
    );
    assert_eq!(settles(&end(minting(), at(15_000))), Some(22_000), "told twice, however late");
    assert_eq!(settles(&end(live(), at(100))), Some(7_100));
    assert_eq!(settles(&end(live().delivered(at(5)).unwrap(), at(100))), None);
    let disabled = end(live(), at(100)).disabled(at(200)).unwrap();
    assert_eq!(disabled.due_at(), Some(at(7_100)));
    assert!(disabled.is_disabled() && !disabled.is_irrevocable());
    assert_eq!(disabled.clone().disabled(at(8_000)).unwrap().due_at(), Some(at(8_000)));
    let wait = |lease: Lease| lease.try_again(None, 1000, at(8_000)).unwrap();
    assert_eq!(wait(disabled).due_at(), Some(at(68_000)), "tidying up has time");
}

#[test]
fn delivery_changes_when_it_is_due_and_nothing_else() {
    let lease = live().delivered(at(4)).unwrap();
    assert_eq!(lease.fence, live().fence);
    assert_eq!(lease.clone().delivered(at(9)).unwrap(), lease, "the first delivery counts");
    assert!(minting().delivered(at(1)).is_err() && ending().delivered(at(3)).is_err());
}

#[test]
fn spread_keeps_many_leases_from_coming_back_at_once() {
    let wait = |spread| ending().try_again(None, spread, at(0)).unwrap().due_at().unwrap().millis_since(at(0));
    assert_eq!([wait(0), wait(500), wait(1000), wait(1500), wait(9999)], [500, 500, 1000, 1500, 1500]);
}

#[test]
fn a_named_end_is_waited_for_and_not_forgotten() {
    let by = at(900_000);
    let lease = ending().try_again(Some(by), 1000, at(5)).unwrap();
    assert_eq!(lease.due_at(), Some(by));
    let lease = lease.try_again(None, 1000, by).unwrap();
    assert_eq!(lease.due_at(), Some(by.plus_millis(2000)));
    assert!(matches!(&lease.state, LeaseState::Ending { ends_by: Some(end), attempts: 2, .. } if *end == by));
    // A backend that names the past is asked again now, not never.
    assert_eq!(ending().try_again(Some(at(-5)), 1000, at(7)).unwrap().due_at(), Some(at(7)));
}

#[test]
fn the_cause_and_the_proof_are_kept_to_the_end() {
    let lease = ending().try_again(None, 1000, at(4)).unwrap().ended("probe refused".to_owned(), at(5)).unwrap();
    let state = LeaseState::Ended { cause: EndCause::Revoked, at: at(5), proof: "probe refused".to_owned() };
    assert_eq!(lease.state, state);
}

#[test]
fn a_corrupt_row_cannot_become_a_lease() {
    let wrong = [
        LeaseRecord { ends_at: T0, ..record() },
        LeaseRecord { ends_at: at(-1), ..record() },
        LeaseRecord { native_end: at(599_999), ..record() },
    ];
    for record in wrong {
        assert_eq!(Lease::new(record).unwrap_err().what, "lease");
    }
    assert!(Lease::new(LeaseRecord { native_end: at(600_000), ..record() }).is_ok());
}

proptest! {
    #[test]
    fn the_fence_only_grows_and_the_ends_never_move(steps in proptest::collection::vec((0_u8..4, 0_i64..1_000_000), 0..40)) {
        let mut lease = minting();
        for (step, millis) in steps {
            let now = at(millis);
            let next = match step {
                0 => lease.clone().minted("aa".to_owned(), now),
                1 => lease.clone().end(EndCause::Expired, now),
                2 => lease.clone().try_again((millis % 2 == 0).then_some(now), 1000, now),
                _ => lease.clone().ended("proof".to_owned(), now),
            };
            let Ok(next) = next else { continue };
            prop_assert_eq!(next.fence, lease.fence + 1);
            prop_assert_eq!((next.ends_at, next.native_end), (lease.ends_at, lease.native_end));
            prop_assert!(!matches!(lease.state, LeaseState::Ended { .. }), "nothing follows the end");
            prop_assert!(Lease::new(LeaseRecord::clone(&next)).is_ok());
            lease = next;
        }
    }
}
