//! `hallpass login`, `logout` and `session`, with a person at `hallpass dev`'s console who follows the link of its greeting.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use super::{Dev, hallpass, run};
use crate::support::walker::Walker;

/// A command against this broker with a configuration folder of its own and no token.
fn command(dev: &Dev, home: &tempfile::TempDir, arguments: &[&str]) -> Command {
    let mut command = hallpass();
    command.args(["--server", &dev.url()]).args(arguments).env("XDG_CONFIG_HOME", home.path());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_by_the_link_of_dev_and_signs_their_command_line_in() {
    let dev = Dev::start();
    let home = tempfile::tempdir().unwrap();
    let (code, _, err) = run(&mut command(&dev, &home, &["whoami"]));
    assert_eq!(code, 7, "{err}");
    assert!(err.contains("hallpass login"), "{err}");
    let link = dev.line("Console").await.split_whitespace().nth(1).unwrap().to_owned();
    assert!(link.starts_with(&format!("{}/?code=", dev.url())) && link.len() == dev.url().len() + 16, "{link}");
    let mut walker = Walker::new();
    let page = walker.go(&link).await;
    assert_eq!((page.status, page.url.path()), (200, "/"), "{}", page.text);
    assert!(page.text.contains("dev-approver"), "{}", page.text);
    let mut other = Walker::new();
    let page = other.go(&link).await;
    assert!(page.text.contains("Sign in as whom?"), "the link is used up: {}", page.text);

    let mut login = command(&dev, &home, &["login", "--no-browser"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(login.stderr.take().unwrap()).lines();
    let url = said.find_map(|line| Some(line.unwrap().split_once("Open ")?.1.to_owned())).unwrap();
    let page = walker.go(&url).await;
    assert!(page.text.contains("hallpass 0.1.0"), "{}", page.text);
    let (csrf, code) = (page.hidden("csrf"), page.hidden("user_code"));
    let page = walker.send(page.form(), &[("csrf", &csrf), ("user_code", &code), ("answer", "confirm")]).await;
    assert_eq!(page.status, 200, "{}", page.text);
    assert!(login.wait().unwrap().success());
    let file = home.path().join("hallpass/sessions.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let (code, out, err) = run(&mut command(&dev, &home, &["whoami", "-o", "name"]));
    assert_eq!((code, out.trim()), (0, "dev-approver"), "{err}");
    let (code, out, err) = run(&mut command(&dev, &home, &["session", "list"]));
    assert!(code == 0 && out.contains("(this)") && out.contains("console") && out.contains("cli"), "{out}{err}");
    apr_01_the_owner_of_an_agent_cannot_decide_by_command_line(&dev);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (code, _, err) = run(&mut command(&dev, &home, &["whoami"]));
    assert!(code == 7 && err.contains("chmod 600"), "{err}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let stolen = std::fs::read(&file).unwrap();
    let (code, _, err) = run(&mut command(&dev, &home, &["logout"]));
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = run(&mut command(&dev, &home, &["whoami"]));
    assert_eq!(code, 7, "{err}");
    std::fs::write(&file, stolen).unwrap();
    let (code, _, err) = run(&mut command(&dev, &home, &["whoami"]));
    assert_eq!(code, 7, "what was kept opens nothing any more: {err}");
}

/// maya owns release-bot, and jonas does not.
fn apr_01_the_owner_of_an_agent_cannot_decide_by_command_line(dev: &Dev) {
    let ask = ["task", "open", "--purpose", "publish v1.4.2", "--scope", "sandbox:releases:write"];
    let (code, out, err) = run(&mut dev.by("release-bot", &ask));
    assert_eq!(code, 4, "{out}{err}");
    let (_, out, err) = run(&mut dev.by("maya", &["inbox", "list", "-o", "name"]));
    let request = out.lines().next().unwrap_or_else(|| panic!("nothing waits: {err}")).to_owned();
    let approve = ["inbox", "approve", &request, "--reason", "because I can"];
    let (code, out, err) = run(&mut dev.by("maya", &approve));
    assert_eq!(code, 3, "{out}{err}");
    assert!(err.contains("self-approval-forbidden"), "{err}");
    let (code, out, err) = run(&mut dev.by("jonas", &approve));
    assert_eq!(code, 0, "{out}{err}");
}
