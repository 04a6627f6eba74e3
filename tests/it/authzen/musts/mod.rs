//! The MUSTs of the Access Request and Approval Profile (Draft 1) that bind a decision point and an access request service, one row
//! each: the section, what it says, and a check of it. What binds clients, and what belongs to forms and catalogues, which are
//! optional and not offered, is not here.

mod denials;
mod guards;
mod handles;
mod results;
mod service;

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::{again, denied, evaluate, filing, publish, send, text, urn};
use crate::support::harness::Harness;

type Check = fn() -> BoxFuture<'static, ()>;
/// A section, what it demands, and a check of it.
type Must = (&'static str, &'static str, Check);

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

use check;

const ALL: [&[Must]; 5] = [denials::MUSTS, handles::MUSTS, results::MUSTS, service::MUSTS, guards::MUSTS];

#[tokio::test]
async fn every_must_of_the_profile_holds() {
    let mut wrong = Vec::new();
    for (section, must, check) in ALL.into_iter().flatten() {
        // Each in a task of its own, so that one that fails leaves the others to be heard.
        let done = tokio::time::timeout(Duration::from_mins(1), tokio::spawn(check())).await;
        if !matches!(done, Ok(Ok(()))) {
            wrong.push(format!("§{section}: {must}"));
        }
    }
    assert!(wrong.is_empty(), "{} do not hold:\n{}", wrong.len(), wrong.join("\n"));
}
