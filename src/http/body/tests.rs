//! What the door makes of bodies and query strings, without a broker behind it.

use axum::http::Uri;

use super::*;
use crate::api::{AskScope, RevokeAsk, TaskAsk, VerdictAsk};

async fn read_as<T: DeserializeOwned>(content_type: Option<&str>, body: impl Into<Body>) -> Result<T, Refusal> {
    let mut request = Request::builder().method("POST").uri("/v1/tasks");
    if let Some(content_type) = content_type {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    Json::<T>::from_request(request.body(body.into()).unwrap(), &()).await.map(|Json(value)| value)
}

async fn refusal_of<T: DeserializeOwned>(body: impl Into<Body>) -> (u16, String) {
    match read_as::<T>(Some("application/json"), body).await {
        Ok(_) => panic!("it was accepted"),
        Err(refusal) => (refusal.kind.status(), refusal.detail.into_owned()),
    }
}

const ASK: &str = r#"{"purpose":"p","scopes":["a:b:c"]}"#;

#[tokio::test]
async fn a_plain_ask_is_read() {
    for content_type in ["application/json", "Application/JSON; charset=UTF-8", "application/json;charset=\"utf-8\""] {
        let ask = read_as::<TaskAsk>(Some(content_type), ASK).await.unwrap();
        assert_eq!(ask.scopes, [AskScope::Written("a:b:c".to_owned())]);
    }
}

#[tokio::test]
async fn api_13_any_other_content_type_is_refused() {
    let types =
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp"];
    let odd = ["application/json; charset=utf-16", "application/json; charset=latin1", "application/json; profile=x"];
    for content_type in types.iter().chain(&odd).map(|t| Some(*t)).chain([None]) {
        let refusal = read_as::<TaskAsk>(content_type, ASK).await.unwrap_err();
        assert_eq!(refusal.kind, ProblemKind::UnsupportedMediaType, "{content_type:?}");
    }
}

#[tokio::test]
async fn api_13_bytes_that_are_not_one_strict_json_text_are_refused() {
    let utf16: Vec<u8> = ASK.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let bodies: Vec<Vec<u8>> = vec![
        utf16,
        [b"\xEF\xBB\xBF", ASK.as_bytes()].concat(),
        b"{\"purpose\":\"\xFF\",\"scopes\":[]}".to_vec(),
        format!("{ASK} {ASK}").into_bytes(),
        format!("{ASK}x").into_bytes(),
        b"".to_vec(),
        b"{\"purpose\":\"a\",\"purpose\":\"b\",\"scopes\":[]}".to_vec(),
        b"{\"purpose\":\"a\",\"scopes\":[],\"references\":{\"t\":\"1\",\"t\":\"2\"}}".to_vec(),
        b"{'purpose':'a'}".to_vec(),
        b"{\"purpose\":NaN}".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
    ];
    for body in bodies {
        let shown = String::from_utf8_lossy(&body).into_owned();
        assert_eq!(refusal_of::<TaskAsk>(body).await.0, 400, "{shown}");
    }
}

#[tokio::test]
async fn task_01_unknown_members_are_refused_by_name_at_every_level() {
    for (body, path, name) in [
        (r#"{"purpose":"p","scopes":["a:b:c"],"approved":true}"#, "", "approved"),
        (r#"{"purpose":"p","scopes":["a:b:c"],"max_ttl":9e9}"#, "", "max_ttl"),
        (r#"{"purpose":"p","scopes":["a:b:c",{"scope":"a:b:c","risk":"low"}]}"#, "scopes", "risk"),
    ] {
        let (status, detail) = refusal_of::<TaskAsk>(body).await;
        assert_eq!(status, 400);
        assert!(detail.contains(&format!("no member `{name}`")) && detail.contains(path), "{detail}");
    }
    assert_eq!(refusal_of::<VerdictAsk>(r#"{"verdict":"approve","request_digest":"x","force":true}"#).await.0, 400);
    assert_eq!(refusal_of::<RevokeAsk>(r#"{"target":{"everything":"x"},"reason":"y"}"#).await.0, 400);
    assert_eq!(refusal_of::<RevokeAsk>(r#"{"target":{"task":"x","agent":"y"},"reason":"z"}"#).await.0, 400);
}

#[tokio::test]
async fn task_02_what_is_too_large_or_too_deep_is_refused() {
    let number = format!(r#"{{"purpose":"p","scopes":[],"ttl_seconds":{}}}"#, "9".repeat(100_000));
    let array = format!(r#"{{"purpose":"p","scopes":[{}""]}}"#, "\"\",".repeat(1_000_000));
    for body in [format!("\"{}\"", "a".repeat(MAX_BODY_BYTES)), number, array] {
        assert_eq!(refusal_of::<TaskAsk>(body.clone()).await.0, 413);
        // The same without a length told in advance.
        let frames = http_body_util::StreamBody::new(futures_util::stream::iter([Ok::<_, std::convert::Infallible>(
            http_body::Frame::data(Bytes::from(body)),
        )]));
        assert_eq!(refusal_of::<TaskAsk>(Body::new(frames)).await.0, 413);
    }
    let nested = |depth: usize| {
        let inner = depth - 1;
        format!(r#"{{"purpose":"p","scopes":[],"confirmation_key":{}{}}}"#, "[".repeat(inner), "]".repeat(inner))
    };
    assert!(read_as::<TaskAsk>(Some("application/json"), nested(16)).await.is_ok());
    assert_eq!(refusal_of::<TaskAsk>(nested(17)).await.0, 400);
}

#[tokio::test]
async fn task_03_a_life_that_is_no_whole_number_is_refused() {
    for life in ["1.5", "\"900\"", "9223372036854775808", "null1", "true", "[900]", "1e400"] {
        let body = format!(r#"{{"purpose":"p","scopes":["a:b:c"],"ttl_seconds":{life}}}"#);
        let (status, detail) = refusal_of::<TaskAsk>(body).await;
        assert_eq!(status, 400, "{life}");
        assert!(!detail.contains(life), "{detail}");
    }
}

#[tokio::test]
async fn task_11_absent_scopes_are_no_scopes_and_never_all() {
    let ask = read_as::<TaskAsk>(Some("application/json"), r#"{"purpose":"p"}"#).await.unwrap();
    assert!(ask.scopes.is_empty());
}

#[tokio::test]
async fn a_refusal_names_the_place_and_never_repeats_the_value() {
    let secret = "hunter2-hunter2";
    for body in [
        format!(r#"{{"purpose":"p","scopes":["a:b:c"],"ttl_seconds":"{secret}"}}"#),
        format!(r#"{{"purpose":{{"{secret}":1}},"scopes":["a:b:c"]}}"#),
        format!(r#"{{"purpose":"p","scopes":"{secret}"}}"#),
        format!(r#"{{"purpose":"p","scopes":[7],"message":"{secret}"}}"#),
        format!(r#""{secret}""#),
    ] {
        let (_, detail) = refusal_of::<TaskAsk>(body.clone()).await;
        assert!(!detail.contains(secret), "{body}: {detail}");
    }
    let (_, detail) = refusal_of::<TaskAsk>(r#"{"purpose":"p","scopes":["a:b:c",7]}"#).await;
    assert_eq!(detail, "`scopes[1]`: expected a written scope or an object with `scope` and `with`.");
    let long = "x".repeat(500);
    let (_, detail) = refusal_of::<TaskAsk>(format!(r#"{{"purpose":"p","{long}":1}}"#)).await;
    assert!(detail.len() < 200, "{detail}");
}

#[tokio::test]
async fn api_12_a_body_that_does_not_arrive_is_not_waited_for() {
    let never = http_body_util::StreamBody::new(futures_util::stream::pending::<
        Result<http_body::Frame<Bytes>, std::convert::Infallible>,
    >());
    let refusal = read_within(Duration::from_millis(5), &HeaderMap::new(), Body::new(never)).await.unwrap_err();
    assert_eq!(refusal.detail, "The body did not arrive in time (10 s).");
}

#[tokio::test]
async fn a_call_without_a_body_takes_none() {
    for (body, accepted) in [("", true), ("{}", true), (" {} ", true), ("{\"a\":1}", false), ("x", false)] {
        let request = Request::builder().body(Body::from(body)).unwrap();
        assert_eq!(NoBody::from_request(request, &()).await.is_ok(), accepted, "{body}");
    }
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    wait: Option<u64>,
}

#[tokio::test]
async fn a_query_string_is_read_as_strictly_as_a_body() {
    let read = async |query: &str| {
        let uri: Uri = format!("/x?{query}").parse().unwrap();
        let (mut parts, ()) = Request::builder().uri(uri).body(()).unwrap().into_parts();
        Params::<Query>::from_request_parts(&mut parts, &()).await
    };
    assert_eq!(read("wait=5").await.unwrap().0.wait, Some(5));
    for (query, said) in
        [("wiat=5", "no member `wiat`"), ("wait=5&wait=6", "`wait` comes twice"), ("wait=x", "cannot be used")]
    {
        let refusal = read(query).await.err().unwrap();
        assert!(refusal.detail.contains(said), "{}", refusal.detail);
    }
}
