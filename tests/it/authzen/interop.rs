//! Questions that others wrote: the certification scenario and the interop vectors of the AuthZEN working group.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::text;
use crate::support::harness::{AGENTS, Harness, Options};

fn vectors(file: &str) -> Value {
    let path = format!("{}/tests/vectors/authzen/{file}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// An answer as the response schema has it: a boolean decision, and an object as context if there is one.
fn well_formed(answer: &Value) -> bool {
    answer["decision"].is_boolean() && answer.get("context").is_none_or(Value::is_object)
}

/// The cases of the certification that are about evaluation.
fn certification() -> Vec<Value> {
    let cases = vectors("certification/authzen-1_0-certification-cases.json")["cases"].as_array().unwrap().clone();
    let kept: Vec<Value> =
        cases.into_iter().filter(|case| text(&case["endpoint"]).starts_with("/access/v1/evaluation")).collect();
    assert_eq!(kept.len(), 29);
    kept
}

#[tokio::test]
async fn every_certification_case_is_read_and_answered_as_the_standard_says() {
    let house = Harness::start().await;
    for case in certification() {
        let path = text(&case["endpoint"]);
        let reply = house.post(&path, &house.agent("release-bot"), &case["request"]).await;
        assert_eq!(u64::from(reply.status.as_u16()), case["expect_status"], "{case}");
        if reply.status != 200 {
            continue;
        }
        let answer = reply.json();
        match case["request"]["evaluations"].as_array().filter(|items| !items.is_empty()) {
            Some(items) => {
                let answers = answer["evaluations"].as_array().unwrap();
                assert_eq!(answers.len(), items.len(), "{case}");
                assert!(answers.iter().all(well_formed), "{answer}");
            }
            None => assert!(well_formed(&answer), "{answer}"),
        }
    }
}

/// A bundle in which the scenario's users are agents and its records scopes; reading is permitted, nothing else is.
fn scenario() -> Options {
    let mut options = Options::default();
    let catalogue = options.bundle.get_mut("catalogue.toml").unwrap();
    let actions = ["read", "write", "delete"];
    for (record, action) in ["record-1", "record-2"].iter().flat_map(|record| actions.map(|action| (record, action))) {
        write!(
            catalogue,

            "\n[[scope]]\nname = \"sandbox:{record}:{action}\"\ndescription = \"A record\"\nrisk = 10\nowner = \"maya\"\n\
             max_ttl_seconds = 3600\neffect = {{ allows = \"{action} {record}\" }}\n"
        )
        .unwrap();
    }
    let scopes: Vec<String> = ["record-1", "record-2"]
        .iter()
        .flat_map(|record| actions.map(|action| format!("sandbox:{record}:{action}")))
        .collect();
    for user in ["alice", "bob"] {
        let agents = options.bundle.get_mut("agents.toml").unwrap();
        write!(
            agents,

            "\n[[agent]]\nid = \"{user}\"\ndescription = \"A user\"\nowner = \"maya\"\nrisk_tier = \"low\"\nceiling = {}\n\
             [[agent.binding]]\nissuer = \"{AGENTS}\"\nsubject = \"{user}\"\n",
            json!(scopes)
        )
        .unwrap();
    }
    options
}

/// The scenario's question in our words.
fn translated(value: &Value) -> Value {
    let Value::Object(members) = value else { return value.clone() };
    let mut out = members.clone();
    for (name, member) in &mut out {
        match name.as_str() {
            "subject" if member.is_object() => member["type"] = json!("agent"),
            "resource" if member["id"].is_string() => {
                member["type"] = json!("scope");
                member["id"] = json!(format!("sandbox:{}", text(&member["id"])));
            }
            "evaluations" => {
                *member = member.as_array().unwrap().iter().map(translated).collect();
            }
            _ => {}
        }
    }
    Value::Object(out)
}

#[tokio::test]
async fn the_scenarios_core_cases_have_its_decisions_with_users_as_agents_and_records_as_scopes() {
    let house = Harness::with(scenario()).await;
    let mut compared = 0;
    for case in certification() {
        if !text(&case["level"]).ends_with("Core") || case["expect_status"] != 200 {
            continue;
        }
        let asked = &case["request"];
        let first = asked["evaluations"].get(0).cloned().unwrap_or_default();
        let user = asked["subject"]["id"].as_str().or(first["subject"]["id"].as_str()).unwrap().to_owned();
        let answer = house.post(&text(&case["endpoint"]), &house.agent(&user), &translated(asked)).await.expect(200);
        let decisions = |value: &Value| -> Vec<Value> {
            let all = value["evaluations"].as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
            all.iter().map(|one| one["decision"].clone()).collect()
        };
        let says_yes = text(&case["expect_text"]).contains("\"decision\": true");
        if case["expect_body"].is_object() {
            assert_eq!(decisions(&answer), decisions(&case["expect_body"]), "{case}");
        } else if says_yes {
            assert_eq!(answer["decision"], true, "{case}");
        } else {
            continue;
        }
        compared += 1;
    }
    assert!(compared >= 8, "{compared}");
}

#[tokio::test]
async fn the_todo_scenarios_questions_are_about_strangers_and_denied_one_by_one() {
    let house = Harness::start().await;
    let token = house.agent("release-bot");
    let mut asked = 0;
    for version in ["00", "01", "02"] {
        let scenario = vectors(&format!("todo/decisions-authorization-api-1_0-{version}.json"));
        for case in scenario["evaluation"].as_array().unwrap() {
            let answer = house.post("/access/v1/evaluation", &token, &case["request"]).await.expect(200);
            assert_eq!((&answer["decision"], well_formed(&answer)), (&json!(false), true), "{case}");
            asked += 1;
        }
        for case in scenario["evaluations"].as_array().into_iter().flatten() {
            let answer = house.post("/access/v1/evaluations", &token, &case["request"]).await.expect(200);
            let answers = answer["evaluations"].as_array().unwrap();
            assert_eq!(answers.len(), case["expected"].as_array().unwrap().len());
            assert!(answers.iter().all(|one| one["decision"] == false && well_formed(one)), "{answer}");
            asked += 1;
        }
    }
    assert_eq!(asked, 123);
}

/// The example of the schema itself, and what it demands.
#[tokio::test]
async fn what_the_request_schema_requires_is_required() {
    let house = Harness::start().await;
    let token = house.agent("release-bot");
    let schema = vectors("schemas/evaluation-request.schema.json");
    let example = &schema["examples"][0];
    house.post("/access/v1/evaluation", &token, example).await.expect(200);
    for part in schema["required"].as_array().unwrap() {
        let part = text(part);
        let mut without = example.clone();
        without.as_object_mut().unwrap().remove(&part);
        assert_eq!(house.post("/access/v1/evaluation", &token, &without).await.status, 400, "{part}");
        for member in schema["properties"][&part]["required"].as_array().unwrap() {
            let mut without = example.clone();
            without[&part].as_object_mut().unwrap().remove(&text(member));
            assert_eq!(house.post("/access/v1/evaluation", &token, &without).await.status, 400, "{part}.{member}");
        }
    }
}
