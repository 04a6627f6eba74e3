//! The whole code flow over real HTTP with a provider that others wrote, whose pages a person would see.

use serde_json::Value;

use crate::support::foreign::{Server, node};
use crate::support::loopback::{Wire, get};
use crate::support::process::Stage;
use crate::support::walker::{Page, Walker};

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

/// Do what the provider's pages ask for, as this person, until one of ours comes; how often it asked who they are.
async fn through(walker: &mut Walker, mut page: Page, ours: &str, who: &str) -> (Page, usize) {
    let mut asked = 0;
    while !page.url.as_str().starts_with(ours) {
        assert_eq!(page.status, 200, "{}: {}", page.url, page.text);
        let prompt = page.hidden("prompt");
        asked += usize::from(prompt == "login");
        let fields = [("prompt", prompt.as_str()), ("login", who), ("password", "any")];
        page = walker.send(page.form(), &fields).await;
    }
    (page, asked)
}

#[tokio::test]
async fn a_person_signs_in_at_a_provider_that_others_wrote_and_proves_who_they_are_once_more() {
    let stage = Stage::with(None, 1, SECTIONS, false);
    let ours = format!("http://{}", stage.address);
    let (_provider, said) = Server::start(&node(), "sign_in.mjs", Some(&format!("{ours}/sign-in/callback")));
    stage.configure("hallpass", "@ISSUER@", said["issuer"].as_str().unwrap());
    let secret = stage.folder.path().join("client-secret");
    std::fs::write(&secret, "for-this-test-only: 100% + & =\n").unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let mut broker = stage.start(env!("CARGO_BIN_EXE_hallpass").as_ref());
    stage.ready().await;
    let mut walker = Walker::new();
    let page = walker.go(&format!("{ours}/device?user_code=")).await;
    let (page, asked) = through(&mut walker, page, &ours, "ann").await;
    assert_eq!((page.status, asked), (200, 1), "{}\n{}", page.text, stage.log());
    assert!(page.url.path() == "/device" && page.text.contains("#ann</strong>"), "{}", page.text);
    let sessions = async || {
        let mut wire = Wire::connect(stage.address).await.unwrap();
        let answer: Value = wire.send(&get("/v1/sessions?all=true", &stage.operator())).await.unwrap().json();
        assert_eq!(answer["items"].as_array().unwrap().len(), 1, "{answer}");
        answer["items"][0].clone()
    };
    let first = sessions().await;
    assert!(first["auth_time"].is_string(), "{first}");
    let page = walker.go(&format!("{ours}/sign-in?step_up=1&next=/device")).await;
    let (page, asked) = through(&mut walker, page, &ours, "ann").await;
    assert_eq!((page.status, asked), (200, 1), "the provider asks again: {}", page.text);
    let second = sessions().await;
    assert_ne!(first["id"], second["id"]);
    // Somebody who is signed in there already is not asked, and comes back signed in here.
    let mut other = std::mem::replace(&mut walker, Walker::new());
    other.forget(&ours);
    let page = other.go(&format!("{ours}/device")).await;
    let (page, asked) = through(&mut other, page, &ours, "ann").await;
    assert_eq!((page.status, asked), (200, 0), "{}", page.text);
    broker.kill().unwrap();
    broker.wait().unwrap();
}
