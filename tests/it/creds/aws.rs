//! boto3 and the AWS command line, with `hallpass creds aws` as their `credential_process` and with what `hallpass exec` serves.

use serde_json::Value;
use tokio::process::Command;

use super::recorded::{Recorded, SCOPE};
use super::{HALLPASS, ran, tool};

/// A home with credentials in it that nobody should find.
struct Home {
    folder: tempfile::TempDir,
    broker: Recorded,
}

impl Home {
    async fn with(lives: &[i64]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let broker = Recorded::start(lives).await;
        let aws = folder.path().join(".aws");
        std::fs::create_dir(&aws).unwrap();
        let others = "[default]\naws_access_key_id = AKIASTANDING\naws_secret_access_key = standing\n";
        std::fs::write(aws.join("credentials"), others).unwrap();
        let process = format!("{HALLPASS} creds aws --scope {SCOPE} --purpose \"Read releases\"");
        std::fs::write(aws.join("config"), format!("[profile jit]\ncredential_process = {process}\n")).unwrap();
        Self { folder, broker }
    }

    fn program(&self, name: &str) -> Command {
        let mut command = super::program(name, self.folder.path(), &self.broker.server);
        command.env("HALLPASS_TOKEN", "an-identity").env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }

    /// The AWS command line, which asks whose its keys are.
    fn aws(&self) -> [String; 6] {
        let endpoint = format!("--endpoint-url={}", self.broker.server);
        let [verb, noun, query, output] =
            ["sts", "get-caller-identity", "--query=Arn", "--output=text"].map(str::to_owned);
        [tool("aws"), verb, noun, query, output, endpoint]
    }

    fn exec(&self, options: &[&str], command: &[String]) -> Command {
        let mut exec = self.program(HALLPASS);
        exec.args(["exec", "--scope", SCOPE, "--purpose", "Read releases"]).args(options).arg("--").args(command);
        exec.env("AWS_ACCESS_KEY_ID", "AKIASTALE").env("AWS_SECRET_ACCESS_KEY", "stale").env("AWS_PROFILE", "default");
        exec
    }
}

/// boto3's own chain, so many times over: the place where it found keys, and which.
fn boto(times: &str) -> [String; 3] {
    [tool("python"), format!("{}/tests/foreign/aws_keys.py", env!("CARGO_MANIFEST_DIR")), times.to_owned()]
}

fn lines(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn number(value: &Value) -> &str {
    value["access_key"].as_str().unwrap().strip_prefix("ASIAEXAMPLE").unwrap_or("of somebody else's")
}

#[tokio::test]
async fn credential_process_is_run_by_boto3_and_the_aws_command_line() {
    let home = Home::with(&[]).await;
    let [python, script, _] = boto("3");
    let (code, out, err) = ran(home.program(&python).args([&script, "3"]).env("AWS_PROFILE", "jit")).await;
    assert_eq!(code, 0, "{err}");
    let found = lines(&out);
    assert!(found.iter().all(|keys| keys["method"] == "custom-process" && number(keys) == "1"), "{out}");
    assert_eq!(found[0]["secret_key"], "example/secret+access/key1");
    assert_eq!(found[0]["token"], "example//session+token==1");
    assert_eq!(home.broker.minted(), 1, "an hour's keys are kept as long as the process");
    let [aws, arguments @ ..] = home.aws();
    let mut aws = home.program(&aws);
    let (code, out, err) = ran(aws.args(arguments).args(["--profile", "jit", "--region", "eu-central-1"])).await;
    assert_eq!((code, out.trim()), (0, "arn:aws:sts::123456789012:assumed-role/r/ASIAEXAMPLE2"), "{err}");
    assert_eq!(home.broker.take_calls(), ["open", "open"], "nothing is completed: the keys end at their time");
}

#[tokio::test]
async fn boto3_runs_credential_process_for_each_call_when_ten_minutes_are_left_or_less() {
    let home = Home::with(&[600, 600, 600]).await;
    let [python, script, _] = boto("2");
    let (code, out, err) = ran(home.program(&python).args([&script, "2"]).env("AWS_PROFILE", "jit")).await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(home.broker.minted(), 3, "as docs/clients.md says: {out}");
}

#[tokio::test]
async fn exec_serves_its_command_keys_that_no_others_come_before() {
    let home = Home::with(&[900]).await;
    let (code, out, err) = ran(&mut home.exec(&["--no-masking"], &boto("3"))).await;
    assert_eq!(code, 0, "{err}");
    let found = lines(&out);
    assert!(found.iter().all(|keys| keys["method"] == "container-role" && number(keys) == "1"), "{out}");
    assert_eq!(
        (&found[0]["token"], &found[0]["region"]),
        (&"example//session+token==1".into(), &"eu-central-1".into())
    );
    let (code, out, err) = ran(&mut home.exec(&[], &home.aws())).await;
    assert_eq!((code, out.trim()), (0, "arn:aws:sts::123456789012:assumed-role/r/ASIAEXAMPLE2"), "{err}");
    assert_eq!(home.broker.take_calls(), ["open", "complete", "open", "complete"]);
}

#[tokio::test]
async fn keys_that_end_are_asked_for_again_and_masked_like_the_first() {
    let home = Home::with(&[0, 900]).await;
    let (code, out, err) = ran(&mut home.exec(&[], &boto("2"))).await;
    assert_eq!(code, 0, "{err}");
    for keys in lines(&out) {
        assert_eq!(number(&keys), "2");
        assert_eq!((&keys["secret_key"], &keys["token"]), (&"[masked]".into(), &"[masked]".into()));
    }
    assert_eq!(home.broker.take_calls(), ["open", "requests", "complete"], "asked once, not for every call");
}

#[tokio::test]
async fn a_refusal_reaches_the_sdk_and_there_are_no_other_keys() {
    let home = Home::with(&[0]).await;
    home.broker.deny();
    let (code, out, err) = ran(&mut home.exec(&[], &boto("1"))).await;
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(err.contains("warning: no new AWS credentials: Policy permits none of it."), "{err}");
    assert!(err.contains("policy-denied") && !err.contains("AKIA"), "{err}");
    assert_eq!(
        home.broker.take_calls(),
        ["open", "requests", "complete"],
        "and whoever is told no is not asked again at once"
    );
}

#[tokio::test]
async fn the_endpoint_and_its_token_are_for_the_command_alone() {
    let home = Home::with(&[]).await;
    let fetch = "import os, urllib.request as r, urllib.error as e\ntry: r.urlopen(os.environ['AWS_CONTAINER_CREDENTIALS_FULL_URI'])\n\
                 except e.HTTPError as refused: print(refused.code)";
    let script = format!("env | grep ^AWS_ | sort; {} -c \"{fetch}\"", tool("python"));
    let command = ["sh", "-c", &script].map(str::to_owned);
    let (code, out, err) = ran(&mut home.exec(&[], &command)).await;
    assert_eq!(code, 0, "{err}");
    let names: Vec<&str> = out.lines().map(|line| line.split('=').next().unwrap()).collect();
    let expected = [
        "AWS_CONFIG_FILE",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_DEFAULT_REGION",
        "AWS_EC2_METADATA_DISABLED",
        "AWS_REGION",
        "AWS_SHARED_CREDENTIALS_FILE",
        "401",
    ];
    assert_eq!(names, expected);
    assert!(out.contains("AWS_CONTAINER_AUTHORIZATION_TOKEN=[masked]"), "{out}");
}
