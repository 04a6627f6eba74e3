//! §13 to §18: callbacks, errors, and what the service checks before it takes anything.

use serde_json::{Value, json};

use super::super::{
    BOT, FROZEN, REQUESTS, approve, approved, decide, denied, filed, filing, id_of, request_of, send, stand, text, urn,
    write,
};
use super::{Must, check, forged, refused_when};
use crate::support::harness::{Harness, PEOPLE};

pub(super) const MUSTS: &[Must] = &[
    (
        "13",
        "a callback to an internal address is refused unless it is allowed",
        check!(|house| {
            let asked = write();
            let mut body = filing(&asked, &denied(&house, &asked).await);
            // Named in the list of hosts, and still an address of this machine.
            for endpoint in ["https://127.0.0.1/told", "https://localhost/told"] {
                body["callback"] = json!({ "endpoint": endpoint });
                assert!(text(&send(&house, &body).await.expect(400)["detail"]).contains("not public"));
            }
        }),
    ),
    (
        "14",
        "errors are problem documents with the profile's type",
        check!(|house| {
            let reply = house.get(&format!("{REQUESTS}/fil_1"), &house.agent(BOT)).await;
            assert_eq!(reply.headers["content-type"], "application/problem+json");
            let problem = reply.expect(404);
            assert_eq!(problem["type"], "urn:openid:authzen:access-request:error:unknown_task");
            assert_eq!(problem["status"], 404);
        }),
    ),
    (
        "15.3",
        "what is not known is ignored",
        check!(|house| {
            let asked = write();
            let mut body = filing(&asked, &denied(&house, &asked).await);
            body["vendor.example.com/foo"] = json!({ "a": 1 });
            body["requested_access"] = json!({ "requested_role": "admin", "https://x.example/y": [1] });
            body["client"] = json!({ "id": "renewal", "more": 1, "source": { "session_id": "s-1", "else": true } });
            body["denial"]["more"] = json!("x");
            send(&house, &body).await.expect(202);
        }),
    ),
    (
        "18",
        "callers are authenticated before anything is filed or told",
        check!(|house| {
            let asked = write();
            let body = filing(&asked, &denied(&house, &asked).await);
            assert_eq!(house.post(REQUESTS, "", &body).await.status, 401);
            assert_eq!(house.post(REQUESTS, &house.operator(), &body).await.status, 403);
            let standing = send(&house, &body).await.expect(202);
            assert_eq!(house.get(&format!("{REQUESTS}/{}", id_of(&standing)), "").await.status, 401);
        }),
    ),
    (
        "18",
        "what is not based on a requestable denial is refused as such",
        check!(|house| {
            let asked = write();
            let body = filing(&asked, &denied(&house, &asked).await);
            house
                .change_bundle(|files| {
                    files.get_mut("agents.cedar").unwrap().push_str(FROZEN);
                })
                .await;
            assert_eq!(urn(send(&house, &body).await, 400), "not_requestable");
            assert_eq!(
                house.get("/v1/requests?state=pending", &house.operator()).await.expect(200)["items"],
                json!([])
            );
        }),
    ),
    (
        "18",
        "a binding token is verified: its signature, its issuer, its kind",
        check!(|house| {
            let asked = write();
            let context = denied(&house, &asked).await;
            let token = &context["access_request"]["binding_token"];
            let other_house = Harness::start().await;
            let foreign = denied(&other_house, &asked).await["access_request"]["binding_token"].clone();
            let parts: Vec<String> = text(token).split('.').map(str::to_owned).collect();
            let none =
                data_encoding::BASE64URL_NOPAD.encode(br#"{"alg":"none","kid":"x","typ":"authzen-binding+jwt"}"#);
            for (what, token) in [
                ("another house's", foreign),
                ("a later end", forged(token, |claims| claims["exp"] = json!(4_000_000_000_u32))),
                ("unsigned", json!(format!("{none}.{}.", parts[1]))),
                ("cut", json!(format!("{}.{}", parts[0], parts[1]))),
                ("empty", json!("")),
                ("long", json!("a.".repeat(20_000))),
            ] {
                let mut body = filing(&asked, &context);
                body["denial"]["binding_token"] = token;
                assert_eq!(urn(send(&house, &body).await, 400), "invalid_denial_binding", "{what}");
            }
            // An approval's state is signed by the same key, and is no binding.
            let settled = approved(&house, &asked).await;
            let mut body = filing(&asked, &context);
            body["denial"]["binding_token"] = settled["result"]["approval"]["state"].clone();
            assert_eq!(urn(send(&house, &body).await, 400), "invalid_denial_binding");
        }),
    ),
    ("18", "what is echoed must be what was said", || {
        Box::pin(async {
            let evaluation =
                |body: &mut Value| body["denial"]["evaluation_id"] = json!("evl_00000000000000000000000000");
            assert_eq!(refused_when(evaluation).await, "invalid_denial_binding");
            let expiry = |body: &mut Value| body["denial"]["expires_at"] = json!("2030-01-01T00:00:00Z");
            assert_eq!(refused_when(expiry).await, "invalid_denial_binding");
        })
    }),
    (
        "18",
        "a task is bound to requester and denial: another agent's denial is no denial",
        check!(|house| {
            let asked = write();
            let body = filing(&asked, &denied(&house, &asked).await);
            let mut foreign = body.clone();
            foreign["subject"]["id"] = json!("triage-bot");
            let reply = house.post(REQUESTS, &house.agent("triage-bot"), &foreign).await;
            assert_eq!(urn(reply, 400), "invalid_denial_binding");
            let reply = house.post(REQUESTS, &house.agent("triage-bot"), &body).await;
            assert_eq!(reply.expect(403)["code"], "forbidden");
        }),
    ),
    (
        "18",
        "nothing is approved before the rule is met, nor by whom it does not let",
        check!(|house| {
            let standing = filed(&house, &write()).await;
            let request = request_of(&standing);
            let maya = house.token(
                PEOPLE,
                "maya",
                &json!({ "groups": ["release-approvers"], "email": "maya@acme.example", "email_verified": true }),
            );
            assert_eq!(decide(&house, &request, &maya, "approve").await.status, 403);
            let stranger = house.person("nia", &["another-group"]);
            assert_eq!(decide(&house, &request, &stranger, "approve").await.status, 403);
            assert_eq!(stand(&house, &standing).await["task"]["status"], "pending");
        }),
    ),
    (
        "18",
        "the record leads from the denial over the filing and the approval to what was granted",
        check!(|house| {
            let asked = write();
            let context = denied(&house, &asked).await;
            let standing = send(&house, &filing(&asked, &context)).await.expect(202);
            let request = request_of(&standing);
            approve(&house, &request).await;
            let page = house.get("/v1/events?kind=access.filed", &house.operator()).await.expect(200);
            let event = &page["items"][0]["event"];
            assert_eq!(event["data"]["evaluations"], json!([context["evaluation_id"]]));
            assert_eq!((&event["data"]["filing"], &event["request"]), (&json!(id_of(&standing)), &json!(request)));
            let kinds = house.kinds_of(&text(&event["task"])).await;
            let place = |kind: &str| kinds.iter().position(|found| found == kind).unwrap();
            assert!(place("access.filed") < place("approval.recorded"));
            assert!(place("approval.recorded") < place("access.granted"));
        }),
    ),
];
