//! An issuer's keys over time: rotation, outages, floods, and documents that are not what they should be.

use std::sync::Arc;

use hallpass::identity::IssuerState;
use serde_json::json;

use crate::support::idp::{Answer, FakeIdp, TestKey, at, claims, fine, settings, verdict, verifiers};

#[tokio::test]
async fn tok_15_a_discovery_document_cannot_move_our_trust() {
    let (key, foreign) = (TestKey::es256("k"), TestKey::es256("k"));
    let idp = FakeIdp::start(&[&key]).await;
    let elsewhere = FakeIdp::start(&[&foreign]).await;
    let trusting = |extra: &str| {
        verifiers(&[settings(&format!("name = \"idp\"\nissuer = \"{}\"\nallow_private = true\n{extra}", idp.issuer))])
    };
    let token = key.sign(&claims(&idp.issuer, &json!({})));
    let forged = foreign.sign(&claims(&idp.issuer, &json!({})));
    assert_eq!(verdict(&trusting(""), &token, at(0)).await, fine());

    idp.discover_as(&format!("{}/", idp.issuer), &idp.keys_url());
    let desk = trusting("");
    assert_eq!(verdict(&desk, &token, at(0)).await, Err("issuer_unavailable"));
    let status = desk.status(at(0)).remove(0);
    assert_eq!(status.state, IssuerState::Degraded);
    assert!(status.why.unwrap().contains("another issuer"));

    idp.discover_as(&idp.issuer, &elsewhere.keys_url());
    let desk = trusting("");
    assert_eq!(verdict(&desk, &forged, at(0)).await, Err("issuer_unavailable"));
    assert!(desk.status(at(0)).remove(0).why.unwrap().contains("another origin"));
    assert_eq!(elsewhere.requests(), 0);

    // Where the settings name the host, it is right.
    let host = elsewhere.issuer.strip_prefix("http://").unwrap();
    let desk = trusting(&format!("jwks_hosts = [\"{host}\"]"));
    assert_eq!(verdict(&desk, &forged, at(0)).await, fine());
    assert_eq!(verdict(&desk, &token, at(0)).await, Err("bad_signature"));
}

#[tokio::test]
async fn tok_18_whatever_comes_instead_of_keys_the_last_good_ones_stay() {
    let key = TestKey::es256("k");
    let (idp, other) = (FakeIdp::start(&[&key]).await, FakeIdp::start(&[&key]).await);
    let mut second = other.settings();
    second.name = "other".to_owned();
    let desk = verifiers(&[idp.settings(), second]);
    let token = |idp: &FakeIdp, id: i64| {
        key.sign(&claims(&idp.issuer, &json!({ "jti": id.to_string(), "exp": at(3000).as_secs() })))
    };
    assert_eq!(verdict(&desk, &token(&idp, 0), at(0)).await, fine());
    let many: Vec<_> = (0..10_000).map(|n| json!({ "kty": "EC", "kid": n.to_string() })).collect();
    let answers = [
        Answer::Body(vec![b' '; 10 * 1024 * 1024].into()),
        Answer::Body(json!({ "keys": many }).to_string().into()),
        Answer::Body(
            (0..101)
                .fold(json!({ "keys": [] }), |mut set, n| {
                    set["keys"].as_array_mut().unwrap().push(json!({ "kty": "EC", "kid": n.to_string() }));
                    set
                })
                .to_string()
                .into(),
        ),
        Answer::Gzip(b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec().into()),
        Answer::Body("<html>sign in</html>".into()),
        Answer::Body("{}".into()),
        Answer::Body(json!({ "keys": [key.public, { "kty": "oct", "k": "AA" }] }).to_string().into()),
        Answer::Body(format!("{{\"keys\":[],\"keys\":[{}]}}", key.public).into()),
        Answer::Status(500),
        Answer::Redirect(other.keys_url()),
    ];
    for (round, answer) in (0_i64..).zip(answers) {
        idp.answer(answer);
        let (now, before) = (at(600 + 31 * round), idp.key_fetches());
        assert_eq!(verdict(&desk, &token(&idp, round), now).await, fine(), "round {round}");
        assert_eq!(idp.key_fetches(), before + 1, "round {round} fetched");
        assert_eq!(desk.status(now)[0].state, IssuerState::Degraded, "round {round}");
        assert_eq!(verdict(&desk, &token(&other, round), now).await, fine());
        assert_eq!(desk.status(now)[1].state, IssuerState::Ok);
    }
    idp.publish(&[&key]);
    desk.refresh(at(2000)).await;
    assert_eq!(desk.status(at(2000))[0].state, IssuerState::Ok);
}

#[tokio::test]
async fn tok_18_an_issuer_that_hangs_holds_up_nobody_else() {
    let key = TestKey::es256("k");
    let (slow, quick) = (FakeIdp::start(&[&key]).await, FakeIdp::start(&[&key]).await);
    slow.answer(Answer::Drip);
    let mut second = quick.settings();
    second.name = "quick".to_owned();
    let desk = Arc::new(verifiers(&[slow.settings(), second]));
    let hanging = tokio::spawn({
        let (desk, token) = (Arc::clone(&desk), key.sign(&claims(&slow.issuer, &json!({}))));
        async move { verdict(&desk, &token, at(0)).await }
    });
    while slow.key_fetches() == 0 {
        tokio::task::yield_now().await;
    }
    for n in 0..100 {
        let token = key.sign(&claims(&quick.issuer, &json!({ "jti": n.to_string() })));
        assert_eq!(verdict(&desk, &token, at(0)).await, fine());
    }
    assert!(!hanging.is_finished());
    assert_eq!(hanging.await.unwrap(), Err("issuer_unavailable"));
}

#[tokio::test]
async fn tok_19_a_thousand_unknown_keys_cost_one_fetch() {
    let key = TestKey::es256("k");
    let idp = FakeIdp::start(&[&key]).await;
    let desk = Arc::new(verifiers(&[idp.settings()]));
    assert_eq!(verdict(&desk, &key.sign(&claims(&idp.issuer, &json!({}))), at(0)).await, fine());
    assert_eq!(idp.key_fetches(), 1);
    let mut waiting = tokio::task::JoinSet::new();
    for n in 0..1000_i64 {
        let header = json!({ "alg": "ES256", "kid": format!("random-{n}") });
        let token = key.sign_with(&header, &claims(&idp.issuer, &json!({})));
        let desk = Arc::clone(&desk);
        waiting.spawn(async move { verdict(&desk, &token, at(n / 100)).await });
    }
    for answer in waiting.join_all().await {
        assert_eq!(answer, Err("key_unknown"));
    }
    assert_eq!(idp.key_fetches(), 2);
    let unknown = key.sign_with(&json!({ "alg": "ES256", "kid": "x" }), &claims(&idp.issuer, &json!({})));
    assert_eq!(verdict(&desk, &unknown, at(29)).await, Err("key_unknown"));
    assert_eq!(idp.key_fetches(), 2);
    assert_eq!(verdict(&desk, &unknown, at(40)).await, Err("key_unknown"));
    assert_eq!(idp.key_fetches(), 3);
}

#[tokio::test]
async fn tok_20_a_new_key_is_found_at_once_and_a_withdrawn_one_is_gone_within_ten_minutes() {
    let (old, new) = (TestKey::es256("k1"), TestKey::es256("k2"));
    let idp = FakeIdp::start(&[&old]).await;
    let desk = verifiers(&[idp.settings()]);
    let long = json!({ "exp": at(3600).as_secs() });
    let (by_old, by_new) = (old.sign(&claims(&idp.issuer, &long)), new.sign(&claims(&idp.issuer, &long)));
    assert_eq!(verdict(&desk, &by_old, at(0)).await, fine());
    idp.publish(&[&old, &new]);
    assert_eq!(verdict(&desk, &by_new, at(1)).await, fine());
    assert_eq!(idp.key_fetches(), 2);
    idp.publish(&[&new]);
    assert_eq!(verdict(&desk, &by_old, at(600)).await, fine());
    assert_eq!(verdict(&desk, &by_old, at(601)).await, Err("key_unknown"));
    assert_eq!(verdict(&desk, &by_new, at(601)).await, fine());
    // The worker's pass is earlier, so that no request waits for it.
    let fetches = idp.key_fetches();
    desk.refresh(at(900)).await;
    assert_eq!(idp.key_fetches(), fetches);
    desk.refresh(at(910)).await;
    assert_eq!(idp.key_fetches(), fetches + 1);
}

#[tokio::test]
async fn tok_21_an_outage_is_ridden_out_for_an_hour_and_then_nobody_gets_in() {
    let key = TestKey::es256("k");
    let idp = FakeIdp::start(&[&key]).await;
    let desk = verifiers(&[idp.settings()]);
    let token = key.sign(&claims(&idp.issuer, &json!({ "exp": at(7200).as_secs() })));
    let unfetched = desk.status(at(0)).remove(0);
    assert_eq!((unfetched.state, unfetched.keys, unfetched.age_seconds), (IssuerState::Unfetched, 0, None));
    assert_eq!(verdict(&desk, &token, at(0)).await, fine());
    idp.answer(Answer::Status(503));
    assert_eq!(verdict(&desk, &token, at(600)).await, fine());
    assert_eq!(verdict(&desk, &token, at(3600)).await, fine());
    let degraded = desk.status(at(3600)).remove(0);
    assert_eq!((degraded.state, degraded.keys, degraded.age_seconds), (IssuerState::Degraded, 1, Some(3600)));
    assert_eq!(degraded.why.as_deref(), Some("fetching the key set: the answer has status 503"));
    assert_eq!(verdict(&desk, &token, at(3601)).await, Err("issuer_unavailable"));
    // A failure is not repeated for every request.
    let fetches = idp.key_fetches();
    assert_eq!(verdict(&desk, &token, at(3620)).await, Err("issuer_unavailable"));
    assert_eq!(idp.key_fetches(), fetches);
    idp.publish(&[&key]);
    assert_eq!(verdict(&desk, &token, at(3640)).await, fine());
}

#[tokio::test]
async fn one_caller_fetches_and_the_others_wait_for_it() {
    let key = TestKey::es256("k");
    let idp = FakeIdp::start(&[&key]).await;
    let desk = Arc::new(verifiers(&[idp.settings()]));
    let mut waiting = tokio::task::JoinSet::new();
    for n in 0..50 {
        let (desk, token) = (Arc::clone(&desk), key.sign(&claims(&idp.issuer, &json!({ "jti": n.to_string() }))));
        waiting.spawn(async move { verdict(&desk, &token, at(0)).await });
    }
    assert!(waiting.join_all().await.iter().all(|answer| *answer == fine()));
    assert_eq!(idp.key_fetches(), 1);
}

#[tokio::test]
async fn keys_from_a_file_are_read_again_and_every_algorithm_works() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    let keys = [TestKey::es256("a"), TestKey::rs256("b"), TestKey::eddsa("c")];
    let publish = |keys: &[&TestKey]| {
        let set: Vec<_> = keys.iter().map(|key| key.public.clone()).collect();
        std::fs::write(&file, json!({ "keys": set }).to_string()).unwrap();
    };
    let issuer = "https://idp.example";
    let desk =
        verifiers(&[settings(&format!("name = \"f\"\nissuer = \"{issuer}\"\njwks_file = \"{}\"", file.display()))]);
    let token = |key: &TestKey| key.sign(&claims(issuer, &json!({ "exp": at(3600).as_secs() })));
    assert_eq!(verdict(&desk, &token(&keys[0]), at(0)).await, Err("issuer_unavailable"));
    publish(&[&keys[0], &keys[1], &keys[2]]);
    for key in &keys {
        assert_eq!(verdict(&desk, &token(key), at(31)).await, fine());
    }
    // RFC 9864's name of the same algorithm.
    let renamed = keys[2].sign_with(&json!({ "alg": "Ed25519", "kid": "c" }), &claims(issuer, &json!({})));
    assert_eq!(verdict(&desk, &renamed, at(31)).await, fine());
    publish(&[&keys[1]]);
    assert_eq!(verdict(&desk, &token(&keys[0]), at(700)).await, Err("key_unknown"));
    assert_eq!(verdict(&desk, &token(&keys[1]), at(700)).await, fine());
}

#[tokio::test]
async fn a_key_that_is_for_another_algorithm_is_not_tried() {
    let (ec, rsa) = (TestKey::es256("k"), TestKey::rs256("r"));
    let idp = FakeIdp::start(&[&ec, &rsa]).await;
    let desk = verifiers(&[idp.settings()]);
    let header = json!({ "alg": "RS256", "kid": "k" });
    assert_eq!(
        verdict(&desk, &rsa.sign_with(&header, &claims(&idp.issuer, &json!({}))), at(0)).await,
        Err("alg_not_allowed")
    );
    assert_eq!(
        verdict(&desk, &ec.sign_with(&json!({ "alg": "ES256", "kid": "r" }), &claims(&idp.issuer, &json!({}))), at(0))
            .await,
        Err("alg_not_allowed")
    );
    assert_eq!(idp.key_fetches(), 1);
    // A token that names no key is checked by the only one that fits.
    assert_eq!(
        verdict(&desk, &ec.sign_with(&json!({ "alg": "ES256" }), &claims(&idp.issuer, &json!({}))), at(0)).await,
        fine()
    );
}
