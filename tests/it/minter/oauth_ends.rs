//! Kind `oauth`, when things go wrong: what is given other than asked, a server that lies, fails or hangs, and what an operator is
//! told to mend.

use std::sync::Arc;
use std::time::Duration;

use hallpass::minter::{BackendSettings, CredentialRef, MintError, Minters, Probe, Revoked};
use hallpass::sys::{Clock as _, ManualClock};
use serde_json::{Value, json};

use super::fake_as::{Call, Fault, Other, SECRET};
use super::oauth::{Stage, scopes, token};
use super::{T0, plan_of, scope};

#[tokio::test]
async fn oax_02_what_is_given_other_than_asked_is_ended_at_once_and_refused() {
    for (other, why) in [
        (Other::Refresh, "a refresh token too"),
        (Other::Details, "authorization details"),
        (Other::IssuedType, "a token of type"),
        (Other::Dpop, "to be used as `DPoP`"),
        (Other::NoLife, "how long it lives"),
        (Other::LongLife, "for 86400 s"),
        (Other::WideScope, "contacts:delete"),
        (Other::NarrowScope, "only the scope `contacts:eu:read`"),
        (Other::SpacedToken, "HTTP cannot carry"),
        (Other::SilentScope, "contacts:delete"),
        (Other::WideAudience, "payroll.example"),
        (Other::SilentLife, "lives after"),
    ] {
        let stage = Stage::new().await;
        stage.server.do_other(other);
        let refused = stage.minter.mint(&stage.plan()).await;
        assert!(matches!(&refused, Err(MintError::Refused(said)) if said.contains(why)), "{other:?}: {refused:?}");
        assert_eq!(stage.server.counted(), (1, 0), "{other:?}");

        // One that cannot be ended is not said to be gone, and not handed over either.
        stage.server.fail_always(Call::Revoke, Fault::Status(500));
        let refused = stage.minter.mint(&stage.plan()).await;
        assert!(matches!(refused, Err(MintError::Unavailable(_))), "{other:?}: {refused:?}");
    }
    let stage = Stage::new().await;
    stage.server.do_other(Other::NoScope);
    stage.minter.mint(&stage.plan()).await.expect("no scope is the one asked for (RFC 6749 §5.1)");
}

#[tokio::test]
async fn oax_04_a_server_that_calls_every_token_inactive_is_not_believed_when_one_ends() {
    let stage = Stage::new().await;
    stage.server.do_other(Other::Mute);
    let refused = stage.minter.mint(&stage.plan()).await;
    // Nor is it believed that the token has ended: it may work until its own end.
    assert!(
        matches!(&refused, Err(MintError::Unavailable(said)) if said.contains("would mean nothing")),
        "{refused:?}"
    );
    assert_eq!(stage.server.counted(), (1, 0));
}

#[tokio::test]
async fn a_server_may_have_another_name_for_a_target_if_the_catalogue_says_so() {
    let stage = Stage::new().await;
    let named = |aud: Option<&str>| {
        let mut effect = json!({ "audience": "crm", "scope": ["contacts:read"] });
        if let Some(aud) = aud {
            effect["aud"] = json!(aud);
        }
        plan_of(&*stage.minter, &[scope("crm:contacts:list", effect)], |_| ())
    };
    let minted = stage.minter.mint(&named(None)).await.unwrap();
    assert!(minted.values.contains_key("audience") && !minted.values.contains_key("resource"));
    assert_eq!(stage.server.calls(Call::Exchange)[0]["audience"], "crm");
    let refused = stage.minter.mint(&named(Some("https://crm.example"))).await;
    assert!(
        matches!(&refused, Err(MintError::Refused(why)) if why.contains("not `https://crm.example`")),
        "{refused:?}"
    );
    assert_ne!(named(None).digest, named(Some("https://crm.example")).digest);
}

#[tokio::test]
async fn oax_05_a_mint_that_fails_says_whether_there_may_be_a_token() {
    use MintError::{Misconfigured, Refused, Unavailable, Unreached};
    let stage = Stage::new().await;
    let plan = stage.plan();
    for (fault, made, expected) in [
        (Fault::Says(400, "invalid_target"), 0, Refused(String::new())),
        (Fault::Says(400, "invalid_scope"), 0, Refused(String::new())),
        (Fault::Says(400, "invalid_request"), 0, Refused(String::new())),
        (Fault::Says(401, "invalid_client"), 0, Misconfigured(String::new())),
        (Fault::Says(400, "unauthorized_client"), 0, Misconfigured(String::new())),
        (Fault::Says(400, "unsupported_grant_type"), 0, Misconfigured(String::new())),
        (Fault::Says(400, "slow_down"), 0, Unreached(String::new())),
        (Fault::Status(429), 0, Unreached(String::new())),
        (Fault::Status(403), 0, Refused(String::new())),
        (Fault::Moved, 0, Refused(String::new())),
        (Fault::Status(204), 0, Unavailable(String::new())),
        (Fault::Status(503), 0, Unavailable(String::new())),
        (Fault::Unheard, 1, Unavailable(String::new())),
        (Fault::Endless, 1, Unavailable(String::new())),
    ] {
        let before = stage.server.counted().0;
        stage.server.fail_next(Call::Exchange, fault);
        let failed = stage.minter.mint(&plan).await.unwrap_err();
        assert_eq!(std::mem::discriminant(&failed), std::mem::discriminant(&expected), "{fault:?}: {failed:?}");
        assert_eq!(stage.server.counted().0 - before, made, "{fault:?}");
    }
    // What was made and could not be seen to be what was asked for is ended, and then there is none.
    for fault in [Fault::Status(503), Fault::Endless, Fault::Says(403, "forbidden")] {
        let before = stage.server.counted();
        stage.server.fail_next(Call::Introspect, fault);
        let failed = stage.minter.mint(&plan).await;
        assert!(matches!(failed, Err(Unreached(_) | Refused(_))), "{fault:?}: {failed:?}");
        assert_eq!(stage.server.counted(), (before.0 + 1, before.1), "{fault:?}");
    }
}

#[tokio::test]
async fn oax_03_a_token_is_gone_when_the_server_calls_it_inactive_and_not_when_it_took_the_revocation() {
    let stage = Stage::new().await;
    let (plan, minted) = stage.mint().await;
    let credential = CredentialRef::of_plan(&plan).with(minted.kept.as_ref());
    stage.server.do_other(Other::Deaf);
    let failed = stage.minter.revoke(credential).await;
    assert!(matches!(&failed, Err(MintError::Unavailable(why)) if why.contains("still calls")), "{failed:?}");
    assert_eq!(stage.minter.probe(credential).await.unwrap(), Probe::Honoured);
    stage.server.mend();
    for (call, fault) in [
        (Call::Revoke, Fault::Status(503)),
        (Call::Revoke, Fault::Says(400, "unsupported_token_type")),
        (Call::Revoke, Fault::Says(401, "invalid_client")),
        (Call::Revoke, Fault::Unheard),
        (Call::Introspect, Fault::Status(500)),
        (Call::Introspect, Fault::Says(200, "no answer to the question")),
    ] {
        stage.server.fail_next(call, fault);
        assert!(stage.minter.revoke(credential).await.is_err(), "{fault:?}");
    }
    assert!(!stage.works(&minted), "the unheard one was done");
    assert!(matches!(stage.minter.revoke(credential).await, Ok(Revoked::Gone(_))));
    stage.server.fail_next(Call::Introspect, Fault::Status(404));
    assert!(stage.minter.probe(credential).await.is_err(), "an odd answer is none");
}

#[tokio::test]
async fn where_nobody_asks_a_token_is_revoked_and_still_said_to_live_until_its_end() {
    let stage = Stage::with("verifiers = 'offline'").await;
    let (plan, minted) = stage.mint().await;
    assert!(stage.server.calls(Call::Introspect).is_empty());
    let credential = CredentialRef::of_plan(&plan).with(minted.kept.as_ref());
    stage.server.fail_next(Call::Revoke, Fault::Status(503));
    assert!(matches!(stage.minter.revoke(credential).await, Err(MintError::Unavailable(_))));
    assert!(stage.works(&minted));
    assert_eq!(stage.minter.revoke(credential).await.unwrap(), Revoked::EndsBy(plan.native_end));
    assert!(!stage.works(&minted), "who does ask is told");
    assert_eq!(stage.minter.probe(credential).await.unwrap(), Probe::Unknown);
    stage.server.fail_next(Call::Revoke, Fault::Says(400, "unsupported_token_type"));
    assert_eq!(stage.minter.revoke(credential).await.unwrap(), Revoked::EndsBy(plan.native_end));
    // And one that is not handed over cannot be said to be gone.
    stage.server.do_other(Other::WideScope);
    assert!(matches!(stage.minter.mint(&plan).await, Err(MintError::Unavailable(_))));
}

#[tokio::test]
async fn an_answer_that_never_comes_is_waited_for_no_longer_than_the_contract_allows() {
    let stage = Stage::new().await;
    let (plan, minted) = stage.mint().await;
    stage.server.fail_always(Call::Revoke, Fault::Hang);
    let credential = CredentialRef::of_plan(&plan).with(minted.kept.as_ref());
    let failed = tokio::time::timeout(Duration::from_secs(7), stage.minter.revoke(credential)).await;
    assert!(matches!(failed.expect("within its own limit"), Err(MintError::Unavailable(_))));
}

#[tokio::test]
async fn what_is_signed_for_the_server_is_taken_by_it_alone_only_now_and_only_once() {
    let stage = Stage::new().await;
    let plan = stage.plan();
    let (_, one) = stage.mint().await;
    let (_, two) = stage.mint().await;
    assert!(stage.works(&one) && stage.works(&two), "a mint is safe to repeat");
    // A server whose clock is 31 s ahead takes nothing any more.
    stage.server.world().clock_is(Arc::new(ManualClock::new(T0.plus_millis(31_000))));
    let refused = stage.minter.mint(&plan).await;
    assert!(matches!(refused, Err(MintError::Misconfigured(_))), "{refused:?}");
}

#[tokio::test]
async fn oax_06_metadata_is_looked_up_when_it_is_needed_and_believed_of_its_issuer_alone() {
    let stage = Stage::new().await;
    assert!(stage.server.calls(Call::Metadata).is_empty(), "building asks nothing");
    stage.server.fail_next(Call::Metadata, Fault::Status(503));
    let failed = stage.minter.mint(&stage.plan()).await;
    assert!(matches!(failed, Err(MintError::Unreached(_))), "{failed:?}");
    let (plan, minted) = stage.mint().await;
    let credential = CredentialRef::of_plan(&plan).with(minted.kept.as_ref());
    stage.minter.probe(credential).await.unwrap();
    assert_eq!(stage.server.calls(Call::Metadata).len(), 2, "and then once an hour");
    // What it said before is good enough to end what it gave.
    stage.world.clock.advance_secs(3601);
    stage.server.fail_always(Call::Metadata, Fault::Status(503));
    assert!(matches!(stage.minter.revoke(credential).await, Ok(Revoked::Gone(_))));

    let by_openid = Stage::new().await;
    by_openid.server.world().by_openid = true;
    by_openid.mint().await;
    let members = |member: &str, value: Value| [(member.to_owned(), value)].into_iter().collect();
    for (metadata, why) in [
        (members("issuer", json!(stage.server.issuer() + "/")), "of another issuer"),
        (members("token_endpoint", Value::Null), "no `token_endpoint`"),
        (members("token_endpoint", json!("http://mallory.example/token")), "must be https"),
        (members("revocation_endpoint", Value::Null), "no revocation or no introspection"),
        (members("introspection_endpoint", json!(7)), "`introspection_endpoint`"),
    ] {
        let stage = Stage::new().await;
        stage.server.world().metadata = metadata;
        let refused = stage.minter.mint(&stage.plan()).await;
        assert!(matches!(&refused, Err(MintError::Misconfigured(said)) if said.contains(why)), "{why}: {refused:?}");
        assert!(stage.server.calls(Call::Exchange).is_empty(), "{why}");
    }
}

#[tokio::test]
async fn a_secret_and_endpoints_may_be_given_where_a_server_wants_the_one_and_publishes_no_other() {
    let stage = Stage::new().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, SECRET).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let base = format!("http://{}", stage.server.address);
    let settings = format!(
        "{}client_secret = {{ file = '{}' }}\nendpoints = {{ token = '{base}/token', revocation = '{base}/revoke', \
         introspection = '{base}/introspect' }}",
        stage.server.settings(),
        file.display()
    );
    let minter = stage.world.minter(&settings);
    let plan = plan_of(&*minter, &scopes(), |_| ());
    assert!(plan.effect.contains(&format!("{base}/token")) && !plan.effect.contains(SECRET));
    let minted = minter.mint(&plan).await.unwrap();
    assert!(stage.server.accepts(token(&minted), stage.world.clock.now()).is_some());
    let credential = CredentialRef::of_plan(&plan).with(minted.kept.as_ref());
    assert!(matches!(minter.revoke(credential).await, Ok(Revoked::Gone(_))));
    assert_eq!(minter.check().await.unwrap(), Vec::<String>::new());
    assert!(stage.server.calls(Call::Metadata).is_empty());
    assert!(!stage.server.calls(Call::Exchange)[0].contains_key("client_assertion"));
}

#[tokio::test]
async fn the_check_says_what_to_mend_and_changes_nothing() {
    let stage = Stage::new().await;
    assert_eq!(stage.minter.check().await.unwrap(), Vec::<String>::new());
    stage.server.world().metadata = json!({
        "grant_types_supported": ["authorization_code"], "token_endpoint_auth_methods_supported": ["client_secret_post"],
        "token_endpoint_auth_signing_alg_values_supported": ["PS256"], "revocation_endpoint": null,
    })
    .as_object()
    .unwrap()
    .clone();
    stage.server.world().clock_is(Arc::new(ManualClock::new(T0.plus_millis(-31_000))));
    let said = stage.minter.check().await.unwrap().join("\n");
    for what in ["token exchange", "`private_key_jwt`", "`ES256`", "no revocation", "31 s apart", "invalid_client"] {
        assert!(said.contains(what), "{what}: {said}");
    }
    assert_eq!(stage.server.counted().0, 0);
    let other = stage.world.minter(&stage.server.settings().replace("/realms/acme", "/realms/other"));
    let said = other.check().await.unwrap().join("\n");
    assert!(said.contains("404"), "{said}");
    let nobody = stage.server.settings().replace(&stage.server.address.to_string(), "127.0.0.1:1");
    assert!(matches!(stage.world.minter(&nobody).check().await, Err(MintError::Unreached(_))));
}

#[tokio::test]
async fn settings_that_would_send_a_token_or_a_secret_astray_are_refused() {
    let stage = Stage::new().await;
    let good = stage.server.settings();
    let issuer = stage.server.issuer();
    for (from, to, why) in [
        (issuer.as_str(), "http://login.example", "https URL"),
        (&issuer, "https://me:secret@login.example", "https URL"),
        (&issuer, "https://login.example?tenant=1", "https URL"),
        ("allow_private = true", "", "https URL"),
        ("= 600", "= 29", "30 to 86400"),
        ("'hallpass:crm'", "''", "`client_id`"),
        ("allow_private", "subject_token_type = 'jwt'\nallow_private", "is a URI"),
        ("allow_private", "endpoints = { token = 'http://x.example/' }\nallow_private", "https URLs"),
        ("allow_private", "endpoints = { token = 'https://x.example/' }\nallow_private", "verifiers = \"offline\""),
        ("allow_private", "client_secret = { file = '/absent' }\nallow_private", "/absent cannot be read"),
        ("allow_private", "client_secret = 's3cret'\nallow_private", "SecretRef"),
        ("allow_private", "ca_file = '/absent'\nallow_private", "`ca_file`"),
        ("allow_private", "secret = 'x'\nallow_private", "unknown field `secret`"),
    ] {
        let text = good.replace(from, to);
        assert_ne!(text, good, "{from}");
        let settings: BackendSettings = toml::from_str(&text).unwrap();
        let error = Minters::build(&[settings], &stage.world.deps).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("`crm`") && !error.contains("s3cret"), "{to}: {error}");
    }
}
