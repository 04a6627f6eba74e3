//! Kind `kubernetes`: what is asked of an API server, what a token may do and when it stops, and what is never touched.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use hallpass::domain::{CatalogueEntry, MintPlan, Scope, Timestamp, Ttl};
use hallpass::minter::{CredentialRef, Inventory, MintError, Minted, Minter, Probe, Revoked};
use hallpass::sys::{Clock as _, ExposeSecret as _};
use serde_json::{Value, json};

use super::kube::{API, Call, Fault, Kube};
use super::{T0, World, lease, plan_of, scope, suite};

pub(super) const NAME: &str = "jit-01m3250vz7040g2081040g2081";

pub(super) struct Cluster {
    pub(super) world: World,
    pub(super) kube: Kube,
    folder: tempfile::TempDir,
}

impl Cluster {
    pub(super) async fn start() -> Self {
        let world = World::new();
        let kube = Kube::start(world.clock.clone()).await;
        let folder = tempfile::tempdir().unwrap();
        let cluster = Self { world, kube, folder };
        cluster.write_token(super::kube::BROKER);
        cluster
    }

    pub(super) fn write_token(&self, token: &str) {
        write_token(self.folder.path(), token);
    }

    pub(super) fn settings(&self, more: &str) -> String {
        format!(
            "name = 'k8s'\nkind = 'kubernetes'\nurl = 'http://{}'\ntoken = {{ file = '{}' }}\n{more}",
            self.kube.address,
            self.folder.path().join("token").display()
        )
    }

    /// With both namespaces and accounts of its own.
    pub(super) fn minter(&self) -> Arc<dyn Minter> {
        self.world.minter(&self.settings("namespaces = ['agents', 'ci']\nown_accounts = true"))
    }
}

fn write_token(folder: &Path, token: &str) {
    let path = folder.join("token");
    std::fs::write(&path, token).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A minter for an API server at some URL, with the authority in the folder if there is one.
pub(super) fn minter_at(url: &str, folder: &Path, world: &World) -> Arc<dyn Minter> {
    write_token(folder, super::kube::BROKER);
    let shown = folder.display();
    let ca = if folder.join("ca.pem").exists() { format!("ca_file = '{shown}/ca.pem'\n") } else { String::new() };
    world.minter(&format!(
        "name = 'k8s'\nkind = 'kubernetes'\nurl = '{url}'\ntoken = {{ file = '{shown}/token' }}\n{ca}\
         namespaces = ['agents', 'ci']\nown_accounts = true"
    ))
}

pub(super) fn shared() -> Vec<(Scope, CatalogueEntry)> {
    let effect = json!({ "namespace": "agents", "service_account": "deployer", "audiences": [API] });
    vec![scope("k8s:deploys:run", effect.clone()), scope("k8s:deploys:read", effect)]
}

pub(super) fn rule(resource: &str, names: &[&str], verbs: &[&str]) -> Value {
    json!({ "api_groups": [""], "resources": [resource], "resource_names": names, "verbs": verbs })
}

pub(super) fn own() -> Vec<(Scope, CatalogueEntry)> {
    let effect = |rules: Value| json!({ "namespace": "agents", "audiences": [API], "rules": rules });
    vec![
        scope("k8s:configmaps:read(name=web)", effect(json!([rule("configmaps", &["{name}"], &["get"])]))),
        scope("k8s:configmaps:see(name=api)", effect(json!([rule("configmaps", &["{name}"], &["get"])]))),
    ]
}

pub(super) fn token(minted: &Minted) -> &str {
    minted.values["token"].expose_secret()
}

pub(super) async fn revoke(minter: &dyn Minter, plan: &MintPlan) -> Result<Revoked, MintError> {
    minter.revoke(CredentialRef::of_plan(plan)).await
}

pub(super) async fn probe(minter: &dyn Minter, plan: &MintPlan) -> Probe {
    minter.probe(CredentialRef::of_plan(plan)).await.unwrap()
}

pub(super) fn lines(calls: &[Call]) -> Vec<String> {
    calls.iter().map(|call| format!("{} {}", call.method, call.path)).collect()
}

#[tokio::test]
async fn the_kubernetes_minter_passes_the_suite_with_a_shared_account() {
    let cluster = Cluster::start().await;
    let other = json!({ "namespace": "agents", "service_account": "auditor", "audiences": [API] });
    suite::run(suite::Subject {
        minter: cluster.minter(),
        clock: cluster.world.clock.clone(),
        scopes: shared(),
        elsewhere: scope("k8s:audits:read", other),
        accepts: &|minted, now| cluster.kube.accepts(token(minted), API, now),
    })
    .await;
    assert_eq!(cluster.kube.world().ours("secrets"), Vec::<String>::new());
}

#[tokio::test]
async fn the_kubernetes_minter_passes_the_suite_with_an_account_of_the_leases_own() {
    let cluster = Cluster::start().await;
    let other = json!({ "namespace": "ci", "audiences": [API], "rules": [rule("configmaps", &["web"], &["get"])] });
    suite::run(suite::Subject {
        minter: cluster.minter(),
        clock: cluster.world.clock.clone(),
        scopes: own(),
        elsewhere: scope("k8s:configmaps:find", other),
        accepts: &|minted, now| cluster.kube.may(token(minted), now, "get", "configmaps", "web"),
    })
    .await;
    for resource in ["secrets", "serviceaccounts", "roles", "rolebindings"] {
        assert_eq!(cluster.kube.world().ours(resource), Vec::<String>::new(), "{resource}");
    }
}

#[tokio::test]
async fn k8s_01_a_secret_with_our_marks_and_a_token_bound_to_it_for_explicit_audiences() {
    let cluster = Cluster::start().await;
    let minter = cluster.minter();
    let plan = plan_of(&*minter, &shared(), |_| ());
    assert_eq!(plan.handle.as_str(), format!("agents/{NAME}"));
    let minted = minter.mint(&plan).await.unwrap();
    let calls = cluster.kube.take_calls();
    let at = "/api/v1/namespaces/agents";
    assert_eq!(lines(&calls), [format!("POST {at}/secrets"), format!("POST {at}/serviceaccounts/deployer/token")]);
    assert!(calls.iter().all(|call| call.query["timeout"] == "4s"), "the server has less time than we wait");
    let (task, id) = (hallpass::domain::TaskId::new(T0, [9; 10]).to_string(), lease(1).to_string());
    let deployment = format!("{}.tested", hallpass::minter::mark("https://hallpass.example"));
    assert_eq!(
        calls[0].body,
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": NAME,
                "namespace": "agents",
                "labels": {
                    "app.kubernetes.io/managed-by": "hallpass",
                    "hallpass/deployment": deployment,
                    "hallpass/backend": "k8s",
                    "hallpass/lease": id,
                    "hallpass/task": task,
                    "hallpass/agent": "release-bot",
                    "hallpass/own-account": "false",
                },
                "annotations": { "hallpass/agent": "release-bot", "hallpass/native-end": plan.native_end },
            },
            "type": "Opaque",
            "immutable": true,
        })
    );
    let uid = cluster.kube.world().get("secrets", "agents", NAME).unwrap()["metadata"]["uid"].clone();
    assert_eq!(
        calls[1].body,
        json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [API],
                "expirationSeconds": 600,
                "boundObjectRef": { "apiVersion": "v1", "kind": "Secret", "name": NAME, "uid": uid },
            },
        })
    );
    let claims = cluster.kube.claims(token(&minted)).expect("a token of the API server");
    assert_eq!(claims["kubernetes.io"]["secret"], json!({ "name": NAME, "uid": uid }));
    assert_eq!(claims["sub"], "system:serviceaccount:agents:deployer");
    assert!(!cluster.kube.accepts(token(&minted), "https://elsewhere.example", T0), "for its audience only");
    assert_eq!((minted.kind, minted.values["namespace"].expose_secret()), ("kubernetes_token", "agents"));
    assert!(minted.values["server"].expose_secret().starts_with("http"), "what a kubeconfig needs besides the token");
    // The earlier of what was asked for and what the API server gave.
    let expires = minted.values["expires_at"].expose_secret().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(expires.as_millisecond(), (T0.as_secs() + 600) * 1000);
    assert!(expires.as_millisecond() <= plan.ends_at.as_millis());
}

#[tokio::test]
async fn k8s_02_the_api_server_may_remember_the_token_for_ten_seconds_and_the_end_says_so() {
    let cluster = Cluster::start().await;
    let minter = cluster.minter();
    cluster.kube.world().remembers = true;
    let plan = plan_of(&*minter, &shared(), |_| ());
    let minted = minter.mint(&plan).await.unwrap();
    assert!(cluster.kube.review(token(&minted), API));
    cluster.kube.take_calls();

    let by = T0.plus_millis(12_000);
    assert_eq!(revoke(&*minter, &plan).await.unwrap(), Revoked::EndsBy(by));
    let calls = cluster.kube.take_calls();
    let deletion = calls.iter().find(|call| call.method == "DELETE").unwrap();
    assert_eq!(deletion.path, format!("/api/v1/namespaces/agents/secrets/{NAME}"));
    assert!(deletion.body["preconditions"]["uid"].as_str().unwrap().starts_with("00000000-"));
    assert!(calls.iter().all(|call| call.accept.contains("as=PartialObjectMetadata")), "no Secret's data is ever read");

    assert!(cluster.kube.review(token(&minted), API), "it is remembered");
    assert_eq!(probe(&*minter, &plan).await, Probe::Unknown, "so nobody says that it is refused");
    cluster.world.clock.advance_secs(9);
    assert!(cluster.kube.review(token(&minted), API), "it still is");
    assert_eq!(revoke(&*minter, &plan).await.unwrap(), Revoked::EndsBy(by), "and asking again puts nothing off");
    cluster.world.clock.set(by);
    assert!(!cluster.kube.review(token(&minted), API), "12 s after, it is not");
    assert!(matches!(revoke(&*minter, &plan).await.unwrap(), Revoked::Gone(how) if how.contains(NAME)));
    assert_eq!(probe(&*minter, &plan).await, Probe::Refused);
    assert_eq!(minter.revocability().strength, "within_seconds");

    // Another replica, or this one after a restart, waits once more rather than guess.
    assert_eq!(revoke(&*cluster.minter(), &plan).await.unwrap(), Revoked::EndsBy(by.plus_millis(12_000)));
}

#[tokio::test]
async fn k8s_02_a_mint_that_lands_late_is_waited_for_anew() {
    let cluster = Cluster::start().await;
    let minter = cluster.minter();
    let plan = plan_of(&*minter, &shared(), |_| ());
    revoke(&*minter, &plan).await.unwrap();
    // Another replica's call lands after this one saw that there was nothing.
    cluster.minter().mint(&plan).await.unwrap();
    cluster.world.clock.advance_secs(15);
    let now = cluster.world.clock.now();
    assert_eq!(revoke(&*minter, &plan).await.unwrap(), Revoked::EndsBy(now.plus_millis(12_000)));
}

#[tokio::test]
async fn k8s_03_a_short_lease_asks_for_the_shortest_token_and_ends_with_its_secret() {
    let cluster = Cluster::start().await;
    let minter = cluster.minter();
    let short = Ttl::from_secs(120).unwrap();
    let plan = plan_of(&*minter, &shared(), |order| {
        order.ttl = short;
        order.ends_at = order.now.plus(short);
    });
    let last = plan.summary.last().unwrap();
    assert_eq!(last, "ended by the broker; without it the API server would honour the token for 702 s");
    let minted = minter.mint(&plan).await.unwrap();
    assert_eq!(cluster.kube.take_calls()[1].body["spec"]["expirationSeconds"], 600);
    assert_eq!(minted.values["expires_at"].expose_secret(), plan.ends_at.to_string());
    cluster.world.clock.set(plan.ends_at);
    let now = cluster.world.clock.now();
    assert!(cluster.kube.accepts(token(&minted), API, now), "only its Secret's end will end it");
    revoke(&*minter, &plan).await.unwrap();
    assert!(!cluster.kube.accepts(token(&minted), API, now));
    assert_eq!(plan.native_end, T0.plus_millis((600 + 60 + 12 + 30) * 1000));
}

#[tokio::test]
async fn k8s_05_what_others_made_in_its_place_is_never_deleted() {
    let cluster = Cluster::start().await;
    let minter = cluster.minter();
    let plan = plan_of(&*minter, &shared(), |_| ());
    let minted = minter.mint(&plan).await.unwrap();
    // Deleted and made anew by somebody else, between our look and our deletion.
    cluster.kube.world().before_delete = Some(Box::new(|world| {
        world.take("secrets", "agents", NAME);
        world.put("secrets", "agents", NAME, json!({ "data": { "theirs": "" } }));
    }));
    cluster.kube.take_calls();
    assert!(matches!(revoke(&*minter, &plan).await.unwrap(), Revoked::EndsBy(_)));
    assert_eq!(cluster.kube.take_calls().iter().filter(|call| call.method == "DELETE").count(), 1, "409, and no more");
    assert!(cluster.kube.world().get("secrets", "agents", NAME).is_some(), "theirs is there");
    assert!(!cluster.kube.accepts(token(&minted), API, T0), "and does not bring the token back");
    assert!(matches!(minter.mint(&plan).await, Err(MintError::Refused(why)) if why.contains("not ours")));
    assert_eq!(minter.inventory().await.unwrap(), Inventory::Complete(Vec::new()));
    assert!(matches!(revoke(&*minter, &plan).await.unwrap(), Revoked::EndsBy(_)));
    cluster.world.clock.advance_secs(13);
    assert!(matches!(revoke(&*minter, &plan).await.unwrap(), Revoked::Gone(_)));
    assert_eq!(probe(&*minter, &plan).await, Probe::Refused);
    assert!(cluster.kube.world().get("secrets", "agents", NAME).is_some(), "theirs is still there");
}

#[tokio::test]
async fn k8s_05_ours_made_anew_by_a_late_call_is_deleted_by_its_new_uid() {
    let cluster = Cluster::start().await;
    let minter = cluster.minter();
    let plan = plan_of(&*minter, &shared(), |_| ());
    minter.mint(&plan).await.unwrap();
    cluster.kube.world().before_delete = Some(Box::new(|world| {
        let ours = world.take("secrets", "agents", NAME).unwrap();
        world.put("secrets", "agents", NAME, ours);
    }));
    revoke(&*minter, &plan).await.unwrap();
    assert_eq!(cluster.kube.world().ours("secrets"), Vec::<String>::new());
}

#[tokio::test]
async fn k8s_05_a_secret_or_namespace_that_is_gone_already_is_no_failure() {
    for (code, reason) in [(404, "NotFound"), (410, "Gone")] {
        let cluster = Cluster::start().await;
        let minter = cluster.minter();
        let plan = plan_of(&*minter, &shared(), |_| ());
        let minted = minter.mint(&plan).await.unwrap();
        cluster.kube.world().drop_namespace("agents");
        cluster.kube.world().faults.push_back(Fault::Says(code, reason));
        revoke(&*minter, &plan).await.unwrap();
        assert!(!cluster.kube.accepts(token(&minted), API, T0));
        cluster.world.clock.advance_secs(12);
        assert!(matches!(revoke(&*minter, &plan).await.unwrap(), Revoked::Gone(_)));
        assert!(matches!(minter.mint(&plan).await, Err(MintError::Refused(why)) if why.contains("agents")));
    }
}

#[tokio::test]
async fn k8s_05_a_finalizer_holds_the_secret_and_the_end_says_until_when_that_counts() {
    let cluster = Cluster::start().await;
    let minter = cluster.minter();
    let plan = plan_of(&*minter, &shared(), |_| ());
    let minted = minter.mint(&plan).await.unwrap();
    let finalizers = json!(["example.com/slow"]);
    cluster.kube.world().get_mut("secrets", "agents", NAME).unwrap()["metadata"]["finalizers"] = finalizers;
    let by = Timestamp::from_secs(T0.as_secs() + 72);
    let Revoked::EndsBy(said) = revoke(&*minter, &plan).await.unwrap() else { panic!("it is not gone") };
    assert!((by..by.plus_millis(1000)).contains(&said), "{said}");
    assert_eq!(probe(&*minter, &plan).await, Probe::Honoured);
    assert!(cluster.kube.accepts(token(&minted), API, T0.plus_millis(59_000)), "an API server has this leeway");
    assert!(matches!(minter.mint(&plan).await, Err(MintError::Refused(why)) if why.contains("being deleted")));
    cluster.world.clock.set(said);
    assert!(!cluster.kube.accepts(token(&minted), API, said));
    assert!(matches!(revoke(&*minter, &plan).await.unwrap(), Revoked::Gone(_)), "whatever the finalizer waits for");
    assert_eq!(probe(&*minter, &plan).await, Probe::Refused);
}
