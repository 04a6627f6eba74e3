//! What an operator is told to mend, and what does not start.

use hallpass::minter::{BackendSettings, MintError, Minters};

use super::super::World;
use super::{Shop, end, live, minter_with, reads, shared};

#[tokio::test]
async fn pg_13_a_login_that_is_no_superuser_is_enough_and_a_superuser_is_too_much() {
    let shop = shared();
    let minter = shop.minter("pg-13");
    let rights = "select rolsuper, rolcreaterole from pg_roles where rolname = 'hallpass_broker'";
    assert_eq!(shop.sql(rights), "f|t");
    assert_eq!(minter.check().await.unwrap(), Vec::<String>::new());
    let (plan, _) = live(&*minter, &[reads()]).await;
    end(&*minter, &plan).await;
    let as_superuser = shop.settings("").replace("hallpass_broker@", "hallpass@");
    let found = minter_with("pg-13", &as_superuser).check().await.unwrap();
    assert!(found.iter().any(|said| said.contains("a superuser")), "{found:?}");
    let allowed = minter_with("pg-13", &format!("{as_superuser}allow_superuser = true"));
    assert_eq!(allowed.check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn each_thing_that_is_missing_or_too_much_is_named_with_what_to_do() {
    let shop = Shop::open(Vec::new());
    let said = async |change: &str, back: &str, why: &str, what: &str| {
        shop.sql(change);
        let found = shop.minter("checks").check().await.unwrap();
        assert_eq!(found.len(), 1, "{change}: {found:?}");
        assert!(found[0].contains(why) && found[0].contains(what), "{change}: {found:?}");
        shop.sql(back);
    };
    for (change, back, why, what) in [
        (
            "alter role hallpass_broker nocreaterole",
            "alter role hallpass_broker createrole",
            "make roles",
            "createrole",
        ),
        (
            "revoke pg_signal_backend from hallpass_broker",
            "grant pg_signal_backend to hallpass_broker",
            "end sessions",
            "grant pg_signal_backend",
        ),
        (
            "alter role orders_reader rename to gone",
            "alter role gone rename to orders_reader",
            "no group",
            "create role",
        ),
        (
            "alter role orders_reader bypassrls",
            "alter role orders_reader nobypassrls",
            "by orders_reader",
            "take that away",
        ),
        (
            "grant pg_read_server_files to orders_writer",
            "revoke pg_read_server_files from orders_writer",
            "by pg_read_server_files",
            "orders_writer",
        ),
        (
            "grant create on schema public to orders_writer",
            "revoke create on schema public from orders_writer",
            "create objects in public",
            "allow_create",
        ),
        (
            "grant create on database orders to orders_reader",
            "revoke create on database orders from orders_reader",
            "a new schema",
            "revoke CREATE",
        ),
        (
            "create database stray",
            "drop database stray",
            "database stray",
            "revoke connect on database \"stray\" from public",
        ),
        (
            "revoke connect on database billing from hallpass_broker",
            "grant connect on database billing to hallpass_broker",
            "\"billing\" cannot be reached",
            "permission denied",
        ),
    ] {
        said(change, back, why, what).await;
    }
    assert_eq!(shop.minter("checks").check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_clock_that_is_off_is_named() {
    // The world's clock stands still, long ago.
    let world = World::new();
    let found = world.minter(&shared().settings("")).check().await.unwrap();
    assert!(found.len() == 1 && found[0].contains("clock"), "{found:?}");
}

#[tokio::test]
async fn pg_14_a_server_without_tls_is_not_talked_to_beyond_this_machine() {
    let shop = shared();
    let elsewhere = shop.settings("").replace("127.0.0.1", "db.acme.example");
    for weak in ["disable", "prefer", "require"] {
        let settings = elsewhere.replace("/orders'", &format!("/orders?sslmode={weak}'"));
        let settings: BackendSettings = toml::from_str(&settings).unwrap();
        let refused = Minters::build(&[settings], &World::new().deps).map(drop).unwrap_err();
        assert!(matches!(&refused, MintError::Misconfigured(why) if why.contains("must be verified")), "{refused}");
    }
    let verified = shop.settings("").replace("/orders'", "/orders?sslmode=verify-full'");
    let refused = minter_with("pg-14", &verified).check().await;
    assert!(matches!(&refused, Err(MintError::Misconfigured(why)) if why.contains("TLS")), "{refused:?}");
}
