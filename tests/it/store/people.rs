//! What people do besides verdicts, as it is kept: viewings, questions, delegations, reviews, and what is read in bulk.

use hallpass::domain::*;
use hallpass::store::{StoreError, Viewing};

use super::fixture::*;

fn at(millis: i64) -> Timestamp {
    START.plus_millis(millis)
}

fn message(text: &str) -> Message {
    text.parse().unwrap()
}

async fn pending(f: &Fixture) -> (Task, AccessRequest) {
    let task = f.task(&agent("builder"));
    let request = f.pending(&task);
    let mut tx = f.store.begin("ask");
    tx.insert_task(&task);
    tx.insert_request(&request);
    tx.commit(f.fact()).await.unwrap();
    (task, request)
}

fn approval(f: &Fixture, request: &AccessRequest, person: &str, verdict: Verdict) -> Approval {
    Approval {
        id: f.ids.approval(),
        request: request.id,
        person: Person::new(person),
        in_place_of: None,
        groups: vec!["sre-oncall".to_owned()],
        verdict,
        narrow: None,
        request_digest: digest("shown"),
        bundle: Some(digest("bundle")),
        plan: Some(digest("plan")),
        reason: None,
        proof: None,
        thought_millis: Some(1500),
        at: START,
        seal: Some("seal".to_owned()),
    }
}

#[tokio::test]
async fn the_first_viewing_is_kept_and_forgotten_after_90_days() {
    let f = Fixture::new().await;
    let (_, request) = pending(&f).await;
    let person = Person::new("ann");
    let first = Viewing { request: request.id, person: person.clone(), at: START };
    f.store.note_viewing(&first).await.unwrap();
    f.store.note_viewing(&Viewing { at: at(5), ..first.clone() }).await.unwrap();
    assert_eq!(f.store.find_viewing(request.id, &person).await.unwrap().as_ref(), Some(&first));
    assert_eq!(f.store.find_viewing(request.id, &Person::new("ben")).await.unwrap(), None);
    assert_eq!(f.store.list_viewings(START).await.unwrap(), std::slice::from_ref(&first));
    assert_eq!(f.store.list_viewings(at(1)).await.unwrap(), []);
    let days = 90 * 86_400_000;
    f.store.forget(at(days - 1)).await.unwrap();
    assert!(f.store.find_viewing(request.id, &person).await.unwrap().is_some());
    f.store.forget(at(days)).await.unwrap();
    assert_eq!(f.store.find_viewing(request.id, &person).await.unwrap(), None);
}

#[tokio::test]
async fn questions_are_numbered_once_and_answered_once() {
    let f = Fixture::new().await;
    let (task, request) = pending(&f).await;
    let mut question = Question {
        id: f.ids.question(),
        request: request.id,
        number: 1,
        person: Person::new("ann"),
        text: message("why \"now\"?"),
        asked_at: START,
        answer: None,
    };
    let ask = |question: &Question| {
        let mut tx = f.store.begin("ask");
        tx.insert_question(question, task.id);
        tx.commit(f.fact())
    };
    ask(&question).await.unwrap();
    let other = Question { id: f.ids.question(), ..question.clone() };
    assert!(matches!(ask(&other).await, Err(StoreError::Conflict { table: "question" })));
    assert_eq!(f.store.list_questions(request.id).await.unwrap(), std::slice::from_ref(&question));
    assert_eq!(f.store.list_questions_of_task(task.id).await.unwrap(), std::slice::from_ref(&question));
    let check = |answered: usize| {
        let mut tx = f.store.begin("check");
        tx.check_answers(request.id, answered);
        tx.commit(f.fact())
    };
    check(0).await.unwrap();
    question.answer = Some((message("because"), at(9)));
    let answer = || {
        let mut tx = f.store.begin("answer");
        tx.answer_question(&question);
        tx.commit(f.fact())
    };
    answer().await.unwrap();
    assert!(matches!(answer().await, Err(StoreError::Conflict { table: "question" })));
    assert!(matches!(check(0).await, Err(StoreError::Conflict { table: "question" })));
    check(1).await.unwrap();
    assert_eq!(f.store.list_questions(request.id).await.unwrap(), [question]);
}

#[tokio::test]
async fn delegations_are_found_by_who_decides_while_they_hold() {
    let f = Fixture::new().await;
    let (ann, ben) = (Person::new("ann"), Person::new("ben"));
    let mut given = Delegation {
        id: f.ids.delegation(),
        giver: ann.clone(),
        receiver: ben.clone(),
        reason: message("away"),
        given_at: START,
        from: at(10),
        until: at(20),
        ended: None,
    };
    let mut tx = f.store.begin("give");
    tx.insert_delegation(&given);
    tx.commit(f.fact()).await.unwrap();
    assert_eq!(f.store.find_delegation(given.id).await.unwrap().as_ref(), Some(&given));
    for (millis, holds) in [(9, false), (10, true), (19, true), (20, false)] {
        let found = f.store.list_delegations_to(&ben, at(millis)).await.unwrap();
        assert_eq!(found.len(), usize::from(holds), "{millis}");
        assert_eq!(given.holds(at(millis)), holds);
    }
    assert!(f.store.list_delegations_to(&ann, at(15)).await.unwrap().is_empty());
    for (person, found) in [(Some(&ann), 1), (Some(&ben), 1), (Some(&Person::new("cid")), 0), (None, 1)] {
        assert_eq!(f.store.list_delegations(person, START, 10).await.unwrap().len(), found);
    }
    assert!(f.store.list_delegations(None, at(20), 10).await.unwrap().is_empty());
    given.ended = Some((at(15), ann.clone()));
    let end = || {
        let mut tx = f.store.begin("end");
        tx.end_delegation(&given);
        tx.commit(f.fact())
    };
    end().await.unwrap();
    assert!(matches!(end().await, Err(StoreError::Conflict { table: "delegation" })));
    assert!(f.store.list_delegations_to(&ben, at(15)).await.unwrap().is_empty());
    assert_eq!(f.store.find_delegation(given.id).await.unwrap(), Some(given));
}

#[tokio::test]
async fn a_review_is_due_until_it_is_made_and_is_overdue_once() {
    let f = Fixture::new().await;
    let (task, request) = pending(&f).await;
    let mut review = Review {
        request: request.id,
        task: task.id,
        agent: task.agent.clone(),
        rule: "2 of sre-oncall".parse().unwrap(),
        breaker: Person::new("ann"),
        broken_at: START,
        due_at: at(100),
        found: None,
        overdue_at: None,
    };
    let mut tx = f.store.begin("break");
    tx.insert_review(&review);
    tx.commit(f.fact()).await.unwrap();
    assert_eq!(f.store.find_review(request.id).await.unwrap().as_ref(), Some(&review));
    assert_eq!(f.store.list_due_reviews(10).await.unwrap(), std::slice::from_ref(&review));
    let note = || {
        let mut tx = f.store.begin("overdue");
        tx.note_overdue_review(&review, at(100));
        tx.commit(f.fact())
    };
    note().await.unwrap();
    assert!(matches!(note().await, Err(StoreError::Conflict { table: "review" })));
    review.overdue_at = Some(at(100));
    review.found = Some((Finding::Objected, Person::new("ben"), "not right".to_owned(), at(200)));
    let settle = || {
        let mut tx = f.store.begin("settle");
        tx.settle_review(&review);
        tx.commit(f.fact())
    };
    settle().await.unwrap();
    assert!(matches!(settle().await, Err(StoreError::Conflict { table: "review" })));
    assert!(f.store.list_due_reviews(10).await.unwrap().is_empty());
    assert_eq!(f.store.list_reviews(10).await.unwrap(), [review]);
}

#[tokio::test]
async fn a_verdict_takes_the_place_of_the_one_it_was_meant_to() {
    let f = Fixture::new().await;
    let (task, request) = pending(&f).await;
    let first = approval(&f, &request, "ann", Verdict::Approve);
    let mut tx = f.store.begin("approve");
    tx.insert_approval(&first);
    tx.commit(f.fact()).await.unwrap();
    assert_eq!(f.store.list_approvals_of_waiting(10).await.unwrap(), std::slice::from_ref(&first));
    assert_eq!(f.store.list_waiting_requests(10).await.unwrap(), std::slice::from_ref(&request));
    assert_eq!(f.store.list_tasks_of_waiting(10).await.unwrap(), std::slice::from_ref(&task));
    let second = Approval { id: f.ids.approval(), request_digest: digest("later"), at: at(7), ..first.clone() };
    let replace = || {
        let mut tx = f.store.begin("again");
        tx.replace_approval(&first, &second);
        tx.commit(f.fact())
    };
    replace().await.unwrap();
    assert!(matches!(replace().await, Err(StoreError::Conflict { table: "approval" })));
    assert_eq!(f.store.list_approvals(request.id).await.unwrap(), std::slice::from_ref(&second));
    let decided = f.store.list_decided(START).await.unwrap();
    assert_eq!((decided.len(), decided[0].thought_millis, decided[0].state.as_str()), (1, Some(1500), "pending"));
    assert_eq!((&decided[0].agent, decided[0].task, decided[0].at), (&task.agent, task.id, at(7)));
    assert!(f.store.list_decided(at(8)).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_an_agent_asked_before_is_found_by_its_tasks() {
    let f = Fixture::new().await;
    let (task, first) = pending(&f).await;
    let (_, second) = pending(&f).await;
    let all = f.store.list_past_requests(&task.agent, START, None, 10).await.unwrap();
    // Made in one millisecond, so that which id is the smaller is chance.
    let (low, high) = (first.id.min(second.id), first.id.max(second.id));
    assert_eq!(all.iter().map(|one| one.id).collect::<std::collections::BTreeSet<_>>(), [low, high].into());
    assert_eq!((all[0].state.as_str(), &all[0].identity), ("pending", &task.identity));
    let before = f.store.list_past_requests(&task.agent, START, Some(high), 10).await.unwrap();
    assert_eq!(before.iter().map(|one| one.id).collect::<Vec<_>>(), [low]);
    assert!(f.store.list_past_requests(&task.agent, at(1), None, 10).await.unwrap().is_empty());
    assert!(f.store.list_past_requests(&agent("other"), START, None, 10).await.unwrap().is_empty());
    assert_eq!(f.store.list_past_requests(&task.agent, START, None, 1).await.unwrap().len(), 1);
}
