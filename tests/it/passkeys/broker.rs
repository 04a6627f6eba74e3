//! Passkeys in the broker: who may register one, what one may sign, and that it counts once.

use hallpass::api::{AssertionAsk, PasskeyNameAsk, VerdictAsk};
use hallpass::broker::{BrokerError, OperatorCaller};
use hallpass::domain::{PasskeyFault, Person, SessionId, VerdictStatement};
use hallpass::store::StoreError;
use hallpass::sys::Clock as _;
use serde_json::{Value, json};

use super::authenticator::{BE, BS, UP, UV};
use super::world::{World, assertion};

fn fault<T: std::fmt::Debug>(answer: Result<T, BrokerError>) -> PasskeyFault {
    match answer {
        Err(BrokerError::PasskeyRefused(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

fn needs_step_up<T: std::fmt::Debug>(answer: &Result<T, BrokerError>) {
    assert!(matches!(answer, Err(BrokerError::SignInAgain(_))), "{answer:?}");
}

#[tokio::test]
async fn a_first_passkey_rests_on_a_fresh_sign_in_and_a_second_one_on_the_first() {
    let mut world = World::start().await;
    let ann = world.person("ann");
    let mut stale = ann.clone();
    for at in [
        None,
        Some(world.harness.clock.now().plus_millis(-600_001)),
        Some(world.harness.clock.now().plus_millis(60_001)),
    ] {
        stale.sign_in.at = at;
        needs_step_up(&world.begin(&stale).await);
    }
    let challenge = world.begin(&ann).await.unwrap();
    assert!(challenge.get.is_none(), "there is no passkey to ask");
    let create = challenge.create.clone().unwrap();
    assert_eq!(create["rp"]["id"], "hallpass.test");
    assert_eq!(create["attestation"], "none");
    assert!(!create["user"]["id"].as_str().unwrap().contains("ann"), "{create}");
    let ask = world.made(&challenge, &json!({}));
    needs_step_up(&world.broker().finish_passkey(&stale, &ask).await);
    let first = world.broker().finish_passkey(&ann, &ask).await.unwrap();
    assert_eq!(
        (&*first.name, &*first.backup, &first.transports[..]),
        ("laptop", "single_device", &["internal".to_owned()][..])
    );
    assert_eq!(fault(world.broker().finish_passkey(&ann, &ask).await), PasskeyFault::UnknownChallenge, "a second time");

    // The second one: the same person handle, the first one excluded, and it must agree.
    let challenge = world.begin(&ann).await.unwrap();
    assert_eq!(challenge.create.as_ref().unwrap()["user"]["id"], create["user"]["id"]);
    assert_eq!(challenge.create.as_ref().unwrap()["excludeCredentials"].as_array().unwrap().len(), 1);
    let mut ask = world.made(&challenge, &json!({}));
    let confirmation = ask.confirmation.take();
    assert_eq!(fault(world.broker().finish_passkey(&ann, &ask).await), PasskeyFault::ConfirmationMissing);
    ask.confirmation = confirmation;
    let second = world.broker().finish_passkey(&ann, &ask).await.unwrap();
    let listed = world.broker().list_passkeys(&ann).await.unwrap().items;
    assert_eq!(listed.iter().map(|passkey| &passkey.id).collect::<Vec<_>>(), [&first.id, &second.id]);
    assert!(listed[0].last_used_at.is_some() && listed[1].last_used_at.is_none());

    let events = world.events("passkey.registered").await;
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["id"], first.registered_event.as_str());
    assert_eq!(events[0]["actor"]["name"], "ann");
    assert_eq!(events[1]["data"]["confirmed_by"], first.id.as_str());
}

#[tokio::test]
async fn a_passkey_of_somebody_else_confirms_nothing_and_is_registered_once() {
    let mut world = World::start().await;
    let (ann, bob) = (world.person("ann"), world.person("bob"));
    world.register(&ann, &json!({})).await;
    world.register(&bob, &json!({})).await;
    let (ann_asks, bob_asks) = (world.begin(&ann).await.unwrap(), world.begin(&bob).await.unwrap());
    let mut ask = world.made(&ann_asks, &json!({}));
    // Bob's passkey signs Ann's challenge.
    let credential = bob_asks.get.as_ref().unwrap()["allowCredentials"][0]["id"].clone();
    let signed = world.authenticator.get(ann_asks.get.as_ref().unwrap(), &json!({ "credential": credential }));
    ask.confirmation = Some(assertion(&ann_asks.id, &signed));
    assert_eq!(fault(world.broker().finish_passkey(&ann, &ask).await), PasskeyFault::UnknownCredential);
    // Bob takes Ann's challenge.
    assert_eq!(fault(world.broker().finish_passkey(&bob, &ask).await), PasskeyFault::UnknownChallenge);
    // Ann registers Bob's credential id.
    let mut again = world.made(&ann_asks, &json!({ "id": credential }));
    again.confirmation = None;
    let own = ann_asks.get.as_ref().unwrap()["allowCredentials"][0]["id"].clone();
    let signed = world.authenticator.get(ann_asks.get.as_ref().unwrap(), &json!({ "credential": own }));
    again.confirmation = Some(assertion(&ann_asks.id, &signed));
    assert_eq!(fault(world.broker().finish_passkey(&ann, &again).await), PasskeyFault::KnownCredential);
    assert_eq!(world.last_refusal().await, "known_credential");
}

#[tokio::test]
async fn a_removed_passkey_signs_nothing_and_its_removal_opens_no_door() {
    let mut world = World::start().await;
    let ann = world.person("ann");
    let passkey = world.register(&ann, &json!({})).await;
    let (statement, answer) = world.sign(&ann, &json!({})).await;
    let bob = world.person("bob");
    assert!(matches!(world.broker().end_passkey(&bob, &passkey.id).await, Err(BrokerError::NotFound("passkey"))));
    let mut stale = ann.clone();
    stale.sign_in.at = None;
    needs_step_up(&world.broker().end_passkey(&stale, &passkey.id).await);
    let renamed =
        world.broker().rename_passkey(&ann, &passkey.id, &PasskeyNameAsk { name: "old laptop".to_owned() }).await;
    assert_eq!(renamed.unwrap().name, "old laptop");
    for _ in 0..2 {
        let ended = world.broker().end_passkey(&ann, &passkey.id).await.unwrap();
        assert_eq!(ended.ended_at, Some(world.harness.clock.now()));
    }
    assert!(world.broker().list_passkeys(&ann).await.unwrap().items.is_empty());
    let refused = world.broker().check_assertion(&ann, &statement, &answer).await;
    assert_eq!(fault(refused), PasskeyFault::UnknownCredential);
    assert_eq!(world.events("passkey.removed").await.len(), 1);
    assert_eq!(world.events("passkey.renamed").await.len(), 1);

    // Whoever holds the session could remove the last one; but the next one takes another sign-in.
    needs_step_up(&world.begin(&ann).await);
    world.harness.clock.advance_secs(1);
    let again = world.person("ann");
    let challenge = world.begin(&again).await.unwrap();
    assert!(challenge.get.is_none());
    let ask = world.made(&challenge, &json!({}));
    world.broker().finish_passkey(&again, &ask).await.unwrap();
}

#[tokio::test]
async fn nobody_has_more_than_ten_passkeys_or_twenty_open_questions() {
    let mut world = World::start().await;
    let ann = world.person("ann");
    for _ in 0..10 {
        world.register(&ann, &json!({})).await;
    }
    assert_eq!(fault(world.begin(&ann).await), PasskeyFault::TooMany);
    let (request, ask) = world.pending().await;
    for _ in 0..20 {
        world.broker().challenge_for_verdict(&ann, &request, &ask).await.unwrap();
    }
    assert_eq!(fault(world.broker().challenge_for_verdict(&ann, &request, &ask).await), PasskeyFault::TooMany);
    let bob = world.person("bob");
    assert!(world.begin(&bob).await.is_ok(), "each for themselves");
    world.harness.clock.advance_secs(120);
    assert_eq!(world.store.forget(world.harness.clock.now()).await.unwrap(), 21);
    assert!(world.broker().challenge_for_verdict(&ann, &request, &ask).await.is_ok());
}

#[tokio::test]
async fn what_a_passkey_signed_is_recorded_with_the_verdict_and_counts_once() {
    let mut world = World::start().await;
    let ann = world.person("ann");
    world.register(&ann, &json!({})).await;
    let (statement, answer) = world.sign(&ann, &json!({})).await;
    let proof = world.broker().check_assertion(&ann, &statement, &answer).await.unwrap();
    let again = world.broker().check_assertion(&ann, &statement, &answer).await.unwrap();
    // Checking uses nothing up; committing does, and of two at the same moment one is first.
    let (one, other) = tokio::join!(world.commit(&proof), world.commit(&again));
    let mut answers = [one, other];
    answers.sort_by_key(Result::is_err);
    assert!(answers[0].is_ok(), "{answers:?}");
    assert!(matches!(answers[1], Err(StoreError::Conflict { table: "passkey_challenge" | "passkey" })), "{answers:?}");
    assert!(matches!(world.commit(&proof).await, Err(StoreError::Conflict { .. })), "later either");
    assert_eq!(world.events("approval.recorded").await.len(), 1, "one verdict, one event");
    let replayed = world.broker().check_assertion(&ann, &statement, &answer).await;
    assert_eq!(fault(replayed), PasskeyFault::UnknownChallenge);
    let used = &world.broker().list_passkeys(&ann).await.unwrap().items[0];
    assert_eq!(used.last_used_at, Some(world.harness.clock.now()));

    let signed: Value = serde_json::from_str(&proof.json).unwrap();
    assert_eq!(signed["statement"], serde_json::to_string(&statement).unwrap());
    let shown: Value = serde_json::from_str(signed["shown"]["request"].as_str().unwrap()).unwrap();
    assert_eq!(shown["agent"], "release-bot");
    assert_eq!(hallpass::sys::canonical_json(&signed).unwrap(), proof.json);
}

#[tokio::test]
async fn a_verdict_other_than_the_one_that_was_challenged_is_refused() {
    let mut world = World::start().await;
    let ann = world.person("ann");
    world.register(&ann, &json!({})).await;
    let (good, answer) = world.sign(&ann, &json!({})).await;
    let other: hallpass::domain::RequestId = world.another_pending().await.0.parse().unwrap();
    let narrow = hallpass::domain::StatedNarrow { drop_scopes: Vec::new(), ttl_seconds: Some(60) };
    for changed in [
        VerdictStatement { verdict: "deny".parse().unwrap(), ..good.clone() },
        VerdictStatement { request: other, ..good.clone() },
        VerdictStatement { request_digest: hallpass::sys::sha256("other"), ..good.clone() },
        VerdictStatement { reason: None, ..good.clone() },
        VerdictStatement { narrow: Some(narrow), ..good.clone() },
        VerdictStatement { person: Person::new("bob"), ..good.clone() },
    ] {
        let refused = world.broker().check_assertion(&ann, &changed, &answer).await;
        assert_eq!(fault(refused), PasskeyFault::OtherStatement, "{changed:?}");
    }
    assert_eq!(world.last_refusal().await, "other_statement");
    world.broker().check_assertion(&ann, &good, &answer).await.unwrap();
}

#[tokio::test]
async fn an_answer_of_another_person_session_time_or_site_is_refused_and_on_record() {
    let mut world = World::start().await;
    let (ann, bob) = (world.person("ann"), world.person("bob"));
    world.register(&ann, &json!({})).await;
    world.register(&bob, &json!({})).await;
    let (statement, answer) = world.sign(&ann, &json!({})).await;
    let check = async |world: &World, caller: &OperatorCaller, answer: &AssertionAsk| {
        fault(world.broker().check_assertion(caller, &statement, answer).await)
    };
    assert_eq!(check(&world, &bob, &answer).await, PasskeyFault::UnknownChallenge);
    let mut session = ann.clone();
    session.sign_in.session = Some(SessionId::new(world.harness.clock.now(), [7; 10]));
    assert_eq!(check(&world, &session, &answer).await, PasskeyFault::OtherSession);
    let mut unknown = answer.clone();
    unknown.challenge = "pkc_nothing".to_owned();
    assert_eq!(check(&world, &ann, &unknown).await, PasskeyFault::UnknownChallenge);
    let mut foreign = answer.clone();
    foreign.credential = "AAAA".to_owned();
    assert_eq!(check(&world, &ann, &foreign).await, PasskeyFault::UnknownCredential);
    let mut unreadable = answer.clone();
    unreadable.signature.push('=');
    assert_eq!(check(&world, &ann, &unreadable).await, PasskeyFault::Malformed);
    for (change, expected) in [
        (json!({ "origin": "https://hallpass.test.evil.example" }), PasskeyFault::WrongOrigin),
        (json!({ "tweak": { "rp_id": "evil.example" } }), PasskeyFault::OtherRelyingParty),
        (json!({ "tweak": { "flags": UP } }), PasskeyFault::NotVerified),
        (json!({ "tweak": { "flags": UV } }), PasskeyFault::NotPresent),
        (json!({ "tweak": { "flags": UP | UV | BE | BS } }), PasskeyFault::BackupChanged),
        (json!({ "tweak": { "client": { "crossOrigin": true } } }), PasskeyFault::CrossOrigin),
    ] {
        let (statement, answer) = world.sign(&ann, &change).await;
        let refused = world.broker().check_assertion(&ann, &statement, &answer).await;
        assert_eq!(fault(refused), expected);
        assert_eq!(world.last_refusal().await, expected.as_str());
    }
    world.harness.clock.advance_secs(120);
    assert_eq!(check(&world, &ann, &answer).await, PasskeyFault::UnknownChallenge, "too late");
}

#[tokio::test]
async fn of_two_answers_with_one_count_the_second_loses_where_it_is_written() {
    let mut world = World::start().await;
    let ann = world.person("ann");
    world.register(&ann, &json!({})).await;
    let (first, one) = world.sign(&ann, &json!({ "tweak": { "count": 5 } })).await;
    let (second, other) = world.sign(&ann, &json!({ "tweak": { "count": 5 } })).await;
    let one = world.broker().check_assertion(&ann, &first, &one).await.unwrap();
    let other = world.broker().check_assertion(&ann, &second, &other).await.unwrap();
    world.commit(&one).await.unwrap();
    assert!(matches!(world.commit(&other).await, Err(StoreError::Conflict { table: "passkey" })));
    let (third, back) = world.sign(&ann, &json!({ "tweak": { "count": 4 } })).await;
    let refused = world.broker().check_assertion(&ann, &third, &back).await;
    assert_eq!(fault(refused), PasskeyFault::CountWentBack);
    assert_eq!(world.last_refusal().await, "count_went_back");
}

#[tokio::test]
async fn a_synchronised_passkey_may_come_to_be_backed_up_and_need_not_count() {
    let mut world = World::start().await;
    let ann = world.person("ann");
    let made = world.register(&ann, &json!({ "backup": BE, "counts": false })).await;
    assert_eq!(made.backup, "eligible");
    for _ in 0..2 {
        let (statement, answer) = world.sign(&ann, &json!({ "tweak": { "flags": UP | UV | BE | BS } })).await;
        let proof = world.broker().check_assertion(&ann, &statement, &answer).await.unwrap();
        world.commit(&proof).await.unwrap();
    }
    assert_eq!(world.broker().list_passkeys(&ann).await.unwrap().items[0].backup, "backed_up");
}

#[tokio::test]
async fn a_challenge_is_given_only_for_what_waits_and_is_as_shown() {
    let mut world = World::start().await;
    let ann = world.person("ann");
    let (request, ask) = world.pending().await;
    assert_eq!(fault(world.broker().challenge_for_verdict(&ann, &request, &ask).await), PasskeyFault::NoPasskey);
    world.register(&ann, &json!({})).await;
    let stale = VerdictAsk { request_digest: hallpass::sys::sha256("other").to_string(), ..ask.clone() };
    let refused = world.broker().challenge_for_verdict(&ann, &request, &stale).await;
    assert!(matches!(refused, Err(BrokerError::ApprovalStale)), "{refused:?}");
    let nowhere = world.broker().challenge_for_verdict(&ann, "req_nothing", &ask).await;
    assert!(matches!(nowhere, Err(BrokerError::NotFound("request"))), "{nowhere:?}");
    world.harness.clock.advance_secs(86_400);
    let ann = world.person("ann");
    let late = world.broker().challenge_for_verdict(&ann, &request, &ask).await;
    assert!(matches!(late, Err(BrokerError::ApprovalExpired)), "{late:?}");
}
