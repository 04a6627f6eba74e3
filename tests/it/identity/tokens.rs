//! Tokens of one issuer: what is wrong with them, one thing at a time.

use hallpass::domain::SubjectRule;
use hallpass::identity::{Audience, IssuerSettings, PresentedToken, Verifiers};
use josekit::jws::JwsSigner as _;
use serde_json::{Value, json};

use crate::support::idp::{
    AUDIENCE, FakeIdp, NOW_SECS, TestKey, at, b64, claims, fine, present, settings, verdict, verifiers,
};

/// One issuer with an ES256 key, trusted.
struct Desk {
    idp: FakeIdp,
    key: TestKey,
    verifiers: Verifiers,
}

impl Desk {
    async fn open() -> Self {
        Self::open_with(|_| {}).await
    }

    async fn open_with(change: impl FnOnce(&mut IssuerSettings)) -> Self {
        let key = TestKey::es256("k1");
        let idp = FakeIdp::start(&[&key]).await;
        let mut section = idp.settings();
        change(&mut section);
        Self { verifiers: verifiers(&[section]), idp, key }
    }

    /// The verdict on a token with some claims changed.
    async fn claims(&self, changes: Value) -> Result<String, &'static str> {
        verdict(&self.verifiers, &self.token(&changes), at(0)).await
    }

    /// The verdict on a token with some header members changed.
    async fn header(&self, changes: Value) -> Result<String, &'static str> {
        let mut header = self.key.header();
        for (name, value) in changes.as_object().unwrap() {
            header[name] = value.clone();
        }
        verdict(&self.verifiers, &self.key.sign_with(&header, &claims(&self.idp.issuer, &json!({}))), at(0)).await
    }

    fn token(&self, changes: &Value) -> String {
        self.key.sign(&claims(&self.idp.issuer, changes))
    }
}

#[tokio::test]
async fn tok_01_no_spelling_of_none_is_an_algorithm() {
    let desk = Desk::open().await;
    assert_eq!(desk.claims(json!({})).await, fine());
    let payload = b64(claims(&desk.idp.issuer, &json!({})).to_string());
    for header in [
        json!({ "alg": "none" }),
        json!({ "alg": "None" }),
        json!({ "alg": "nOnE" }),
        json!({ "alg": "" }),
        json!({}),
        json!({ "alg": null }),
        json!({ "alg": ["ES256"] }),
        json!({ "alg": "es256" }),
    ] {
        let unsigned = format!("{}.{payload}.", b64(header.to_string()));
        assert_eq!(verdict(&desk.verifiers, &unsigned, at(0)).await, Err("alg_not_allowed"), "{header}");
    }
    let token = desk.token(&json!({}));
    let stripped = &token[..=token.rfind('.').unwrap()];
    assert_eq!(verdict(&desk.verifiers, stripped, at(0)).await, Err("bad_signature"));
}

#[tokio::test]
async fn tok_02_a_public_key_is_never_a_secret() {
    let rsa = TestKey::rs256("k1");
    let idp = FakeIdp::start(&[&rsa]).await;
    let verifiers = verifiers(&[idp.settings()]);
    let secrets = [rsa.public_pem.clone(), rsa.public_der.clone(), rsa.public.to_string().into_bytes()];
    for (secret, alg) in secrets.iter().flat_map(|secret| ["HS256", "HS384", "HS512"].map(|alg| (secret, alg))) {
        let header = json!({ "alg": alg, "kid": "k1", "typ": "JWT" });
        let signed = format!("{}.{}", b64(header.to_string()), b64(claims(&idp.issuer, &json!({})).to_string()));
        let hmac = josekit::jws::HS256.signer_from_bytes(secret).unwrap().sign(signed.as_bytes()).unwrap();
        let token = format!("{signed}.{}", b64(hmac));
        assert_eq!(verdict(&verifiers, &token, at(0)).await, Err("alg_not_allowed"));
    }
    // The list is the issuer's: what another issuer may use is not allowed here.
    let mut only_es256 = idp.settings();
    only_es256.algorithms = Some(vec![hallpass::identity::Algorithm::Es256]);
    let strict = crate::support::idp::verifiers(&[only_es256]);
    let token = rsa.sign(&claims(&idp.issuer, &json!({})));
    assert_eq!(verdict(&verifiers, &token, at(0)).await, fine());
    assert_eq!(verdict(&strict, &token, at(0)).await, Err("alg_not_allowed"));
    assert!(toml::from_str::<IssuerSettings>("name = \"x\"\nalgorithms = [\"HS256\"]").is_err());
}

#[tokio::test]
async fn tok_03_a_token_without_exp_is_refused() {
    let desk = Desk::open().await;
    assert_eq!(desk.claims(json!({ "exp": null })).await, Err("exp_missing"));
}

#[tokio::test]
async fn tok_04_a_token_without_aud_is_refused() {
    let desk = Desk::open().await;
    assert_eq!(desk.claims(json!({ "aud": null })).await, Err("aud_missing"));
    assert_eq!(desk.claims(json!({ "aud": [] })).await, Err("aud_missing"));
    let null = claims(&desk.idp.issuer, &json!({})).to_string().replace(&format!("\"{AUDIENCE}\""), "null");
    let token = desk.key.sign_raw(&desk.key.header().to_string(), &null);
    assert_eq!(verdict(&desk.verifiers, &token, at(0)).await, Err("aud_missing"));
}

#[tokio::test]
async fn tok_05_an_audience_that_is_nearly_ours_is_not_ours() {
    let desk = Desk::open().await;
    for aud in [
        "https://broker/dep-",
        "https://broker/dep-77",
        "https://BROKER/dep-7",
        "https://broker/dep-7/",
        "https://broker/dep-8",
        "",
    ] {
        assert_eq!(desk.claims(json!({ "aud": aud })).await, Err("aud_mismatch"), "{aud}");
        assert_eq!(desk.claims(json!({ "aud": [aud] })).await, Err("aud_mismatch"), "[{aud}]");
    }
    assert_eq!(desk.claims(json!({ "aud": ["https://other", AUDIENCE] })).await, fine());
}

#[tokio::test]
async fn tok_07_clocks_may_be_thirty_seconds_apart() {
    let desk = Desk::open().await;
    let cases = [
        (json!({ "exp": NOW_SECS - 29, "iat": NOW_SECS - 100 }), fine()),
        (json!({ "exp": NOW_SECS - 31, "iat": NOW_SECS - 100 }), Err("expired")),
        (json!({ "nbf": NOW_SECS + 29 }), fine()),
        (json!({ "nbf": NOW_SECS + 31 }), Err("not_yet_valid")),
        (json!({ "iat": NOW_SECS + 29 }), fine()),
        (json!({ "iat": NOW_SECS + 3600, "exp": NOW_SECS + 7200 }), Err("iat_future")),
    ];
    for (changes, expected) in cases {
        assert_eq!(desk.claims(changes.clone()).await, expected, "{changes}");
    }
}

#[tokio::test]
async fn tok_08_a_token_of_a_year_is_refused() {
    let desk = Desk::open().await;
    let day = 86_400;
    assert_eq!(desk.claims(json!({ "exp": NOW_SECS + day })).await, fine());
    assert_eq!(desk.claims(json!({ "exp": NOW_SECS + day + 1 })).await, Err("lifetime_too_long"));
    assert_eq!(desk.claims(json!({ "exp": NOW_SECS + 365 * day })).await, Err("lifetime_too_long"));
    assert_eq!(desk.claims(json!({ "iat": null })).await, Err("iat_missing"));
}

#[tokio::test]
async fn a_number_that_makes_josekit_panic_is_only_malformed() {
    let desk = Desk::open().await;
    for number in ["1e300", "1e19", "18446744073709551615", "1e400", "-1", "1.5"] {
        for name in ["exp", "nbf", "iat"] {
            let text = claims(&desk.idp.issuer, &json!({ name: "HERE" })).to_string().replace("\"HERE\"", number);
            let token = desk.key.sign_raw(&desk.key.header().to_string(), &text);
            assert_eq!(verdict(&desk.verifiers, &token, at(0)).await, Err("malformed"), "{name}={number}");
        }
    }
}

#[tokio::test]
async fn tok_12_an_unknown_issuer_is_asked_for_nothing() {
    let desk = Desk::open().await;
    let stranger = FakeIdp::start(&[&desk.key]).await;
    for issuer in [stranger.issuer.as_str(), "http://169.254.169.254/", &format!("{}/", desk.idp.issuer), ""] {
        let token = desk.key.sign(&claims(issuer, &json!({})));
        assert_eq!(verdict(&desk.verifiers, &token, at(0)).await, Err("unknown_issuer"), "{issuer}");
    }
    assert_eq!(desk.claims(json!({ "iss": null })).await, Err("unknown_issuer"));
    assert_eq!(desk.claims(json!({ "iss": [desk.idp.issuer] })).await, Err("malformed"));
    assert_eq!(stranger.requests(), 0);
    assert_eq!(desk.idp.requests(), 0);
}

#[tokio::test]
async fn tok_13_a_token_does_not_bring_its_own_key() {
    let desk = Desk::open().await;
    let attacker = TestKey::es256("k1");
    let recorder = FakeIdp::start(&[&attacker]).await;
    for (name, value) in [
        ("jku", json!(recorder.keys_url())),
        ("x5u", json!(recorder.keys_url())),
        ("jwk", attacker.public.clone()),
        ("x5c", json!(["AA=="])),
    ] {
        let mut header = attacker.header();
        header[name] = value.clone();
        let token = attacker.sign_with(&header, &claims(&desk.idp.issuer, &json!({})));
        assert_eq!(verdict(&desk.verifiers, &token, at(0)).await, Err("header_not_allowed"), "{name}");
        // Also where the signature is the issuer's own.
        assert_eq!(desk.header(json!({ name: value })).await, Err("header_not_allowed"), "{name}");
    }
    assert_eq!(recorder.requests(), 0);
    let forged = attacker.sign(&claims(&desk.idp.issuer, &json!({})));
    assert_eq!(verdict(&desk.verifiers, &forged, at(0)).await, Err("bad_signature"));
}

#[tokio::test]
async fn tok_24_no_extension_is_understood() {
    let desk = Desk::open().await;
    for changes in
        [json!({ "crit": ["x"], "x": 1 }), json!({ "crit": [] }), json!({ "b64": false }), json!({ "zip": "DEF" })]
    {
        assert_eq!(desk.header(changes.clone()).await, Err("header_not_allowed"), "{changes}");
    }
}

#[tokio::test]
async fn tok_26_a_token_of_another_kind_is_refused() {
    let desk = Desk::open().await;
    for typ in ["at+jwt", "application/at+jwt", "logout+jwt", "secevent+jwt", "dpop+jwt", "JWTX"] {
        assert_eq!(desk.header(json!({ "typ": typ })).await, Err("typ_not_allowed"), "{typ}");
    }
    for typ in ["JWT", "jwt", "application/jwt"] {
        assert_eq!(desk.header(json!({ "typ": typ })).await, fine(), "{typ}");
    }
    assert_eq!(desk.header(json!({ "typ": 7 })).await, Err("malformed"));
    let access_tokens = Desk::open_with(|section| section.typ = Some(vec!["at+jwt".to_owned()])).await;
    assert_eq!(access_tokens.header(json!({ "typ": "at+jwt" })).await, fine());
    assert_eq!(access_tokens.header(json!({ "typ": "JWT" })).await, Err("typ_not_allowed"));
}

#[tokio::test]
async fn tok_29_what_is_no_token_costs_next_to_nothing() {
    let desk = Desk::open().await;
    let good = desk.token(&json!({}));
    let padded = |edit: &dyn Fn(&str) -> String| good.split('.').map(edit).collect::<Vec<_>>().join(".");
    for (bad, word) in [
        ("x".repeat(64 * 1024), "too_large"),
        (".".repeat(100_000), "too_large"),
        (".".repeat(16 * 1024), "malformed"),
        (String::new(), "malformed"),
        ("a.b".to_owned(), "malformed"),
        (format!("{good}."), "malformed"),
        (format!("{good}.e.e"), "malformed"),
        (padded(&|segment| format!("{segment}=")), "malformed"),
        (padded(&|segment| format!(" {segment}")), "malformed"),
        (padded(&|segment| format!("{segment}\n")), "malformed"),
        (padded(&|segment| segment.replace(['-', '_'], "+") + "/"), "malformed"),
        (format!("{}B", &good[..good.len() - 1]), "malformed"),
    ] {
        let answer = PresentedToken::parse(&bad).map(|_| ()).map_err(|error| error.word());
        assert_eq!(answer, Err(word));
    }
    assert_eq!(verdict(&desk.verifiers, &good, at(0)).await, fine());
}

#[tokio::test]
async fn no_flipped_bit_of_a_token_is_accepted() {
    let desk = Desk::open().await;
    let token = desk.token(&json!({}));
    let mut tried = 0;
    for place in 0..token.len() * 8 {
        let mut bytes = token.clone().into_bytes();
        bytes[place / 8] ^= 1 << (place % 8);
        let Ok(flipped) = String::from_utf8(bytes) else { continue };
        assert!(verdict(&desk.verifiers, &flipped, at(0)).await.is_err(), "bit {place}");
        tried += 1;
    }
    assert!(tried > token.len() * 6);
    assert_eq!(desk.claims(json!({})).await, fine());
}

#[tokio::test]
async fn tok_30_a_github_job_is_known_by_ids_and_its_token_lives_an_hour_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let (file, key, other) = (folder.path().join("jwks"), TestKey::rs256("gh"), TestKey::es256("ec"));
    std::fs::write(&file, json!({ "keys": [key.public, other.public] }).to_string()).unwrap();
    let section = format!("name = \"gh\"\npreset = \"github-actions\"\njwks_file = \"{}\"", file.display());
    let desk = verifiers(&[settings(&section)]);
    let job = |changes: Value| {
        let mut job = json!({
            "sub": "repo:octo-org@65/octo-repo@74:environment:prod", "repository": "octo-org/octo-repo",
            "repository_id": "74", "repository_owner_id": "65", "run_attempt": "2", "aud": AUDIENCE,
        });
        job.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        claims("https://token.actions.githubusercontent.com", &job)
    };
    let identity = present(&desk, &key.sign(&job(json!({}))), at(0)).await.unwrap();
    assert_eq!((identity.claim("repository_id"), identity.claim("repository_owner_id")), (Some("74"), Some("65")));
    assert_eq!(identity.claim("environment"), None);
    let long = job(json!({ "exp": NOW_SECS + 3601 }));
    assert_eq!(verdict(&desk, &key.sign(&long), at(0)).await, Err("lifetime_too_long"));
    assert_eq!(verdict(&desk, &other.sign(&job(json!({}))), at(0)).await, Err("alg_not_allowed"));
}

#[tokio::test]
async fn a_member_that_comes_twice_is_refused_in_header_and_claims() {
    let desk = Desk::open().await;
    let (header, payload) = (desk.key.header().to_string(), claims(&desk.idp.issuer, &json!({})).to_string());
    let twice = |text: &str, member: &str| format!("{},{member}}}", text.strip_suffix('}').unwrap());
    let token = desk.key.sign_raw(&twice(&header, r#""alg":"ES256""#), &payload);
    assert_eq!(verdict(&desk.verifiers, &token, at(0)).await, Err("malformed"));
    for member in [r#""sub":"admin""#, r#""s\u0075b":"admin""#, r#""x":{"a":1,"a":2}"#] {
        let token = desk.key.sign_raw(&header, &twice(&payload, member));
        assert_eq!(verdict(&desk.verifiers, &token, at(0)).await, Err("malformed"), "{member}");
    }
    let unsigned = PresentedToken::parse(&format!("{}.{}.", b64("{\"alg\":\"ES256\"}\u{feff}"), b64(&payload)));
    assert_eq!(unsigned.map(|_| ()).map_err(|error| error.word()), Err("malformed"));
}

#[tokio::test]
async fn tok_10_what_a_used_token_is_remembered_by_survives_a_rewritten_signature() {
    let desk = Desk::open_with(|section| section.single_use = true).await;
    let by = async |token: String| present(&desk.verifiers, &token, at(0)).await.unwrap();
    let first = by(desk.token(&json!({ "jti": "a" }))).await;
    assert!(first.single_use());
    assert_eq!(first.expires_at(), at(330));
    assert_eq!(first.seen_key(), by(desk.token(&json!({ "jti": "a", "exp": NOW_SECS + 200 }))).await.seen_key());
    assert_ne!(first.seen_key(), by(desk.token(&json!({ "jti": "b" }))).await.seen_key());
    // Without a `jti`, two signatures over the same claims are still one token.
    let (one, two) = (desk.token(&json!({ "jti": null })), desk.token(&json!({ "jti": null })));
    assert_ne!(one, two);
    assert_eq!(by(one).await.seen_key(), by(two).await.seen_key());
}

#[tokio::test]
async fn a_remembered_token_still_grows_old_and_falls_with_its_key() {
    let desk = Desk::open().await;
    let token = desk.token(&json!({}));
    assert_eq!(verdict(&desk.verifiers, &token, at(0)).await, fine());
    assert_eq!(verdict(&desk.verifiers, &token, at(329)).await, fine());
    assert_eq!(verdict(&desk.verifiers, &token, at(331)).await, Err("expired"));
    assert_eq!(verdict(&desk.verifiers, &token, at(-31)).await, Err("not_yet_valid"));
    // The same token, byte for byte, after its key was exchanged for another of the same name.
    desk.idp.publish(&[&TestKey::es256("k1")]);
    let long = desk.token(&json!({ "exp": NOW_SECS + 3600 }));
    assert_eq!(verdict(&desk.verifiers, &long, at(0)).await, fine());
    assert_eq!(verdict(&desk.verifiers, &long, at(599)).await, fine());
    assert_eq!(verdict(&desk.verifiers, &long, at(600)).await, Err("bad_signature"));
}

#[tokio::test]
async fn claims_and_persons_come_through_as_bindings_and_policy_need_them() {
    let desk = Desk::open_with(|section| section.whom = Audience::People).await;
    let token = desk.token(&json!({
        "groups": ["sre"], "email": "ada@example.org", "email_verified": true,
        "repository_id": 7, "kubernetes.io": { "namespace": "prod" },
    }));
    let identity = present(&desk.verifiers, &token, at(0)).await.unwrap();
    assert_eq!(
        (identity.whom(), identity.groups(), identity.email()),
        (Audience::People, &["sre".to_owned()][..], Some("ada@example.org"))
    );
    assert_eq!(identity.issuer(), desk.idp.issuer);
    assert_eq!(identity.claim("repository_id"), Some("7"));
    assert_eq!(identity.claim("kubernetes.io.namespace"), Some("prod"));
    let binding = hallpass::domain::Binding {
        issuer: desk.idp.issuer.clone(),
        subject: SubjectRule::Any,
        claims: [("repository_id".to_owned(), "8".to_owned())].into(),
    };
    let compared = binding.compare(identity.issuer(), identity.subject(), |name| identity.claim(name));
    assert_eq!(compared, hallpass::domain::BindingMatch::ClaimDiffers("repository_id".to_owned()));
    let agents = Desk::open().await;
    let token = agents.token(&json!({ "groups": ["sre"], "email": "ada@example.org" }));
    let identity = present(&agents.verifiers, &token, at(0)).await.unwrap();
    assert_eq!((identity.groups().len(), identity.email()), (0, None));
}
