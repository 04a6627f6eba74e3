//! Thousands of roles: no access list grows with them, and they come and go fast.

use std::sync::Arc;

use hallpass::domain::MintPlan;
use hallpass::minter::{CredentialRef, Inventory, Minter};
use hallpass::sys::{Clock as _, SteadyClock};

use super::{Shop, end, live, plan_for, psql, reads};

/// How long access lists are, and how many of them there are.
const LISTS: &str = "select sum(coalesce(array_length(relacl, 1), 0)), count(relacl) from pg_class
    union all select sum(coalesce(array_length(datacl, 1), 0)), count(datacl) from pg_database
    union all select sum(coalesce(array_length(nspacl, 1), 0)), count(nspacl) from pg_namespace
    union all select count(*), 0 from pg_authid where rolname !~ '^jit_'";

/// Do something for each of so many plans, a few at a time.
async fn for_each(minter: &Arc<dyn Minter>, plans: Vec<MintPlan>, also_end: bool) {
    const AT_ONCE: usize = 8;
    let mut hands = Vec::new();
    for part in plans.chunks(plans.len().div_ceil(AT_ONCE)) {
        let (part, minter) = (part.to_vec(), Arc::clone(minter));
        hands.push(tokio::spawn(async move {
            for plan in part {
                minter.mint(&plan).await.unwrap();
                minter.activate(&plan.handle).await.unwrap();
                if also_end {
                    minter.revoke(CredentialRef::of_plan(&plan)).await.unwrap();
                    minter.cleanup(CredentialRef::of_plan(&plan)).await.unwrap();
                }
            }
        }));
    }
    for hand in hands {
        hand.await.unwrap();
    }
}

/// Most of the three thousand are copies of one of ours, made by the server itself, which is much faster.
#[tokio::test(flavor = "multi_thread")]
async fn pg_09_three_thousand_live_roles_on_one_table_grow_no_access_list() {
    const COPIES: usize = 2_900;
    let shop = Shop::open_for_load();
    let minter = shop.minter("pg-09");
    let before = shop.sql(LISTS);
    let plans: Vec<MintPlan> = (0..100).map(|_| plan_for(&*minter, &[reads()])).collect();
    let one = plans[0].handle.clone();
    for_each(&minter, plans, false).await;
    shop.sql(&format!(
        "do $$ declare role text; begin for n in 1..{COPIES} loop
            role := 'jit_' || lpad(n::text, 26, '0');
            execute format('create role %I login connection limit 10 in role orders_reader', role);
            execute format('comment on role %I is %L', role, shobj_description('{one}'::regrole, 'pg_authid'));
        end loop; end $$"
    ));
    let (plan, minted) = live(&*minter, &[reads()]).await;
    assert_eq!(psql(&minted, "select cents from prices").unwrap(), "100", "the next one works");
    assert_eq!(shop.sql("select count(*) from pg_roles where rolname ~ '^jit_' and rolcanlogin"), "3001");
    assert_eq!(shop.sql(LISTS), before);
    let Inventory::Complete(found) = minter.inventory().await.unwrap() else { panic!("it can list") };
    assert_eq!(found.len(), 3_001);
    end(&*minter, &plan).await;
    assert!(psql(&minted, "select 1").is_err());
}

/// `cargo test --release --test it -- --ignored --nocapture ten_thousand`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement that takes minutes"]
async fn ten_thousand_roles_come_and_go_and_leave_nothing() {
    let shop = Shop::open_for_load();
    let minter = shop.minter("rate");
    let before = shop.sql(LISTS);
    let size = "select pg_total_relation_size('pg_authid') + pg_total_relation_size('pg_auth_members')
        + pg_total_relation_size('pg_shdescription') + pg_total_relation_size('pg_shdepend')";
    let sized = shop.sql(size);
    for round in 1..=5_i64 {
        let plans: Vec<MintPlan> = (0..2_000).map(|_| plan_for(&*minter, &[reads()])).collect();
        let watch = SteadyClock::default();
        for_each(&minter, plans, true).await;
        let took = watch.now().as_millis();
        println!(
            "round {round}: {} mint+end pairs/s, catalogues {} B (before: {sized} B)",
            2_000_000 / took,
            shop.sql(size)
        );
    }
    assert_eq!(shop.sql(LISTS), before);
    assert_eq!(shop.sql("select count(*) from pg_roles where rolname ~ '^jit_'"), "0");
}
