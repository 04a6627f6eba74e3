//! Kind `jwt`: what is in a token, that others than we verify it, and that a rotation breaks none.

use std::process::Command;

use hallpass::domain::{CatalogueEntry, Scope, Timestamp, Ttl};
use hallpass::minter::{CredentialRef, MintError, MintOrder, Minted, Revoked};
use hallpass::sys::keys::{KeyAlgorithm, KeyTimes, SigningKey};
use hallpass::sys::{Clock as _, ExposeSecret as _, PublicJwk, SeededEntropy};
use josekit::jwk::Jwk;
use josekit::jws::{ES256, JwsHeader};
use serde_json::{Value, json};

use super::{T0, World, agent, lease, order, scope, suite};

const AUDIENCE: &str = "https://artifacts.acme.example";
/// The public part of the key of RFC 7515 §A.3.1.
const KEY: &str = r#"{"crv":"P-256","kty":"EC","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;

fn scopes() -> Vec<(Scope, CatalogueEntry)> {
    vec![
        scope("artifacts:releases:read", json!({ "audience": AUDIENCE })),
        scope("artifacts:releases:write(prefix=v1.4.2)", json!({ "audience": AUDIENCE, "type": "urn:acme:release" })),
    ]
}

fn token(minted: &Minted) -> &str {
    minted.values["access_token"].expose_secret()
}

/// A part of a compact JWS as JSON, unverified.
fn unverified_part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&data_encoding::BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap()
}

/// Verify an ES256 token with josekit by the published set; `None` when it does not verify.
fn verified(jwks: &str, token: &str) -> Option<(JwsHeader, Value)> {
    let set: Value = serde_json::from_str(jwks).unwrap();
    let kid = &unverified_part(token, 0)["kid"];
    let jwk = set["keys"].as_array().unwrap().iter().find(|jwk| &jwk["kid"] == kid)?;
    let verifier = ES256.verifier_from_jwk(&Jwk::from_bytes(jwk.to_string()).unwrap()).unwrap();
    let (payload, header) = josekit::jws::deserialize_compact(token, &verifier).ok()?;
    Some((header, serde_json::from_slice(&payload).unwrap()))
}

async fn mint(world: &World, settings: &str, change: impl FnOnce(&mut MintOrder<'_>)) -> Minted {
    let (agent, scopes, minter) = (agent(), scopes(), world.minter(settings));
    let mut order = order(&agent, &scopes);
    change(&mut order);
    minter.mint(&minter.plan(&order).unwrap()).await.unwrap()
}

const SETTINGS: &str = "name = 'artifacts'\nkind = 'jwt'";

#[tokio::test]
async fn the_jwt_minter_passes_the_suite() {
    for verifiers in ["introspect", "status_list", "offline"] {
        let settings = &format!("{SETTINGS}\nverifiers = '{verifiers}'");
        let world = World::new();
        suite::run(suite::Subject {
            minter: world.minter(settings),
            clock: world.clock.clone(),
            scopes: scopes(),
            elsewhere: scope("artifacts:other:read", json!({ "audience": "https://other.acme.example" })),
            accepts: &|minted, now| {
                verified(&world.deps.keyring.jwks(now), token(minted))
                    .is_some_and(|(_, claims)| claims["exp"].as_i64().unwrap() > now.as_secs())
            },
        })
        .await;
    }
}

#[tokio::test]
async fn jwt_01_a_token_says_exactly_what_was_ordered_and_verifies_against_the_jwk_set() {
    let world = World::new();
    let minted = mint(&world, SETTINGS, |_| ()).await;
    let (header, claims) = verified(&world.deps.keyring.jwks(T0), token(&minted)).expect("it verifies");
    assert_eq!((header.token_type(), header.algorithm()), (Some("at+jwt"), Some("ES256")));
    let signer = world.deps.keyring.signing_key(KeyAlgorithm::Es256, T0).unwrap();
    assert_eq!(header.key_id(), Some(signer.kid.as_str()));
    let exp = T0.as_secs() + 600;
    let expected = json!({
        "iss": "https://hallpass.example",
        "aud": AUDIENCE,
        "sub": "agent:release-bot",
        "client_id": "release-bot",
        "iat": T0.as_secs(),
        "exp": exp,
        "jti": lease(1).to_string(),
        "scope": "artifacts:releases:read artifacts:releases:write(prefix=v1.4.2)",
        "authorization_details": [
            {
                "type": "urn:hallpass:scope",
                "locations": [AUDIENCE],
                "actions": ["read"],
                "identifier": "releases",
                "scope": "artifacts:releases:read",
            },
            {
                "type": "urn:acme:release",
                "locations": [AUDIENCE],
                "actions": ["write"],
                "identifier": "releases",
                "scope": "artifacts:releases:write(prefix=v1.4.2)",
                "parameters": { "prefix": "v1.4.2" },
            },
        ],
        "task": hallpass::domain::TaskId::new(T0, [9; 10]).to_string(),
    });
    assert_eq!(claims, expected);
    assert_eq!(minted.values["token_type"].expose_secret(), "Bearer");
    assert!(!token(&minted).contains("maya"));
}

#[tokio::test]
async fn jwt_01_a_foreign_implementation_verifies_every_algorithm() {
    for algorithm in KeyAlgorithm::ALL {
        let world = World::new();
        let minted = mint(&world, &format!("{SETTINGS}\nalgorithm = '{algorithm}'"), |_| ()).await;
        let case = |token: &str, audience: &str, now: i64| {
            json!({
                "token": token,
                "jwks": serde_json::from_str::<Value>(&world.deps.keyring.jwks(T0)).unwrap(),
                "algorithm": algorithm,
                "issuer": world.deps.issuer_url,
                "audience": audience,
                "now": now,
            })
        };
        let token = token(&minted);
        let claims = foreign(&case(token, AUDIENCE, T0.as_secs())).expect("joserfc verifies it");
        assert_eq!(claims, unverified_part(token, 1));
        // The same judge refuses what it should, so its yes means something.
        let mut parts: Vec<&str> = token.split('.').collect();
        let other =
            data_encoding::BASE64URL_NOPAD.encode(claims.to_string().replace("release-bot", "other-bot").as_bytes());
        parts[1] = &other;
        assert!(foreign(&case(&parts.join("."), AUDIENCE, T0.as_secs())).unwrap_err().contains("bad_signature"));
        assert!(foreign(&case(token, "https://other.example", T0.as_secs())).unwrap_err().contains("aud"));
        assert!(foreign(&case(token, AUDIENCE, T0.as_secs() + 600)).unwrap_err().contains("expired"));
    }
}

/// Ask Python's joserfc, which shares no code with josekit or ring.
fn foreign(case: &Value) -> Result<Value, String> {
    let root = env!("CARGO_MANIFEST_DIR");
    let python = format!("{root}/target/venv/bin/python");
    assert!(std::path::Path::new(&python).exists(), "{python} is missing: run `make tools`");
    let output = Command::new(python)
        .arg(format!("{root}/tests/foreign/verify_at.py"))
        .arg(case.to_string())
        .output()
        .expect("python runs");
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

#[tokio::test]
async fn a_token_bound_to_a_key_carries_its_thumbprint_and_says_so_to_people() {
    let world = World::new();
    let minted = mint(&world, SETTINGS, |order| order.confirmation_key = Some(KEY)).await;
    let claims = unverified_part(token(&minted), 1);
    assert_eq!(claims["cnf"], json!({ "jkt": PublicJwk::parse(KEY).unwrap().thumbprint() }));
    assert_eq!(minted.values["token_type"].expose_secret(), "DPoP");

    let (agent, scopes, minter) = (agent(), scopes(), world.minter(SETTINGS));
    let free = minter.plan(&order(&agent, &scopes)).unwrap();
    let bound = minter.plan(&MintOrder { confirmation_key: Some(KEY), ..order(&agent, &scopes) }).unwrap();
    assert_ne!(free.digest, bound.digest);
    assert_eq!(free.summary[0], "anybody who holds the token can use it");
    assert_eq!(bound.summary[0], "only the holder of the agent's key can use it");
    assert_eq!(
        free.summary[2],
        "signed token for https://artifacts.acme.example permits releases:write with prefix=v1.4.2 for 600 s"
    );
    let private = KEY.replace('}', r#","d":"AA"}"#);
    let refused = minter.plan(&MintOrder { confirmation_key: Some(&private), ..order(&agent, &scopes) });
    assert!(matches!(&refused, Err(MintError::Unsupported(why)) if why.contains("private member")), "{refused:?}");
}

#[tokio::test]
async fn a_token_never_lives_longer_than_its_lease_to_the_second() {
    let world = World::new();
    for (millis, left) in [(1001, Some(2)), (1000, Some(1)), (2, Some(1)), (1, Some(1)), (600_000, Some(600))] {
        let minted = mint(&world, SETTINGS, |order| order.ends_at = order.now.plus_millis(millis)).await;
        let claims = unverified_part(token(&minted), 1);
        let exp = claims["exp"].as_i64().unwrap();
        assert!(Timestamp::from_secs(exp) <= T0.plus_millis(millis));
        assert_eq!(Some(exp - claims["iat"].as_i64().unwrap()), left);
    }
    let (agent, scopes, minter) = (agent(), scopes(), world.minter(SETTINGS));
    let early = Timestamp::from_secs(T0.as_secs());
    let order = MintOrder { now: early, ends_at: early.plus_millis(999), ..order(&agent, &scopes) };
    assert!(matches!(minter.plan(&order), Err(MintError::Unsupported(_))));
}

#[tokio::test]
async fn jwt_04_a_rotation_breaks_no_token() {
    let world = World::new();
    let old = mint(&world, SETTINGS, |_| ()).await;
    let ring = &world.deps.keyring;
    let first = ring.signing_key(KeyAlgorithm::Es256, T0).unwrap();
    let ahead = T0.plus_millis(300_000);
    let times = |from: Timestamp, signs: Timestamp, to: Timestamp| KeyTimes {
        created_at: T0,
        activates_at: from,
        signs_until: signs,
        retires_at: to,
    };
    let entropy = SeededEntropy::new(5);
    let kek = hallpass::sys::keys::Kek::from_base64(&data_encoding::BASE64.encode(&[1; 32]).into()).unwrap();
    let sealed = first.seal(&kek, &entropy).unwrap();
    let first_again = SigningKey::unseal(&first.kid, first.algorithm, &sealed, &kek).unwrap();
    let (end, far) = (T0.plus(Ttl::EIGHT_HOURS), T0.plus(Ttl::from_secs(86_400).unwrap()));
    let next = SigningKey::generate(KeyAlgorithm::Es256, times(ahead, end, far), &entropy).unwrap();
    let next_kid = next.kid.clone();
    ring.replace(vec![first_again, next]);

    assert!(ring.jwks(T0).contains(&next_kid), "it is published before it signs");
    let before = mint(&world, SETTINGS, |_| ()).await;
    assert_eq!(unverified_part(token(&before), 0)["kid"], json!(first.kid));
    world.clock.set(ahead);
    let after = mint(&world, SETTINGS, |_| ()).await;
    assert_eq!(unverified_part(token(&after), 0)["kid"], json!(next_kid));
    for minted in [&old, &before, &after] {
        assert!(verified(&ring.jwks(world.clock.now()), token(minted)).is_some());
    }
    let set: Value = serde_json::from_str(&ring.jwks(ahead)).unwrap();
    let members = set["keys"].as_array().unwrap().iter().flat_map(|jwk| jwk.as_object().unwrap().keys());
    let known = ["kty", "crv", "x", "y", "use", "alg", "kid"];
    assert_eq!(members.filter(|member| !known.contains(&member.as_str())).count(), 0, "no private member is served");
}

#[tokio::test]
async fn without_a_key_that_may_sign_nothing_is_minted() {
    let world = World::new();
    let (agent, scopes, minter) = (agent(), scopes(), world.minter(SETTINGS));
    let plan = minter.plan(&order(&agent, &scopes)).unwrap();
    world.deps.keyring.replace(Vec::new());
    assert!(matches!(minter.mint(&plan).await, Err(MintError::Unavailable(_))));
}

#[tokio::test]
async fn it_says_gone_only_where_verifiers_ask() {
    let world = World::new();
    let (agent, scopes) = (agent(), scopes());
    let plan = world.minter(SETTINGS).plan(&order(&agent, &scopes)).unwrap();
    let asks = world.minter(SETTINGS).revoke(CredentialRef::of_plan(&plan)).await.unwrap();
    assert!(matches!(asks, Revoked::Gone(_)));
    let offline = world.minter(&format!("{SETTINGS}\nverifiers = 'offline'"));
    assert_eq!(offline.revoke(CredentialRef::of_plan(&plan)).await.unwrap(), Revoked::EndsBy(plan.native_end));
    assert_eq!(offline.revocability().strength, "at_native_end");
}

#[test]
fn scopes_that_oauth_cannot_write_are_escaped_in_the_scope_claim() {
    let world = World::new();
    let scopes = [scope(r#"artifacts:notes:add(title="a b\"%é")"#, json!({ "audience": AUDIENCE }))];
    let agent = agent();
    let plan = world.minter(SETTINGS).plan(&order(&agent, &scopes)).unwrap();
    let claims: Value = serde_json::from_str(plan.native["claims"].as_str().unwrap()).unwrap();
    let claim = claims["scope"].as_str().unwrap();
    assert_eq!(claim, "artifacts:notes:add(title=%22a%20b%5C%22%25%C3%A9%22)");
    assert_eq!(Scope::from_token(claim).unwrap(), scopes[0].0);
}

#[test]
fn an_effect_that_is_no_audience_is_misconfigured() {
    let minter = World::new().minter(SETTINGS);
    for wrong in [
        json!({}),
        json!({ "audience": "" }),
        json!({ "audience": "artifacts" }),
        json!({ "audience": "http://artifacts.acme.example" }),
        json!({ "audience": "https://a.example/#part" }),
        json!({ "audience": "https://me:pw@a.example/" }),
        json!({ "audience": "ftp://a.example/" }),
        json!({ "audience": format!("https://a.example/{}", "x".repeat(600)) }),
        json!({ "audience": ["https://a.example"] }),
        json!({ "audience": AUDIENCE, "type": "" }),
        json!({ "audience": AUDIENCE, "type": "two words" }),
        json!({ "audience": AUDIENCE, "scope": "*" }),
    ] {
        let (_, entry) = scope("artifacts:releases:read", wrong.clone());
        let refused = minter.bucket(&entry);
        assert!(matches!(&refused, Err(MintError::Misconfigured(why)) if why.contains("releases:read")), "{wrong}");
    }
    for right in ["urn:acme:api", "http://127.0.0.1:9000/api", "http://localhost:1", AUDIENCE] {
        let (_, entry) = scope("artifacts:releases:read", json!({ "audience": right }));
        assert_eq!(minter.bucket(&entry).unwrap(), right);
    }
}
