//! Claims at their edges.

use super::*;
use serde_json::json;

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().expect("a JSON object").clone()
}

#[test]
fn a_numeric_date_is_an_integer_of_seconds_within_bounds() {
    let read = |text: &str| {
        let claims = object(&serde_json::from_str(&format!("{{\"exp\":{text}}}")).unwrap());
        Times::read(&claims).map(|times| times.exp)
    };
    assert_eq!(read("0"), Ok(0));
    assert_eq!(read("9007199254740992"), Ok(1 << 53));
    for bad in [
        "9007199254740993",
        "18446744073709551615",
        "1e300",
        "1e19",
        "1.5",
        "1700000000.0",
        "-1",
        "\"1700000000\"",
        "null",
        "[]",
    ] {
        assert_eq!(read(bad), Err(Reject::Malformed), "{bad}");
    }
    assert_eq!(Times::read(&Map::new()).map(|times| times.exp), Err(Reject::ExpMissing));
}

#[test]
fn an_audience_is_ours_byte_for_byte() {
    let ours = "https://broker/dep-7";
    let check = |aud: Value| check_audience(&object(&json!({ "aud": aud })), ours);
    assert_eq!(check(json!(ours)), Ok(()));
    assert_eq!(check(json!(["other", ours])), Ok(()));
    assert_eq!(check(json!([["https://broker/dep-7"]])), Err(Reject::Malformed));
    assert_eq!(check(json!([ours, 1])), Err(Reject::Malformed));
    assert_eq!(check(json!({ "0": ours })), Err(Reject::Malformed));
    assert_eq!(check(json!(vec!["x"; 65])), Err(Reject::Malformed));
}

#[test]
fn a_subject_is_short_text_without_deceit() {
    let check = |sub: Value| subject(&object(&json!({ "sub": sub }))).map(str::to_owned);
    assert_eq!(check(json!("a".repeat(512))), Ok("a".repeat(512)));
    assert_eq!(check(json!("")), Err(Reject::SubMissing));
    for bad in [json!("a".repeat(513)), json!(7), json!(null), json!("a\nb"), json!("a\u{0}"), json!("a\u{202E}b")] {
        assert_eq!(check(bad.clone()), Err(Reject::Malformed), "{bad}");
    }
}

#[test]
fn claims_are_flattened_and_what_two_would_share_is_nobodys() {
    let flat = flatten(&object(&json!({
        "repository_id": "12",
        "run": 7,
        "ok": true,
        "none": null,
        "list": ["x"],
        "long": "x".repeat(2000),
        "kubernetes.io": { "namespace": "prod", "serviceaccount": { "name": "bot" } },
        "a.b": "one",
        "a": { "b": "two" },
    })));
    let expected = [
        ("kubernetes.io.namespace", "prod"),
        ("kubernetes.io.serviceaccount.name", "bot"),
        ("ok", "true"),
        ("repository_id", "12"),
        ("run", "7"),
    ];
    assert_eq!(flat.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect::<Vec<_>>(), expected);
    let many: Map<_, _> = (0..500).map(|n| (n.to_string(), json!(n))).collect();
    assert_eq!(flatten(&many).len(), MAX_CLAIMS);
}

#[test]
fn groups_are_found_by_name_or_by_path() {
    let claims = object(
        &json!({ "groups": ["a", "b"], "one": "x", "realm_access": { "roles": ["r"] }, "bad": [1], "n.m": "d" }),
    );
    assert_eq!(groups(&claims, "groups"), Ok(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(groups(&claims, "one"), Ok(vec!["x".to_owned()]));
    assert_eq!(groups(&claims, "n.m"), Ok(vec!["d".to_owned()]));
    assert_eq!(groups(&claims, "realm_access.roles"), Ok(vec!["r".to_owned()]));
    assert_eq!(groups(&claims, "absent"), Ok(vec![]));
    assert_eq!(groups(&claims, "bad"), Err(Reject::Malformed));
}

#[test]
fn an_email_address_the_issuer_has_not_verified_is_none() {
    let read = |verified: Option<Value>| {
        let mut claims = object(&json!({ "email": "ada@example.org" }));
        claims.extend(verified.map(|value| ("email_verified".to_owned(), value)));
        email(&claims).is_some()
    };
    assert!(read(None) && read(Some(json!(true))) && read(Some(json!("true"))));
    assert!(
        !read(Some(json!(false))) && !read(Some(json!("false"))) && !read(Some(json!(0))) && !read(Some(Value::Null))
    );
}
