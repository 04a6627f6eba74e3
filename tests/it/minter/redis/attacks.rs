//! What a holder tries beyond its scopes, and what a parameter tries to be.

use std::collections::BTreeMap;

use hallpass::domain::{MintPlan, ParamType, Scope};
use hallpass::minter::{CredentialRef, Inventory, MintError, Minter, Probe};
use serde_json::json;

use super::super::{agent, order, scope};
use super::{end, live, minter_at, minter_with, plan_for, reads, run, value, writes};
use crate::support::redis::Redis;

#[tokio::test]
async fn red_04_a_holder_reaches_its_own_keys_by_its_own_commands_alone() {
    let redis = Redis::start();
    let minter = minter_at(&redis);
    redis.operator(&["mset", "orders:acme:1", "rope", "orders:globex:1", "laser", "prices:1", "5"]);
    let (plan, minted) = live(&*minter, &[reads("acme"), writes()]).await;
    assert_eq!(run(&redis, &minted, &["get", "orders:acme:1"]), "rope");
    assert_eq!(run(&redis, &minted, &["set", "prices:1", "6"]), "OK");
    assert_eq!(run(&redis, &minted, &["publish", "prices", "6"]), "0");
    for (words, why) in [
        (&["get", "orders:globex:1"][..], "another tenant's"),
        (&["get", "orders:acme"], "not below"),
        (&["mget", "orders:acme:1", "orders:globex:1"], "one of two"),
        (&["get", "prices:1"], "one scope's command on the other's key"),
        (&["set", "orders:acme:1", "x"], "and the other way round"),
        (&["keys", "*"], "names"),
        (&["scan", "0"], "names"),
        (&["randomkey"], "a name"),
        (&["publish", "orders", "x"], "another channel"),
        (&["subscribe", "orders"], "another channel"),
        (&["psubscribe", "*"], "all channels"),
        (&["acl", "setuser", "evil", "on", "nopass", "+@all", "~*"], "a user"),
        (&["acl", "getuser", "operator"], "another user"),
        (&["client", "list"], "who else is there"),
        (&["config", "get", "*"], "configuration"),
        (&["eval", "return redis.call('get', 'orders:globex:1')", "0"], "a script"),
        (&["flushall"], "everything"),
        (&["select", "1"], "another database"),
        (&["monitor"], "what others do"),
    ] {
        let said = run(&redis, &minted, words);
        assert!(said.contains("NOPERM"), "{why}: {words:?}: {said}");
    }
    assert_eq!(redis.operator(&["get", "orders:acme:1"]), "rope");
    end(&*minter, &plan).await;
}

/// A plan whose parameter has any value: a list of the catalogue admits what its author wrote.
fn plan_with(minter: &dyn Minter, tenant: &str) -> Result<MintPlan, MintError> {
    let effect = json!({ "commands": ["get"], "keys": { "orders:{tenant}:*": "read", "one:{tenant}": "read" } });
    let (written, mut entry) = scope("cache:orders:read(tenant=x)", effect);
    let values = vec![tenant.to_owned()];
    entry.params.values_mut().for_each(|kind| *kind = ParamType::OneOf { values: values.clone() });
    let params: BTreeMap<_, _> = written.params().keys().map(|name| (name.clone(), tenant.to_owned())).collect();
    let Ok(scope) = Scope::new(written.entry().clone(), params) else {
        return Err(MintError::Unsupported("no scope".to_owned()));
    };
    minter.plan(&order(&agent(), &[(scope, entry)]))
}

#[tokio::test]
async fn red_02_a_parameter_is_never_a_pattern_a_rule_or_a_further_word() {
    let redis = Redis::start();
    let minter = minter_at(&redis);
    for tenant in ["a b", "a ~*", "a\n~*", "a)", "a) on nopass ~* +@all (", "\"a", "a'", "\\x20", "é", "a:b"] {
        let planned = plan_with(&*minter, tenant);
        if tenant == "\\x20" {
            assert!(planned.is_ok(), "a backslash is only one");
            continue;
        }
        assert!(matches!(planned, Err(MintError::Unsupported(_))), "{tenant:?}: {planned:?}");
    }
    for tenant in
        ["*", "a*", "?", "[a-z]", "\\", "a\\*", "^", "]", "%RW~x", "~x", "&x", "+@all", "#", ">p", "!x", "a-b", "@all"]
    {
        let plan = plan_with(&*minter, tenant).unwrap();
        minter.mint(&plan).await.unwrap();
        minter.activate(&plan.handle).await.unwrap();
        let user = plan.handle.as_str();
        let may = |words: &[&str]| redis.operator(&[&["acl", "dryrun", user][..], words].concat());
        let own = format!("orders:{tenant}:1");
        assert_eq!(may(&["get", &own]), "OK", "{tenant:?}");
        assert_eq!(may(&["get", &format!("one:{tenant}")]), "OK", "{tenant:?}");
        for key in
            ["orders:b:1", "orders:acme:1", "orders:aa:1", "orders:", "x", "one:b", "one:ab", "orders:a:1", "one:"]
        {
            if key != own && key != format!("one:{tenant}") {
                assert_ne!(may(&["get", key]), "OK", "{tenant:?} {key}");
            }
        }
        for words in [&["set", own.as_str(), "1"][..], &["flushall"], &["acl", "whoami"], &["publish", "x", "1"]] {
            assert_ne!(may(words), "OK", "{tenant:?} {words:?}");
        }
        let listed = redis.operator(&["acl", "list"]);
        let line = listed.lines().find(|line| line.contains(user)).unwrap();
        assert_eq!(line.matches('(').count(), 1, "{line}");
        assert!(!line.contains("nopass"), "{line}");
        // What the file says means the same when it is read again.
        redis.operator(&["acl", "load"]);
        assert_eq!(redis.operator(&["acl", "list"]), listed, "{tenant:?}");
        end(&*minter, &plan).await;
    }
}

/// Asked of the server's own table: whatever the catalogue may hand out has its keys or channels checked, or has none.
#[tokio::test]
async fn red_03_no_command_that_can_be_handed_out_is_dangerous_or_looks_past_the_patterns() {
    let redis = Redis::start();
    let minter = minter_at(&redis);
    let mut seen = 0;
    let mut names: Vec<String> = redis.operator(&["command", "list"]).lines().map(str::to_owned).collect();
    for parent in names.clone() {
        let below = redis.operator(&["command", "list", "filterby", "pattern", &format!("{parent}|*")]);
        names.extend(below.lines().filter(|line| line.contains('|')).map(str::to_owned));
    }
    assert!(names.iter().any(|name| name == "config|set") && names.len() > 300, "{}", names.len());
    let of = |category: &str| redis.operator(&["acl", "cat", category]).lines().map(str::to_owned).collect::<Vec<_>>();
    let bad = ["dangerous", "admin", "scripting"].map(of).concat();
    let keyless = ["connection", "transaction", "pubsub"].map(of).concat();
    for name in &names {
        let effect = json!({ "commands": [name], "keys": { "x": "read" } });
        if minter.bucket(&scope("cache:x:read", effect).1).is_err() {
            continue;
        }
        seen += 1;
        let info = redis.operator(&["command", "info", name]);
        let has_keys = info.lines().any(|line| matches!(line.trim(), "RO" | "RW" | "OW" | "RM"));
        assert!(!bad.contains(name), "{name} is of a category that can do too much");
        assert!(has_keys || keyless.contains(name), "{name} has no keys that Redis checks: {info}");
        for flag in ["admin", "dangerous", "scripting"] {
            assert!(!info.contains(&format!("@{flag}")), "{name} is {flag}");
        }
    }
    assert!(seen > 150, "only {seen} commands can be handed out");
}

#[tokio::test]
async fn what_another_deployment_or_somebody_else_made_is_left_alone() {
    let redis = Redis::start();
    let (ours, theirs) = (minter_with("ours", &redis.settings("")), minter_with("theirs", &redis.settings("")));
    let (plan, minted) = live(&*theirs, &[reads("acme")]).await;
    assert_eq!(ours.inventory().await.unwrap(), Inventory::Complete(Vec::new()));
    let credential = CredentialRef::of_plan(&plan);
    let own = plan_for(&*ours, &[reads("acme")]);
    let mixed = MintPlan { handle: plan.handle.clone(), ..own };
    for refused in [
        ours.revoke(credential).await.map(drop),
        ours.activate(&plan.handle).await,
        ours.mint(&mixed).await.map(drop),
        ours.probe(credential).await.map(drop),
    ] {
        assert!(matches!(refused, Err(MintError::Refused(_))), "{refused:?}");
    }
    assert_eq!(run(&redis, &minted, &["get", "orders:acme:1"]), "");
    for name in [
        "operator",
        "hallpass",
        "default",
        "hallpass-0123456789abcdef-x",
        value(&minted, "username").trim_end_matches('0'),
    ] {
        let handle = hallpass::domain::Handle::new(name);
        let credential = CredentialRef { handle: &handle, native_end: plan.native_end, kept: None, ending_since: None };
        assert!(matches!(ours.revoke(credential).await, Err(MintError::Refused(_))), "{name}");
    }
    assert_eq!(theirs.probe(CredentialRef::of_plan(&plan)).await.unwrap(), Probe::Honoured);
    end(&*theirs, &plan).await;
}
