//! Mail, taken over TLS by a server that is not ours and parsed by nothing of ours.

use std::path::Path;

use hallpass::notify::{Channels, SenderDeps};
use hallpass::sys::HttpClient;
use serde_json::{Value, json};

use super::world::*;
use crate::support::foreign;
use crate::support::harness::Options;

struct Mail {
    folder: tempfile::TempDir,
    port: u64,
    _server: foreign::Server,
}

impl Mail {
    fn start(implicit: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::create_dir(folder.path().join("taken")).unwrap();
        let case = json!({ "folder": path("taken"), "certificate": path("cert.pem"), "key": path("key.pem"),
            "user": "hallpass", "password": "correct horse", "implicit": implicit });
        let (server, said) = foreign::Server::start(&foreign::python(), "mail_server.py", Some(&case.to_string()));
        Self { port: said["port"].as_u64().unwrap(), _server: server, folder }
    }

    fn channel(&self, more: &str) -> String {
        let password = secret(&self.folder, "password", "correct horse");
        format!(
            "name='mail'\nkind='smtp'\nserver='localhost'\nport={}\nuser='hallpass'\npassword={{file='{password}'}}\n\
             from='Hallpass <hallpass@acme.example>'\nca_file='{}'\n{more}",
            self.port,
            self.folder.path().join("cert.pem").display()
        )
    }

    /// What was taken, in order: the recipient and the message.
    fn taken(&self) -> Vec<(String, String)> {
        let message = |number: usize| -> Option<Value> {
            let path = self.folder.path().join("taken").join(format!("{number}.json"));
            serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
        };
        let taken = (1..).map_while(message).map(|message| {
            assert_eq!((&message["tls"], &message["user"]), (&json!(true), &json!("hallpass")));
            assert_eq!(
                (&message["from"], message["to"].as_array().unwrap().len()),
                (&json!("hallpass@acme.example"), 1)
            );
            (message["to"][0].as_str().unwrap().to_owned(), message["data"].as_str().unwrap().to_owned())
        });
        taken.collect()
    }

    fn busy(&self, busy: bool) {
        let file = self.folder.path().join("taken/busy");
        if busy { std::fs::write(file, "").unwrap() } else { std::fs::remove_file(file).unwrap() }
    }
}

fn header<'m>(message: &'m str, name: &str) -> &'m str {
    let (headers, _) = message.split_once("\r\n\r\n").unwrap();
    let line = headers.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("no {name} in {headers}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_decide_are_asked_by_mail_and_those_whose_own_it_is_are_not() {
    let mail = Mail::start(false);
    let to = "to={'release-approvers'=['team@acme.example','maya@acme.example','jonas@acme.example']}";
    let jonas = "[[person]]\nname = \"jonas\"";
    let zed = "[[person]]\nname = \"zed\"\nemail = \"zed@acme.example\"\ndisabled = true\n\n";
    let options = Options { notify: vec![mail.channel(to)], ..Options::default() };
    let h = broker_of(options.with_change("people.toml", jonas, &format!("{zed}{jonas}"))).await;
    known(&h, "zed", "zed", Some("zed@acme.example"), &["release-approvers"]).await;
    known(&h, "dev-approver", "dev-approver", Some("Dev-Approver@hallpass.example"), &["release-approvers"]).await;
    known(&h, "zoe", "zoe", Some("zoe@acme.example"), &["release-approvers-2", "Release-Approvers"]).await;
    known(&h, "maya", "maya", Some("maya@acme.example"), &["release-approvers"]).await;
    known(&h, "kim", "kim", None, &["release-approvers"]).await;
    let ask = json!({ "purpose": "publish", "ttl_seconds": 600, "on_behalf_of": "jonas@acme.example",
        "scopes": ["api:releases:write(prefix=v1)"] });
    let task = h.post("/v1/tasks", &h.agent("release-bot"), &ask).await.expect(202);
    tell(&h).await;
    let mut asked: Vec<String> = mail.taken().into_iter().map(|(to, _)| to).collect();
    asked.sort();
    assert_eq!(
        asked,
        ["dev-approver@hallpass.example", "team@acme.example"],
        "neither the owner nor the beneficiary, and nobody who is disabled"
    );
    let before = mail.taken();
    decide(&h, task["requests"][0]["id"].as_str().unwrap(), "deny").await;
    tell(&h).await;
    let after: Vec<(String, String)> = mail.taken().split_off(before.len());
    let mut told: Vec<&str> = after.iter().map(|(to, _)| to.as_str()).collect();
    told.sort_unstable();
    assert_eq!(
        told,
        ["dev-approver@hallpass.example", "maya@acme.example", "team@acme.example"],
        "the owner is told too"
    );
    for (to, message) in &after {
        assert!(message.contains("Denied by dev-approver"), "{message}");
        match before.iter().find(|(asked, _)| asked == to) {
            Some((_, ask)) => {
                assert_eq!(header(message, "In-Reply-To"), header(ask, "Message-ID"));
                assert_eq!(header(message, "References"), header(ask, "Message-ID"));
            }
            None => assert!(!message.contains("In-Reply-To")),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_busy_is_tried_again_with_the_same_message_id_and_implicit_tls_works_too() {
    let mail = Mail::start(true);
    let h = broker(vec![mail.channel("tls='implicit'\nto={'release-approvers'=['team@acme.example']}")]).await;
    mail.busy(true);
    pending(&h).await;
    tell(&h).await;
    assert!(mail.taken().is_empty());
    mail.busy(false);
    later(&h, 5).await;
    later(&h, 3600).await;
    let [(_, message)] = mail.taken().try_into().unwrap();
    assert!(header(&message, "Message-ID").starts_with("<ntc_"), "{message}");
    assert_eq!(header(&message, "Auto-Submitted"), "auto-generated");
    assert!(header(&message, "Subject").starts_with("Hallpass: release-bot asks for access"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_was_not_seen_for_long_is_not_asked() {
    let mail = Mail::start(false);
    let h = broker(vec![mail.channel("")]).await;
    known(&h, "dev-approver", "dev-approver", Some("dev-approver@hallpass.example"), &["release-approvers"]).await;
    h.clock.advance_secs(91 * 24 * 3600);
    pending(&h).await;
    tell(&h).await;
    assert!(mail.taken().is_empty());
}

async fn check(text: &str) -> Result<String, String> {
    let deps = SenderDeps { http: HttpClient::new(None).unwrap(), folder: Path::new("/").to_owned() };
    let channels = Channels::build(&[toml::from_str(text).unwrap()], &deps).map_err(|error| error.to_string())?;
    channels.iter().next().unwrap().sender.check().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_signs_in_and_sends_nothing_and_nothing_goes_out_without_tls() {
    let mail = Mail::start(false);
    let text = mail.channel("");
    check(&text).await.unwrap();
    let wrong = secret(&mail.folder, "wrong", "battery staple");
    let right = mail.folder.path().join("password").display().to_string();
    let said = check(&text.replace(&right, &wrong)).await.unwrap_err();
    assert!(said.contains("535") || said.contains("invalid"), "{said}");
    let stranger = tempfile::tempdir().unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(stranger.path().join("cert.pem"), other.cert.pem()).unwrap();
    let own = mail.folder.path().join("cert.pem").display().to_string();
    let said = check(&text.replace(&own, &stranger.path().join("cert.pem").display().to_string())).await.unwrap_err();
    assert!(said.contains("certificate"), "{said}");
    for (wrong, why) in [
        (format!("{text}tls='none'"), "a server on this machine, without a password"),
        (text.replace("Hallpass <hallpass@acme.example>", "Hallpass\\r\\nBcc: x@y.z"), "`from`"),
        (format!("{text}to={{a=['x@y.example, z@y.example']}}"), "is not an address"),
        (text.replace("user='hallpass'\n", ""), "go together"),
    ] {
        let said = check(&wrong).await.unwrap_err();
        assert!(said.contains(why), "{said}");
    }
    assert!(mail.taken().is_empty());
}
