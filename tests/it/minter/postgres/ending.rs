//! How a role ends: at once, whatever its holder does meanwhile, and also after the server was away or put back.

use hallpass::minter::{CredentialRef, Inventory, MintError, Probe, Revoked};
use hallpass::sys::{Clock as _, SteadyClock};

use super::{Session, Shop, end, live, plan_for, psql, reads, shared, value, writes};

/// What PG-02 allows.
const TWO_SECONDS_MILLIS: i64 = 2_000;

#[tokio::test(flavor = "multi_thread")]
async fn pg_02_an_open_session_and_a_running_query_end_within_two_seconds() {
    let (shop, minter) = (shared(), shared().minter("pg-02"));
    let (plan, minted) = live(&*minter, &[reads()]).await;
    let idle = Session::open(&minted, "begin; select * from prices;");
    let mut busy = Session::open(&minted, "select 1;");
    busy.begin("select pg_sleep(600);");
    let watch = SteadyClock::default();
    let Revoked::Gone(how) = minter.revoke(CredentialRef::of_plan(&plan)).await.unwrap() else { panic!("not at once") };
    let took = watch.now().as_millis();
    assert!(took <= TWO_SECONDS_MILLIS, "it took {took} ms");
    assert!(how.contains("no session"), "{how}");
    assert!(idle.lost() && busy.lost());
    assert!(psql(&minted, "select 1").unwrap_err().contains("authentication failed"));
    assert_eq!(minter.probe(CredentialRef::of_plan(&plan)).await.unwrap(), Probe::Refused);
    let sessions = format!("select count(*) from pg_stat_activity where usename = '{}'", plan.handle);
    assert_eq!(shop.sql(&sessions), "0");
    minter.cleanup(CredentialRef::of_plan(&plan)).await.unwrap();
    assert!(!shop.role_exists(&plan), "the role is gone");
}

/// A probe does not take the role's word for it: a session outlives NOLOGIN, the end of its password and the role itself.
#[tokio::test]
async fn pg_02_a_role_with_a_session_is_honoured_whatever_its_attributes_say() {
    let (shop, minter) = (shared(), shared().minter("pg-02-probe"));
    let (plan, minted) = live(&*minter, &[reads()]).await;
    let session = Session::open(&minted, "select 1;");
    shop.sql(&format!("alter role {} nologin valid until '-infinity'", plan.handle));
    assert!(psql(&minted, "select 1").is_err());
    assert_eq!(minter.probe(CredentialRef::of_plan(&plan)).await.unwrap(), Probe::Honoured);
    end(&*minter, &plan).await;
    assert_eq!(minter.probe(CredentialRef::of_plan(&plan)).await.unwrap(), Probe::Refused);
    assert!(session.lost());
}

#[tokio::test]
async fn pg_08_a_password_that_the_agent_set_itself_ends_too() {
    let minter = shared().minter("pg-08");
    let (plan, minted) = live(&*minter, &[reads()]).await;
    let role = value(&minted, "username");
    psql(&minted, &format!("alter role {role} password 'its-own'")).unwrap();
    assert!(psql(&minted, "select 1").is_err(), "the old one is void");
    let other = value(&minted, "url").replace(value(&minted, "password"), "its-own");
    let login = |url: &str| super::psql_at(url).args(["-c", "select 1"]).output().unwrap().status.success();
    assert!(login(&other));
    for (attempt, why) in [
        (format!("alter role {role} valid until 'infinity'"), "longer life"),
        (format!("alter role {role} superuser"), "more power"),
        (format!("alter role {role} connection limit -1"), "more connections"),
        ("grant orders_writer to current_user".to_owned(), "another group"),
        ("set session authorization orders_writer".to_owned(), "another name"),
        ("set role orders_writer".to_owned(), "a group that it is not in"),
    ] {
        assert!(!super::psql_at(&other).args(["-c", &attempt]).output().unwrap().status.success(), "{why}");
    }
    minter.revoke(CredentialRef::of_plan(&plan)).await.unwrap();
    assert!(!login(&other) && psql(&minted, "select 1").is_err(), "both are refused");
    minter.cleanup(CredentialRef::of_plan(&plan)).await.unwrap();
}

/// An open transaction that changed the role's own row holds whoever wants to change it.
#[tokio::test(flavor = "multi_thread")]
async fn pg_08_an_agent_cannot_hold_its_own_role() {
    let minter = shared().minter("pg-08-held");
    let (plan, minted) = live(&*minter, &[reads()]).await;
    let hold = format!("begin; alter role {} password 'its-own';", plan.handle);
    let mut holders = vec![Session::open(&minted, &hold)];
    for _ in 0..2 {
        let mut waiting = Session::open(&minted, "select 1;");
        waiting.begin(&hold);
        holders.push(waiting);
    }
    let watch = SteadyClock::default();
    minter.revoke(CredentialRef::of_plan(&plan)).await.unwrap();
    let took = watch.now().as_millis();
    assert!(took <= TWO_SECONDS_MILLIS, "it took {took} ms");
    assert!(holders.into_iter().all(Session::lost));
    assert_eq!(minter.probe(CredentialRef::of_plan(&plan)).await.unwrap(), Probe::Refused);
    minter.cleanup(CredentialRef::of_plan(&plan)).await.unwrap();
}

/// Up to PostgreSQL 15 a role may put others into itself. What they have by it ends with it.
#[tokio::test]
async fn what_a_role_gave_to_others_ends_with_it() {
    let (shop, minter) = (shared(), shared().minter("given"));
    let (giver, gives) = live(&*minter, &[writes()]).await;
    let (taker, takes) = live(&*minter, &[reads()]).await;
    let insert = "begin; insert into prices values (77, 1); rollback";
    assert!(psql(&takes, insert).is_err());
    if psql(&gives, &format!("grant {} to {}", giver.handle, taker.handle)).is_err() {
        return;
    }
    assert!(psql(&takes, insert).is_ok());
    minter.revoke(CredentialRef::of_plan(&giver)).await.unwrap();
    assert!(psql(&takes, insert).is_err(), "not only when the role is removed");
    assert_eq!(psql(&takes, "select cents from prices").unwrap(), "100", "what is its own stays");
    end(&*minter, &giver).await;
    end(&*minter, &taker).await;
    assert!(!shop.role_exists(&giver) && !shop.role_exists(&taker));
}

#[tokio::test]
async fn pg_10_a_server_that_is_down_is_unavailable_and_what_it_holds_ends_when_it_is_back() {
    let shop = Shop::open(Vec::new());
    let minter = shop.minter("pg-10");
    let (plan, minted) = live(&*minter, &[reads()]).await;
    let other = plan_for(&*minter, &[reads()]);
    shop.server.crash();
    let watch = SteadyClock::default();
    let unheard = minter.mint(&other).await;
    assert!(matches!(unheard, Err(MintError::Unavailable(_))), "{unheard:?}");
    let credential = CredentialRef::of_plan(&plan);
    assert!(matches!(minter.activate(&plan.handle).await, Err(MintError::Unavailable(_))));
    assert!(matches!(minter.revoke(credential).await, Err(MintError::Unavailable(_))));
    assert!(matches!(minter.cleanup(credential).await, Err(MintError::Unavailable(_))));
    assert!(matches!(minter.probe(credential).await, Err(MintError::Unavailable(_))));
    assert!(matches!(minter.inventory().await, Err(MintError::Unavailable(_))));
    assert!(watch.now().as_millis() < 6 * 4_000, "no call hangs");
    shop.server.resume();
    assert!(psql(&minted, "select 1").is_ok(), "it still works: nothing was ended");
    for ended in [&plan, &other] {
        end(&*minter, ended).await;
        assert!(!shop.role_exists(ended));
    }
}

#[tokio::test]
async fn pg_11_what_a_restored_server_brings_back_is_found_and_what_it_lost_is_no_failure() {
    let shop = shared();
    let minter = shop.minter("pg-11");
    let (back, minted) = live(&*minter, &[reads()]).await;
    let (lost, _) = live(&*minter, &[reads()]).await;
    shop.sql(&format!("drop role {}", lost.handle));
    let Inventory::Complete(found) = minter.inventory().await.unwrap() else { panic!("it can list") };
    assert_eq!(found.iter().map(|found| &found.handle).collect::<Vec<_>>(), [&back.handle]);
    for _ in 0..2 {
        end(&*minter, &lost).await;
        end(&*minter, &back).await;
    }
    assert!(psql(&minted, "select 1").is_err() && !shop.role_exists(&back));
}

#[tokio::test]
async fn what_another_deployment_or_somebody_else_made_is_left_alone() {
    let shop = shared();
    let (ours, theirs) = (shop.minter("ours"), shop.minter("theirs"));
    let (plan, minted) = live(&*theirs, &[reads()]).await;
    assert_eq!(ours.inventory().await.unwrap(), Inventory::Complete(Vec::new()));
    let credential = CredentialRef::of_plan(&plan);
    for refused in [
        ours.revoke(credential).await.map(drop),
        ours.cleanup(credential).await,
        ours.activate(&plan.handle).await,
        ours.mint(&plan).await.map(drop),
    ] {
        assert!(matches!(refused, Err(MintError::Refused(_))), "{refused:?}");
    }
    assert!(psql(&minted, "select 1").is_ok());
    for name in ["hallpass", "orders_reader", "jit_x", "jit_\"; drop role hallpass; --"] {
        let handle = hallpass::domain::Handle::new(name);
        let refused = ours
            .revoke(CredentialRef { handle: &handle, native_end: plan.native_end, kept: None, ending_since: None })
            .await;
        assert!(matches!(refused, Err(MintError::Refused(_))), "{name}: {refused:?}");
    }
    end(&*theirs, &plan).await;
}
