//! How a user ends: at once, with its connections, whatever its holder does, and so that no restart and no late call brings it back.

use hallpass::minter::{CredentialRef, Inventory, MintError, Probe, Revoked};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{Waiting, end, live, minter_at, minter_with, plan_for, reads, run, value, writes};
use crate::support::redis::Redis;

#[tokio::test(flavor = "multi_thread")]
async fn red_05_open_connections_end_with_their_user_and_siblings_are_untouched() {
    let redis = Redis::start();
    let minter = minter_at(&redis);
    let (plan, minted) = live(&*minter, &[reads("acme"), writes()]).await;
    let (other, sibling) = live(&*minter, &[reads("acme")]).await;
    let blocked = Waiting::begin(&redis, &minted, "blpop orders:acme:queue 0");
    let listens = Waiting::begin(&redis, &minted, "subscribe prices");
    let stays = Waiting::begin(&redis, &sibling, "blpop orders:acme:queue 0");
    let Revoked::Gone(how) = minter.revoke(CredentialRef::of_plan(&plan)).await.unwrap() else { panic!("not at once") };
    assert!(how.contains("closed the user's connections") && how.contains("wrote that into its ACL file"), "{how}");
    let sessions = redis.operator(&["client", "list"]);
    assert!(!sessions.contains(value(&minted, "username")), "{sessions}");
    redis.operator(&["publish", "prices", "secret"]);
    redis.operator(&["rpush", "orders:acme:queue", "rope"]);
    for lost in [blocked, listens] {
        let (lost, heard) = lost.lost();
        assert!(lost && !heard.contains("secret") && !heard.contains("rope"), "{heard}");
    }
    assert!(run(&redis, &minted, &["get", "orders:acme:1"]).contains("WRONGPASS"));
    let (lost, heard) = stays.lost();
    assert!(!lost && heard.contains("rope"), "{heard}");
    assert_eq!(run(&redis, &sibling, &["get", "orders:acme:1"]), "");
    end(&*minter, &other).await;
}

#[tokio::test]
async fn red_06_a_restart_brings_back_who_lives_and_nobody_who_has_ended() {
    let mut redis = Redis::start();
    let minter = minter_at(&redis);
    let (ended, gone) = live(&*minter, &[reads("acme")]).await;
    let (lives, minted) = live(&*minter, &[reads("acme")]).await;
    let acl = redis.path("acl");
    assert!(std::fs::read_to_string(acl.join("users.acl")).unwrap().contains(ended.handle.as_str()));
    // The server cannot write: what is gone from its memory would come back, so nothing is said to be gone.
    std::fs::rename(&acl, redis.path("away")).unwrap();
    let unsaved = minter.revoke(CredentialRef::of_plan(&ended)).await;
    assert!(matches!(&unsaved, Err(MintError::Unavailable(why)) if why.contains("ACL file")), "{unsaved:?}");
    assert!(run(&redis, &gone, &["get", "orders:acme:1"]).contains("WRONGPASS"), "though it does not work meanwhile");
    std::fs::rename(redis.path("away"), &acl).unwrap();
    redis.crash();
    redis.resume();
    assert_eq!(run(&redis, &gone, &["get", "orders:acme:1"]), "", "it is back, as was feared");
    assert_eq!(minter.probe(CredentialRef::of_plan(&ended)).await.unwrap(), Probe::Honoured);
    end(&*minter, &ended).await;
    redis.crash();
    redis.resume();
    assert!(run(&redis, &gone, &["get", "orders:acme:1"]).contains("WRONGPASS"));
    assert_eq!(run(&redis, &minted, &["get", "orders:acme:1"]), "", "who lives is in the file");
    // Tried again when it could not be written, it is written although there is nobody to delete.
    std::fs::rename(&acl, redis.path("away")).unwrap();
    assert!(minter.revoke(CredentialRef::of_plan(&lives)).await.is_err());
    std::fs::rename(redis.path("away"), &acl).unwrap();
    end(&*minter, &lives).await;
    assert!(!std::fs::read_to_string(acl.join("users.acl")).unwrap().contains(lives.handle.as_str()));
}

#[tokio::test]
async fn red_07_a_server_that_is_down_is_unavailable_and_what_it_holds_ends_when_it_is_back() {
    let mut redis = Redis::start();
    let minter = minter_at(&redis);
    let (plan, minted) = live(&*minter, &[reads("acme")]).await;
    let other = plan_for(&*minter, &[reads("acme")]);
    redis.crash();
    let credential = CredentialRef::of_plan(&plan);
    for failed in [
        minter.mint(&other).await.map(drop),
        minter.activate(&plan.handle).await,
        minter.revoke(credential).await.map(drop),
        minter.probe(credential).await.map(drop),
        minter.inventory().await.map(drop),
        minter.check().await.map(drop),
    ] {
        assert!(matches!(failed, Err(MintError::Unavailable(_) | MintError::Unreached(_))), "{failed:?}");
    }
    redis.resume();
    assert_eq!(run(&redis, &minted, &["get", "orders:acme:1"]), "", "it still works: nothing was ended");
    for ended in [&plan, &other] {
        end(&*minter, ended).await;
    }
    assert_eq!(minter.inventory().await.unwrap(), Inventory::Complete(Vec::new()));
}

#[tokio::test]
async fn red_07_a_server_that_is_full_ends_all_the_same() {
    let redis = Redis::start();
    let minter = minter_at(&redis);
    let (plan, minted) = live(&*minter, &[reads("acme")]).await;
    redis.operator(&["config", "set", "maxmemory", "1"]);
    let refused = minter.mint(&plan_for(&*minter, &[reads("acme")])).await;
    assert!(matches!(refused, Err(MintError::Unavailable(_))), "{refused:?}");
    end(&*minter, &plan).await;
    assert!(run(&redis, &minted, &["get", "orders:acme:1"]).contains("WRONGPASS"));
}

/// A connection that holds back what lets something work, from `MULTI` on, until it is told.
async fn held(port: u16) -> (u16, tokio::sync::oneshot::Receiver<()>, tokio::sync::oneshot::Sender<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap().port();
    let (tell_held, is_held) = tokio::sync::oneshot::channel();
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = TcpStream::connect(("127.0.0.1", port)).await.unwrap().into_split();
        tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        let mut bytes = vec![0; 65_536];
        loop {
            let count = from_client.read(&mut bytes).await.unwrap();
            if bytes[..count].windows(5).any(|word| word == b"MULTI") {
                tell_held.send(()).unwrap();
                released.await.unwrap();
                to_server.write_all(&bytes[..count]).await.unwrap();
                return std::future::pending::<()>().await;
            }
            to_server.write_all(&bytes[..count]).await.unwrap();
        }
    });
    (address, is_held, release)
}

#[tokio::test(flavor = "multi_thread")]
async fn red_08_a_call_that_lands_after_the_end_does_nothing() {
    for activates in [false, true] {
        let redis = Redis::start();
        let direct = minter_at(&redis);
        let (port, is_held, release) = held(redis.port).await;
        let slow = minter_with("tested", &redis.settings("").replace(&redis.port.to_string(), &port.to_string()));
        let plan = plan_for(&*direct, &[reads("acme")]);
        if activates {
            direct.mint(&plan).await.unwrap();
        }
        let late = tokio::spawn({
            let plan = plan.clone();
            async move { if activates { slow.activate(&plan.handle).await } else { slow.mint(&plan).await.map(drop) } }
        });
        is_held.await.unwrap();
        end(&*direct, &plan).await;
        release.send(()).unwrap();
        let late = late.await.unwrap();
        assert!(matches!(&late, Err(MintError::Unavailable(why)) if why.contains("nothing was done")), "{late:?}");
        assert_eq!(direct.inventory().await.unwrap(), Inventory::Complete(Vec::new()), "activates: {activates}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn red_08_a_call_that_lands_too_late_does_nothing() {
    let redis = Redis::start();
    let direct = minter_at(&redis);
    let (port, is_held, release) = held(redis.port).await;
    let slow = minter_with("tested", &redis.settings("").replace(&redis.port.to_string(), &port.to_string()));
    let plan = plan_for(&*direct, &[reads("acme")]);
    let late = tokio::spawn({
        let plan = plan.clone();
        async move { slow.mint(&plan).await.map(drop) }
    });
    is_held.await.unwrap();
    // Three seconds of the server's own clock, which is asked for what it thinks of the time.
    let key = format!("hallpass:fence:{}", plan.handle);
    assert_eq!(redis.operator(&["exists", &key]), "1");
    redis.operator(&["pexpire", &key, "1"]);
    while redis.operator(&["exists", &key]) != "0" {
        tokio::task::yield_now().await;
    }
    release.send(()).unwrap();
    assert!(matches!(late.await.unwrap(), Err(MintError::Unavailable(_))));
    assert_eq!(direct.inventory().await.unwrap(), Inventory::Complete(Vec::new()));
}
