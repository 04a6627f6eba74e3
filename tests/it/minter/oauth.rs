//! Kind `oauth`: what is asked of an authorization server and nothing wider, tokens that it revokes, and what is refused of what it
//! gives.

use std::sync::Arc;

use hallpass::domain::{CatalogueEntry, MintPlan, Scope, Ttl};
use hallpass::minter::{CredentialRef, Inventory, MintError, MintOrder, Minted, Minter, Probe, Revoked};
use hallpass::sys::{Clock as _, ExposeSecret as _, fingerprint};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::fake_as::{CLIENT_ID, Call, FakeAs, RESOURCE};
use super::{T0, World, agent, order, plan_of, scope, suite};

fn effect(scope: &[&str]) -> Value {
    json!({ "resource": RESOURCE, "scope": scope })
}

pub(super) fn scopes() -> Vec<(Scope, CatalogueEntry)> {
    let mut write =
        scope("crm:contacts:write(region=eu)", effect(&["contacts:{region}:read", "contacts:{region}:write"]));
    write.1.risk = 60;
    vec![scope("crm:contacts:read(region=eu)", effect(&["contacts:{region}:read"])), write]
}

pub(super) struct Stage {
    pub(super) world: World,
    pub(super) server: FakeAs,
    pub(super) minter: Arc<dyn Minter>,
}

impl Stage {
    pub(super) async fn new() -> Self {
        Self::with("").await
    }

    /// With more settings.
    pub(super) async fn with(more: &str) -> Self {
        let world = World::new();
        let server = FakeAs::start(world.clock.clone(), Arc::clone(&world.deps.keyring)).await;
        let minter = world.minter(&(server.settings() + more));
        Self { world, server, minter }
    }

    pub(super) fn plan(&self) -> MintPlan {
        plan_of(&*self.minter, &scopes(), |_| ())
    }

    pub(super) async fn mint(&self) -> (MintPlan, Minted) {
        let plan = self.plan();
        let minted = self.minter.mint(&plan).await.unwrap();
        (plan, minted)
    }

    pub(super) fn works(&self, minted: &Minted) -> bool {
        self.server.accepts(token(minted), self.world.clock.now()).is_some()
    }
}

pub(super) fn token(minted: &Minted) -> &str {
    minted.values["access_token"].expose_secret()
}

async fn passes_the_suite(more: &str) {
    let stage = Stage::with(more).await;
    suite::run(suite::Subject {
        minter: Arc::clone(&stage.minter),
        clock: stage.world.clock.clone(),
        scopes: scopes(),
        elsewhere: scope("crm:billing:read", json!({ "audience": "billing", "scope": ["invoices:read"] })),
        accepts: &|minted, now| stage.server.accepts(token(minted), now).is_some(),
    })
    .await;
    assert_eq!(stage.minter.inventory().await.unwrap(), Inventory::Unlistable);
}

#[tokio::test]
async fn the_oauth_minter_passes_the_suite_where_resource_servers_ask() {
    passes_the_suite("").await;
}

#[tokio::test]
async fn the_oauth_minter_passes_the_suite_where_resource_servers_do_not_ask() {
    passes_the_suite("verifiers = 'offline'").await;
}

#[tokio::test]
async fn oax_01_a_token_is_asked_for_by_a_subject_token_of_the_agent_and_its_task() {
    let stage = Stage::new().await;
    let (plan, minted) = stage.mint().await;
    let mut asked = stage.server.calls(Call::Exchange).remove(0);
    for signed in ["subject_token", "client_assertion"] {
        assert_eq!(asked.remove(signed).unwrap().split('.').count(), 3, "{signed}");
    }
    let mut expected: Vec<(String, String)> = [
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("resource", RESOURCE),
        ("scope", "contacts:eu:read contacts:eu:write"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    expected.sort();
    assert_eq!(asked.into_iter().collect::<Vec<_>>(), expected);

    // As the server verified it, by code that is not ours.
    let held = stage.server.accepts(token(&minted), T0).unwrap();
    let mut subject = held.subject;
    assert!(subject["jti"].as_str().unwrap().len() >= 22);
    subject["jti"].take();
    assert_eq!(
        subject,
        json!({
            "iss": "https://hallpass.example", "sub": "agent:release-bot", "aud": stage.server.issuer(), "jti": null,
            "iat": T0.as_secs(), "exp": T0.as_secs() + 30, "scope": "contacts:eu:read contacts:eu:write",
            "lease": super::lease(1), "task": hallpass::domain::TaskId::new(T0, [9; 10]),
        })
    );

    let value = |name: &str| minted.values[name].expose_secret().to_owned();
    assert_eq!((minted.kind, value("token_type").as_str(), value("resource").as_str()), ("oauth", "Bearer", RESOURCE));
    assert_eq!((value("scope"), value("expires_at")), (held.scope, plan.ends_at.to_string()));
    assert_eq!((minted.fingerprint.as_str(), minted.values.len()), (fingerprint(token(&minted)).as_str(), 5));
    assert_eq!(minted.kept.as_ref().unwrap().expose_secret(), token(&minted));
}

#[tokio::test]
async fn a_token_that_has_ended_is_inactive_and_its_sibling_is_not_touched() {
    let stage = Stage::new().await;
    let (plan, minted) = stage.mint().await;
    let (_, sibling) = stage.mint().await;
    let credential = CredentialRef::of_plan(&plan).with(minted.kept.as_ref());
    assert_eq!(stage.minter.probe(credential).await.unwrap(), Probe::Honoured);
    let Revoked::Gone(proof) = stage.minter.revoke(credential).await.unwrap() else { panic!("it can be ended") };
    assert!(proof.contains("inactive") && !proof.contains(token(&minted)), "{proof}");
    assert_eq!(stage.minter.probe(credential).await.unwrap(), Probe::Refused);
    assert!(!stage.works(&minted) && stage.works(&sibling));
    let told = stage.server.calls(Call::Revoke);
    assert_eq!((told[0]["token"].as_str(), told[0]["token_type_hint"].as_str()), (token(&minted), "access_token"));

    // Of what was lost before it was on record nothing is known but its end.
    let lost = CredentialRef::of_plan(&plan);
    assert_eq!(stage.minter.revoke(lost).await.unwrap(), Revoked::EndsBy(plan.native_end));
    assert_eq!(stage.minter.probe(lost).await.unwrap(), Probe::Unknown);
}

#[tokio::test]
async fn what_a_person_reads_names_the_riskiest_first_and_what_cannot_be_ended_before_all() {
    let stage = Stage::new().await;
    let issuer = stage.server.issuer();
    let read = |risk, what: &str| format!("`contacts:eu:{what}` at {RESOURCE}, by a token of {issuer} (risk {risk})");
    let plan = stage.plan();
    let last = "anybody who holds the token can use it; it is ended after 600 s, and expires 600 s after it was made at the latest";
    assert_eq!(plan.summary, [read(60, "read"), read(60, "write"), last.to_owned()]);
    let shown: Value = serde_json::from_str(&plan.effect).unwrap();
    assert_eq!(shown["target"], json!({ "resource": RESOURCE }));
    assert_eq!((&shown["client_id"], &shown["native_life_seconds"]), (&json!(CLIENT_ID), &json!(600)));
    // The server's life of it, until a mint begins (8 s), what is signed (30 s), clocks (30 s) and leeway (22 s).
    assert_eq!(plan.native_end, T0.plus(Ttl::from_secs(690).unwrap()));

    let offline = stage.world.minter(&(stage.server.settings() + "verifiers = 'offline'"));
    let first = &plan_of(&*offline, &scopes(), |_| ()).summary[0];
    assert_eq!(first, "it cannot be ended early: it may work for 600 s whatever happens");
    assert_eq!(offline.revocability().strength, "at_native_end");
}

#[tokio::test]
async fn what_the_server_cannot_do_is_said_before_it_is_asked() {
    let stage = Stage::new().await;
    let (agent, scopes) = (agent(), scopes());
    let long = MintOrder { ttl: Ttl::from_secs(601).unwrap(), ..order(&agent, &scopes) };
    let refused = stage.minter.plan(&long);
    assert!(matches!(&refused, Err(MintError::Unsupported(why)) if why.contains("600 s")), "{refused:?}");
    let bound = MintOrder { confirmation_key: Some("{}"), ..order(&agent, &scopes) };
    assert!(matches!(stage.minter.plan(&bound), Err(MintError::Unsupported(_))));
    // Nor by a plan that somebody else made up.
    for (member, value) in [("scope", json!([])), ("target", json!({ "resource": "" }))] {
        let mut plan = stage.plan();
        plan.native["ask"][member] = value;
        assert!(matches!(stage.minter.mint(&plan).await, Err(MintError::Unsupported(_))), "{member}");
    }
    assert!(stage.server.calls(Call::Exchange).is_empty());
}

#[tokio::test]
async fn an_effect_that_says_anything_else_is_refused_by_name() {
    let minter = Stage::new().await.minter;
    let good = effect(&["contacts:{region}:read"]);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut effect = good.clone();
        change(&mut effect);
        scope("crm:contacts:read(region=eu)", effect).1
    };
    let values = |values: &[&str]| {
        let values = json!(values);
        with(&move |effect| effect["scope"] = values.clone())
    };
    for (entry, why) in [
        (with(&|effect| effect["resource"] = json!("http://crm.example")), "absolute URI"),
        (with(&|effect| effect["resource"] = json!("https://crm.example/#x")), "absolute URI"),
        (with(&|effect| effect["audience"] = json!("crm")), "either `resource` or `audience`"),
        (with(&|effect| drop(effect.as_object_mut().unwrap().remove("resource"))), "either `resource` or `audience`"),
        (with(&|effect| effect["aud"] = json!("")), "`aud` is 1 to"),
        (values(&["contacts:read"]), "`region` is in no value"),
        (values(&["{region}"]), "not a parameter alone"),
        (values(&[":{region}:"]), "not a parameter alone"),
        (values(&["contacts:{region}:read all"]), "not a scope value"),
        (values(&["contacts:{region}\"x"]), "not a scope value"),
        (values(&["contacts:{region}", ""]), "not a scope value"),
        (values(&["contacts:{region"]), "`{` without `}`"),
        (values(&["contacts:region}:{region}"]), "not a scope value"),
        (values(&["contacts:{land}:read"]), "`land` is no parameter"),
        (values(&["contacts:{region}x{region}"]), "must stand between"),
        (values(&vec!["contacts:{region}"; 65]), "more than 64"),
    ] {
        let Err(MintError::Misconfigured(error)) = minter.bucket(&entry) else { panic!("{why}") };
        assert!(error.contains(why) && error.contains("crm:contacts:read"), "{error}");
    }
    assert!(matches!(minter.bucket(&values(&[])), Err(MintError::Unsupported(_))), "none never means all");
}

/// A scope whose parameters may be anything, as a catalogue's `one_of` may list.
fn of_two(tenant: &str, name: &str) -> (Scope, CatalogueEntry) {
    let (_, entry) = scope("crm:files:read(name=a,tenant=a)", effect(&["files/{tenant}:{name}@x"]));
    let named = |name: &str| name.parse().unwrap();
    let params = [(named("tenant"), tenant.to_owned()), (named("name"), name.to_owned())].into();
    (Scope::new(entry.name.clone(), params).unwrap(), entry)
}

fn asked_for(minter: &dyn Minter, tenant: &str, name: &str) -> Result<Vec<String>, MintError> {
    let (agent, scopes) = (agent(), [of_two(tenant, name)]);
    let plan = minter.plan(&order(&agent, &scopes))?;
    Ok(serde_json::from_value(plan.native["ask"]["scope"].clone()).unwrap())
}

/// One that plans; the server it was made for is not there any more.
fn only_planning() -> &'static Arc<dyn Minter> {
    static ONE: std::sync::OnceLock<Arc<dyn Minter>> = std::sync::OnceLock::new();
    ONE.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Stage::new()).minter
    })
}

#[test]
fn oax_07_a_parameter_that_has_a_meaning_where_it_stands_is_refused() {
    let minter = &**only_planning();
    assert_eq!(asked_for(minter, "acme", "q1-2026.pdf").unwrap(), ["files/acme:q1-2026.pdf@x"]);
    for (tenant, name) in
        [("..", "a"), ("a", "."), ("a/b", "c"), ("a:b", "c"), ("a", "b@x"), ("a b", "c"), ("a", "\u{e9}")]
    {
        let refused = asked_for(minter, tenant, name);
        assert!(matches!(refused, Err(MintError::Unsupported(_))), "{tenant} {name}: {refused:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    /// Whatever the parameters: one value of visible characters, which says for each what was given and nothing else.
    #[test]
    fn oax_07_a_parameter_never_leaves_its_place(tenant in "[ -~\u{e9}]{1,6}", name in "[ -~\u{e9}]{1,6}") {
        if let Ok(values) = asked_for(&**only_planning(), &tenant, &name) {
            prop_assert_eq!(values.len(), 1);
            let inner = values[0].strip_prefix("files/").and_then(|rest| rest.strip_suffix("@x")).unwrap();
            prop_assert_eq!(inner.split_once(':'), Some((tenant.as_str(), name.as_str())));
            prop_assert!(!inner.contains(['/', '@', ' ', '"', '\\']) && values[0].is_ascii());
        }
    }
}
