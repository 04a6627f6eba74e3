//! Row policies read what a scope's parameters say, and the holder of the credential cannot change it.

use hallpass::domain::LeaseId;
use hallpass::minter::{CredentialRef, MintError};

use super::super::{T0, agent, order};
use super::{end, live, of_tenant, psql, psql_in, reads, shared};

const READ: &str = "select string_agg(tenant, ',') from orders";

#[tokio::test]
async fn row_policies_read_what_the_scope_says_and_nothing_else() {
    let (shop, minter) = (shared(), shared().minter("rows"));
    let (acme, by_acme) = live(&*minter, &[of_tenant("read", "orders_reader", "acme")]).await;
    let (globex, by_globex) = live(&*minter, &[of_tenant("read", "orders_reader", "globex")]).await;
    let (none, by_none) = live(&*minter, &[reads()]).await;
    assert_eq!(psql(&by_acme, READ).unwrap(), "acme");
    assert_eq!(psql(&by_globex, READ).unwrap(), "globex");
    assert_eq!(psql(&by_none, READ).unwrap(), "", "without a value there are no rows");
    assert!(acme.summary.iter().any(|line| line.contains("tenant = acme")), "{:?}", acme.summary);
    assert!(acme.effect.contains(r#""rows":{"tenant":"acme"}"#), "{}", acme.effect);
    for plan in [&acme, &globex, &none] {
        end(&*minter, plan).await;
    }
    let left = format!("select count(*) from hallpass.scope_values where role = '{}'", acme.handle);
    assert_eq!(shop.sql(&left), "0", "emptied with the role");
}

/// What a session may try that the server refuses.
fn forbidden(mine: &str, theirs: &str) -> Vec<String> {
    vec![
        "select * from hallpass.scope_values".to_owned(),
        "update hallpass.scope_values set value = 'globex'".to_owned(),
        format!("insert into hallpass.scope_values values ('{mine}', 'tenant', 'globex')"),
        "delete from hallpass.scope_values".to_owned(),
        "truncate hallpass.scope_values".to_owned(),
        "drop function hallpass.scope_value(text) cascade".to_owned(),
        "create or replace function hallpass.scope_value(wanted text) returns text language sql as $$select 'globex'$$"
            .to_owned(),
        "create function hallpass.scope_value(wanted unknown) returns text language sql as $$select 'globex'$$"
            .to_owned(),
        "alter function hallpass.scope_value(text) set role to hallpass_scope".to_owned(),
        "alter table orders disable row level security".to_owned(),
        "create policy mine on orders using (true)".to_owned(),
        "set session authorization hallpass_scope".to_owned(),
        format!("set session authorization {theirs}"),
        format!("set role {theirs}"),
        "set role hallpass_scope".to_owned(),
        "set role hallpass_broker".to_owned(),
        format!("grant {theirs} to {mine}"),
        format!("alter role {mine} rename to {theirs}x"),
        format!("alter role {theirs} password 'x'"),
        "set row_security = off; select * from orders".to_owned(),
        "set session_replication_role = replica".to_owned(),
        format!("comment on role {mine} is 'nobody''s'"),
    ]
}

/// What a session may do to be taken for somebody else, or to have the function read something else, and gains nothing by.
fn in_vain(mine: &str) -> Vec<String> {
    vec![
        "set role orders_writer".to_owned(),
        "set search_path = pg_temp, own, public".to_owned(),
        "set hallpass.tenant = 'globex'; set hallpass.scope_value = 'globex'".to_owned(),
        "create temp table scope_values (role name, key text, value text);
            insert into pg_temp.scope_values values (session_user, 'tenant', 'globex')"
            .to_owned(),
        "create temp table pg_roles (oid oid, rolname name); create temp table pg_auth_members (roleid oid, member oid)"
            .to_owned(),
        "create function pg_temp.starts_with(name, text) returns bool language sql as 'select false'".to_owned(),
        "create function own.eq(name, name) returns bool language sql as 'select true';
            create operator own.= (leftarg = name, rightarg = name, function = own.eq);
            set search_path = own, pg_catalog, public"
            .to_owned(),
        "create function own.scope_value(text) returns text language sql as $$select 'globex'$$;
            set search_path = own, hallpass, public"
            .to_owned(),
        format!("alter role {mine} set search_path = own, pg_temp, public"),
        format!("alter role {mine} set role = orders_writer"),
    ]
}

#[tokio::test]
async fn an_agent_cannot_change_what_row_policies_read_for_it() {
    let shop = shared();
    shop.sql("create schema if not exists own; grant usage, create on schema own to orders_writer");
    let minter = shop.minter("rows-attacks");
    let (plan, minted) = live(&*minter, &[of_tenant("write", "orders_writer", "acme")]).await;
    let (other, _) = live(&*minter, &[of_tenant("write", "orders_writer", "globex")]).await;
    let (mine, theirs) = (plan.handle.as_str(), other.handle.as_str());
    for attack in forbidden(mine, theirs) {
        let answer = psql(&minted, &attack);
        assert!(answer.is_err(), "{attack}: {answer:?}");
    }
    for attack in in_vain(mine) {
        psql(&minted, &attack).unwrap_or_else(|error| panic!("{attack}: {error}"));
        let seen = psql(&minted, &format!("{attack}; {}", READ.replace("orders", "public.orders")));
        let seen = seen.or_else(|_| psql(&minted, &READ.replace("orders", "public.orders")));
        assert_eq!(seen.unwrap().lines().last(), Some("acme"), "{attack}");
    }
    assert!(
        psql(&minted, "insert into public.orders values (9, 'globex', 'x')")
            .unwrap_err()
            .contains("row-level security")
    );
    assert_eq!(
        psql_in(&minted, "orders", "update public.orders set what = 'y' where tenant = 'globex' returning 1").unwrap(),
        ""
    );
    end(&*minter, &plan).await;
    end(&*minter, &other).await;
}

/// Up to PostgreSQL 15 a role may put another into itself, and the other would have its rights with its own rows.
#[tokio::test]
async fn two_agents_cannot_mix_the_rights_of_one_with_the_rows_of_the_other() {
    let minter = shared().minter("rows-mixed");
    let (writer, by_writer) = live(&*minter, &[of_tenant("write", "orders_writer", "acme")]).await;
    let (reader, by_reader) = live(&*minter, &[of_tenant("read", "orders_reader", "globex")]).await;
    let update = "update orders set what = 'mixed' where tenant = 'globex' returning tenant";
    assert!(psql(&by_reader, update).is_err());
    let given = psql(&by_writer, &format!("grant {} to {}", writer.handle, reader.handle));
    if given.is_ok() {
        assert_eq!(psql(&by_reader, update).unwrap(), "", "it sees no row at all");
        assert_eq!(psql(&by_reader, READ).unwrap(), "");
    }
    end(&*minter, &writer).await;
    assert_eq!(psql(&by_reader, READ).unwrap(), "globex", "with the other's end its own rows are back");
    end(&*minter, &reader).await;
}

#[tokio::test]
async fn scopes_with_other_rows_do_not_share_a_role() {
    let minter = shared().minter("rows-apart");
    let (acme, globex) = (of_tenant("read", "orders_reader", "acme"), of_tenant("write", "orders_writer", "globex"));
    assert_eq!(minter.bucket(&acme.1).unwrap(), minter.bucket(&globex.1).unwrap());
    assert_ne!(minter.bucket(&acme.1).unwrap(), minter.bucket(&reads().1).unwrap());
    let agent = agent();
    for together in [vec![acme.clone(), globex], vec![acme.clone(), reads()]] {
        let refused = minter.plan(&order(&agent, &together));
        assert!(matches!(refused, Err(MintError::Unsupported(_))), "{refused:?}");
    }
    let both = [acme, of_tenant("write", "orders_writer", "acme")];
    let mut order = order(&agent, &both);
    order.lease = LeaseId::new(T0, [88; 10]);
    let plan = minter.plan(&order).unwrap();
    assert!(plan.effect.contains(r#""groups":["orders_reader","orders_writer"]"#), "{}", plan.effect);
    minter.revoke(CredentialRef::of_plan(&plan)).await.unwrap();
}
