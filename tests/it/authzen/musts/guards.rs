//! §19 to §21: who may file and read, and what permits nothing.

use serde_json::json;

use super::super::{
    BOT, REQUESTS, again, approve, approved, denied, evaluate, filed, filing, id_of, request_of, send, send_keyed,
    stand, urn, write,
};
use super::{Must, check};
use crate::support::harness::Harness;

pub(super) const MUSTS: &[Must] = &[
    (
        "19",
        "a status is told to whoever filed, whatever its token, and to nobody else",
        check!(|house| {
            let standing = filed(&house, &write()).await;
            let path = format!("{REQUESTS}/{}", id_of(&standing));
            assert_eq!(urn(house.get(&path, &house.agent("triage-bot")).await, 404), "unknown_task");
            assert_eq!(house.get(&path, &house.operator()).await.status, 403);
            house.clock.advance_secs(290);
            assert_eq!(house.get(&path, &house.agent(BOT)).await.status, 200);
        }),
    ),
    (
        "19",
        "a status tells nothing of approvers and policies",
        check!(|house| {
            let asked = write();
            let settled = approved(&house, &asked).await;
            let told = settled.to_string();
            for hidden in ["dev-approver", "release-approvers", "high-risk-needs-a-person", "checked the build"] {
                assert!(!told.contains(hidden), "{hidden}: {told}");
            }
        }),
    ),
    (
        "19.1",
        "an actor that the caller's token does not prove is refused",
        check!(|house| {
            let asked = write();
            let context = denied(&house, &asked).await;
            for actor in [
                json!({ "id": "triage-bot" }),
                json!({ "id": BOT, "issuer": "https://agents.example.com" }),
                json!({ "id": BOT, "act": { "iss": "https://agents.example.com", "sub": "planner" } }),
            ] {
                let mut body = filing(&asked, &context);
                body["client"] = json!({ "actor": actor });
                assert_eq!(send(&house, &body).await.status, 403, "{actor}");
            }
            let mut body = filing(&asked, &context);
            body["subject"]["properties"] = json!({ "act": { "iss": "https://agents.example.com", "sub": "planner" } });
            assert_eq!(send(&house, &body).await.status, 403);
            let mut body = filing(&asked, &context);
            body["client"] = json!({ "actor": { "id": BOT, "issuer": "http://127.0.0.1:8601", "type": "ai_agent" } });
            send(&house, &body).await.expect(202);
        }),
    ),
    (
        "21.1.4",
        "a binding token is used once: again it is the same filing, or refused",
        check!(|house| {
            let asked = write();
            let body = filing(&asked, &denied(&house, &asked).await);
            let first = send_keyed(&house, &body, "one").await.expect(202);
            assert_eq!(id_of(&send_keyed(&house, &body, "two").await.expect(202)), id_of(&first));
            let mut other = body;
            other["context"]["business_justification"] = json!("something else");
            assert_eq!(urn(send(&house, &other).await, 400), "invalid_denial_binding");
        }),
    ),
    (
        "21.1.4",
        "the actor may move between subject and client without breaking the binding",
        check!(|house| {
            let mut asked = write();
            asked["subject"]["properties"] =
                json!({ "act": { "iss": "http://127.0.0.1:8601", "sub": BOT, "sub_profile": "ai_agent" } });
            let mut body = filing(&asked, &denied(&house, &asked).await);
            body["subject"] = json!({ "type": "agent", "id": BOT });
            body["client"] = json!({ "actor": { "id": BOT, "issuer": "http://127.0.0.1:8601" } });
            let standing = send(&house, &body).await.expect(202);
            approve(&house, &request_of(&standing)).await;
            let settled = stand(&house, &standing).await;
            assert_eq!(evaluate(&house, &again(&asked, &settled["result"]["approval"])).await["decision"], true);
        }),
    ),
    (
        "21.2.1",
        "neither template nor requested access nor display permit anything",
        check!(|house| {
            let asked = write();
            let mut body = filing(&asked, &denied(&house, &asked).await);
            body["denial"]["template"] = json!("auto_approve");
            body["requested_access"] = json!({ "scope": "sandbox:releases:read", "approved": true });
            let standing = send(&house, &body).await.expect(202);
            let shown =
                house.get(&format!("/v1/requests/{}", request_of(&standing)), &house.approver()).await.expect(200);
            assert_eq!((&shown["state"], &shown["scopes"]), (&json!("pending"), &json!(["sandbox:releases:write"])));
        }),
    ),
    (
        "21.2.3",
        "an emergency is a claim that people see, and overrides nothing",
        check!(|house| {
            let asked = write();
            let mut body = filing(&asked, &denied(&house, &asked).await);
            body["requested_access"] = json!({ "emergency": true });
            let standing = send(&house, &body).await.expect(202);
            assert_eq!(standing["task"]["status"], "pending");
            let shown =
                house.get(&format!("/v1/requests/{}", request_of(&standing)), &house.approver()).await.expect(200);
            assert_eq!(shown["asserted_references"]["emergency"], "claimed");
        }),
    ),
];
