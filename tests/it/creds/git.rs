//! Git, with `hallpass creds git` as its credential helper, over a GitHub that remembers what it honours.

use std::sync::Arc;

use hallpass::sys::ManualClock;
use tokio::process::Command;

use super::{HALLPASS, House, ran};
use crate::minter::fake_github::{Call, FakeGithub, GADGET, WIDGET};

struct Stage {
    house: House,
    github: FakeGithub,
}

impl Stage {
    async fn start() -> Self {
        let github = FakeGithub::start(Arc::new(ManualClock::new(hallpass::domain::Timestamp::from_secs(0)))).await;
        let effect = |level| {
            format!(
                r#"{{ repositories = [{{ id = {}, name = "{}" }}], permissions = {{ contents = "{level}" }} }}"#,
                WIDGET.0, WIDGET.1
            )
        };
        let scopes = [("gh:widget:read", effect("read")), ("gh:releases:write", effect("write"))];
        let scopes = scopes.each_ref().map(|(name, effect)| (*name, effect.as_str()));
        let house = House::start(&github.settings("gh"), &scopes).await;
        github.follow(house.harness.clock.clone());
        for (_, repository) in [WIDGET, GADGET] {
            github.fill(repository);
            std::fs::remove_dir_all(github.folder.path().join("work")).unwrap();
        }
        Self { house, github }
    }

    fn url(&self) -> String {
        format!("http://{}", self.github.address)
    }

    /// Git with nothing but our helper.
    fn git(&self, scope: &str, arguments: &[&str]) -> Command {
        let helper = format!("!{HALLPASS} creds git --url {} --scope {scope} --purpose 'Read the code'", self.url());
        let mut command = self.house.program("git");
        command
            .args(["-c", "credential.helper=", "-c", &format!("credential.helper={helper}")])
            .args(arguments)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_CONFIG_NOSYSTEM", "1");
        command
    }

    fn clone(&self, options: &[&str], repository: &str, into: &str) -> Command {
        let url = format!("{}/{repository}.git", self.url());
        self.git("gh:widget:read", &[options, &["clone", "-q", &url, into]].concat())
    }

    fn minted(&self) -> usize {
        self.github.calls(Call::Mint).len()
    }
}

#[tokio::test]
async fn git_clones_with_a_token_that_it_fetches_itself() {
    let stage = Stage::start().await;
    for (number, options) in [&[][..], &["-c", "credential.useHttpPath=true"]].into_iter().enumerate() {
        let into = format!("widget{number}");
        let (code, out, err) = ran(&mut stage.clone(options, WIDGET.1, &into)).await;
        assert_eq!((code, out.as_str(), err.as_str()), (0, "", ""));
        let readme = std::fs::read_to_string(stage.house.folder.path().join(into).join("README.md")).unwrap();
        assert_eq!(readme, "a widget\n");
        assert_eq!(stage.minted(), number + 1, "Git calls `store` too, and that mints nothing");
    }
    assert_eq!(stage.house.leases().await, (2, 2));
    stage.house.end_all().await;
    assert_eq!(stage.github.honoured(), 0);
    assert_eq!(ran(&mut stage.clone(&[], WIDGET.1, "again")).await.0, 0, "and the next time Git asks anew");
}

#[tokio::test]
async fn another_repository_gets_no_credential_where_git_names_it() {
    let stage = Stage::start().await;
    let options = ["-c", "credential.useHttpPath=true"];
    let (code, _, err) = ran(&mut stage.clone(&options, GADGET.1, "gadget")).await;
    assert_eq!(code, 128, "{err}");
    assert!(err.contains("is not for acme/gadget.git; it was ended"), "{err}");
    assert_eq!((stage.github.honoured(), stage.house.leases().await.0), (0, 0));
    // In a task that goes on, the token ends with its grant, and the rest of the task is untouched.
    let ask = serde_json::json!({ "purpose": "look around", "scopes": ["sandbox:releases:read"] });
    let (harness, agent) = (&stage.house.harness, stage.house.harness.agent("release-bot"));
    let task = harness.post("/v1/tasks", &agent, &ask).await.expect(201)["id"].as_str().unwrap().to_owned();
    let (code, _, err) = ran(stage.clone(&options, GADGET.1, "gadget").env("HALLPASS_TASK", &task)).await;
    assert_eq!((code, stage.github.honoured(), stage.house.leases().await.0), (128, 0, 1), "{err}");
    let collected = harness.post(&format!("/v1/tasks/{task}/credentials"), &agent, &serde_json::json!({})).await;
    assert_eq!(collected.json()["credentials"], serde_json::json!([]));
    // Where it does not, the token itself is for one repository.
    let (code, _, err) = ran(&mut stage.clone(&[], GADGET.1, "gadget")).await;
    assert_eq!(code, 128, "{err}");
}

#[tokio::test]
async fn another_server_gets_nothing_and_nothing_is_minted_for_it() {
    let stage = Stage::start().await;
    for (server, operation) in [
        ("protocol=https\nhost=evil.example\n", "fill"),
        (&format!("protocol=https\nhost={}\n", stage.github.address), "fill"),
        (&format!("protocol=http\nhost={}\nusername=x-access-token\npassword=p\n", stage.github.address), "reject"),
        (&format!("protocol=http\nhost={}\nusername=x-access-token\npassword=p\n", stage.github.address), "approve"),
    ] {
        let input = stage.house.folder.path().join("input");
        std::fs::write(&input, server).unwrap();
        let mut git = stage.git("gh:widget:read", &["credential", operation]);
        let (code, out, err) = ran(git.stdin(std::fs::File::open(&input).unwrap())).await;
        assert_eq!((code == 0, out.as_str()), (operation != "fill", ""), "{server}: {err}");
        assert!(!err.contains("quit"), "others may answer: {err}");
    }
    assert_eq!((stage.minted(), stage.house.leases().await), (0, (0, 0)));
}

#[tokio::test]
async fn who_is_refused_does_not_go_on_with_another_helper() {
    let stage = Stage::start().await;
    let other = "!f() { echo username=u; echo password=somebody-elses; }; f";
    for (scope, exit) in [("gh:widget:admin", "error:"), ("gh:releases:write --no-wait", "[pending]")] {
        let url = format!("{}/{}.git", stage.url(), WIDGET.1);
        let mut git = stage.git(scope, &["-c", &format!("credential.helper={other}"), "clone", "-q", &url, "there"]);
        let (code, _, err) = ran(&mut git).await;
        assert_eq!(code, 128, "{err}");
        assert!(err.contains("told us to quit") && err.contains(exit), "{err}");
    }
    assert_eq!(stage.minted(), 0);
    // Somebody agrees, and who was told to come back finds it, without asking a second time.
    let request = stage.house.pending().await;
    stage.house.approve(&request).await;
    let task = request["task"].as_str().unwrap();
    let url = format!("{}/{}.git", stage.url(), WIDGET.1);
    let mut git = stage.git("gh:releases:write --no-wait", &["clone", "-q", &url, "there"]);
    let (code, _, err) = ran(git.env("HALLPASS_TASK", task)).await;
    assert_eq!((code, stage.minted()), (0, 1), "{err}");
    assert_eq!(stage.house.leases().await, (1, 1));
}
