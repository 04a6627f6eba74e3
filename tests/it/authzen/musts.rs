//! The MUSTs of the Access Request and Approval Profile (Draft 1) that bind a decision point and an access request service, one row
//! each: the section, what it says, and a check of it. What binds clients, and what belongs to forms and catalogues, which are
//! optional and not offered, is not here.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::{
    BOT, EVALUATION, FROZEN, REQUESTS, again, approve, approved, bundle, decide, denied, evaluate, filed, filing,
    id_of, publish, question, read, request_of, send, send_keyed, stand, text, urn, waiting_of, write,
};
use crate::support::harness::{Harness, PUBLIC_URL};

type Check = fn() -> BoxFuture<'static, ()>;

/// A check that begins with a house.
macro_rules! check {
    (|$house:ident| $body:block) => {
        || {
            Box::pin(async {
                #[allow(unused_mut, reason = "some checks change their house")]
                let mut $house = Harness::start().await;
                $body
            })
        }
    };
}

/// The claims of a token of ours.
fn claims(token: &Value) -> Value {
    let token = text(token);
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes()).unwrap()).unwrap()
}

/// The same token with another payload, or another signature.
fn forged(token: &Value, change: impl FnOnce(&mut Value)) -> Value {
    let (old, mut payload) = (text(token), claims(token));
    change(&mut payload);
    let mut parts: Vec<&str> = old.split('.').collect();
    let payload = data_encoding::BASE64URL_NOPAD.encode(payload.to_string().as_bytes());
    parts[1] = &payload;
    json!(parts.join("."))
}

/// What is said of a question with this approval, which must not be yes.
async fn unfit(house: &Harness, asked: &Value, approval: &Value) -> (String, String) {
    let answer = evaluate(house, &again(asked, approval)).await;
    assert_eq!(answer["decision"], false, "{answer}");
    (text(&answer["context"]["reason"]), text(&answer["context"]["next_action"]))
}

fn said(reason: &str, next_action: &str) -> (String, String) {
    (reason.to_owned(), next_action.to_owned())
}

/// File a changed body: what it is refused with.
async fn refused_when(change: impl FnOnce(&mut Value)) -> String {
    let house = Harness::start().await;
    let asked = publish("v1/");
    let mut body = filing(&asked, &denied(&house, &asked).await);
    change(&mut body);
    urn(send(&house, &body).await, 400)
}

const MUSTS: &[(&str, &str, Check)] = &[
    (
        "4",
        "the context that counts is stated and protected, and exactly that set is compared",
        check!(|house| {
            let mut asked = write();
            asked["context"] = json!({ "kind": "deploy", "time": "2026-11-22T10:00:00Z" });
            let context = denied(&house, &asked).await;
            let members = claims(&context["access_request"]["binding_token"])["binding_context_members"].clone();
            assert_eq!(members, json!(["kind", "on_behalf_of", "purpose", "task", "ttl_seconds"]));
            let mut body = filing(&asked, &context);
            body["context"]["time"] = json!("2026-11-22T10:05:00Z");
            body["context"]["another"] = json!(1);
            send(&house, &body).await.expect(202);
            for (member, value) in [("kind", Value::Null), ("ttl_seconds", json!(60))] {
                let mut body = filing(&asked, &denied(&house, &asked).await);
                body["context"][member] = value;
                let context = body["context"].as_object_mut().unwrap();
                context.retain(|_, value| !value.is_null());
                assert_eq!(urn(send(&house, &body).await, 400), "invalid_denial_binding");
            }
        }),
    ),
    (
        "6",
        "the metadata has `access_request_endpoint` and, as tokens are signed, `jwks_uri`, both https",
        check!(|house| {
            let metadata = house.get("/.well-known/authzen-configuration", "").await.expect(200);
            assert_eq!(metadata["policy_decision_point"], PUBLIC_URL);
            assert_eq!(metadata["access_request_endpoint"], format!("{PUBLIC_URL}{REQUESTS}"));
            assert_eq!(metadata["access_evaluation_endpoint"], format!("{PUBLIC_URL}{EVALUATION}"));
            assert_eq!(metadata["jwks_uri"], format!("{PUBLIC_URL}/.well-known/jwks.json"));
            assert_eq!(metadata["capabilities"], json!(["urn:openid:authzen:capability:access-request"]));
            assert!(text(&metadata["jwks_uri"]).starts_with("https://"));
        }),
    ),
    (
        "7",
        "only what is eligible for a request has `access_request`",
        check!(|house| {
            denied(&house, &write()).await;
            for asked in [question("api:secrets", "read"), question("sandbox:releases", "delete")] {
                assert!(evaluate(&house, &asked).await["context"].get("access_request").is_none());
            }
            let mut triage = write();
            triage["subject"]["id"] = json!("triage-bot");
            let answer = house.post(EVALUATION, &house.agent("triage-bot"), &triage).await.expect(200);
            assert!(answer["context"].get("access_request").is_none());
            assert!(evaluate(&house, &read()).await.get("context").is_none());
        }),
    ),
    (
        "7",
        "a requestable denial is a denial, has `expires_at`, and binding material that protects it",
        check!(|house| {
            let context = denied(&house, &write()).await;
            let hint = &context["access_request"];
            let token = claims(&hint["binding_token"]);
            assert_eq!(token["denial_expires_at"], hint["expires_at"]);
            let now = house.broker.now();
            assert_eq!(token["exp"], now.as_secs() + 600);
            assert_eq!(hint["expires_at"], now.plus_millis(600_000).to_string());
            assert_eq!((&token["iss"], &token["aud"]), (&json!(PUBLIC_URL), &hint["endpoint"]));
            assert_eq!((&token["sub"], &token["evaluation_id"]), (&json!(BOT), &context["evaluation_id"]));
            assert!(token["jti"].is_string() && token["iat"].is_i64());
            assert_eq!(context["reason"], "approval_required");
        }),
    ),
    (
        "7.1",
        "an evaluation's id is its own",
        check!(|house| {
            let (one, two) = (denied(&house, &write()).await, denied(&house, &write()).await);
            assert_ne!(one["evaluation_id"], two["evaluation_id"]);
            assert_eq!(one["evaluated_at"], house.broker.now().to_string());
        }),
    ),
    ("10.1", "what is not covered by its binding is refused: another resource", || {
        Box::pin(async {
            let other = |body: &mut Value| body["resource"]["properties"]["params"]["prefix"] = json!("v2/");
            assert_eq!(refused_when(other).await, "invalid_denial_binding");
            let more = |body: &mut Value| body["resource"]["properties"]["owner"] = json!("bob");
            assert_eq!(refused_when(more).await, "invalid_denial_binding");
        })
    }),
    ("10.1", "what is not covered by its binding is refused: another action", || {
        Box::pin(async {
            let other = |body: &mut Value| body["action"]["properties"] = json!({ "soft": true });
            assert_eq!(refused_when(other).await, "invalid_denial_binding");
        })
    }),
    ("10.1", "what is not covered by its binding is refused: other properties of the subject", || {
        Box::pin(async {
            let other = |body: &mut Value| body["subject"]["properties"] = json!({ "role": "admin" });
            assert_eq!(refused_when(other).await, "invalid_denial_binding");
        })
    }),
    ("10.1", "a filing without verifiable binding material is refused", || {
        Box::pin(async {
            let without = |member: &'static str| {
                move |body: &mut Value| drop(body["denial"].as_object_mut().unwrap().remove(member))
            };
            assert_eq!(refused_when(without("binding_token")).await, "invalid_denial_binding");
            assert_eq!(refused_when(without("expires_at")).await, "invalid_denial_binding");
            let none = |body: &mut Value| drop(body.as_object_mut().unwrap().remove("denial"));
            assert_eq!(refused_when(none).await, "invalid_denial_binding");
        })
    }),
    (
        "10.1",
        "with `items`, each has a denial or one covers all; `resource` and `action` stand in them only",
        check!(|house| {
            let mut body = bundle(&house, &[write(), publish("v1/")]).await;
            body["items"][1].as_object_mut().unwrap().remove("denial");
            assert_eq!(urn(send(&house, &body).await, 400), "invalid_denial_binding");
            let mut body = bundle(&house, &[write()]).await;
            body["resource"] = write()["resource"].clone();
            assert_eq!(send(&house, &body).await.expect(400)["code"], "invalid-request");
            body = json!({ "subject": body["subject"], "items": [] });
            assert_eq!(send(&house, &body).await.expect(400)["code"], "invalid-request");
        }),
    ),
    (
        "10.1",
        "a filing after `expires_at`, and the tolerance of clocks, is refused",
        check!(|house| {
            let asked = write();
            let body = filing(&asked, &denied(&house, &asked).await);
            house.clock.advance_secs(600 + 29);
            send(&house, &body).await.expect(202);
            let body = filing(&asked, &denied(&house, &asked).await);
            house.clock.advance_secs(600 + 30);
            assert_eq!(urn(send(&house, &body).await, 410), "expired_denial");
        }),
    ),
    (
        "10.1",
        "a key that is used for another filing is refused as a duplicate",
        check!(|house| {
            let (one, two) = (write(), publish("v1/"));
            let first = filing(&one, &denied(&house, &one).await);
            let other = filing(&two, &denied(&house, &two).await);
            send_keyed(&house, &first, "k").await.expect(202);
            assert_eq!(urn(send_keyed(&house, &other, "k").await, 409), "duplicate_request");
            // Members in another order are the same filing.
            let same: Value = serde_json::from_str(&first.to_string()).unwrap();
            send_keyed(&house, &same, "\"k\"").await.expect(202);
        }),
    ),
    (
        "10.1",
        "a key is kept for a day after the end (SHOULD)",
        check!(|house| {
            let asked = write();
            let body = filing(&asked, &denied(&house, &asked).await);
            let first = send_keyed(&house, &body, "k").await.expect(202);
            house.clock.advance_secs(86_400 + 300);
            house.sweep().await;
            house.broker.sweep_memory().await.unwrap();
            assert_eq!(id_of(&send_keyed(&house, &body, "k").await.expect(201)), id_of(&first));
        }),
    ),
    (
        "10.2",
        "a task's id is opaque and cannot be guessed",
        check!(|house| {
            let (one, two) = (filed(&house, &write()).await, filed(&house, &write()).await);
            let (one, two) = (id_of(&one), id_of(&two));
            // 80 random bits after 48 of time: what two of one moment have in common is the moment.
            let common = one.bytes().zip(two.bytes()).take_while(|(one, two)| one == two).count();
            assert!(one.len() == 30 && common < 18, "{one} {two}");
        }),
    ),
    (
        "10.2",
        "of a bundle each item stands for itself, and the whole as the rule says",
        check!(|house| {
            let standing = send(&house, &bundle(&house, &[write(), publish("v1/")]).await).await.expect(202);
            let status = |filing: &Value| text(&filing["task"]["status"]);
            assert_eq!(status(&standing), "pending");
            let waiting = waiting_of(&house, &standing).await;
            approve(&house, &waiting[0]).await;
            assert_eq!(status(&stand(&house, &standing).await), "pending");
            approve(&house, &waiting[1]).await;
            let settled = stand(&house, &standing).await;
            assert_eq!(status(&settled), "approved");
            for item in settled["task"]["items"].as_array().unwrap() {
                assert_eq!((&item["status"], &item["result"]["mode"]), (&json!("approved"), &json!("reevaluate")));
            }
        }),
    ),
    (
        "11.1",
        "a task changes once, from pending to its end",
        check!(|house| {
            let standing = filed(&house, &write()).await;
            decide(&house, &request_of(&standing), &house.approver(), "deny").await.expect(200);
            for _ in 0..3 {
                assert_eq!(stand(&house, &standing).await["task"]["status"], "denied");
                house.clock.advance_secs(600);
                house.sweep().await;
            }
            let late = decide(&house, &request_of(&standing), &house.approver(), "approve").await;
            assert_eq!(late.status, 409);
        }),
    ),
    (
        "11.1",
        "what was approved stays approved, though what was granted has ended",
        check!(|house| {
            let asked = write();
            let settled = approved(&house, &asked).await;
            house.clock.advance_secs(3600);
            house.sweep().await;
            let later = stand(&house, &settled).await;
            assert_eq!(later["task"]["status"], "approved");
            assert_eq!(later["result"]["approval"]["id"], settled["result"]["approval"]["id"]);
            assert_eq!(unfit(&house, &asked, &later["result"]["approval"]).await, said("approval_expired", "request"));
        }),
    ),
    (
        "11.3",
        "an approved task has a result; a task of items has them in its items only",
        check!(|house| {
            assert!(approved(&house, &write()).await["result"]["approval"]["id"].is_string());
            let standing = send(&house, &bundle(&house, &[write()]).await).await.expect(202);
            approve(&house, &waiting_of(&house, &standing).await[0]).await;
            let settled = stand(&house, &standing).await;
            assert!(settled.get("result").is_none() && settled["task"]["items"][0]["result"].is_object());
        }),
    ),
    (
        "11.3",
        "after its time it is gone, and what was never there is unknown",
        check!(|house| {
            let standing = filed(&house, &write()).await;
            let never = format!("{REQUESTS}/fil_00000000000000000000000000");
            assert_eq!(urn(house.get(&never, &house.agent(BOT)).await, 404), "unknown_task");
            assert_eq!(urn(house.get(&format!("{REQUESTS}/x"), &house.agent(BOT)).await, 404), "unknown_task");
            house.clock.advance_secs(2 * 86_400);
            let path = format!("{REQUESTS}/{}", id_of(&standing));
            assert_eq!(urn(house.get(&path, &house.agent(BOT)).await, 410), "task_expired");
        }),
    ),
    (
        "11.4",
        "what can be cancelled says where; cancelled, it answers so; settled, it conflicts",
        check!(|house| {
            for method in ["POST", "DELETE"] {
                let standing = filed(&house, &write()).await;
                let url = text(&standing["task"]["links"]["cancel"]);
                let path = url.strip_prefix(PUBLIC_URL).unwrap().to_owned();
                let done = house.call(method, &path, &house.agent(BOT), None, &[]).await.expect(200);
                assert_eq!(done["task"]["status"], "cancelled");
                assert_eq!(
                    urn(house.call(method, &path, &house.agent(BOT), None, &[]).await, 409),
                    "invalid_task_state"
                );
                assert_eq!(stand(&house, &standing).await["task"]["status"], "cancelled");
            }
        }),
    ),
    (
        "11.4",
        "cancelling is authenticated, and for whoever filed",
        check!(|house| {
            let standing = filed(&house, &write()).await;
            let path = format!("{REQUESTS}/{}/cancel", id_of(&standing));
            assert_eq!(house.post(&path, "", &json!({})).await.status, 401);
            assert_eq!(urn(house.post(&path, &house.agent("triage-bot"), &json!({})).await, 404), "unknown_task");
            assert_eq!(house.post(&path, &house.operator(), &json!({})).await.status, 403);
            assert_eq!(stand(&house, &standing).await["task"]["status"], "pending");
        }),
    ),
    (
        "11.4",
        "of a bundle what waits is cancelled, and what is settled stays",
        check!(|house| {
            let standing = send(&house, &bundle(&house, &[write(), publish("v1/")]).await).await.expect(202);
            approve(&house, &waiting_of(&house, &standing).await[0]).await;
            let path = format!("{REQUESTS}/{}/cancel", id_of(&standing));
            let done = house.post(&path, &house.agent(BOT), &json!({})).await.expect(200);
            assert_eq!(done["task"]["status"], "partial");
            let mut statuses: Vec<String> =
                done["task"]["items"].as_array().unwrap().iter().map(|item| text(&item["status"])).collect();
            statuses.sort();
            assert_eq!(statuses, ["approved", "cancelled"]);
        }),
    ),
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
                crate::support::harness::PEOPLE,
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

#[tokio::test]
async fn every_must_of_the_profile_holds() {
    let mut wrong = Vec::new();
    for (section, must, check) in MUSTS {
        // Each in a task of its own, so that one that fails leaves the others to be heard.
        let done = tokio::time::timeout(Duration::from_secs(60), tokio::spawn(check())).await;
        if !matches!(done, Ok(Ok(()))) {
            wrong.push(format!("§{section}: {must}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} do not hold:\n{}", wrong.len(), MUSTS.len(), wrong.join("\n"));
}
