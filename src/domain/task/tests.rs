//! A task is due at its end or at a missed heartbeat, whichever is first; closed, it stays closed.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Task, TaskRecord, TaskState};
use crate::domain::{Ceiling, EndCause, TaskId, Timestamp, Ttl};

const T0: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn at(secs: i64) -> Timestamp {
    T0.plus_millis(secs * 1000)
}

fn record() -> TaskRecord {
    TaskRecord {
        id: TaskId::new(T0, [1; 10]),
        agent: "bot".parse().unwrap(),
        identity: "https://issuer.example#bot".to_owned(),
        purpose: "Publish release v1.4.2".parse().unwrap(),
        kind: None,
        beneficiary: None,
        references: BTreeMap::new(),
        message: None,
        ceiling: Ceiling::default(),
        opened_at: T0,
        ends_at: at(3600),
        heartbeat: None,
        heard_at: None,
        state: TaskState::Open,
    }
}

fn beating() -> Task {
    Task::new(TaskRecord { heartbeat: Ttl::from_secs(60).ok(), heard_at: Some(T0), ..record() }).unwrap()
}

#[test]
fn without_a_heartbeat_it_ends_at_its_end() {
    let task = Task::new(record()).unwrap();
    assert!(task.is_open(at(3599)) && !task.is_open(at(3600)));
    assert_eq!(task.due_cause(at(3599)), None);
    assert_eq!(task.due_cause(at(3600)), Some(EndCause::Expired));
    let refusal = task.hear(at(1)).unwrap_err();
    assert_eq!((refusal.what, refusal.state), ("task", "without a heartbeat"));
}

#[test]
fn a_missed_heartbeat_ends_it_and_cannot_be_made_up_for() {
    let task = beating().hear(at(59)).unwrap();
    assert_eq!(task.due_at(), at(119));
    assert_eq!(task.due_cause(at(118)), None);
    assert_eq!(task.due_cause(at(119)), Some(EndCause::HeartbeatMissed));
    assert!(task.clone().hear(at(119)).is_err(), "too late");
    assert_eq!(task.due_cause(at(3600)), Some(EndCause::Expired));
}

#[test]
fn it_closes_once_and_keeps_the_first_cause() {
    let closed = beating().close(EndCause::Completed, at(5)).unwrap();
    assert_eq!(closed.state, TaskState::Closed { cause: EndCause::Completed, at: at(5) });
    assert!(!closed.is_open(at(6)));
    assert_eq!(closed.due_cause(at(9999)), None);
    assert_eq!(closed.clone().hear(at(6)).unwrap_err().state, "closed");
    assert_eq!(closed.close(EndCause::Revoked, at(7)).unwrap_err().verb, "end again");
}

#[test]
fn a_corrupt_row_cannot_become_a_task() {
    let wrong = [
        TaskRecord { ends_at: T0, ..record() },
        TaskRecord { heartbeat: Ttl::from_secs(60).ok(), ..record() },
        TaskRecord { heard_at: Some(T0), ..record() },
    ];
    for record in wrong {
        assert!(Task::new(record).is_err());
    }
}

proptest! {
    #[test]
    fn no_heartbeat_carries_it_past_its_end(beats in proptest::collection::vec(1_i64..90, 1..100)) {
        let (mut task, mut now) = (beating(), T0);
        for pause in beats {
            now = now.plus_millis(pause * 1000);
            let due = task.due_at();
            prop_assert!(due <= task.ends_at);
            match task.clone().hear(now) {
                Ok(heard) => {
                    prop_assert!(now < due && heard.due_at() >= due);
                    task = heard;
                }
                Err(_) => prop_assert!(now >= due && task.due_cause(now).is_some()),
            }
        }
    }
}
