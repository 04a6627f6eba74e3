//! What a role leaves behind in each database is dropped with it, and nothing of anybody else's is.

use hallpass::minter::{CredentialRef, MintError};

use super::{end, live, psql, psql_in, shared, writes};

#[tokio::test]
async fn what_a_role_owns_is_dropped_in_each_database_and_never_handed_to_others() {
    let shop = shared();
    for database in ["orders", "billing"] {
        shop.server
            .sql(database, "create schema if not exists work; grant usage, create on schema work to orders_writer");
    }
    let minter = shop.minter("owned");
    let (plan, minted) = live(&*minter, &[writes()]).await;
    let role = plan.handle.as_str();
    let make = format!(
        "create table work.t_{role} (id int); create function work.f_{role}() returns int language sql as 'select 1';
        create type work.e_{role} as enum ('a'); grant all on work.t_{role} to public; select lo_create(0);
        alter default privileges in schema work grant select on tables to public"
    );
    for database in ["orders", "billing"] {
        psql_in(&minted, database, &make).unwrap();
    }
    psql(&minted, &format!("insert into prices values (55, 1); alter role {role} set work_mem = '1MB'")).unwrap();
    let owned = |database: &str| {
        let count =
            format!("select count(*) from pg_shdepend where refobjid = to_regrole('{role}')::oid and deptype = 'o'");
        shop.server.sql(database, &count)
    };
    assert_ne!(owned("orders"), "0");
    end(&*minter, &plan).await;
    assert!(!shop.role_exists(&plan));
    for database in ["orders", "billing"] {
        let left = format!("select count(*) from pg_class where relname = 't_{role}'");
        assert_eq!(shop.server.sql(database, &left), "0");
        assert_eq!(shop.server.sql(database, "select count(*) from pg_largeobject_metadata"), "0");
    }
    assert_eq!(shop.sql("delete from prices where id = 55 returning cents"), "1", "rows in others' tables stay");
}

/// What the broker cannot reach or may not drop is said; nothing of others goes with it.
#[tokio::test]
async fn what_others_built_on_it_is_not_dropped_and_the_operator_is_told() {
    let shop = shared();
    shop.sql("create schema if not exists shared; grant usage, create on schema shared to orders_writer");
    let minter = shop.minter("built-on");
    let (plan, minted) = live(&*minter, &[writes()]).await;
    psql(&minted, "create table shared.base (id int)").unwrap();
    shop.sql("create view shared.on_top as select id from shared.base");
    let credential = CredentialRef::of_plan(&plan);
    minter.revoke(credential).await.unwrap();
    let refused = minter.cleanup(credential).await.unwrap_err();
    assert!(matches!(refused, MintError::Refused(_)) && refused.to_string().contains("shared.on_top"), "{refused}");
    assert_eq!(shop.sql("select count(*) from shared.on_top"), "0", "it is still there");
    assert!(psql(&minted, "select 1").is_err(), "though the role works no more");
    shop.sql("drop view shared.on_top");
    minter.cleanup(credential).await.unwrap();
    assert!(!shop.role_exists(&plan));
}
