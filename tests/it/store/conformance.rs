//! Calls every public function of the store, so that no statement goes untried.

use hallpass::domain::*;
use hallpass::store::{EventFilter, IdempotencyRecord, LeaseFilter, SealedKey, StoreError, TaskFilter};

use super::fixture::*;

#[tokio::test]
async fn a_task_and_all_that_follows_read_back_as_they_were_written() {
    let f = Fixture::new().await;
    let story = f.story(&agent("builder"));
    f.write(&story).await;
    let task = story.task.id;
    assert_eq!(f.store.find_task(task).await.unwrap().as_ref(), Some(&story.task));
    assert_eq!(f.store.find_request(story.request.id).await.unwrap().as_ref(), Some(&story.request));
    assert_eq!(f.store.find_decision(story.decision.id).await.unwrap().as_ref(), Some(&story.decision));
    let decided_for = f.store.find_decision_agent(story.decision.id).await.unwrap();
    assert_eq!(decided_for.as_ref(), Some(&story.task.agent));
    assert_eq!(f.store.find_grant(story.grant.id).await.unwrap().as_ref(), Some(&story.grant));
    assert_eq!(f.store.find_lease(story.lease.id).await.unwrap().as_ref(), Some(&story.lease));
    assert_eq!(f.store.list_requests_of_task(task).await.unwrap(), [story.request]);
    assert_eq!(f.store.list_decisions_of_task(task).await.unwrap(), [story.decision]);
    assert_eq!(f.store.list_grants_of_task(task).await.unwrap(), [story.grant]);
    assert_eq!(f.store.list_leases_of_task(task).await.unwrap(), [story.lease]);
    assert_eq!(f.store.find_task(f.ids.task()).await.unwrap(), None);
}

#[tokio::test]
async fn every_outcome_of_policy_reads_back() {
    let f = Fixture::new().await;
    let story = f.story(&agent("builder"));
    let terms = Terms {
        approval: Some("1 of a or (2 of b and 1 of c)".parse().unwrap()),
        of_approval: ApprovalTerms { step_up: StepUp::Passkey, includes_owner: true, ..ApprovalTerms::default() },
        ..Terms::of(ttl(60))
    };
    let denials = [Denial::NotPermitted, Denial::Forbidden, Denial::PolicyError { errors: vec!["boom".to_owned()] }];
    let outcomes = denials.map(Outcome::Deny).into_iter().chain([Outcome::RequireApproval(terms)]);
    let mut tx = f.store.begin("decisions");
    let mut written = Vec::new();
    for outcome in outcomes {
        let decision = Decision { id: f.ids.decision(), outcome, determining: vec![], ..story.decision.clone() };
        tx.insert_decision(&decision, None, None, &agent("builder"));
        written.push(decision);
    }
    tx.commit(f.fact()).await.unwrap();
    for decision in written {
        assert_eq!(f.store.find_decision(decision.id).await.unwrap(), Some(decision));
    }
}

#[tokio::test]
async fn a_lease_reads_back_in_each_state_of_its_life() {
    let f = Fixture::new().await;
    let story = f.story(&agent("builder"));
    f.write(&story).await;
    let live = story.lease.clone().minted("0123456789abcdef".to_owned(), START).unwrap();
    let ending = live.clone().end(EndCause::Revoked, START.plus_millis(5)).unwrap();
    let waiting = ending.clone().try_again(Some(START.plus(ttl(9))), 1000, START).unwrap();
    let ended = waiting.clone().ended("probe: refused".to_owned(), START).unwrap();
    for (before, after) in [(&story.lease, &live), (&live, &ending), (&ending, &waiting), (&waiting, &ended)] {
        let mut tx = f.store.begin("step");
        tx.update_lease(before, after);
        tx.commit(f.fact()).await.unwrap();
        assert_eq!(f.store.find_lease(after.id).await.unwrap().as_ref(), Some(after));
    }
    assert!(f.store.list_due_backends(START.plus(ttl(86_400))).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_request_reads_back_in_each_state_of_its_life() {
    let f = Fixture::new().await;
    let task = f.task(&agent("builder"));
    let grant = f.ids.grant();
    let ends: [fn(AccessRequest, GrantId) -> AccessRequest; 4] = [
        |r, g| r.clone().grant(g, r.decision, START).unwrap(),
        |r, _| r.deny("by_approver", START).unwrap(),
        |r, _| r.withdraw(START).unwrap(),
        |r, _| r.lapse(START.plus(ttl(601))).unwrap(),
    ];
    for end in ends {
        let before = f.pending(&task);
        let mut tx = f.store.begin("ask");
        tx.insert_request(&before);
        tx.commit(f.fact()).await.unwrap();
        assert_eq!(f.store.list_pending_requests(None, 10).await.unwrap(), std::slice::from_ref(&before));
        assert_eq!(f.store.list_due_requests(START.plus(ttl(600)), 10).await.unwrap(), std::slice::from_ref(&before));
        assert_eq!(f.store.list_due_requests(START.plus(ttl(599)), 10).await.unwrap(), []);
        let after = end(before.clone(), grant);
        let mut tx = f.store.begin("settle");
        tx.check_request(&before);
        tx.update_request(&before, &after);
        // The check sees what the update left: of one list, an update and a check of one row contradict.
        assert!(matches!(tx.commit(f.fact()).await, Err(StoreError::Conflict { table: "access_request" })));
        let mut tx = f.store.begin("settle");
        tx.update_request(&before, &after);
        tx.commit(f.fact()).await.unwrap();
        assert_eq!(f.store.find_request(after.id).await.unwrap().as_ref(), Some(&after));
        assert_eq!(f.store.list_pending_requests(None, 10).await.unwrap(), []);
    }
    let denied = f.store.list_requests(Some("denied"), Some(&agent("builder")), None, 10).await.unwrap();
    assert_eq!(denied.len(), 1);
    assert_eq!(f.store.list_requests(None, None, None, 3).await.unwrap().len(), 3);
    assert_eq!(f.store.list_requests(Some("pending"), Some(&agent("builder")), None, 3).await.unwrap(), []);
    assert_eq!(f.store.list_requests(None, Some(&agent("other")), None, 3).await.unwrap(), []);
}

#[tokio::test]
async fn tasks_and_grants_end_by_compare_and_swap() {
    let f = Fixture::new().await;
    let story = f.story(&agent("builder"));
    f.write(&story).await;
    let heard = story.task.clone().hear(START.plus_millis(30_000)).unwrap();
    assert_eq!(f.store.list_due_tasks(START.plus(ttl(60)), 10).await.unwrap(), std::slice::from_ref(&story.task));
    let mut tx = f.store.begin("hear");
    tx.update_task(&story.task, &heard);
    tx.commit(f.fact()).await.unwrap();
    assert_eq!(f.store.list_due_tasks(START.plus(ttl(60)), 10).await.unwrap(), []);
    let closed = heard.clone().close(EndCause::Completed, START.plus_millis(31_000)).unwrap();
    let ended = story.grant.clone().end(EndCause::Completed, START.plus_millis(31_000)).unwrap();
    let close = || {
        let mut tx = f.store.begin("close");
        tx.update_task(&heard, &closed);
        tx.update_grant(&story.grant, &ended);
        tx.commit(f.fact())
    };
    close().await.unwrap();
    assert!(matches!(close().await, Err(StoreError::Conflict { table: "task" })));
    assert_eq!(f.store.find_task(closed.id).await.unwrap(), Some(closed.clone()));
    assert_eq!(f.store.find_grant(ended.id).await.unwrap(), Some(ended));
    let mut tx = f.store.begin("late");
    tx.check_task(&heard);
    assert!(matches!(tx.commit(f.fact()).await, Err(StoreError::Conflict { table: "task" })));
    let mut tx = f.store.begin("late");
    tx.check_grant(&story.grant);
    assert!(matches!(tx.commit(f.fact()).await, Err(StoreError::Conflict { table: "access_grant" })));
    let mut tx = f.store.begin("in time");
    tx.check_task(&closed);
    tx.commit(f.fact()).await.unwrap();
}

#[tokio::test]
async fn a_task_closed_in_part_is_due_until_it_holds_nothing_any_more() {
    let f = Fixture::new().await;
    let story = f.story(&agent("builder"));
    f.write(&story).await;
    let pending = f.request(
        &story.task,
        RequestState::Pending { rule: "1 of a".parse().unwrap(), terms: ApprovalTerms::default(), lapses_at: START },
    );
    let mut tx = f.store.begin("ask");
    tx.insert_request(&pending);
    tx.commit(f.fact()).await.unwrap();
    let task = story.task.id;
    assert_eq!(f.store.list_pending_requests_of_task(task, 10).await.unwrap(), std::slice::from_ref(&pending));
    assert_eq!(f.store.list_live_grants_of_task(task, 10).await.unwrap(), std::slice::from_ref(&story.grant));
    let closed = story.task.clone().close(EndCause::Completed, START).unwrap();
    let mut tx = f.store.begin("close");
    tx.close_task_in_part(&story.task, &closed, START);
    let ended = story.grant.clone().end(EndCause::Completed, START).unwrap();
    tx.update_grant(&story.grant, &ended);
    tx.update_request(&pending, &pending.clone().withdraw(START).unwrap());
    tx.commit(f.fact()).await.unwrap();
    assert_eq!(f.store.list_pending_requests_of_task(task, 10).await.unwrap(), []);
    assert_eq!(f.store.list_live_grants_of_task(task, 10).await.unwrap(), []);
    assert_eq!(f.store.list_due_tasks(START, 10).await.unwrap(), std::slice::from_ref(&closed));
    f.store.forget_closed_task(&closed).await.unwrap();
    assert_eq!(f.store.list_due_tasks(START, 10).await.unwrap(), []);
    assert_eq!(f.store.find_task(task).await.unwrap(), Some(closed));
}

#[tokio::test]
async fn leases_and_tasks_are_found_by_what_they_hang_on() {
    let f = Fixture::new().await;
    let (one, two) = (f.story(&agent("builder")), f.story(&agent("reader")));
    f.write(&one).await;
    f.write(&two).await;
    let ending = two.lease.clone().end(EndCause::Revoked, START).unwrap();
    let mut tx = f.store.begin("end");
    tx.update_lease(&two.lease, &ending);
    tx.commit(f.fact()).await.unwrap();
    let unended = f.store.list_unended_leases(None, 10).await.unwrap();
    let mut both = vec![one.lease.clone(), ending.clone()];
    both.sort_by_key(|lease| lease.id.to_string());
    assert_eq!(unended, both);
    assert_eq!(f.store.list_unended_leases(Some(both[0].id), 10).await.unwrap(), both[1..]);
    let any = LeaseFilter::default;
    let (first, second) = (vec![one.lease.id], vec![two.lease.id]);
    let cases = [
        (LeaseFilter { agent: Some(agent("builder")), ..any() }, first.clone()),
        (LeaseFilter { task: Some(two.task.id), ..any() }, second.clone()),
        (LeaseFilter { grant: Some(one.grant.id), ..any() }, first.clone()),
        (LeaseFilter { request: Some(two.request.id), ..any() }, second.clone()),
        (LeaseFilter { live: Some(true), ..any() }, first.clone()),
        (LeaseFilter { live: Some(false), ..any() }, second.clone()),
        (LeaseFilter { live: Some(true), agent: Some(agent("reader")), ..any() }, vec![]),
        (LeaseFilter { backend: Some("other".parse().unwrap()), ..any() }, vec![]),
        (LeaseFilter { scope_entry: Some("db:orders:write".parse().unwrap()), ..any() }, vec![]),
        (
            LeaseFilter {
                scope_entry: Some("db:_rders:read".parse::<EntryName>().unwrap_or("db:o_ders:read".parse().unwrap())),
                ..any()
            },
            vec![],
        ),
    ];
    for (filter, expected) in cases {
        let found: Vec<LeaseId> = f.store.list_leases(&filter, None, 10).await.unwrap().iter().map(|l| l.id).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
    let entry = LeaseFilter { scope_entry: Some("db:orders:read".parse().unwrap()), ..any() };
    assert_eq!(f.store.list_leases(&entry, None, 10).await.unwrap().len(), 2);
    let page = f.store.list_leases(&any(), None, 1).await.unwrap();
    let rest = f.store.list_leases(&any(), Some(page[0].id), 10).await.unwrap();
    assert_eq!((page.len(), rest.len()), (1, 1));
    assert_ne!(page[0].id, rest[0].id);
    assert_eq!(
        f.store.list_due_backends(START.plus_millis(14_999)).await.unwrap(),
        std::slice::from_ref(&ending.backend)
    );
    let all = TaskFilter::default();
    assert_eq!(f.store.list_tasks(&all, None, 10).await.unwrap().len(), 2);
    let of = TaskFilter { agent: Some(agent("reader")), open: Some(true) };
    assert_eq!(f.store.list_tasks(&of, None, 10).await.unwrap(), [two.task]);
    let closed = TaskFilter { open: Some(false), ..all };
    assert_eq!(f.store.list_tasks(&closed, None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn events_keep_their_bytes_and_their_order() {
    let f = Fixture::new().await;
    let story = f.story(&agent("builder"));
    f.write(&story).await;
    let suspended = f.event(EventKind::AgentSuspended, &agent("reader"), None, None);
    f.store.begin("say").commit(suspended.clone()).await.unwrap();
    let list = async |filter: EventFilter| f.store.list_events(&filter, 0, 10).await.unwrap();
    let any = EventFilter::default;
    let all = list(any()).await;
    assert_eq!(
        all.iter().map(|e| e.kind.as_str()).collect::<Vec<_>>(),
        ["task.opened", "credential.minting", "agent.suspended"]
    );
    assert_eq!(all[2].body, suspended.canonical());
    assert_eq!((all[2].id.as_str(), all[2].at), (suspended.id.to_string().as_str(), START));
    assert!(all.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    let counts = [
        (EventFilter { agent: Some(agent("reader")), ..any() }, 1),
        (EventFilter { task: Some(story.task.id), ..any() }, 2),
        (EventFilter { lease: Some(story.lease.id), ..any() }, 1),
        (EventFilter { request: Some(story.request.id), ..any() }, 0),
        (EventFilter { kind: Some("task.opened".to_owned()), ..any() }, 1),
        (EventFilter { kind: Some("credential.".to_owned()), ..any() }, 1),
        (EventFilter { kind: Some("cred".to_owned()), ..any() }, 0),
        (EventFilter { actor: Some("agent:builder".to_owned()), ..any() }, 2),
        (EventFilter { from: Some(START), ..any() }, 3),
        (EventFilter { to: Some(START), ..any() }, 0),
        (EventFilter { task: Some(story.task.id), kind: Some("task.".to_owned()), ..any() }, 1),
    ];
    for (filter, expected) in counts {
        assert_eq!(list(filter.clone()).await.len(), expected, "{filter:?}");
        let newest = EventFilter { newest_first: true, ..filter };
        assert_eq!(list(newest.clone()).await.len(), expected, "{newest:?}");
    }
    let newest = EventFilter { newest_first: true, ..any() };
    let last = f.store.list_events(&newest, 0, 1).await.unwrap();
    assert_eq!(last, all[2..]);
    assert_eq!(f.store.list_events(&newest, last[0].seq, 1).await.unwrap(), all[1..2]);
    assert_eq!(f.store.list_events(&any(), all[0].seq, 10).await.unwrap(), all[1..]);
}

#[tokio::test]
async fn control_suspensions_and_bundles_read_back() {
    let f = Fixture::new().await;
    let before = f.store.control().await.unwrap();
    assert_eq!((before.kill_epoch, before.killed, before.bundle, before.agents_epoch), (0, false, None, 0));
    let mut after = before.clone();
    (after.kill_epoch, after.killed, after.bundle) = (1, true, Some(digest("bundle")));
    let mut tx = f.store.begin("activate");
    tx.insert_bundle(digest("bundle"), "{\"a\":\"b\"}", START);
    tx.set_control(&before, &after);
    tx.suspend_agent(&agent("builder"), "ann", "odd", START);
    tx.commit(f.fact()).await.unwrap();
    let present = f.store.control().await.unwrap();
    assert_eq!((present.kill_epoch, present.killed, present.bundle, present.agents_epoch), (1, true, after.bundle, 1));
    let mut tx = f.store.begin("stale");
    tx.set_control(&before, &after);
    assert!(matches!(tx.commit(f.fact()).await, Err(StoreError::Conflict { table: "control" })));
    let suspended = f.store.list_suspended().await.unwrap();
    assert_eq!(
        (suspended[0].agent.as_str(), suspended[0].by.as_str(), suspended[0].reason.as_str()),
        ("builder", "ann", "odd")
    );
    let mut tx = f.store.begin("resume");
    tx.resume_agent(&agent("builder"));
    tx.insert_bundle(digest("bundle"), "other", START.plus_millis(1));
    tx.commit(f.fact()).await.unwrap();
    assert_eq!(f.store.list_suspended().await.unwrap(), []);
    assert_eq!(f.store.control().await.unwrap().agents_epoch, 2);
    let bundle = f.store.find_bundle(digest("bundle")).await.unwrap().unwrap();
    assert_eq!((bundle.files_json.as_str(), bundle.at), ("{\"a\":\"b\"}", START));
    assert_eq!(f.store.list_bundles(10).await.unwrap(), [bundle]);
}

#[tokio::test]
async fn a_signing_key_reads_back_and_changes_from_the_state_it_was_seen_in() {
    let f = Fixture::new().await;
    let key = SealedKey {
        kid: "k1".to_owned(),
        algorithm: "ES256".to_owned(),
        state: "waiting".to_owned(),
        sealed: vec![0, 255, 7],
        public_jwk: "{}".to_owned(),
        created_at: START,
        activates_at: START.plus_millis(1),
        retires_at: None,
    };
    let retired = SealedKey { state: "retired".to_owned(), sealed: vec![], retires_at: Some(START), ..key.clone() };
    let mut tx = f.store.begin("make");
    tx.insert_signing_key(&key);
    tx.commit(f.fact()).await.unwrap();
    assert_eq!(f.store.list_signing_keys().await.unwrap(), [key]);
    let retire = || {
        let mut tx = f.store.begin("retire");
        tx.update_signing_key("k1", "waiting", &retired);
        tx.commit(f.fact())
    };
    retire().await.unwrap();
    assert!(matches!(retire().await, Err(StoreError::Conflict { table: "signing_key" })));
    assert_eq!(f.store.list_signing_keys().await.unwrap(), [retired]);
}

#[tokio::test]
async fn tokens_and_keys_are_used_once_until_they_are_forgotten() {
    let f = Fixture::new().await;
    let record = IdempotencyRecord {
        owner: "agent:builder".to_owned(),
        key: "k".to_owned(),
        request: digest("body"),
        subject: "tsk_1".to_owned(),
        at: START,
        keep_until: START.plus(ttl(60)),
    };
    let uses = || {
        let mut token = f.store.begin("token");
        token.insert_token_seen(digest("jti"), START, START.plus(ttl(60)));
        let mut key = f.store.begin("key");
        key.insert_idempotency(&record);
        (token.commit(f.fact()), key.commit(f.fact()))
    };
    let (token, key) = uses();
    token.await.unwrap();
    key.await.unwrap();
    let (token, key) = uses();
    assert!(matches!(token.await, Err(StoreError::Conflict { table: "token_seen" })));
    assert!(matches!(key.await, Err(StoreError::Conflict { table: "idempotency" })));
    assert_eq!(f.store.find_idempotency("agent:builder", "k").await.unwrap(), Some(record.clone()));
    assert_eq!(f.store.find_idempotency("agent:reader", "k").await.unwrap(), None);
    assert_eq!(f.store.forget(START.plus(ttl(59))).await.unwrap(), 0);
    assert_eq!(f.store.forget(START.plus(ttl(60))).await.unwrap(), 2);
    assert_eq!(f.store.find_idempotency("agent:builder", "k").await.unwrap(), None);
    uses().0.await.unwrap();
}

#[tokio::test]
async fn a_restart_keeps_everything_and_a_closed_store_refuses() {
    let f = Fixture::new().await;
    let story = f.story(&agent("builder"));
    f.write(&story).await;
    f.store.probe_write().await.unwrap();
    f.store.close().await;
    assert!(matches!(f.store.probe_write().await, Err(StoreError::Unavailable(_))));
    assert!(matches!(f.store.control().await, Err(StoreError::Unavailable(_))));
    let store = open(&f.folder).await;
    assert_eq!(store.find_lease(story.lease.id).await.unwrap(), Some(story.lease));
    assert_eq!(store.list_events(&EventFilter::default(), 0, 10).await.unwrap().len(), 2);
}
