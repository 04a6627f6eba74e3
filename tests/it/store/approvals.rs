//! What people say and what is known of them, as the store keeps it: verdicts, what they are good for, and membership.

use hallpass::domain::*;
use hallpass::store::{KnownPerson, StoreError};

use super::fixture::*;

#[tokio::test]
async fn a_person_gives_one_verdict_on_a_request() {
    let f = Fixture::new().await;
    let asked = ScopeSet::new(["a:b:c", "a:b:d"].map(|scope| scope.parse().unwrap())).unwrap();
    let narrow = Narrowing::new(Some(ttl(60)), vec!["a:b:d".parse().unwrap()], &asked, ttl(600)).unwrap();
    let approval = Approval {
        id: f.ids.approval(),
        request: f.ids.request(),
        person: Person::new("ann"),
        groups: vec!["sre-oncall".to_owned()],
        verdict: Verdict::Approve,
        request_digest: digest("shown"),
        reason: Some("fine".to_owned()),
        at: START,
        in_place_of: Some(Person::new("bob")),
        narrow: Some(narrow),
        bundle: Some(digest("bundle")),
        plan: Some(digest("plan")),
        proof: Some("{}".to_owned()),
        thought_millis: Some(4_200),
        seal: Some("00".to_owned()),
    };
    let again = Approval { id: f.ids.approval(), verdict: Verdict::Deny, ..approval.clone() };
    let say = |approval: &Approval| {
        let mut tx = f.store.begin("say");
        tx.insert_approval(approval);
        tx.commit(f.fact())
    };
    say(&approval).await.unwrap();
    assert!(matches!(say(&again).await, Err(StoreError::Conflict { table: "approval" })));
    assert_eq!(f.store.list_approvals(approval.request).await.unwrap(), std::slice::from_ref(&approval));
    let other = f.ids.request();
    assert!(f.store.is_digest_of_another(other, digest("shown")).await.unwrap());
    assert!(!f.store.is_digest_of_another(approval.request, digest("shown")).await.unwrap());
    assert!(!f.store.is_digest_of_another(other, digest("never shown")).await.unwrap());
}

#[tokio::test]
async fn what_issuers_said_of_a_person_reads_back_and_what_was_heard_first_does_not_win() {
    let f = Fixture::new().await;
    let known = KnownPerson {
        issuer: "https://idp.example".to_owned(),
        subject: "ann".to_owned(),
        person: Person::new("ann"),
        email: Some("ann@acme.example".to_owned()),
        groups: vec!["sre".to_owned()],
        seen_at: START,
        recheck_at: None,
    };
    let mut tx = f.store.begin("person");
    tx.insert_known_person(&known);
    tx.commit(f.fact()).await.unwrap();
    assert_eq!(f.store.find_known_person(&known.issuer, "ann").await.unwrap().as_ref(), Some(&known));
    assert_eq!(f.store.find_known_person(&known.issuer, "bob").await.unwrap(), None);
    let later = KnownPerson { groups: vec![], seen_at: START.plus(ttl(5)), recheck_at: Some(START), ..known.clone() };
    for conflicts in [false, true] {
        let mut tx = f.store.begin("person");
        tx.update_known_person(&known, &later);
        assert_eq!(tx.commit(f.fact()).await.is_err(), conflicts);
    }
    assert_eq!(f.store.list_known_person(&known.person).await.unwrap(), std::slice::from_ref(&later));
    assert_eq!(f.store.list_people_to_recheck(9).await.unwrap(), std::slice::from_ref(&later));
    f.store.forget_recheck(&known).await.unwrap();
    assert_eq!(f.store.list_people_to_recheck(9).await.unwrap().len(), 1, "something else was heard since");
    f.store.forget_recheck(&later).await.unwrap();
    assert_eq!(f.store.list_people_to_recheck(9).await.unwrap(), []);
    let mut tx = f.store.begin("person");
    tx.insert_known_person(&known);
    assert!(matches!(tx.commit(f.fact()).await, Err(StoreError::Conflict { table: "person_known" })));
}

#[tokio::test]
async fn an_approval_is_good_for_so_many_credentials_and_one_nobody_had_does_not_count() {
    let f = Fixture::new().await;
    let task = f.task(&agent("builder"));
    let id = f.ids.grant();
    let request = f.request(&task, RequestState::Granted { grant: id });
    let approved = Approved { uses: 2, mint_until: Some(START.plus(ttl(9))), seal: "00".to_owned() };
    let grant = f.grant(&request, id);
    let mut record = (*grant).clone();
    record.approved = Some(approved);
    let grant = Grant::new(record).unwrap();
    let approval = |person: &str| Approval {
        id: f.ids.approval(),
        request: request.id,
        person: Person::new(person),
        in_place_of: None,
        groups: vec![],
        verdict: Verdict::Approve,
        narrow: None,
        request_digest: digest("shown"),
        bundle: None,
        plan: None,
        reason: None,
        proof: None,
        thought_millis: None,
        at: START,
        seal: None,
    };
    let mut tx = f.store.begin("grant");
    tx.insert_task(&task);
    tx.insert_request(&request);
    tx.insert_grant(&grant);
    tx.insert_approval(&approval("ann"));
    tx.commit(f.fact()).await.unwrap();
    assert_eq!(f.store.find_grant(grant.id).await.unwrap().as_ref(), Some(&grant));
    let by = async |person: &str| f.store.list_live_grants_approved_by(&Person::new(person), 9).await.unwrap();
    assert_eq!((by("ann").await, by("bob").await), (vec![grant.clone()], vec![]));
    let mint = async |uses: u32| {
        let lease = f.lease(&grant);
        let mut tx = f.store.begin("mint");
        tx.insert_lease(&lease);
        tx.check_uses(&lease, uses);
        tx.commit(f.fact()).await.map(|()| lease)
    };
    let first = mint(2).await.unwrap();
    let failed = mint(2).await.unwrap();
    let used_up =
        |done: Result<Lease, StoreError>| matches!(done, Err(StoreError::Conflict { table: "approval_uses" }));
    assert!(used_up(mint(2).await));
    f.step(&failed, &failed.clone().end(EndCause::Aborted, START).unwrap()).await;
    f.step(&first, &first.clone().end(EndCause::Expired, START).unwrap()).await;
    mint(2).await.unwrap();
    assert!(used_up(mint(2).await));
    mint(3).await.unwrap();
}
