//! Kind `oauth` against authorization servers that are not ours: one whose exchange, tokens, revocation and introspection are all its
//! own, and one that authenticates us by our signature and serves a resource. What we sign is verified by `PyJWT` and jose.

use std::sync::Arc;

use axum::{Router, routing::get};
use hallpass::domain::{CatalogueEntry, MintPlan, Scope, Timestamp, Ttl};
use hallpass::minter::{CredentialRef, MintError, Minted, Minter, Probe, Revoked};
use hallpass::sys::{Clock as _, ExposeSecret as _, FetchLimits, HttpClient, Outgoing, SystemClock};
use http::header::AUTHORIZATION;
use serde_json::{Value, json};

use super::oauth::token;
use super::{World, lease, plan_of, scope};
use crate::support::foreign::{Server, node, python};

/// The broker as others see it: its key set below its public URL.
async fn world() -> World {
    let mut world = World::at(SystemClock.now());
    let (keys, now) = (Arc::clone(&world.deps.keyring), world.clock.now());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.deps.issuer_url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/.well-known/jwks.json", get(move || async move { keys.jwks(now) }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    world
}

/// Start a server that asks for the key set, and so must not hold up the thread that serves it.
async fn start(program: std::path::PathBuf, script: &'static str, world: &World) -> (Server, Value) {
    let broker = world.deps.issuer_url.clone();
    tokio::task::spawn_blocking(move || Server::start(&program, script, Some(&broker))).await.unwrap()
}

struct Stage {
    minter: Arc<dyn Minter>,
    now: Timestamp,
    resource: String,
}

impl Stage {
    fn scope(&self, values: &[&str]) -> Vec<(Scope, CatalogueEntry)> {
        vec![scope("crm:contacts:use(region=eu)", json!({ "resource": self.resource, "scope": values }))]
    }

    fn plan(&self, number: u8, values: &[&str]) -> MintPlan {
        plan_of(&*self.minter, &self.scope(values), |order| {
            let ttl = Ttl::from_secs(300).unwrap();
            (order.lease, order.ttl, order.now, order.ends_at) = (lease(number), ttl, self.now, self.now.plus(ttl));
        })
    }

    async fn mint(&self, number: u8) -> (MintPlan, Minted) {
        let plan = self.plan(number, &["contacts:{region}:read"]);
        let minted = self.minter.mint(&plan).await.unwrap();
        (plan, minted)
    }

    /// Two lives, of which one is ended and the other not; `works` asks somebody else than the minter.
    async fn two_lives(&self, works: impl AsyncFn(&Minted) -> bool) {
        assert_eq!(self.minter.check().await.unwrap(), Vec::<String>::new());
        let ((plan, minted), (other, sibling)) = (self.mint(1).await, self.mint(2).await);
        let credential = CredentialRef::of_plan(&plan).with(minted.kept.as_ref());
        assert_eq!(self.minter.probe(credential).await.unwrap(), Probe::Honoured);
        assert!(works(&minted).await && works(&sibling).await);

        for _ in 0..2 {
            assert!(matches!(self.minter.revoke(credential).await, Ok(Revoked::Gone(_))));
            assert_eq!(self.minter.probe(credential).await.unwrap(), Probe::Refused);
        }
        assert!(!works(&minted).await && works(&sibling).await);
        let sibling = CredentialRef::of_plan(&other).with(sibling.kept.as_ref());
        assert_eq!(self.minter.probe(sibling).await.unwrap(), Probe::Honoured);

        // What the client may not have there is nobody's.
        let refused = self.minter.mint(&self.plan(3, &["contacts:{region}:read", "payroll:{region}:write"])).await;
        assert!(matches!(&refused, Err(MintError::Refused(why)) if why.contains("scope")), "{refused:?}");
    }
}

async fn asked(request: Outgoing) -> (u16, Value) {
    let limits = FetchLimits { max_bytes: 64 << 10, allow_private: true };
    let answer = HttpClient::new(None).unwrap().send(request, limits).await.unwrap();
    (answer.status.as_u16(), serde_json::from_slice(&answer.body).unwrap())
}

#[tokio::test]
async fn oax_01_a_server_with_a_token_exchange_of_its_own_takes_our_word_for_the_agent() {
    let mut world = world().await;
    let (_server, said) = start(python(), "exchange.py", &world).await;
    let issuer = said["issuer"].as_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, said["client_secret"].as_str().unwrap()).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    world.deps.folder = folder.path().to_owned();
    let settings = format!(
        "name = 'crm'\nkind = 'oauth'\nissuer = '{issuer}'\nclient_id = {}\nclient_secret = {{ file = 'secret' }}\n\
         token_lifetime_seconds = 300\nallow_private = true\n\
         subject_token_type = 'urn:ietf:params:oauth:token-type:id_token'",
        said["client_id"]
    );
    let resource = "https://crm.example/api".to_owned();
    let stage = Stage { minter: world.minter(&settings), now: world.clock.now(), resource };
    // It asks nobody who asks, so anybody can.
    let state = async |minted: &Minted| {
        let mut request = Outgoing::get(format!("{issuer}/introspect").parse().unwrap());
        request.method = http::Method::POST;
        request.headers.insert(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded".parse().unwrap());
        request.body = format!("token={}", token(minted)).into_bytes();
        asked(request).await.1
    };
    stage.two_lives(async |minted| state(minted).await["active"] == true).await;
    let (_, minted) = stage.mint(4).await;
    let state = state(&minted).await;
    assert_eq!((&state["sub"], &state["scope"]), (&json!("user:agent:release-bot"), &json!("contacts:eu:read")));
    assert_eq!(state["aud"], stage.resource.as_str());

    // Two who say that they are us, and a broker whose keys it does not take.
    std::fs::write(&file, "another").unwrap();
    let refused = world.minter(&settings).mint(&stage.plan(5, &["contacts:{region}:read"])).await;
    assert!(matches!(refused, Err(MintError::Misconfigured(_))), "{refused:?}");
    std::fs::write(&file, said["client_secret"].as_str().unwrap()).unwrap();
    world.deps.issuer_url = "https://mallory.example".to_owned();
    let refused = world.minter(&settings).mint(&stage.plan(5, &["contacts:{region}:read"])).await;
    assert!(matches!(&refused, Err(MintError::Refused(why)) if why.contains("ntrusted")), "{refused:?}");
}

#[tokio::test]
async fn oax_01_a_server_that_knows_us_by_our_signature_gives_a_token_that_works_until_it_is_ended() {
    let world = world().await;
    let (_server, said) = start(node(), "exchange.mjs", &world).await;
    let settings = format!(
        "name = 'crm'\nkind = 'oauth'\nissuer = {}\nclient_id = 'hallpass'\ntoken_lifetime_seconds = 600\n\
         allow_private = true",
        said["issuer"]
    );
    let resource = said["resource"].as_str().unwrap().to_owned();
    let stage = Stage { minter: world.minter(&settings), now: world.clock.now(), resource };
    let fetch = async |minted: &Minted| {
        let mut request = Outgoing::get(stage.resource.parse().unwrap());
        request.headers.insert(AUTHORIZATION, format!("Bearer {}", token(minted)).parse().unwrap());
        asked(request).await
    };
    stage.two_lives(async |minted| fetch(minted).await.0 == 200).await;
    let (plan, minted) = stage.mint(4).await;
    let (status, state) = fetch(&minted).await;
    assert_eq!((status, &state["agent"]), (200, &json!("agent:release-bot")));
    assert_eq!(
        (&state["lease"], &state["task"]),
        (&plan.native["lease"], &plan.native["task"]),
        "it carries its reason"
    );
    assert_eq!(minted.values["expires_at"].expose_secret(), plan.ends_at.to_string());

    let mut elsewhere = stage.plan(5, &["contacts:{region}:read"]);
    elsewhere.native["ask"]["target"] = json!({ "resource": "https://payroll.example/" });
    let refused = stage.minter.mint(&elsewhere).await;
    assert!(matches!(&refused, Err(MintError::Refused(why)) if why.contains("invalid_target")), "{refused:?}");
    let stranger = world.minter(&settings.replace("'hallpass'", "'crm'"));
    let refused = stranger.mint(&stage.plan(6, &["contacts:{region}:read"])).await;
    assert!(matches!(refused, Err(MintError::Misconfigured(_))), "{refused:?}");
}
