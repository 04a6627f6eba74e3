//! Tokens of the API server on loopback: signed, bound to an account and a Secret by UID, and reviewed as kube-apiserver does,
//! with its leeway of 60 s and the ten seconds that it remembers a success.

use hallpass::domain::Timestamp;
use josekit::jwk::Jwk;
use josekit::jws::ES256;
use serde_json::{Value, json};

use super::World;
use crate::support::idp::TestKey;

const LEEWAY_SECS: i64 = 60;
const REMEMBERS_MILLIS: i64 = 10_000;

/// Sign a token.
pub(super) fn issue(
    key: &TestKey,
    namespace: &str,
    account: &Value,
    secret: Option<&Value>,
    audiences: &Value,
    (now, exp): (i64, i64),
    number: u64,
) -> String {
    let name = |object: &Value| json!({ "name": object["metadata"]["name"], "uid": object["metadata"]["uid"] });
    let mut private = json!({ "namespace": namespace, "serviceaccount": name(account) });
    if let Some(secret) = secret {
        private["secret"] = name(secret);
    }
    key.sign(&json!({
        "iss": super::API,
        "sub": format!("system:serviceaccount:{namespace}:{}", account["metadata"]["name"].as_str().unwrap()),
        "aud": audiences,
        "iat": now,
        "nbf": now,
        "exp": exp,
        "jti": number.to_string(),
        "kubernetes.io": private,
    }))
}

/// The claims, if the signature is ours.
pub(super) fn verified(key: &TestKey, token: &str) -> Option<Value> {
    let verifier = ES256.verifier_from_jwk(&Jwk::from_bytes(key.public.to_string()).unwrap()).unwrap();
    let (payload, _) = josekit::jws::deserialize_compact(token, &verifier).ok()?;
    serde_json::from_slice(&payload).ok()
}

/// Namespace and name of the account, if the token is good.
pub(super) fn review(
    world: &World,
    key: &TestKey,
    token: &str,
    audiences: &[&str],
    now: Timestamp,
) -> Option<(String, String)> {
    let claims = verified(key, token)?;
    let now_secs = now.as_secs() + world.ahead;
    let time = |name: &str| claims[name].as_i64().unwrap();
    let good_now = now_secs <= time("exp") + LEEWAY_SECS && time("nbf") - LEEWAY_SECS <= now_secs;
    let for_one = claims["aud"].as_array().unwrap().iter().any(|aud| audiences.iter().any(|asked| aud == asked));
    let private = &claims["kubernetes.io"];
    let namespace = private["namespace"].as_str()?;
    let there = |resource: &str, named: &Value| {
        let object = world.get(resource, namespace, named["name"].as_str().unwrap_or_default());
        object.is_some_and(|object| {
            let doomed =
                object["metadata"]["deletionTimestamp"].as_str().map(|at| at.parse::<jiff::Timestamp>().unwrap());
            object["metadata"]["uid"] == named["uid"]
                && doomed.is_none_or(|at| at.as_second() >= now_secs - LEEWAY_SECS)
        })
    };
    let bound = private.get("secret").is_none_or(|secret| there("secrets", secret));
    let account = &private["serviceaccount"];
    let good = good_now && for_one && bound && there("serviceaccounts", account);
    good.then(|| (namespace.to_owned(), account["name"].as_str().unwrap().to_owned()))
}

/// The same by a server that may remember that it was good.
pub(super) fn remembered_review(
    world: &mut World,
    key: &TestKey,
    token: &str,
    audiences: &[&str],
    now: Timestamp,
) -> Option<(String, String)> {
    let remembered =
        world.remembers && world.remembered.get(token).is_some_and(|at| now < at.plus_millis(REMEMBERS_MILLIS));
    if remembered {
        let claims = verified(key, token)?;
        let private = &claims["kubernetes.io"];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        return Some((text(&private["namespace"]), text(&private["serviceaccount"]["name"])));
    }
    let good = review(world, key, token, audiences, now);
    if good.is_some() {
        world.remembered.insert(token.to_owned(), now);
    }
    good
}
