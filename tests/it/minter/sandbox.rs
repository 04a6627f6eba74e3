//! Kind `sandbox`: it passes the suite, it is born disabled, and it fails the way it is told.

use hallpass::domain::{CatalogueEntry, MintPlan, Scope};
use hallpass::minter::{CredentialRef, Fault, Found, Inventory, MintError, Minter, Probe, Revoked, SandboxCall};
use hallpass::sys::ExposeSecret as _;
use serde_json::json;

use super::{T0, World, agent, lease, order, scope, suite};

const SETTINGS: &str = "name = 'demo'\nkind = 'sandbox'";

fn scopes() -> Vec<(Scope, CatalogueEntry)> {
    vec![
        scope("demo:notes:read", json!({ "allows": "read the notes" })),
        scope("demo:notes:write(folder=inbox)", json!({})),
    ]
}

fn plan(minter: &dyn Minter) -> MintPlan {
    let (agent, scopes) = (agent(), scopes());
    minter.plan(&order(&agent, &scopes)).unwrap()
}

#[tokio::test]
async fn the_sandbox_minter_passes_the_suite() {
    let world = World::new();
    suite::run(suite::Subject {
        minter: world.minter(SETTINGS),
        clock: world.clock.clone(),
        scopes: scopes(),
        elsewhere: scope("demo:bills:read", json!({ "bucket": "bills" })),
        accepts: &|minted, now| world.sandbox.check(minted.values["token"].expose_secret(), now).is_some(),
    })
    .await;
}

#[tokio::test]
async fn a_credential_works_only_once_it_is_activated_and_says_what_for() {
    let world = World::new();
    let minter = world.minter(SETTINGS);
    let plan = plan(&*minter);
    let minted = minter.mint(&plan).await.unwrap();
    let token = minted.values["token"].expose_secret();
    assert!(token.starts_with("sbx_") && token.len() == 47, "{token}");
    assert_eq!(world.sandbox.check(token, T0), None);
    assert_eq!(minter.probe(CredentialRef::of_plan(&plan)).await.unwrap(), Probe::Refused);
    assert_eq!(
        minter.inventory().await.unwrap(),
        Inventory::Complete(vec![Found { handle: plan.handle.clone(), lease: Some(lease(1)) }])
    );
    minter.activate(&plan.handle).await.unwrap();
    let honoured = world.sandbox.check(token, T0).unwrap();
    assert_eq!((&honoured.handle, honoured.ends_at), (&plan.handle, plan.native_end));
    assert_eq!(
        honoured.scopes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["demo:notes:read", "demo:notes:write(folder=inbox)"]
    );
    assert_eq!(world.sandbox.check("sbx_other", T0), None);
    minter.revoke(CredentialRef::of_plan(&plan)).await.unwrap();
    assert!(matches!(minter.activate(&plan.handle).await, Err(MintError::Refused(_))));
}

#[tokio::test]
async fn a_second_mint_of_one_plan_voids_the_first_secret() {
    let world = World::new();
    let minter = world.minter(SETTINGS);
    let plan = plan(&*minter);
    let first = minter.mint(&plan).await.unwrap();
    let second = minter.mint(&plan).await.unwrap();
    minter.activate(&plan.handle).await.unwrap();
    assert_eq!(world.sandbox.check(first.values["token"].expose_secret(), T0), None);
    assert!(world.sandbox.check(second.values["token"].expose_secret(), T0).is_some());
    assert_eq!(world.sandbox.honoured(T0).len(), 1);
}

#[tokio::test]
async fn it_fails_as_told_and_an_unheard_call_has_acted() {
    let world = World::new();
    let minter = world.minter(SETTINGS);
    let plan = plan(&*minter);
    for (fault, exists) in [(Fault::Refused, false), (Fault::Unavailable, false), (Fault::Unheard, true)] {
        world.sandbox.fail_next(SandboxCall::Mint, fault);
        let failed = minter.mint(&plan).await;
        assert!(
            matches!(
                (&failed, fault),
                (Err(MintError::Refused(_)), Fault::Refused)
                    | (Err(MintError::Unavailable(_)), Fault::Unavailable | Fault::Unheard)
            ),
            "{failed:?}"
        );
        assert_eq!(world.sandbox.ever_minted().len(), usize::from(exists));
    }
    minter.activate(&plan.handle).await.unwrap();
    world.sandbox.fail_always(SandboxCall::Revoke, Fault::Unavailable);
    for _ in 0..3 {
        assert!(minter.revoke(CredentialRef::of_plan(&plan)).await.is_err());
    }
    assert_eq!(world.sandbox.honoured(T0).len(), 1);
    world.sandbox.fail_next(SandboxCall::Revoke, Fault::Unheard);
    assert!(minter.revoke(CredentialRef::of_plan(&plan)).await.is_err());
    assert!(world.sandbox.honoured(T0).is_empty());
    world.sandbox.mend();
    assert!(matches!(minter.revoke(CredentialRef::of_plan(&plan)).await.unwrap(), Revoked::Gone(_)));
    assert_eq!((world.sandbox.calls(SandboxCall::Mint), world.sandbox.calls(SandboxCall::Revoke)), (3, 5));
}

#[tokio::test]
async fn backends_that_share_a_sandbox_do_not_list_each_other() {
    let world = World::new();
    let (one, other) = (world.minter(SETTINGS), world.minter("name = 'other'\nkind = 'sandbox'"));
    one.mint(&plan(&*one)).await.unwrap();
    assert_eq!(other.inventory().await.unwrap(), Inventory::Complete(Vec::new()));
}

#[tokio::test]
async fn what_another_deployment_made_is_not_listed() {
    let mut world = World::new();
    world.minter(SETTINGS).mint(&plan(&*world.minter(SETTINGS))).await.unwrap();
    world.deps.issuer_url = "https://hallpass.elsewhere.example".to_owned();
    assert_eq!(world.minter(SETTINGS).inventory().await.unwrap(), Inventory::Complete(Vec::new()));
}

#[test]
fn it_does_not_pretend_to_bind_to_a_key() {
    let minter = World::new().minter(SETTINGS);
    let (agent, scopes) = (agent(), scopes());
    let mut order = order(&agent, &scopes);
    order.confirmation_key = Some("{}");
    assert!(matches!(minter.plan(&order), Err(MintError::Unsupported(_))));
}
