//! The canonical bytes of audit events are what later logs hash, so they are pinned here and must never change.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{AuditEvent, Datum, EventKind, Facts, Subjects};
use crate::domain::{Actor, DecisionId, EventId, GrantId, LeaseId, Person, RequestId, TaskId, Timestamp};

const T0: Timestamp = Timestamp::from_millis(1_790_000_000_120);

fn full() -> AuditEvent {
    AuditEvent {
        id: EventId::new(T0, [1; 10]),
        at: T0,
        kind: EventKind::CredentialMinted,
        actor: Actor::Agent("release-bot".parse().unwrap()),
        subjects: Subjects {
            agent: Some("release-bot".parse().unwrap()),
            task: Some(TaskId::new(T0, [2; 10])),
            request: Some(RequestId::new(T0, [3; 10])),
            decision: Some(DecisionId::new(T0, [4; 10])),
            grant: Some(GrantId::new(T0, [5; 10])),
            lease: Some(LeaseId::new(T0, [6; 10])),
        },
        data: BTreeMap::from([
            ("ttl_seconds", Datum::from(900)),
            ("scopes", Datum::from(vec!["aws-prod:releases:read".to_owned()])),
            ("purpose", Datum::from("Publish \"v1.4.2\"\n\u{1}é€😀/\\")),
        ]),
    }
}

fn bare() -> AuditEvent {
    AuditEvent {
        kind: EventKind::KillSwitchEngaged,
        actor: Actor::Broker,
        subjects: Subjects::default(),
        data: BTreeMap::new(),
        ..full()
    }
}

/// If one of these fails, the change breaks every log written before: make a version 2 beside it instead.
#[test]
fn the_canonical_bytes_are_pinned() {
    assert_eq!(full().canonical(), FULL);
    assert_eq!(bare().canonical(), BARE);
}

const FULL: &str = r#"{"actor":{"kind":"agent","name":"release-bot"},"agent":"release-bot","at":"2026-09-21T14:13:20.12Z","data":{"purpose":"Publish \"v1.4.2\"\n\u0001é€😀/\\","scopes":["aws-prod:releases:read"],"ttl_seconds":900},"decision":"dec_01m3250v3r0g2081040g208104","grant":"grt_01m3250v3r0m2ga1850m2ga185","id":"evt_01m3250v3r040g2081040g2081","kind":"credential.minted","lease":"lse_01m3250v3r0r30c1g60r30c1g6","request":"req_01m3250v3r0c1g60r30c1g60r3","task":"tsk_01m3250v3r081040g2081040g2","v":1}"#;
const BARE: &str = r#"{"actor":{"kind":"broker"},"at":"2026-09-21T14:13:20.12Z","id":"evt_01m3250v3r040g2081040g2081","kind":"kill_switch.engaged","v":1}"#;

#[test]
fn the_canonical_bytes_are_those_of_rfc_8785() {
    for event in [full(), bare()] {
        let value: serde_json::Value = serde_json::from_str(&event.canonical()).unwrap();
        assert_eq!(serde_json_canonicalizer::to_string(&value).unwrap(), event.canonical());
    }
}

#[test]
fn every_word_of_the_vocabulary_reads_back_and_is_there_once() {
    let words: std::collections::BTreeSet<&str> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(words.len(), EventKind::ALL.len());
    for kind in EventKind::ALL {
        assert_eq!(kind.as_str().parse::<EventKind>().unwrap(), *kind);
    }
    assert!("credential.stolen".parse::<EventKind>().is_err());
}

#[test]
fn facts_keep_their_order_and_are_never_empty() {
    let mut facts = Facts::from(full());
    facts.push(bare());
    facts.extend([full()]);
    assert_eq!((facts.len(), facts.is_empty()), (3, false));
    assert_eq!(
        facts.iter().map(|event| event.kind).collect::<Vec<_>>(),
        [EventKind::CredentialMinted, EventKind::KillSwitchEngaged, EventKind::CredentialMinted]
    );
    assert_eq!(facts.into_vec().len(), 3);
}

fn datum() -> impl Strategy<Value = Datum> {
    prop_oneof![
        any::<String>().prop_map(Datum::Text),
        (-(1_i64 << 53)..=1 << 53).prop_map(Datum::Number),
        proptest::collection::vec(any::<String>(), 0..4).prop_map(Datum::List),
    ]
}

proptest! {
    #[test]
    fn whatever_is_in_an_event_its_bytes_are_those_of_rfc_8785(
        data in proptest::collection::btree_map(
            prop_oneof![Just("a"), Just("a_b"), Just("ab"), Just("b.c"), Just("z9")], datum(), 0..5),
        kind in proptest::sample::select(EventKind::ALL),
        person in any::<String>(),
        millis in 0_i64..1 << 47,
        some: [bool; 6],
    ) {
        let all = full().subjects;
        let event = AuditEvent {
            at: Timestamp::from_millis(millis),
            kind,
            actor: Actor::Operator(Person::new(person)),
            subjects: Subjects {
                agent: all.agent.filter(|_| some[0]),
                task: all.task.filter(|_| some[1]),
                request: all.request.filter(|_| some[2]),
                decision: all.decision.filter(|_| some[3]),
                grant: all.grant.filter(|_| some[4]),
                lease: all.lease.filter(|_| some[5]),
            },
            data,
            ..full()
        };
        let value: serde_json::Value = serde_json::from_str(&event.canonical()).unwrap();
        prop_assert_eq!(serde_json_canonicalizer::to_string(&value).unwrap(), event.canonical());
    }
}
