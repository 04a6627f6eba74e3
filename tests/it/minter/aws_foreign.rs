//! Kind `aws`: with boto3, and before an evaluator of policies that is not ours. Where the tools are not installed these tests fail, as
//! nothing would be known otherwise.

use std::io::Write as _;
use std::process::{Command, Stdio};

use hallpass::domain::Ttl;
use hallpass::minter::Minted;
use hallpass::sys::{Clock as _, SystemClock};
use serde_json::{Value, json};

use super::aws::{Cloud, READ, minted, scopes, value};
use super::fake_aws::{ACCOUNT, REGION, context, role_arn};
use super::{T0, plan_of};
use crate::support::foreign::{folder, python};

#[tokio::test(flavor = "multi_thread")]
async fn boto3_does_what_a_session_may_and_nothing_else() {
    let cloud = Cloud::start().await;
    let now = SystemClock.now();
    cloud.world.clock.set(now);
    let minter = cloud.minter("");
    let plan = plan_of(minter.as_ref(), &scopes(), |order| {
        (order.now, order.ttl, order.ends_at) = (now, Ttl::from_secs(60).unwrap(), now.plus_millis(60_000));
    });
    let session = minter.mint(&plan).await.unwrap();
    for key in ["releases/v1.4.2/a.tar", "releases/v2/a.tar"] {
        cloud.aws.world().objects.insert(key.to_owned(), b"bytes".to_vec());
    }
    let run = || {
        let mut boto = Command::new(python());
        boto.arg(folder().join("aws_client.py")).arg(format!("http://{}", cloud.aws.address)).env_clear();
        boto.env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_CONFIG_FILE", "/nonexistent")
            .env("HOME", "/nonexistent");
        for (name, variable) in [
            ("access_key_id", "AWS_ACCESS_KEY_ID"),
            ("secret_access_key", "AWS_SECRET_ACCESS_KEY"),
            ("session_token", "AWS_SESSION_TOKEN"),
            ("region", "AWS_REGION"),
            ("region", "AWS_DEFAULT_REGION"),
        ] {
            boto.env(variable, value(&session, name));
        }
        let ran = tokio::task::block_in_place(|| boto.output().unwrap());
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        serde_json::from_slice::<Value>(&ran.stdout).unwrap()
    };
    let who =
        format!("arn:aws:sts::{ACCOUNT}:assumed-role/releases/{}", plan.handle.as_str().split_once(' ').unwrap().1);
    let mut expected = json!({
        "region": REGION, "who": who, "write": "ok", "write elsewhere": "AccessDenied", "read": "bytes",
        "read elsewhere": "AccessDenied", "chain": "AccessDenied",
    });
    assert_eq!(run(), expected);

    // After the end of the lease AWS still knows who it is, and lets it do nothing.
    cloud.aws.world().ahead_millis = 61_000;
    for denied in ["write", "read"] {
        expected[denied] = json!("AccessDenied");
    }
    assert_eq!(run(), expected);
}

/// One question to the evaluator, and what it must answer.
struct Asked {
    name: String,
    question: Value,
    answer: &'static str,
}

fn ask(name: &str, answer: &'static str, question: Value) -> Asked {
    Asked { name: name.to_owned(), question, answer }
}

/// What the evaluator says to all of them, by their names.
fn decided(asked: &[Asked]) -> Value {
    let question = |one: &Asked| {
        let mut question = one.question.clone();
        question["name"] = json!(one.name);
        question.as_object_mut().unwrap().retain(|_, member| !member.is_null());
        question
    };
    let questions: Vec<Value> = asked.iter().map(question).collect();
    let mut node = Command::new("node")
        .arg(folder().join("iam_simulate.mjs"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("`make tools` installs what this test needs");
    node.stdin.take().unwrap().write_all(json!(questions).to_string().as_bytes()).unwrap();
    let ran = node.wait_with_output().unwrap();
    assert!(ran.status.success());
    serde_json::from_slice(&ran.stdout).unwrap()
}

#[tokio::test]
async fn an_evaluator_that_is_not_ours_decides_as_we_say() {
    let cloud = Cloud::start().await;
    let minter = cloud.minter("deny_role_policy = true");
    let (plan, session) = minted(minter.as_ref(), 1).await;
    let (_, sibling) = minted(minter.as_ref(), 2).await;
    let over = super::over(&[&plan], T0);
    let list = minter.revocation_list(&over, T0).unwrap();
    minter.publish(&over, &list, T0).await.unwrap();
    let denials = cloud.aws.inline("releases").into_values().next().expect("the policy that denies it");

    let question = |of: &Minted, seconds: i64, inline: bool, action: &str, resource: &str, bucket: Value| {
        let world = cloud.aws.world();
        let known = &world.sessions[value(of, "access_key_id")];
        let mut context = serde_json::to_value(context(known, T0.plus_millis(seconds * 1000))).unwrap();
        context["principal"] = json!(format!("arn:aws:sts::{ACCOUNT}:assumed-role/releases/{}", known.name));
        json!({
            "role": world.roles["releases"].identity, "inline": inline.then_some(&denials), "session": known.policy,
            "action": action, "resource": resource, "context": context, "bucket": bucket,
        })
    };
    let inside = "arn:aws:s3:::releases/v1.4.2/a";
    // The bucket's own policy lets this very session in, which passes by what its session policy allows.
    let named = |of: &Minted| {
        let name = cloud.aws.world().sessions[value(of, "access_key_id")].name.clone();
        let principal = format!("arn:aws:sts::{ACCOUNT}:assumed-role/releases/{name}");
        json!({ "Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": { "AWS": principal }, "Action": "s3:*", "Resource": "arn:aws:s3:::releases/*",
        }] })
    };
    let (allowed, implicit, explicit) = ("Allowed", "ImplicitlyDenied", "ExplicitlyDenied");
    let asked = [
        ask("inside", allowed, question(&session, 1, false, READ, inside, Value::Null)),
        ask(
            "outside the prefix",
            implicit,
            question(&session, 1, false, READ, "arn:aws:s3:::releases/v1.4.20/a", Value::Null),
        ),
        ask("another action", implicit, question(&session, 1, false, "s3:DeleteObject", inside, Value::Null)),
        ask("the last second", allowed, question(&session, 598, false, READ, inside, Value::Null)),
        ask("the hard stop", explicit, question(&session, 600, false, READ, inside, Value::Null)),
        ask("with a bucket policy that names it", allowed, question(&session, 1, false, READ, inside, named(&session))),
        ask("and after the hard stop", explicit, question(&session, 601, false, READ, inside, named(&session))),
        ask("and once it is denied", explicit, question(&session, 1, true, READ, inside, named(&session))),
        ask(
            "role chaining",
            explicit,
            question(&session, 1, false, "sts:AssumeRole", &role_arn("reports"), Value::Null),
        ),
        ask(
            "passing on a role",
            explicit,
            question(&session, 1, false, "iam:PassRole", &role_arn("reports"), Value::Null),
        ),
        ask("denied", explicit, question(&session, 1, true, READ, inside, Value::Null)),
        ask("its sibling", allowed, question(&sibling, 1, true, READ, inside, Value::Null)),
    ];
    let said = decided(&asked);
    for one in &asked {
        assert_eq!(said[&one.name], one.answer, "{}", one.name);
    }
}
