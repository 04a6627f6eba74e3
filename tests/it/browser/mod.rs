//! People in a real Chromium, with and without JavaScript, on a phone and at a desk: they sign in at a provider that others wrote, and
//! decide what waits. Every page is looked at by axe and must fit its screen; pictures of them are kept in target/pictures.

mod decide;
mod pages;

use std::process::Child;

use serde_json::{Value, json};

use crate::support::foreign::{Server, node};
use crate::support::loopback::{Wire, get, request};
use crate::support::process::{Stage, write_agents};
use crate::support::webdriver::Browser;

const SECTIONS: &str = r#"
[[issuers]]
name = "op"
issuer = "@ISSUER@"
for = "people"
algorithms = ["ES256"]
allow_private = true

[sign_in]
issuer = "op"
client_id = "hallpass"
client_secret = { file = "client-secret" }
scopes = ["openid", "email", "groups"]
"#;

/// A scope whose yes a passkey signs, and two that take a yes of anybody who may.
const CATALOGUE: &str = r#"
[[scope]]
name = "api:notes:write"
description = "Change release notes through the release API"
risk = 75
owner = "maya"
max_ttl_seconds = 900
labels = { env = "prod" }
effect = { audience = "https://releases.hallpass.example", type = "notes" }

[[scope]]
name = "api:pages:write"
description = "Change the release page through the release API"
risk = 72
owner = "maya"
max_ttl_seconds = 900
labels = { env = "prod" }
effect = { audience = "https://releases.hallpass.example", type = "pages" }
"#;

const POLICIES: &str = r#"
@id("notes-and-pages")
@reason("Deploy agents may change notes and pages")
permit (principal in Hallpass::Team::"deploy", action == Hallpass::Action::"grant", resource is Hallpass::Scope)
when { ["notes", "pages"].contains(resource.resource) };

@id("publishing-is-signed")
@reason("Publishing is signed with a passkey")
@approval("1 of release-approvers")
@step_up("passkey")
forbid (principal, action == Hallpass::Action::"grant", resource)
when { resource.risk >= 80 }
unless { context.approvals.satisfied.contains("publishing-is-signed") };
"#;

pub(super) const PUBLISH: &str = "api:releases:write(prefix=v1.4.2/)";
pub(super) const NOTES: &str = "api:notes:write";
pub(super) const PAGES: &str = "api:pages:write";

/// A broker of its own process and the provider its people sign in at.
pub(super) struct Site {
    stage: Stage,
    broker: Child,
    _provider: Server,
    /// Where a browser finds it: passkeys want a name, not an address.
    pub(super) url: String,
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.broker.kill();
        let _ = self.broker.wait();
    }
}

impl Site {
    pub(super) async fn start() -> Self {
        let stage = Stage::with(None, 1, SECTIONS, false);
        let (address, url) = (stage.address, format!("http://localhost:{}", stage.address.port()));
        let (provider, said) = Server::start(&node(), "sign_in.mjs", Some(&format!("{url}/sign-in/callback")));
        stage.configure("hallpass", "@ISSUER@", said["issuer"].as_str().unwrap());
        stage.configure("hallpass", &format!("public_url = \"http://{address}\""), &format!("public_url = \"{url}\""));
        for issuer in ["agents", "people"] {
            let name = format!("name = \"{issuer}\"");
            stage.configure("hallpass", &name, &format!("{name}\naudience = \"http://{address}\""));
        }
        let folder = stage.folder.path();
        let secret = folder.join("client-secret");
        std::fs::write(&secret, "for-this-test-only: 100% + & =\n").unwrap();
        std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let add = |file: &str, more: &str| {
            let path = folder.join("policies").join(file);
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(path, text + more).unwrap();
        };
        add("catalogue.toml", CATALOGUE);
        add("agents.cedar", POLICIES);
        write_agents(
            folder,
            1,
            "description = \"Publishes releases\"\nowner = \"maya\"\nrisk_tier = \"medium\"\nteams = [\"deploy\"]\n\
             kinds = [\"deploy\"]\nceiling = [\"api:releases:read\", \"api:releases:write\", \"api:notes:write\", \
             \"api:pages:write\"]\nlimits = { pending_requests = 100 }",
        );
        let broker = stage.start(env!("CARGO_BIN_EXE_hallpass").as_ref());
        stage.ready().await;
        Self { stage, broker, _provider: provider, url }
    }

    async fn call(&self, bytes: &[u8]) -> Value {
        let mut wire = Wire::connect(self.stage.address).await.unwrap();
        let answer = wire.send(bytes).await.unwrap();
        assert!(answer.status < 300, "{}: {}", answer.status, String::from_utf8_lossy(answer.body));
        answer.json()
    }

    /// What the agent does.
    pub(super) async fn agent(&self, path: &str, body: &Value) -> Value {
        let who = self.stage.agent("bench-0");
        self.call(&request("POST", path, &who, "application/json", &body.to_string())).await
    }

    /// A task that waits for people: its id, and its request's.
    pub(super) async fn waiting(&self, scopes: &[&str]) -> (String, String) {
        let ask = json!({
            "purpose": "Publish release v1.4.2 to the artifact bucket", "kind": "deploy", "scopes": scopes, "ttl_seconds": 600,
            "message": "I built v1.4.2 from commit 3fd0c1 and need to upload 14 files.", "references": { "ticket": "REL-482" },
        });
        let task = self.agent("/v1/tasks", &ask).await;
        let request = &task["requests"][0];
        assert_eq!(request["state"], "pending", "{task}");
        (task["id"].as_str().unwrap().to_owned(), request["id"].as_str().unwrap().to_owned())
    }

    /// What the agent holds after asking for it.
    pub(super) async fn collected(&self, task: &str) -> Value {
        self.agent(&format!("/v1/tasks/{task}/credentials"), &json!({})).await["credentials"].clone()
    }

    /// What the broker tells an operator there.
    pub(super) async fn read(&self, path: &str) -> Value {
        self.call(&get(path, &self.stage.operator())).await
    }

    /// Open a page of the console as this person, signing in at the provider on the way if need be.
    pub(super) async fn visit(&self, browser: &Browser, path: &str, person: &str) {
        let page = format!("{}{path}", self.url);
        browser.open(&page).await;
        if browser.url().await.starts_with(&self.url) {
            return;
        }
        while !browser.url().await.starts_with(&self.url) {
            if browser.count("input[name=login]").await > 0 {
                browser.type_into("input[name=login]", person).await;
                browser.type_into("input[name=password]", "any").await;
            }
            let before = browser.url().await;
            browser.click("form [type=submit]").await;
            browser.until("the provider goes on", async || browser.url().await != before).await;
        }
        // What its pages lack is no business of ours.
        browser.complaints().await;
    }

    pub(super) fn log(&self) -> String {
        self.stage.log()
    }
}

/// Nothing is wrong with the page: axe finds nothing, it is no wider than the screen, and nothing on it was blocked or failed.
pub(super) async fn sound(browser: &Browser, name: &str) {
    let violations = browser.violations().await;
    assert!(violations.is_empty(), "{name}: {violations:#?}");
    assert!(browser.fits().await, "{name} is wider than the screen");
    let complaints = browser.complaints().await;
    assert!(complaints.is_empty(), "{name}: {complaints:#?}");
}
