//! Thousands of roles at once: no access list grows with them. How fast they come and go is measured by benches/roles.rs.

use std::sync::Arc;

use hallpass::domain::MintPlan;
use hallpass::minter::{Inventory, Minter};

use super::{Shop, end, live, plan_for, psql, reads};

/// How long access lists are, and how many of them there are.
const LISTS: &str = "select sum(coalesce(array_length(relacl, 1), 0)), count(relacl) from pg_class
    union all select sum(coalesce(array_length(datacl, 1), 0)), count(datacl) from pg_database
    union all select sum(coalesce(array_length(nspacl, 1), 0)), count(nspacl) from pg_namespace
    union all select count(*), 0 from pg_authid where rolname !~ '^jit_'";

/// Mint for each of so many plans, a few at a time.
async fn mint_all(minter: &Arc<dyn Minter>, plans: Vec<MintPlan>) {
    const AT_ONCE: usize = 8;
    let mut hands = Vec::new();
    for part in plans.chunks(plans.len().div_ceil(AT_ONCE)) {
        let (part, minter) = (part.to_vec(), Arc::clone(minter));
        hands.push(tokio::spawn(async move {
            for plan in part {
                minter.mint(&plan).await.unwrap();
                minter.activate(&plan.handle).await.unwrap();
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
    mint_all(&minter, plans).await;
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
