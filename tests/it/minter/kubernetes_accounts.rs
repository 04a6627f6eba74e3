//! Kind `kubernetes` where a lease has a service account of its own, and what a foreign client, kubectl, can do with its token.

use std::process::Command;
use std::sync::Arc;

use hallpass::minter::{CredentialRef, Found, Inventory, MintError, Probe, Revoked};
use hallpass::sys::Clock as _;
use serde_json::{Value, json};

use super::kube::{API, Fault, Kube};
use super::kubernetes::{Cluster, NAME, lines, own, probe, revoke, rule, shared, token};
use super::{T0, World, agent, lease, order, plan_of, scope};

#[tokio::test]
async fn an_account_of_its_own_may_nothing_until_it_is_activated_and_then_only_what_was_ordered() {
    let cluster = Cluster::start().await;
    let minter = cluster.minter();
    let plan = plan_of(&*minter, &own(), |_| ());
    assert_eq!(plan.handle.as_str(), format!("agents/{NAME}/own"));
    let minted = minter.mint(&plan).await.unwrap();
    let calls = cluster.kube.take_calls();
    let (core, rbac) = ("/api/v1/namespaces/agents", "/apis/rbac.authorization.k8s.io/v1/namespaces/agents");
    assert_eq!(
        lines(&calls),
        [
            format!("POST {core}/secrets"),
            format!("POST {core}/serviceaccounts"),
            format!("POST {rbac}/roles"),
            format!("POST {core}/serviceaccounts/{NAME}/token"),
        ]
    );
    let uid = cluster.kube.world().get("secrets", "agents", NAME).unwrap()["metadata"]["uid"].clone();
    let owner = json!([{ "apiVersion": "v1", "kind": "Secret", "name": NAME, "uid": uid }]);
    assert!(calls[1..3].iter().all(|call| call.body["metadata"]["ownerReferences"] == owner));
    assert_eq!(calls[1].body["automountServiceAccountToken"], false);
    let rule = |name: &str| json!({ "apiGroups": [""], "resourceNames": [name], "resources": ["configmaps"], "verbs": ["get"] });
    assert_eq!(calls[2].body["rules"], json!([rule("api"), rule("web")]));

    let may = |verb: &str, resource: &str, name: &str| cluster.kube.may(token(&minted), T0, verb, resource, name);
    assert!(cluster.kube.accepts(token(&minted), API, T0) && !may("get", "configmaps", "web"), "born without rights");
    minter.activate(&plan.handle).await.unwrap();
    let binding = cluster.kube.take_calls().pop().unwrap();
    assert_eq!((binding.method.as_str(), binding.path), ("POST", format!("{rbac}/rolebindings")));
    assert_eq!(
        (&binding.body["roleRef"], &binding.body["subjects"]),
        (
            &json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME }),
            &json!([{ "kind": "ServiceAccount", "name": NAME, "namespace": "agents" }])
        )
    );
    assert_eq!(binding.body["metadata"]["annotations"]["hallpass/native-end"], json!(plan.native_end));
    assert!(may("get", "configmaps", "web") && may("get", "configmaps", "api"));
    for (verb, resource, name) in [
        ("get", "configmaps", "other"),
        ("list", "configmaps", ""),
        ("delete", "configmaps", "web"),
        ("get", "secrets", "web"),
    ] {
        assert!(!may(verb, resource, name), "{verb} {resource} {name}");
    }
    let deployer = plan_of(&*minter, &shared(), |order| order.lease = lease(2));
    let deployer = minter.mint(&deployer).await.unwrap();
    assert!(!cluster.kube.may(token(&deployer), T0, "get", "configmaps", "web"), "nobody else's token is widened");

    // What an API server remembers of the token is worth nothing without rights.
    cluster.kube.world().remembers = true;
    assert!(cluster.kube.review(token(&minted), API));
    revoke(&*minter, &plan).await.unwrap();
    assert!(cluster.kube.review(token(&minted), API), "it remembers the token");
    assert!(cluster.kube.world().ours("rolebindings").is_empty(), "and not the rights");
    assert!(cluster.kube.accepts(token(&deployer), API, T0), "another lease is not touched");
}

#[tokio::test]
async fn nobody_is_let_work_again_after_the_end() {
    let cluster = Cluster::start().await;
    let minter = cluster.minter();
    let plan = plan_of(&*minter, &own(), |_| ());
    minter.mint(&plan).await.unwrap();
    revoke(&*minter, &plan).await.unwrap();
    assert!(matches!(minter.activate(&plan.handle).await, Err(MintError::Refused(why)) if why.contains("gone")));
}

#[tokio::test]
async fn a_broker_that_does_not_hold_a_right_cannot_hand_it_out() {
    let cluster = Cluster::start().await;
    let minter = cluster.minter();
    let effect = json!({ "namespace": "agents", "audiences": [API], "rules": [rule("pods", &["web"], &["get"])] });
    let plan = plan_of(&*minter, &[scope("k8s:pods:read", effect)], |_| ());
    let refused = minter.mint(&plan).await;
    assert!(matches!(&refused, Err(MintError::Refused(why)) if why.contains("not currently held")), "{refused:?}");
    revoke(&*minter, &plan).await.unwrap();
    assert_eq!(minter.inventory().await.unwrap(), Inventory::Complete(Vec::new()), "nothing is left of the attempt");
}

#[tokio::test]
async fn whatever_step_of_a_mint_was_the_last_the_end_leaves_nothing() {
    for step in 0..5 {
        let cluster = Cluster::start().await;
        let minter = cluster.minter();
        let plan = plan_of(&*minter, &own(), |_| ());
        let on = [
            "POST /api/v1/namespaces/agents/secrets",
            "POST /api/v1/namespaces/agents/serviceaccounts",
            "POST /apis/rbac.authorization.k8s.io/v1/namespaces/agents/roles",
            "POST /api/v1/namespaces/agents/serviceaccounts/jit",
            "POST /apis/rbac.authorization.k8s.io/v1/namespaces/agents/rolebindings",
        ][step];
        cluster.kube.world().broken = Some((on, Fault::DoneUnheard));
        let died = match minter.mint(&plan).await {
            Ok(_) => minter.activate(&plan.handle).await,
            Err(error) => Err(error),
        };
        assert!(matches!(died, Err(MintError::Unavailable(_))), "{on}: {died:?}");
        cluster.kube.world().broken = None;
        // Who comes next knows only the handle, or finds it by our marks.
        let found = Found { handle: plan.handle.clone(), lease: Some(lease(1)) };
        assert_eq!(minter.inventory().await.unwrap(), Inventory::Complete(vec![found]), "{on}");
        assert_eq!(probe(&*minter, &plan).await, Probe::Honoured);
        revoke(&*minter, &plan).await.unwrap();
        for resource in ["secrets", "serviceaccounts", "roles", "rolebindings"] {
            assert_eq!(cluster.kube.world().ours(resource), Vec::<String>::new(), "{on}: {resource}");
        }
    }
}

#[tokio::test]
async fn the_cluster_itself_tidies_up_after_a_secret_that_somebody_deleted() {
    let cluster = Cluster::start().await;
    let minter = cluster.minter();
    let plan = plan_of(&*minter, &own(), |_| ());
    minter.mint(&plan).await.unwrap();
    minter.activate(&plan.handle).await.unwrap();
    cluster.kube.world().take("secrets", "agents", NAME);
    let left = Inventory::Complete(vec![Found { handle: plan.handle.clone(), lease: Some(lease(1)) }]);
    assert_eq!(minter.inventory().await.unwrap(), left, "what is left is listed");
    cluster.kube.world().collect_garbage();
    assert_eq!(minter.inventory().await.unwrap(), Inventory::Complete(Vec::new()));
}

#[test]
fn people_see_first_what_could_outlive_the_lease() {
    let rules =
        json!([rule("configmaps", &["web"], &["get"]), rule("serviceaccounts/token", &["deployer"], &["create"])]);
    let effect = json!({ "namespace": "agents", "audiences": [API], "rules": rules });
    let folder = tempfile::tempdir().unwrap();
    let minter = super::kubernetes::minter_at("https://10.0.0.1", folder.path(), &World::new());
    let plan = plan_of(&*minter, &[scope("k8s:all:do", effect)], |_| ());
    assert_eq!(
        plan.summary,
        [
            "can leave access behind that does not end with it: may create serviceaccounts/token (core) named deployer in \
             namespace agents"
                .to_owned(),
            format!("token of a service account of its own in namespace agents, for {API}, for 600 s"),
            "may get configmaps (core) named web in namespace agents".to_owned(),
            "anybody who holds the token can use it".to_owned(),
        ]
    );
    assert!(plan.effect.contains(r#""server":"https://10.0.0.1/""#), "{}", plan.effect);
    let plain = plan_of(&*minter, &shared(), |_| ());
    assert_eq!(
        plain.summary[0],
        format!("token of service account agents/deployer, with all that it may do, for {API}, for 600 s")
    );
    let agent = agent();
    let both: Vec<_> = [own(), shared()].concat();
    assert!(matches!(minter.plan(&order(&agent, &both)), Err(MintError::Unsupported(_))));
}

fn openssl(folder: &std::path::Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An authority, and a server's TLS with a certificate of its.
pub(crate) fn tls(folder: &std::path::Path) -> Arc<rustls::ServerConfig> {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(folder, &format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=ca"));
    openssl(folder, &format!("req {key} -keyout server.key -out server.csr -subj /CN=kube"));
    std::fs::write(folder.join("san"), "subjectAltName=IP:127.0.0.1").unwrap();
    openssl(folder, "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -out server.crt -days 2 -extfile san");
    let certificate = CertificateDer::from_pem_file(folder.join("server.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key);
    Arc::new(config.unwrap())
}

/// What kubectl prints, or says is wrong.
async fn kubectl(
    folder: &std::path::Path,
    address: std::net::SocketAddr,
    token: &str,
    arguments: &str,
) -> Result<String, String> {
    let executable = format!("{}/target/venv/bin/kubectl", env!("CARGO_MANIFEST_DIR"));
    assert!(std::path::Path::new(&executable).exists(), "{executable} is missing: run `make tools`");
    let mut command = tokio::process::Command::new(executable);
    command
        .args([format!("--server=https://{address}"), format!("--token={token}"), "--namespace=agents".to_owned()])
        .arg("--certificate-authority=ca.pem")
        .args(arguments.split(' '))
        .env_clear()
        .env("HOME", folder)
        .current_dir(folder);
    let output = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[tokio::test]
async fn k8s_02_kubectl_does_what_the_lease_allows_until_its_end() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let kube = Kube::start_with(world.clock.clone(), Some(tls(folder.path()))).await;
    let url = format!("https://{}", kube.address);
    let minter = super::kubernetes::minter_at(&url, folder.path(), &world);
    let plan = plan_of(&*minter, &own(), |_| ());
    let minted = minter.mint(&plan).await.unwrap();
    minter.activate(&plan.handle).await.unwrap();
    let run = |arguments: &'static str| kubectl(folder.path(), kube.address, token(&minted), arguments);

    let web: Value = serde_json::from_str(&run("get configmap web -o json").await.unwrap()).unwrap();
    assert_eq!(web["data"]["colour"], "blue");
    let refused = run("get secrets").await.unwrap_err();
    assert!(refused.contains("Forbidden") && refused.contains("cannot list resource"), "{refused}");

    kube.world().remembers = true;
    run("get configmap web").await.unwrap();
    let Revoked::EndsBy(by) = minter.revoke(CredentialRef::of_plan(&plan)).await.unwrap() else { panic!("not yet") };
    let refused = run("get configmap web").await.unwrap_err();
    assert!(refused.contains("Forbidden"), "its rights are gone at once: {refused}");
    world.clock.set(by);
    let refused = run("get configmap web").await.unwrap_err();
    assert!(refused.contains("logged in") || refused.contains("Unauthorized"), "and then the token itself: {refused}");
    assert!(matches!(minter.revoke(CredentialRef::of_plan(&plan)).await.unwrap(), Revoked::Gone(_)));
    assert!(world.clock.now() < plan.ends_at);
}
