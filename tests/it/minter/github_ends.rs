//! Kind `github`, when things go wrong: what is said of a token that cannot be ended, what an operator is told to mend, and the git of
//! this machine as a holder of a token, before its end and after.

use std::path::Path;
use std::sync::Arc;

use hallpass::domain::Ttl;
use hallpass::minter::{BackendSettings, CredentialRef, MintError, Minted, Minters, Probe, Revoked};
use hallpass::sys::ExposeSecret as _;

use super::T0;
use super::fake_github::{Call, FakeGithub, Fault, GADGET, WIDGET};
use super::github::{Stage, token};

#[tokio::test]
async fn gh_04_what_github_does_not_know_is_gone_and_everything_else_is_tried_again() {
    let stage = Stage::new().await;
    let (plan, minted) = stage.mint().await;
    let credential = CredentialRef::of_plan(&plan).with(minted.kept.as_ref());
    for status in [401, 404] {
        stage.github.fail_next(Call::Delete, Fault::Status(status));
        assert!(matches!(stage.minter.revoke(credential).await, Ok(Revoked::Gone(_))), "{status}");
        assert_eq!(stage.minter.probe(credential).await.unwrap(), Probe::Honoured, "and asking tells a lie from it");
    }
    for fault in [Fault::Status(500), Fault::Status(503), Fault::Unheard] {
        stage.github.fail_next(Call::Delete, fault);
        let failed = stage.minter.revoke(credential).await;
        assert!(matches!(failed, Err(MintError::Unavailable(_))), "{fault:?}: {failed:?}");
    }
    assert!(!stage.works(&minted), "the unheard one was done");
    assert!(matches!(stage.minter.revoke(credential).await, Ok(Revoked::Gone(_))));
    stage.github.fail_next(Call::Delete, Fault::Status(403));
    assert!(matches!(stage.minter.revoke(credential).await, Err(MintError::Refused(_))), "an operator must look");
    stage.github.fail_next(Call::Probe, Fault::Status(404));
    assert!(stage.minter.probe(credential).await.is_err(), "an odd answer is none");
    // Of what was lost before it was on record nothing is known but its hour.
    let lost = CredentialRef::of_plan(&plan);
    assert_eq!(stage.minter.revoke(lost).await.unwrap(), Revoked::EndsBy(plan.native_end));
    assert_eq!(stage.minter.probe(lost).await.unwrap(), Probe::Unknown);
}

#[tokio::test]
async fn gh_04_github_is_left_alone_for_as_long_as_it_wants_but_no_longer_than_a_minute() {
    let stage = Stage::new().await;
    let (plan, minted) = stage.mint().await;
    let credential = CredentialRef::of_plan(&plan).with(minted.kept.as_ref());
    let reset = T0.plus(Ttl::from_secs(3000).unwrap());
    for (fault, secs) in
        [(Fault::AskedTooMuch(20), 20), (Fault::AskedTooMuch(900), 60), (Fault::NoneLeftUntil(reset), 60)]
    {
        let asked = stage.github.calls(Call::Delete).len();
        stage.github.fail_next(Call::Delete, fault);
        for wait in [0, secs - 1] {
            stage.world.clock.advance_secs(wait);
            let failed = stage.minter.revoke(credential).await;
            assert!(matches!(failed, Err(MintError::Unreached(_))), "{fault:?}: {failed:?}");
            assert_eq!(stage.github.calls(Call::Delete).len(), asked + 1, "{fault:?}: it is asked once");
        }
        // The App is counted apart, and may ask meanwhile.
        assert!(stage.minter.check().await.unwrap().is_empty());
        stage.world.clock.advance_secs(1);
    }
    assert!(matches!(stage.minter.revoke(credential).await, Ok(Revoked::Gone(_))));
    stage.github.fail_next(Call::Mint, Fault::AskedTooMuch(5));
    for _ in 0..2 {
        assert!(matches!(stage.minter.mint(&plan).await, Err(MintError::Unreached(_))));
    }
    assert_eq!(stage.github.calls(Call::Mint).len(), 2);
}

#[tokio::test]
async fn gh_04_an_answer_that_never_comes_is_waited_for_no_longer_than_the_contract_allows() {
    let stage = Stage::new().await;
    let (plan, minted) = stage.mint().await;
    stage.github.fail_always(Call::Delete, Fault::Hang);
    let credential = CredentialRef::of_plan(&plan).with(minted.kept.as_ref());
    let limit = std::time::Duration::from_secs(7);
    let failed = tokio::time::timeout(limit, stage.minter.revoke(credential)).await.expect("within its own limit");
    assert!(matches!(failed, Err(MintError::Unavailable(_))), "{failed:?}");
}

#[tokio::test]
async fn the_check_says_what_to_mend_and_changes_nothing() {
    let stage = Stage::new().await;
    assert_eq!(stage.minter.check().await.unwrap(), Vec::<String>::new());
    stage.github.permit("administration", "write");
    stage.github.install_on_all();
    stage.github.suspend();
    stage.github.follow(Arc::new(hallpass::sys::ManualClock::new(T0.plus_millis(-31_000))));
    let said = stage.minter.check().await.unwrap().join("\n");
    for what in ["31 s apart", "suspended", "all repositories", "`administration`"] {
        assert!(said.contains(what), "{what}: {said}");
    }
    assert!(stage.github.ever().is_empty());
    let other = stage.world.minter(&stage.github.settings("gh").replace("client_id = 'Iv", "client_id = 'Xx"));
    let said = other.check().await.unwrap().join("\n");
    assert!(said.contains("`private_key`") && said.contains("401"), "{said}");
    let nobody = stage.github.settings("gh").replace(&stage.github.address.to_string(), "127.0.0.1:1");
    assert!(matches!(stage.world.minter(&nobody).check().await, Err(MintError::Unreached(_))));
}

#[tokio::test]
async fn settings_that_would_send_the_key_or_a_token_astray_are_refused() {
    let stage = Stage::new().await;
    let good = stage.github.settings("gh");
    let pkcs8 = good.replace("pkcs1.pem", "pkcs8.pem");
    stage.world.minter(&pkcs8).check().await.unwrap();
    let at = format!("http://{}", stage.github.address);
    let not_a_key = stage.github.folder.path().join("no.pem");
    std::fs::copy(stage.github.folder.path().join("pkcs1.pem"), &not_a_key).unwrap();
    std::fs::write(&not_a_key, "-----BEGIN CERTIFICATE-----\n").unwrap();
    for (from, to, why) in [
        (at.as_str(), "http://github.example", "https URL"),
        (&at, "https://me:secret@github.example", "https URL"),
        ("allow_private = true", "allow_private = false", "https URL"),
        ("pkcs1.pem", "absent.pem", "absent.pem cannot be read"),
        ("pkcs1.pem", "no.pem", "not an RSA private key in PEM"),
        ("installation_id = 7001", "installation_id = 0", "installation_id"),
        ("client_id = 'Iv", "app = 'Iv", "unknown field `app`"),
    ] {
        let text = good.replace(from, to);
        assert_ne!(text, good, "{from}");
        let settings: BackendSettings = toml::from_str(&text).unwrap();
        let error = Minters::build(&[settings], &stage.world.deps).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("`gh`") && !error.contains("BEGIN"), "{to}: {error}");
    }
}

/// Clone with the git of this machine, which asks a credential helper of Git's own format; what git says.
async fn clone(github: &FakeGithub, repository: &str, minted: &Minted, into: &Path) -> Result<(), String> {
    let helper = github.folder.path().join("helper");
    let answer = format!("username={}\npassword={}\n", minted.values["username"].expose_secret(), token(minted));
    std::fs::write(&helper, format!("#!/bin/sh\n[ \"$1\" = get ] && cat >&2 && cat <<'END'\n{answer}END\n")).unwrap();
    std::fs::set_permissions(&helper, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let done = tokio::process::Command::new("git")
        .args(["-c", "credential.useHttpPath=true", "-c", &format!("credential.helper={}", helper.display())])
        .args(["clone", "-q", &format!("http://{}/{repository}.git", github.address)])
        .arg(into)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", github.folder.path())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    if done.status.success() { Ok(()) } else { Err(said) }
}

#[tokio::test]
async fn git_clones_with_a_token_until_it_is_ended_and_no_other_repository() {
    let stage = Stage::new().await;
    stage.github.fill(WIDGET.1);
    let (plan, minted) = stage.mint().await;
    let folder = tempfile::tempdir().unwrap();
    clone(&stage.github, WIDGET.1, &minted, &folder.path().join("widget")).await.unwrap();
    assert_eq!(std::fs::read_to_string(folder.path().join("widget/README.md")).unwrap(), "a widget\n");
    assert!(clone(&stage.github, GADGET.1, &minted, &folder.path().join("gadget")).await.is_err());

    stage.minter.revoke(CredentialRef::of_plan(&plan).with(minted.kept.as_ref())).await.unwrap();
    let refused = clone(&stage.github, WIDGET.1, &minted, &folder.path().join("again")).await.unwrap_err();
    assert!(refused.contains("Authentication failed"), "{refused}");
}
