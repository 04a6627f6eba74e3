//! §12: what an approval is good for, and what it is not.

use serde_json::json;

use super::super::{
    BOT, EVALUATION, FROZEN, again, approve, approved, denied, evaluate, filing, id_of, publish, question, request_of,
    send, stand, text, write,
};
use super::{Must, check, claims, forged, said, unfit};
use crate::support::harness::{Harness, PUBLIC_URL};

pub(super) const MUSTS: &[Must] = &[
    (
        "12",
        "an approval has an unguessable id and an end",
        check!(|house| {
            let settled = approved(&house, &write()).await;
            let approval = &settled["result"]["approval"];
            assert_eq!(text(&approval["id"]).len(), 30);
            assert!(text(&approval["approved_until"]) > house.broker.now().to_string());
            assert_eq!(approval["approved_at"], house.broker.now().to_string());
        }),
    ),
    (
        "12",
        "no approval permits by its id alone: an unknown, a foreign, or none at all",
        check!(|house| {
            let asked = write();
            let settled = approved(&house, &asked).await;
            let approval = settled["result"]["approval"].clone();
            for id in ["grt_00000000000000000000000000", "apr_1", ""] {
                let mut other = approval.clone();
                other["id"] = json!(id);
                other.as_object_mut().unwrap().remove("state");
                assert_eq!(unfit(&house, &asked, &other).await, said("approval_unverifiable", "none"), "{id}");
            }
            for odd in [json!({}), json!(true), json!({ "id": approval["id"] })] {
                assert_eq!(unfit(&house, &asked, &odd).await, said("approval_unverifiable", "none"), "{odd}");
            }
        }),
    ),
    (
        "12",
        "a swapped approval does not count: what was approved is something else",
        check!(|house| {
            let (one, two) = (publish("v1/"), publish("v2/"));
            let settled = approved(&house, &one).await;
            let approval = &settled["result"]["approval"];
            assert_eq!(unfit(&house, &two, approval).await, said("out_of_scope", "request"));
            // The same scope, asked for in other words, or for another time, is another question.
            let mut longer = one.clone();
            longer["context"] = json!({ "ttl_seconds": 60 });
            assert_eq!(unfit(&house, &longer, approval).await.0, "out_of_scope");
            let written = question("api:releases:write(prefix=v1/)", "write");
            assert_eq!(unfit(&house, &written, approval).await.0, "out_of_scope");
        }),
    ),
    (
        "12",
        "an approval of another agent does not count",
        check!(|house| {
            let asked = write();
            let settled = approved(&house, &asked).await;
            let mut foreign = again(&asked, &settled["result"]["approval"]);
            foreign["subject"]["id"] = json!("triage-bot");
            let answer = house.post(EVALUATION, &house.agent("triage-bot"), &foreign).await.expect(200);
            assert_eq!(
                (&answer["decision"], &answer["context"]["reason"]),
                (&json!(false), &json!("approval_unverifiable"))
            );
        }),
    ),
    (
        "12",
        "a grant that was not given by this profile is no approval",
        check!(|house| {
            let open = json!({ "purpose": "publish", "scopes": ["sandbox:releases:write"] });
            let task = house.post("/v1/tasks", &house.agent(BOT), &open).await.expect(202);
            approve(&house, &text(&task["requests"][0]["id"])).await;
            house
                .post(&format!("/v1/tasks/{}/credentials", text(&task["id"])), &house.agent(BOT), &json!({}))
                .await
                .expect(200);
            let leases = house.get("/v1/leases", &house.agent(BOT)).await.expect(200);
            let approval = json!({ "id": leases["items"][0]["grant"], "approved_until": task["expires_at"] });
            assert_eq!(unfit(&house, &write(), &approval).await, said("approval_unverifiable", "none"));
        }),
    ),
    (
        "12",
        "an approval that was altered does not count",
        check!(|house| {
            let asked = write();
            let settled = approved(&house, &asked).await;
            for member in ["approved_until", "approved_at"] {
                let mut altered = settled["result"]["approval"].clone();
                altered[member] = json!("2030-01-01T00:00:00Z");
                assert_eq!(unfit(&house, &asked, &altered).await, said("approval_unverifiable", "none"), "{member}");
            }
        }),
    ),
    (
        "12",
        "an approval that has expired does not count",
        check!(|house| {
            let asked = write();
            let mut body = filing(&asked, &denied(&house, &asked).await);
            body["requested_access"] = json!({ "requested_until": house.broker.now().plus_millis(60_000) });
            let standing = send(&house, &body).await.expect(202);
            approve(&house, &request_of(&standing)).await;
            let approval = stand(&house, &standing).await["result"]["approval"].clone();
            house.clock.advance_secs(59);
            assert_eq!(evaluate(&house, &again(&asked, &approval)).await["decision"], true);
            house.clock.advance_secs(1);
            assert_eq!(unfit(&house, &asked, &approval).await, said("approval_expired", "request"));
        }),
    ),
    (
        "12",
        "an approval that was revoked does not count, and may be asked for anew",
        check!(|house| {
            let asked = write();
            let settled = approved(&house, &asked).await;
            let approval = &settled["result"]["approval"];
            let target = json!({ "target": { "grant": approval["id"] }, "reason": "a test" });
            house.post("/v1/revocations", &house.operator(), &target).await.expect(200);
            let answer = evaluate(&house, &again(&asked, approval)).await;
            assert_eq!(answer["context"]["next_action"], "request");
            send(&house, &filing(&asked, &answer["context"])).await.expect(202);
        }),
    ),
    (
        "12",
        "`next_action: request` comes with a fresh `access_request`, and without one it is `none`",
        check!(|house| {
            let asked = write();
            let settled = approved(&house, &asked).await;
            house.clock.advance_secs(3600);
            let answer = evaluate(&house, &again(&asked, &settled["result"]["approval"])).await;
            assert_eq!(answer["context"]["next_action"], "request");
            assert!(answer["context"]["access_request"]["binding_token"].is_string());
            house
                .change_bundle(|files| {
                    files.get_mut("agents.cedar").unwrap().push_str(FROZEN);
                })
                .await;
            let answer = evaluate(&house, &again(&asked, &settled["result"]["approval"])).await;
            assert_eq!(answer["context"]["next_action"], "none");
            assert!(answer["context"].get("access_request").is_none());
        }),
    ),
    (
        "12",
        "`approval.state` is a JWS with our `iss`, our `aud` and a `kid` at our `jwks_uri`, and it is verified",
        check!(|house| {
            let asked = write();
            let settled = approved(&house, &asked).await;
            let approval = settled["result"]["approval"].clone();
            let state = claims(&approval["state"]);
            assert_eq!((&state["iss"], &state["aud"]), (&json!(PUBLIC_URL), &json!(PUBLIC_URL)));
            assert_eq!((&state["approval_id"], &state["task"]), (&approval["id"], &json!(id_of(&settled))));
            for state in [
                json!("nonsense"),
                forged(&approval["state"], |claims| claims["exp"] = json!(4_000_000_000_u32)),
                forged(&approval["state"], |_| {}),
            ] {
                let same = state == approval["state"];
                let mut other = approval.clone();
                other["state"] = state;
                if !same {
                    assert_eq!(unfit(&house, &asked, &other).await, said("approval_unverifiable", "none"));
                }
            }
            // A binding token is signed by the same key, and is no state.
            let mut other = approval.clone();
            other["state"] = denied(&house, &asked).await["access_request"]["binding_token"].clone();
            assert_eq!(unfit(&house, &asked, &other).await, said("approval_unverifiable", "none"));
            // Without it the id is looked up.
            let mut without = approval;
            without.as_object_mut().unwrap().remove("state");
            assert_eq!(evaluate(&house, &again(&asked, &without)).await["decision"], true);
        }),
    ),
    (
        "12",
        "when id and state name two approvals, neither counts",
        check!(|house| {
            let asked = write();
            let (one, two) = (approved(&house, &asked).await, approved(&house, &asked).await);
            let mut mixed = one["result"]["approval"].clone();
            mixed["state"] = two["result"]["approval"]["state"].clone();
            assert_eq!(unfit(&house, &asked, &mixed).await, said("approval_unverifiable", "none"));
        }),
    ),
    (
        "12",
        "the re-evaluation says until when",
        check!(|house| {
            let asked = write();
            let settled = approved(&house, &asked).await;
            let answer = evaluate(&house, &again(&asked, &settled["result"]["approval"])).await;
            let until = &settled["result"]["approval"]["approved_until"];
            assert_eq!((&answer["decision"], &answer["context"]["approval"]["approved_until"]), (&json!(true), until));
        }),
    ),
];
