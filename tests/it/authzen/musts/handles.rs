//! §10.2 and §11: the handle of a filing, how it stands, and taking it back.

use serde_json::{Value, json};

use super::super::{
    BOT, REQUESTS, approve, approved, bundle, decide, filed, id_of, publish, request_of, send, stand, text, urn,
    waiting_of, write,
};
use super::{Must, check, said, unfit};
use crate::support::harness::{Harness, PUBLIC_URL};

pub(super) const MUSTS: &[Must] = &[
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
];
