//! Questions of approvers to the agent, and what an answer does to a yes.

use serde_json::json;

use super::{code, text, with_approval};
use crate::support::harness::{Harness, PEOPLE};

#[tokio::test]
async fn the_agents_long_poll_wakes_with_the_question_and_its_answer_is_shown_as_asserted() {
    let house = Harness::start().await;
    let waiting = house.waiting().await;
    let token = house.agent("release-bot");
    let path = format!("/v1/tasks/{}?wait=25", waiting.task);
    let ask = async {
        tokio::task::yield_now().await;
        house.ask_agent(&waiting.request, &house.approver(), "Which files, and why now?").await.expect(201)
    };
    let both = async { tokio::join!(house.get(&path, &token), ask) };
    let (task, asked) = tokio::time::timeout(std::time::Duration::from_secs(20), both).await.expect("it is woken");
    let task = task.expect(200);
    assert_eq!(task["agent_action"], "answer");
    assert_eq!(task["requests"][0]["questions"][0]["id"], asked["id"]);
    let before = house.seen_by(&waiting.request, &house.approver()).await;
    let answered = house.answer_person(&waiting, &text(&asked["id"]), "14 files of v1.4.2").await.expect(200);
    assert_eq!(answered["asserted_answer"], "14 files of v1.4.2");
    let after = house.seen_by(&waiting.request, &house.approver()).await;
    assert_eq!(after["questions"][0]["asserted_answer"], "14 files of v1.4.2");
    assert_ne!(before["request_digest"], after["request_digest"]);
    assert_eq!(house.task(&waiting.task).await["agent_action"], "wait");
    assert_eq!(house.events("question.asked").await.len(), 1);
    assert_eq!(house.events("question.answered").await.len(), 1);
    // What was answered is part of what is approved, and of what is minted.
    house.verdict(&waiting.request, &house.approver(), "approve").await.expect(200);
    assert_eq!(house.collect(&waiting.task).await.expect(200)["credentials"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_answer_sends_an_earlier_yes_back_and_its_giver_may_say_yes_anew() {
    let house = with_approval("@approval(\"2 of release-approvers\")").await;
    let waiting = house.waiting().await;
    let asked = house.ask_agent(&waiting.request, &house.nia(), "Is it reviewed?").await.expect(201);
    house.verdict(&waiting.request, &house.approver(), "approve").await.expect(200);
    assert_eq!(house.seen_by(&waiting.request, &house.nia()).await["given"], 1);
    house.answer_person(&waiting, &text(&asked["id"]), "No").await.expect(200);
    let shown = house.seen_by(&waiting.request, &house.nia()).await;
    assert_eq!((&shown["given"], &shown["verdicts"][0]["sent_back"]), (&json!(0), &json!(true)));
    let events = house.events("question.answered").await;
    assert_eq!(events[0]["data"]["sent_back"], 1);
    // One more yes is not enough: the first was about less than is known now.
    assert_eq!(house.verdict(&waiting.request, &house.nia(), "approve").await.expect(200)["state"], "pending");
    assert_eq!(house.verdict(&waiting.request, &house.approver(), "approve").await.expect(200)["state"], "granted");
    let again = house.verdict(&waiting.request, &house.approver(), "approve").await.expect(409);
    assert_eq!(code(&again), "already-decided");
    assert_eq!(house.events("approval.recorded").await.len(), 3);
    assert_eq!(house.collect(&waiting.task).await.expect(200)["credentials"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_verdict_on_what_was_shown_before_an_answer_is_refused() {
    let house = Harness::start().await;
    let waiting = house.waiting().await;
    let asked = house.ask_agent(&waiting.request, &house.approver(), "Why?").await.expect(201);
    let digest = text(&house.seen_by(&waiting.request, &house.approver()).await["request_digest"]);
    house.answer_person(&waiting, &text(&asked["id"]), "Because").await.expect(200);
    let late = house.verdict_on(&waiting.request, &house.approver(), "approve", &digest).await.expect(409);
    assert_eq!(code(&late), "approval-stale");
}

#[tokio::test]
async fn only_those_who_may_decide_ask_and_only_the_agent_answers_once() {
    let house = Harness::start().await;
    let waiting = house.waiting().await;
    for (person, status) in [
        (house.operator(), 403),
        (house.addressed("maya", "maya@acme.example"), 403),
        (house.agent("release-bot"), 403),
        (String::new(), 401),
    ] {
        house.ask_agent(&waiting.request, &person, "Why?").await.expect(status);
    }
    let asked = house.ask_agent(&waiting.request, &house.approver(), "Why?").await.expect(201);
    let path = format!("/v1/tasks/{}/requests/{}/answers", waiting.task, waiting.request);
    let body = json!({ "question": asked["id"], "text": "Because" });
    house.post(&path, &house.agent("triage-bot"), &body).await.expect(404);
    house.post(&path, &house.approver(), &body).await.expect(403);
    let other = house.waiting().await;
    house.answer_person(&other, &text(&asked["id"]), "Because").await.expect(404);
    house.answer_person(&waiting, "qst_nonsense", "Because").await.expect(404);
    house.answer_person(&waiting, &text(&asked["id"]), "hidden \u{202e} text").await.expect(400);
    house.answer_person(&waiting, &text(&asked["id"]), "Because").await.expect(200);
    assert_eq!(code(&house.answer_person(&waiting, &text(&asked["id"]), "Or so").await.expect(409)), "already-done");
}

#[tokio::test]
async fn what_is_decided_is_asked_nothing_any_more_and_the_number_of_questions_is_bounded() {
    let house = Harness::start().await;
    let waiting = house.waiting().await;
    house.ask_agent(&waiting.request, &house.approver(), &"x".repeat(501)).await.expect(400);
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(text(&house.ask_agent(&waiting.request, &house.approver(), "Why?").await.expect(201)["id"]));
    }
    let many = house.ask_agent(&waiting.request, &house.approver(), "Why?").await.expect(429);
    assert_eq!(code(&many), "too-many-questions");
    for _ in 0..3 {
        for question in open.drain(..) {
            house.answer_person(&waiting, &question, "Because").await.expect(200);
        }
        for _ in 0..5 {
            open.push(text(&house.ask_agent(&waiting.request, &house.nia(), "Why?").await.expect(201)["id"]));
        }
    }
    house.answer_person(&waiting, &open[0], "Because").await.expect(200);
    assert_eq!(house.ask_agent(&waiting.request, &house.approver(), "21?").await.status.as_u16(), 429);
    house.verdict(&waiting.request, &house.approver(), "deny").await.expect(200);
    let late = house.ask_agent(&waiting.request, &house.approver(), "Why?").await.expect(409);
    assert_eq!(code(&late), "already-decided");
    assert_eq!(house.answer_person(&waiting, &open[1], "Because").await.status.as_u16(), 409);
}

#[tokio::test]
async fn a_question_with_a_key_is_asked_once() {
    let house = Harness::start().await;
    let waiting = house.waiting().await;
    let path = format!("/v1/requests/{}/questions", waiting.request);
    let claims = json!({ "groups": ["release-approvers"] });
    let ask = async || {
        let token = house.token(PEOPLE, "nia", &claims);
        let body = json!({ "text": "Why?" });
        house.call("POST", &path, &token, Some(&body), &[("idempotency-key", "key-1")]).await.expect(201)
    };
    assert_eq!(ask().await["id"], ask().await["id"]);
    assert_eq!(house.events("question.asked").await.len(), 1);
}
