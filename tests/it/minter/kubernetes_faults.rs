//! Kind `kubernetes` when things are wrong: the API server, its rights, its clock, the settings, the catalogue.

use hallpass::domain::MintPlan;
use hallpass::minter::{BackendSettings, Found, Inventory, MintError, Minter, Minters, Probe, Revoked};
use hallpass::sys::Clock as _;
use serde_json::json;

use super::kube::{API, Fault};
use super::kubernetes::{Cluster, NAME, probe, revoke, rule, shared, token};
use super::{T0, World, agent, lease, order, plan_of, scope};

async fn minted(cluster: &Cluster, minter: &dyn Minter) -> (MintPlan, String) {
    let plan = plan_of(minter, &shared(), |_| ());
    let minted = minter.mint(&plan).await.unwrap();
    assert!(cluster.kube.accepts(token(&minted), API, T0));
    (plan, token(&minted).to_owned())
}

#[tokio::test]
async fn nothing_is_said_to_be_gone_while_the_api_server_cannot_be_asked() {
    for (fault, unavailable) in [
        (Fault::Says(403, "Forbidden"), false),
        (Fault::Says(401, "Unauthorized"), false),
        (Fault::Says(429, "TooManyRequests"), true),
        (Fault::Says(500, "InternalError"), true),
        (Fault::Says(504, "Timeout"), true),
        (Fault::Html(404), false),
        (Fault::Html(410), false),
        (Fault::Html(503), true),
        (Fault::Hangs, true),
    ] {
        let cluster = Cluster::start().await;
        let minter = cluster.minter();
        let (plan, token) = minted(&cluster, &*minter).await;
        cluster.kube.world().faults.push_back(fault);
        let refused = revoke(&*minter, &plan).await;
        assert_eq!(matches!(refused, Err(MintError::Unavailable(_))), unavailable, "{fault:?}: {refused:?}");
        assert!(refused.is_err(), "{fault:?}: {refused:?}");
        assert!(cluster.kube.accepts(&token, API, T0));
        // And once it can be asked, the truth.
        assert_eq!(probe(&*minter, &plan).await, Probe::Honoured, "{fault:?}");
        assert!(matches!(revoke(&*minter, &plan).await.unwrap(), Revoked::EndsBy(_)));
        assert!(!cluster.kube.accepts(&token, API, T0));
    }
}

#[tokio::test]
async fn a_deletion_whose_answer_was_lost_is_seen_to_have_happened() {
    let cluster = Cluster::start().await;
    let minter = cluster.minter();
    let (plan, token) = minted(&cluster, &*minter).await;
    cluster.kube.world().broken = Some(("DELETE", Fault::DoneUnheard));
    assert!(matches!(revoke(&*minter, &plan).await, Err(MintError::Unavailable(_))));
    assert!(!cluster.kube.accepts(&token, API, T0));
    assert!(matches!(revoke(&*minter, &plan).await.unwrap(), Revoked::EndsBy(_)));
}

#[tokio::test]
async fn without_an_api_server_every_call_says_unavailable() {
    let cluster = Cluster::start().await;
    let minter = cluster.minter();
    let (plan, _) = minted(&cluster, &*minter).await;
    // A port that nobody listens at.
    let folder = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let lost = super::kubernetes::minter_at(&format!("http://{free}"), folder.path(), &cluster.world);
    assert!(matches!(lost.mint(&plan).await, Err(MintError::Unavailable(_))));
    assert!(matches!(revoke(&*lost, &plan).await, Err(MintError::Unavailable(_))));
    assert!(matches!(lost.inventory().await, Err(MintError::Unavailable(_))));
    assert!(matches!(lost.check().await, Err(MintError::Unavailable(_))));
}

#[tokio::test]
async fn the_brokers_token_is_read_again_for_each_call() {
    let cluster = Cluster::start().await;
    let minter = cluster.minter();
    let (plan, _) = minted(&cluster, &*minter).await;
    cluster.kube.world().broker_token = "replaced".to_owned();
    let refused = revoke(&*minter, &plan).await;
    assert!(matches!(&refused, Err(MintError::Refused(why)) if why.contains("broker's token")), "{refused:?}");
    cluster.write_token("replaced\n");
    revoke(&*minter, &plan).await.unwrap();
}

#[tokio::test]
async fn a_token_that_would_outlive_its_plan_is_not_handed_out() {
    let cluster = Cluster::start().await;
    let minter = cluster.minter();
    let plan = plan_of(&*minter, &shared(), |_| ());
    cluster.kube.world().extends = 3600;
    let refused = minter.mint(&plan).await;
    assert!(matches!(&refused, Err(MintError::Refused(why)) if why.contains("longer than the 600 s")), "{refused:?}");
    assert!(cluster.kube.world().ours("secrets").is_empty(), "and its Secret is gone again");
    cluster.kube.world().extends = 0;
    cluster.kube.world().ahead = 3600;
    minter.mint(&plan).await.expect("a clock that is ahead is no longer life");
    cluster.world.clock.advance_secs(60);
    let short = plan_of(&*minter, &shared(), |order| order.ends_at = order.now.plus_millis(120_000));
    assert!(matches!(minter.mint(&short).await, Err(MintError::Refused(why)) if why.contains("too old")));
}

#[tokio::test]
async fn the_inventory_has_what_carries_all_our_marks_and_nothing_else() {
    let cluster = Cluster::start().await;
    let minter = cluster.minter();
    let mut others = World::new();
    others.deps.deployment = "another".to_owned();
    let other = others.minter(&cluster.settings("namespaces = ['agents']"));
    let elsewhere = cluster.world.minter(&cluster.settings("namespaces = ['agents']").replace("'k8s'", "'k8t'"));
    let mut expected = Vec::new();
    for number in 1..=7 {
        let plan = plan_of(&*minter, &shared(), |order| order.lease = lease(number));
        minter.mint(&plan).await.unwrap();
        expected.push(Found { handle: plan.handle.clone(), lease: Some(lease(number)) });
        let number = number + 100;
        other.mint(&plan_of(&*other, &shared(), |order| order.lease = lease(number))).await.unwrap();
        let number = number + 100;
        elsewhere.mint(&plan_of(&*elsewhere, &shared(), |order| order.lease = lease(number))).await.unwrap();
    }
    cluster.kube.world().page = 2;
    assert_eq!(minter.inventory().await.unwrap(), Inventory::Complete(expected));
    // By name, what another deployment made is not ours to end.
    let theirs = plan_of(&*minter, &shared(), |order| order.lease = lease(101));
    revoke(&*minter, &theirs).await.unwrap();
    assert_eq!(cluster.kube.world().ours("secrets").len(), 21);
    cluster.kube.world().broken = Some(("GET", Fault::Says(410, "Expired")));
    assert!(matches!(minter.inventory().await, Err(MintError::Unavailable(_))), "a list that broke off is none");
}

#[tokio::test]
async fn the_doctor_says_which_rights_are_missing_or_too_many_and_which_clock_is_wrong() {
    let cluster = Cluster::start().await;
    let minter = cluster.minter();
    assert_eq!(minter.check().await.unwrap(), Vec::<String>::new());
    assert!(cluster.kube.world().ours("secrets").is_empty());
    {
        let mut world = cluster.kube.world();
        world.broker.insert(
            "ci".to_owned(),
            vec![json!({ "apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "get", "list"] })],
        );
        world.ahead = -90;
    }
    let plain = cluster.world.minter(&cluster.settings("namespaces = ['agents', 'ci']"));
    let wrong = plain.check().await.unwrap();
    assert!(wrong[0].contains("s behind ours"), "{wrong:?}");
    assert_eq!(
        wrong[1..],
        [
            "in namespace ci the broker's account may not delete secrets, create serviceaccounts/token: add it to the Role \
          it is bound to there"
        ]
    );
    assert!(minter.check().await.unwrap()[1].contains("create rolebindings"), "more for accounts of its own");
    cluster.kube.world().ahead = 0;
    cluster
        .kube
        .world()
        .broker
        .insert(String::new(), vec![json!({ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"] })]);
    assert!(plain.check().await.unwrap()[0].contains("Secrets of every namespace"));
    cluster.kube.world().admin = true;
    let wrong = plain.check().await.unwrap();
    assert!(wrong.len() == 1 && wrong[0].contains("everything in the cluster"), "{wrong:?}");
}

#[tokio::test]
async fn k8s_06_a_parameter_that_is_no_name_never_reaches_the_api_server() {
    let cluster = Cluster::start().await;
    let minter = cluster.minter();
    let effect = json!({ "namespace": "{ns}", "service_account": "{sa}", "audiences": [API] });
    let agent = agent();
    let asked = |ns: &str, sa: &str| scope(&format!("k8s:deploys:run(ns={ns:?},sa={sa:?})"), effect.clone());
    for (ns, sa) in [
        ("a/../b", "deployer"),
        ("Agents", "deployer"),
        ("kube-system", "deployer"),
        ("agents", "x;y"),
        ("agents", "Deployer"),
        ("agents", "../../secrets"),
        ("agents", "{sa}"),
        ("agents", "deployer/token"),
    ] {
        let refused = minter.plan(&order(&agent, &[asked(ns, sa)]));
        assert!(matches!(refused, Err(MintError::Unsupported(_))), "{ns} {sa}: {refused:?}");
    }
    let plan = minter.plan(&order(&agent, &[asked("agents", "deployer")])).unwrap();
    minter.mint(&plan).await.unwrap();
    let two = [asked("agents", "deployer"), asked("agents", "auditor")];
    assert!(matches!(minter.plan(&order(&agent, &two)), Err(MintError::Unsupported(_))), "never one for both");
    for handle in ["agents", "agents/other", "../x/jit-01m3250vz7040g2081040g2081", "agents/jit-1", "a/b/jit-1/own"] {
        let credential = hallpass::domain::Handle::new(handle);
        let credential = hallpass::minter::CredentialRef {
            handle: &credential,
            native_end: cluster.world.clock.now(),
            kept: None,
            ending_since: None,
        };
        assert!(matches!(minter.revoke(credential).await, Err(MintError::Unsupported(_))), "{handle}");
    }
}

#[test]
fn an_effect_that_is_empty_too_wide_or_contradicts_itself_is_misconfigured() {
    let folder = tempfile::tempdir().unwrap();
    let minter = super::kubernetes::minter_at("https://10.0.0.1", folder.path(), &World::new());
    let right = json!({ "namespace": "agents", "service_account": "deployer", "audiences": [API] });
    let own = |rules: serde_json::Value| json!({ "namespace": "agents", "audiences": [API], "rules": rules });
    let with = |member: &str, value: serde_json::Value| {
        let mut effect = right.clone();
        effect[member] = value;
        effect
    };
    for wrong in [
        json!({}),
        with("audiences", json!([])),
        with("audiences", json!([""])),
        with("audiences", json!(["two words"])),
        with("namespace", json!("kube-system")),
        with("namespace", json!("Agents")),
        with("namespace", json!(null)),
        with("namespace", json!("{undeclared}")),
        with("service_account", json!("")),
        with("service_account", json!("a/b")),
        with("service_account", json!(null)),
        with("rules", json!([rule("pods", &["web"], &["get"])])),
        own(json!([])),
        own(json!([rule("pods", &[], &["get"])])),
        own(json!([rule("pods", &["*"], &["get"])])),
        own(json!([rule("*", &["web"], &["get"])])),
        own(json!([rule("pods", &["web"], &["*"])])),
        own(json!([rule("pods", &["web"], &[])])),
        own(json!([{ "api_groups": [], "resources": ["pods"], "verbs": ["get"] }])),
        own(json!([{ "api_groups": ["*"], "resources": ["pods"], "verbs": ["get"] }])),
        own(json!([{ "resources": ["pods"], "verbs": ["get"] }])),
    ] {
        let refused = minter.bucket(&scope("k8s:deploys:run", wrong.clone()).1);
        assert!(matches!(&refused, Err(MintError::Misconfigured(why)) if why.contains("deploys:run")), "{wrong}");
    }
    let unused = minter.bucket(&scope("k8s:deploys:run(env=prod)", right.clone()).1);
    assert!(matches!(&unused, Err(MintError::Misconfigured(why)) if why.contains("`env` would narrow nothing")));
    minter.bucket(&scope("k8s:deploys:run", right).1).unwrap();
    minter.bucket(&scope("k8s:deploys:run(pod=web)", own(json!([rule("pods", &["{pod}"], &["get"])]))).1).unwrap();
    let agent = agent();
    let scopes = shared();
    let bound = hallpass::minter::MintOrder { confirmation_key: Some("{}"), ..order(&agent, &scopes) };
    assert!(matches!(minter.plan(&bound), Err(MintError::Unsupported(_))));
}

#[test]
fn settings_that_would_send_the_token_in_the_clear_or_name_nothing_are_misconfigured() {
    let folder = tempfile::tempdir().unwrap();
    super::kubernetes::minter_at("https://10.0.0.1", folder.path(), &World::new());
    let path = folder.path().display().to_string();
    let right = format!(
        "name = 'k8s'\nkind = 'kubernetes'\nurl = 'https://10.0.0.1'\ntoken = {{ file = '{path}/token' }}\nnamespaces = ['agents']"
    );
    let build = |settings: &str| {
        let settings: BackendSettings = toml::from_str(settings).unwrap();
        Minters::build(std::slice::from_ref(&settings), &World::new().deps).map(|_| ())
    };
    build(&right).unwrap();
    let only = World::new().minter(&right);
    only.bucket(&scope("k8s:deploys:run", json!({ "service_account": "deployer", "audiences": [API] })).1)
        .expect("with one namespace it need not be named");
    let own = json!({ "audiences": [API], "rules": [rule("pods", &["web"], &["get"])] });
    assert!(
        matches!(only.bucket(&scope("k8s:p:r", own).1), Err(MintError::Misconfigured(why)) if why.contains("own_accounts"))
    );
    for (from, to, why) in [
        ("https://10.0.0.1", "http://10.0.0.1", "https"),
        ("https://10.0.0.1", "https://me@10.0.0.1", "user name"),
        ("https://10.0.0.1", "https://10.0.0.1?a=b", "query"),
        ("['agents']", "[]", "namespaces"),
        ("['agents']", "['Agents']", "namespaces"),
        ("['agents']", "['agents']\ncache_seconds = 11", "cache_seconds"),
        ("['agents']", "['agents']\nca_file = 'none.pem'", "none.pem"),
        ("['agents']", "['agents']\nca_file = '/dev/null'", "PEM"),
        ("['agents']", "['agents']\ninsecure = true", "insecure"),
        ("'k8s'", "'k8s-'", "ends with"),
        ("/token'", "/missing'", "missing"),
    ] {
        let refused = build(&right.replace(from, to));
        assert!(matches!(&refused, Err(MintError::Misconfigured(said)) if said.contains(why)), "{to}: {refused:?}");
    }
    assert_eq!(NAME.len(), 30);
}
