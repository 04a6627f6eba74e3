//! Kind `github`: what is asked of GitHub and nothing wider, tokens that end by themselves, and what is said of those that do not.

use std::sync::Arc;

use hallpass::domain::{CatalogueEntry, MintPlan, Scope, Ttl};
use hallpass::minter::{CredentialRef, Inventory, MintError, MintOrder, Minted, Minter, Probe, Revoked};
use hallpass::sys::{Clock as _, ExposeSecret as _, fingerprint};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::fake_github::{Call, FakeGithub, Fault, GADGET, WIDGET, Wider};
use super::{T0, World, agent, order, scope, suite};

fn effect(repositories: &[(u64, &str)], permissions: &Value) -> Value {
    let repositories: Vec<Value> = repositories.iter().map(|(id, name)| json!({ "id": id, "name": name })).collect();
    json!({ "repositories": repositories, "permissions": permissions })
}

fn scopes() -> Vec<(Scope, CatalogueEntry)> {
    vec![
        scope("gh:widget:read", effect(&[WIDGET], &json!({ "contents": "read" }))),
        scope("gh:widget:propose", effect(&[WIDGET], &json!({ "contents": "read", "pull_requests": "write" }))),
    ]
}

/// A scope that picks one of both repositories.
fn picking(repository: &str) -> (Scope, CatalogueEntry) {
    let mut effect = effect(&[WIDGET, GADGET], &json!({ "contents": "read" }));
    effect["choose"] = json!("repository");
    scope(&format!("gh:any:read(repository={repository})"), effect)
}

pub(super) struct Stage {
    pub(super) world: World,
    pub(super) github: FakeGithub,
    pub(super) minter: Arc<dyn Minter>,
}

impl Stage {
    pub(super) async fn new() -> Self {
        let world = World::new();
        let github = FakeGithub::start(world.clock.clone()).await;
        let minter = world.minter(&github.settings("gh"));
        Self { world, github, minter }
    }

    fn plan(&self, scopes: &[(Scope, CatalogueEntry)]) -> Result<MintPlan, MintError> {
        let agent = agent();
        self.minter.plan(&order(&agent, scopes))
    }

    pub(super) async fn mint(&self) -> (MintPlan, Minted) {
        let plan = self.plan(&scopes()[..1]).unwrap();
        let minted = self.minter.mint(&plan).await.unwrap();
        (plan, minted)
    }

    pub(super) fn works(&self, minted: &Minted) -> bool {
        self.github.accepts(token(minted), self.world.clock.now()).is_some()
    }
}

pub(super) fn token(minted: &Minted) -> &str {
    minted.values["token"].expose_secret()
}

#[tokio::test]
async fn the_github_minter_passes_the_suite() {
    let stage = Stage::new().await;
    suite::run(suite::Subject {
        minter: Arc::clone(&stage.minter),
        clock: stage.world.clock.clone(),
        scopes: scopes(),
        elsewhere: scope("gh:gadget:read", effect(&[GADGET], &json!({ "contents": "read" }))),
        accepts: &|minted, now| stage.github.accepts(token(minted), now).is_some(),
    })
    .await;
    assert_eq!(stage.minter.inventory().await.unwrap(), Inventory::Unlistable);
}

#[tokio::test]
async fn gh_01_a_token_is_asked_for_by_repository_ids_and_permissions_and_ended_by_itself() {
    let stage = Stage::new().await;
    let plan = stage.plan(&scopes()).unwrap();
    let minted = stage.minter.mint(&plan).await.unwrap();
    assert_eq!(
        stage.github.calls(Call::Mint),
        [json!({
            "permissions": { "contents": "read", "metadata": "read", "pull_requests": "write" },
            "repository_ids": [WIDGET.0],
        })]
    );
    assert_eq!((minted.kind, minted.values["username"].expose_secret()), ("github", "x-access-token"));
    assert_eq!(minted.kept.as_ref().unwrap().expose_secret(), token(&minted));
    // GitHub's `hashed_token` is our fingerprint in base64.
    let hex = data_encoding::HEXLOWER.decode(minted.fingerprint.as_bytes()).unwrap();
    let hashed = FakeGithub::hashed(token(&minted));
    assert_eq!(
        (data_encoding::BASE64.encode(&hex), fingerprint(token(&minted))),
        (hashed.clone(), minted.fingerprint.clone())
    );

    let credential = CredentialRef::of_plan(&plan).with(minted.kept.as_ref());
    assert_eq!(stage.minter.probe(credential).await.unwrap(), Probe::Honoured);
    let Revoked::Gone(proof) = stage.minter.revoke(credential).await.unwrap() else { panic!("it can be ended") };
    assert!(proof.contains("deleted") && proof.contains(&hashed) && !proof.contains(token(&minted)), "{proof}");
    assert_eq!(stage.minter.probe(credential).await.unwrap(), Probe::Refused);
    assert!(!stage.works(&minted));
}

#[tokio::test]
async fn what_a_person_reads_names_everything_dangerous_first() {
    let stage = Stage::new().await;
    let mut scopes = scopes();
    scopes.push(scope("gh:widget:people", effect(&[WIDGET], &json!({ "members": "read" }))));
    let plan = stage.plan(&scopes).unwrap();
    assert_eq!(
        plan.summary,
        [
            "dangerous: read of `members` in the whole organisation, whatever the repositories",
            "dangerous: write of `pull_requests` in acme/widget",
            "read of `contents` in acme/widget",
            "read of `metadata` in acme/widget",
            "repositories: acme/widget (id 1296269)",
            "anybody who holds the token can use it; it is ended after 600 s, and GitHub ends it after 3600 s",
        ]
    );
    let shown: Value = serde_json::from_str(&plan.effect).unwrap();
    assert_eq!(shown["repositories"], json!([{ "id": WIDGET.0, "name": WIDGET.1 }]));
    assert_eq!(shown["permissions"]["pull_requests"], "write");
    assert_eq!(plan.native_end, T0.plus(Ttl::from_secs(3660).unwrap()));
}

#[tokio::test]
async fn gh_02_an_empty_list_is_refused_and_github_is_not_asked() {
    let stage = Stage::new().await;
    for wrong in [effect(&[], &json!({ "contents": "read" })), effect(&[WIDGET], &json!({}))] {
        let scopes = [scope("gh:widget:read", wrong)];
        assert!(matches!(stage.plan(&scopes), Err(MintError::Unsupported(_))));
        assert!(matches!(stage.minter.bucket(&scopes[0].1), Err(MintError::Unsupported(_))));
    }
    // Nor by a plan that somebody else made up.
    let plan = stage.plan(&scopes()).unwrap();
    for (permissions, repositories) in
        [(json!({}), json!([{ "id": 1, "name": "a/b" }])), (json!({ "contents": "read" }), json!([]))]
    {
        let native = json!({ "permissions": permissions, "repositories": repositories });
        let refused = stage.minter.mint(&MintPlan { native, ..plan.clone() }).await;
        assert!(matches!(refused, Err(MintError::Unsupported(_))), "{refused:?}");
    }
    assert!(stage.github.calls(Call::Mint).is_empty());
}

#[tokio::test]
async fn an_effect_that_says_anything_else_is_refused_by_name() {
    let minter = Stage::new().await.minter;
    let good = effect(&[WIDGET], &json!({ "contents": "read" }));
    let with = |change: fn(&mut Value)| {
        let mut effect = good.clone();
        change(&mut effect);
        scope("gh:widget:read", effect).1
    };
    for (entry, why) in [
        (with(|effect| effect["permissions"] = json!({ "contents": "everything" })), "unknown variant"),
        (with(|effect| effect["permissions"] = json!({ "Contents": "read" })), "not a permission's name"),
        (with(|effect| effect["repositories"][0]["id"] = json!(0)), "no repository"),
        (with(|effect| effect["repositories"][0]["name"] = json!("widget")), "no repository"),
        (with(|effect| effect["repositories"][0]["name"] = json!("acme/../x")), "no repository"),
        (with(|effect| effect["choose"] = json!("repository")), "no parameter of this scope"),
        (scope("gh:widget:read(branch=main)", good.clone()).1, "`branch` has no meaning here"),
        (scope("gh:widget:read", effect(&[WIDGET, (7, "Acme/Widget")], &json!({ "contents": "read" }))).1, "twice"),
    ] {
        let Err(MintError::Misconfigured(error)) = minter.bucket(&entry) else { panic!("{why}") };
        assert!(error.contains(why) && error.contains("gh:widget:read"), "{error}");
    }
}

#[tokio::test]
async fn a_parameter_picks_one_repository_and_scopes_share_a_token_only_where_that_widens_nothing() {
    let stage = Stage::new().await;
    for named in ["widget", "Widget"] {
        stage.minter.mint(&stage.plan(&[picking(named)]).unwrap()).await.unwrap();
    }
    stage.minter.mint(&stage.plan(&[picking("widget"), picking("gadget")]).unwrap()).await.unwrap();
    let asked: Vec<Value> = stage.github.calls(Call::Mint).iter().map(|body| body["repository_ids"].clone()).collect();
    assert_eq!(asked, [json!([WIDGET.0]), json!([WIDGET.0]), json!([GADGET.0, WIDGET.0])]);
    assert!(matches!(stage.plan(&[picking("other")]), Err(MintError::Unsupported(_))));

    // Reading the one and proposing in the other is not reading and proposing in both.
    let mut propose = effect(&[WIDGET, GADGET], &json!({ "pull_requests": "write" }));
    propose["choose"] = json!("repository");
    let propose = scope("gh:any:propose(repository=gadget)", propose);
    let refused = stage.plan(&[picking("widget"), propose.clone()]);
    assert!(matches!(&refused, Err(MintError::Unsupported(why)) if why.contains("one by one")), "{refused:?}");
    stage.plan(&[picking("gadget"), propose]).unwrap();
}

#[tokio::test]
async fn what_github_cannot_do_is_said_before_anything_is_asked() {
    let stage = Stage::new().await;
    let (agent, scopes) = (agent(), scopes());
    let long = MintOrder { ttl: Ttl::from_secs(3601).unwrap(), ..order(&agent, &scopes) };
    assert!(matches!(stage.minter.plan(&long), Err(MintError::Unsupported(_))));
    let bound = MintOrder { confirmation_key: Some("{}"), ..order(&agent, &scopes) };
    assert!(matches!(stage.minter.plan(&bound), Err(MintError::Unsupported(_))));
}

#[tokio::test]
async fn a_token_that_is_wider_than_asked_is_ended_at_once_and_refused() {
    for wider in
        [Wider::Level, Wider::Permission, Wider::Repository, Wider::AllRepositories, Wider::Life, Wider::Silent]
    {
        let stage = Stage::new().await;
        stage.github.give_more(wider);
        let plan = stage.plan(&scopes()[..1]).unwrap();
        let refused = stage.minter.mint(&plan).await;
        assert!(
            matches!(&refused, Err(MintError::Refused(why)) if why.contains("more than")),
            "{wider:?}: {refused:?}"
        );
        assert_eq!((stage.github.ever().len(), stage.github.honoured()), (1, 0), "{wider:?}");

        // One that cannot be ended is not said to be gone, and not handed over either.
        stage.github.fail_always(Call::Delete, Fault::Status(500));
        let refused = stage.minter.mint(&plan).await;
        assert!(matches!(refused, Err(MintError::Unavailable(_))), "{wider:?}: {refused:?}");
        assert_eq!(stage.github.honoured(), 1);
    }
}

#[tokio::test]
async fn gh_05_a_repository_that_was_renamed_or_moved_is_another_target() {
    let stage = Stage::new().await;
    let plan = stage.plan(&scopes()).unwrap();
    stage.github.rename(WIDGET.0, "ACME/Widget");
    stage.minter.mint(&plan).await.expect("names differ in case only");
    for moved in ["acme/widget-old", "mallory/widget"] {
        stage.github.rename(WIDGET.0, moved);
        let refused = stage.minter.mint(&plan).await;
        assert!(matches!(&refused, Err(MintError::TargetChanged(why)) if why.contains(moved)), "{refused:?}");
    }
    assert_eq!((stage.github.ever().len(), stage.github.honoured()), (3, 1), "what was minted for it is gone");
    stage.github.take_away(WIDGET.0);
    let refused = stage.minter.mint(&plan).await;
    assert!(matches!(refused, Err(MintError::TargetChanged(_))), "{refused:?}");
}

#[tokio::test]
async fn what_the_app_may_not_do_is_refused_with_what_to_mend() {
    let stage = Stage::new().await;
    let plan = stage.plan(&[scope("gh:widget:admin", effect(&[WIDGET], &json!({ "contents": "admin" })))]).unwrap();
    let refused = stage.minter.mint(&plan).await;
    assert!(matches!(&refused, Err(MintError::Refused(why)) if why.contains("not granted")), "{refused:?}");
    let plan = stage.plan(&scopes()).unwrap();
    for (fault, why) in [(404, "no installation 7001"), (401, "check client_id"), (403, "told to")] {
        stage.github.fail_next(Call::Mint, Fault::Status(fault));
        let refused = stage.minter.mint(&plan).await;
        assert!(matches!(&refused, Err(MintError::Refused(said)) if said.contains(why)), "{refused:?}");
    }
    for (fault, acted) in [(Fault::Status(503), 0), (Fault::Unheard, 1)] {
        stage.github.fail_next(Call::Mint, fault);
        assert!(matches!(stage.minter.mint(&plan).await, Err(MintError::Unavailable(_))));
        assert_eq!(stage.github.ever().len(), acted, "{fault:?}");
    }
}

/// One that plans; the GitHub it was made for is not there any more.
fn only_planning() -> &'static Arc<dyn Minter> {
    static ONE: std::sync::OnceLock<Arc<dyn Minter>> = std::sync::OnceLock::new();
    ONE.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Stage::new()).minter
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    /// Whatever scopes share a token: what it permits is permitted, in that repository, by one of them.
    #[test]
    fn a_token_of_several_scopes_is_their_union_and_no_more(
        parts in prop::collection::vec((0_u8..3, prop::collection::btree_map("[ab]", 0_usize..3, 1..3)), 1..4),
    ) {
        let minter = only_planning();
        let levels = ["read", "write", "admin"];
        let names = ["r/zero", "r/one", "r/two"];
        let all: Vec<(u64, &str)> = (1..).zip(names).collect();
        let scopes: Vec<_> = parts
            .iter()
            .enumerate()
            .map(|(index, (which, permissions))| {
                let permissions: Value = permissions.iter().map(|(name, level)| (name.clone(), json!(levels[*level]))).collect();
                let mut effect = effect(&all, &permissions);
                effect["choose"] = json!("repo");
                let name = names[usize::from(*which)].split_once('/').unwrap().1;
                scope(&format!("gh:s{index}:do(repo={name})"), effect)
            })
            .collect();
        let agent = agent();
        if let Ok(plan) = minter.plan(&order(&agent, &scopes)) {
            for repository in plan.native["repositories"].as_array().unwrap() {
                for (name, level) in plan.native["permissions"].as_object().unwrap() {
                    let meant = parts.iter().any(|(which, permissions)| {
                        u64::from(*which) + 1 == repository["id"].as_u64().unwrap()
                            && permissions.get(name).is_some_and(|given| levels[*given] == level)
                    });
                    prop_assert!(meant || name == "metadata", "{plan:?}");
                }
            }
        }
    }
}
