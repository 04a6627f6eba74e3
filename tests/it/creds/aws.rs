//! boto3 and the AWS command line, with `hallpass creds aws` as their `credential_process` and below `hallpass exec`, before a fake
//! AWS that verifies what they sign: the session is the lease's, does what its scope says, and stops when the closure says so.

use std::sync::Arc;

use hallpass::domain::Timestamp;
use hallpass::sys::{Clock as _, ManualClock, SystemClock};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{HALLPASS, House, boto, others, ran, tool};
use crate::minter::fake_aws::{ACCOUNT, FakeAws, REGION};

const SCOPE: &str = "aws:releases:read";
const EFFECT: &str = r#"{ role = "releases", statements = [{ actions = ["s3:GetObject"], resources = ["arn:aws:s3:::releases/v1.4.2/*"] }] }"#;
const DENYING: &str = "deny_role_policy = true\nsettle_seconds = 1";

struct Stage {
    house: House,
    aws: FakeAws,
    clock: Arc<ManualClock>,
    start: Timestamp,
    _keys: tempfile::TempDir,
}

impl Stage {
    async fn start(more: &str) -> Self {
        let start = SystemClock.now();
        let clock = Arc::new(ManualClock::new(start));
        let aws = FakeAws::start(clock.clone()).await;
        for key in ["releases/v1.4.2/a.tar", "releases/v2/a.tar"] {
            aws.world().objects.insert(key.to_owned(), b"bytes".to_vec());
        }
        let keys = tempfile::tempdir().unwrap();
        let house = House::start(&aws.settings(keys.path(), more), &[(SCOPE, EFFECT)]).await;
        let stage = Self { house, aws, clock, start, _keys: keys };
        stage.at(start);
        stage
    }

    /// Put the broker's and AWS's clocks to a time.
    fn at(&self, now: Timestamp) {
        self.clock.set(now);
        self.house.harness.clock.set(now);
        self.house.sign_in();
    }

    /// A program of a profile as docs/clients.md has it.
    fn profile(&self, ttl: &str, command: &[String]) -> Command {
        let process = format!("{HALLPASS} creds aws --scope {SCOPE} --purpose \"Read releases\" --ttl {ttl}");
        let profile = format!("[profile jit]\nregion = {REGION}\ncredential_process = {process}\n");
        let home = self.house.folder.path();
        std::fs::create_dir_all(home.join(".aws")).unwrap();
        std::fs::write(home.join(".aws/config"), profile).unwrap();
        let mut program = self.program(command);
        program.env("AWS_PROFILE", "jit");
        program
    }

    fn program(&self, command: &[String]) -> Command {
        let mut program = self.house.program(&command[0]);
        program.args(&command[1..]).env("AWS_EC2_METADATA_DISABLED", "true");
        program
    }

    /// Below `hallpass exec`, which finds other keys where it is started.
    fn exec(&self, options: &[&str], command: &[String]) -> Command {
        let mut exec = self.program(&[HALLPASS.to_owned()]);
        exec.args(["exec", "--scope", SCOPE, "--purpose", "Read releases"]).args(options).arg("--").args(command);
        others(&mut exec, self.house.folder.path());
        exec
    }

    /// The AWS command line.
    fn aws(&self, arguments: &[&str]) -> Vec<String> {
        let endpoint = format!("--endpoint-url=http://{}", self.aws.address);
        let arguments = arguments.iter().map(|&argument| argument.to_owned());
        [tool("aws"), endpoint].into_iter().chain(arguments).collect()
    }

    /// boto3, which tries what a session may and what it may not.
    fn tries(&self) -> [String; 3] {
        let script = format!("{}/tests/foreign/aws_client.py", env!("CARGO_MANIFEST_DIR"));
        [tool("python"), script, format!("http://{}", self.aws.address)]
    }

    /// What it says with the keys of a lease, when what they are for comes to this.
    fn tried(lease: &Value, read: &str) -> Value {
        json!({
            "region": REGION, "who": who(lease), "write": "AccessDenied", "write elsewhere": "AccessDenied", "read": read,
            "read elsewhere": "AccessDenied", "chain": "AccessDenied",
        })
    }

    /// boto3 with keys that somebody kept.
    async fn kept(&self, keys: &Value) -> Value {
        let mut program = self.program(&self.tries());
        for (name, variable) in [
            ("access_key", "AWS_ACCESS_KEY_ID"),
            ("secret_key", "AWS_SECRET_ACCESS_KEY"),
            ("token", "AWS_SESSION_TOKEN"),
            ("region", "AWS_REGION"),
            ("region", "AWS_DEFAULT_REGION"),
        ] {
            program.env(variable, keys[name].as_str().unwrap());
        }
        let (code, out, err) = ran(&mut program).await;
        assert_eq!(code, 0, "{err}");
        serde_json::from_str(&out).unwrap()
    }

    /// All leases, the newest first.
    async fn leases(&self) -> Vec<Value> {
        let harness = &self.house.harness;
        let page = harness.get("/v1/leases?limit=100", &harness.operator()).await.expect(200);
        page["items"].as_array().unwrap().clone()
    }

    async fn only_lease(&self) -> Value {
        let leases = self.leases().await;
        let [lease] = leases.as_slice() else { panic!("{leases:?}") };
        lease.clone()
    }

    /// How often the broker asked for a session.
    fn minted(&self) -> usize {
        self.aws.calls("AssumeRole").iter().filter(|call| call["RoleSessionName"].starts_with("jit-")).count()
    }

    /// One turn of the chores that end what is to end.
    async fn turn(&self) {
        self.house.harness.broker.publish_revocation_lists().await.unwrap();
        self.house.harness.sweep().await;
    }

    /// Run a command that keeps its keys, to its end.
    async fn leaked(&self, ttl: &str) -> Value {
        let both = format!("{} && {}", boto("1").join(" "), self.tries().join(" "));
        let command = ["sh", "-c", &both].map(str::to_owned);
        let (code, out, err) = ran(&mut self.exec(&["--no-masking", "--ttl", ttl], &command)).await;
        assert_eq!(code, 0, "{err}");
        let (keys, tried) = out.split_once('\n').unwrap();
        let (keys, tried): (Value, Value) = (serde_json::from_str(keys).unwrap(), serde_json::from_str(tried).unwrap());
        assert_eq!((&keys["method"], &keys["region"]), (&json!("container-role"), &json!(REGION)));
        assert_eq!(tried, Self::tried(&self.only_lease().await, "bytes"), "what was kept is what was used");
        assert_eq!(self.minted(), 1);
        keys
    }
}

fn who(lease: &Value) -> String {
    format!("arn:aws:sts::{ACCOUNT}:assumed-role/releases/jit-{}", lease["id"].as_str().unwrap())
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn credential_process_is_run_by_boto3_for_the_session_of_a_lease() {
    let stage = Stage::start("").await;
    let (code, out, err) = ran(&mut stage.profile("1h", &stage.tries())).await;
    assert_eq!(code, 0, "{err}");
    let lease = stage.only_lease().await;
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), Stage::tried(&lease, "bytes"));
    assert_eq!(lease["state"], "live", "nothing is completed: the keys end at their time");
    assert_eq!(stage.minted(), 1, "an hour's keys are kept as long as the process");
}

#[tokio::test]
async fn credential_process_is_run_by_the_aws_command_line() {
    let stage = Stage::start("").await;
    let arguments = ["sts", "get-caller-identity", "--query=Arn", "--output=text"];
    let (code, out, err) = ran(&mut stage.profile("1h", &stage.aws(&arguments))).await;
    assert_eq!((code, out.trim()), (0, &*who(&stage.only_lease().await)), "{err}");
    let get = |key: &str| stage.aws(&["s3api", "get-object", "--bucket=releases", "--key", key, "got"]);
    let (code, _, err) = ran(&mut stage.profile("1h", &get("v1.4.2/a.tar"))).await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(std::fs::read(stage.house.folder.path().join("got")).unwrap(), b"bytes");
    let (code, _, err) = ran(&mut stage.profile("1h", &get("v2/a.tar"))).await;
    assert!(code != 0 && err.contains("AccessDenied"), "{code}: {err}");
    assert_eq!(stage.leases().await.len(), 3, "one for each command");
}

#[tokio::test]
async fn boto3_runs_credential_process_for_each_call_when_ten_minutes_are_left_or_less() {
    let stage = Stage::start("").await;
    let (code, out, err) = ran(&mut stage.profile("10m", &boto("2"))).await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(stage.minted(), 3, "as docs/clients.md says: {out}");
}

#[tokio::test]
async fn exec_serves_its_command_keys_that_no_others_come_before() {
    let stage = Stage::start("").await;
    let command = stage.aws(&["sts", "get-caller-identity", "--query=Arn", "--output=text"]);
    let (code, out, err) = ran(&mut stage.exec(&[], &command)).await;
    assert_eq!((code, out.trim()), (0, &*who(&stage.only_lease().await)), "{err}");

    let fetch = "import os, urllib.request as r, urllib.error as e\ntry: r.urlopen(os.environ['AWS_CONTAINER_CREDENTIALS_FULL_URI'])\n\
                 except e.HTTPError as refused: print(refused.code)";
    let script = format!("env | grep ^AWS_ | sort; {} -c \"{fetch}\"", tool("python"));
    let (code, out, err) = ran(&mut stage.exec(&[], &["sh", "-c", &script].map(str::to_owned))).await;
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
    assert_eq!(names, expected, "the endpoint and its token are for the command alone");
    assert!(out.contains("AWS_CONTAINER_AUTHORIZATION_TOKEN=[masked]"), "{out}");
}

#[tokio::test]
async fn when_exec_has_ended_kept_keys_are_denied_by_the_time_the_lease_is_said_to_have_ended() {
    let stage = Stage::start(DENYING).await;
    // IAM takes all the time that it is given.
    stage.aws.world().delay_millis = 1_000;
    let keys = stage.leaked("10m").await;
    let lease = stage.only_lease().await;
    assert_eq!(lease["state"], "ending", "{lease}");
    assert!(time(&lease["ends_by"]) <= stage.start.plus_millis(10_000), "seconds, not the ten minutes: {lease}");
    stage.turn().await;
    assert_eq!(stage.only_lease().await["state"], "ending", "not ended as long as it works");
    assert_eq!(stage.kept(&keys).await["read"], "bytes");

    let mut now = stage.start;
    while stage.only_lease().await["state"] != "ended" {
        now = now.plus_millis(1_000);
        assert!(now <= time(&lease["ends_by"]), "it was to have ended: {}", stage.only_lease().await);
        stage.at(now);
        stage.turn().await;
    }
    assert_eq!(stage.kept(&keys).await, Stage::tried(&lease, "AccessDenied"), "AWS knows whose they are, and no more");
}

#[tokio::test]
async fn without_a_denial_in_the_role_kept_keys_are_denied_at_the_leases_end() {
    let stage = Stage::start("").await;
    let keys = stage.leaked("2m").await;
    let lease = stage.only_lease().await;
    let end = time(&lease["ends_by"]);
    assert_eq!((&lease["state"], end), (&json!("ending"), time(&lease["native_end"])), "{lease}");
    stage.at(end.plus_millis(-2_000));
    stage.turn().await;
    assert_eq!(stage.only_lease().await["state"], "ending");
    assert_eq!(stage.kept(&keys).await["read"], "bytes", "as the closure says");
    stage.at(end);
    stage.turn().await;
    assert_eq!(stage.only_lease().await["state"], "ended");
    assert_eq!(stage.kept(&keys).await, Stage::tried(&lease, "AccessDenied"));
}
