//! What an operator must mend at a target's server before roles can be made and ended there. It only reads.

use sqlx::{PgConnection, Row as _};

use super::PostgresMinter;
use super::quote::Ident;
use super::server::failed;
use crate::domain::Timestamp;
use crate::minter::MintError;

const BROKER: &str = "-- postgres.check_broker
    select r.rolname::text as name, r.rolsuper, r.rolcreaterole,
        pg_has_role(current_user, 'pg_signal_backend', 'usage') as may_end,
        (extract(epoch from clock_timestamp()) * 1000)::int8 as now_millis,
        current_setting('server_version_num')::int8 as version,
        current_setting('max_prepared_transactions')::int8 as prepared
    from pg_roles r where r.rolname = current_user";
/// A member can become what its group is (SET ROLE), and what that is a member of.
const GROUPS: &str = "-- postgres.check_groups
    with recursive reach (top, role) as (
        select g.rolname, g.oid from pg_roles g where g.rolname = any($1)
        union select reach.top, m.roleid from reach join pg_auth_members m on m.member = reach.role
    )
    select wanted.name as name, g.oid is not null as is_there,
        coalesce(pg_has_role(current_user, g.oid, 'member with admin option'), false) as may_grant,
        array(select r.rolname::text from reach join pg_roles r on r.oid = reach.role
            where reach.top = wanted.name and (r.rolsuper or r.rolcreaterole or r.rolcreatedb or r.rolreplication
                or r.rolbypassrls or r.rolname = any($2)) order by 1) as powers
    from unnest($1) as wanted (name) left join pg_roles g on g.rolname = wanted.name order by 1";
const CREATORS: &str = "-- postgres.check_creators
    select g.rolname::text as name, n.nspname::text as place from pg_roles g, pg_namespace n
    where g.rolname = any($1) and n.nspname !~ '^pg_(toast|temp)' and has_schema_privilege(g.oid, n.oid, 'create')
    union all
    select g.rolname::text, 'a new schema' from pg_roles g
    where g.rolname = any($1) and has_database_privilege(g.oid, current_database(), 'create')
    order by 1, 2";
const STRAYS: &str = "-- postgres.check_databases
    select datname::text as name from pg_database
    where datallowconn and datname <> all($1) and has_database_privilege('public', oid, 'connect') order by 1";

/// Predefined roles by which a member reaches beyond what is granted to it.
const POWERFUL: [&str; 8] = [
    "pg_execute_server_program",
    "pg_read_server_files",
    "pg_write_server_files",
    "pg_signal_backend",
    "pg_read_all_data",
    "pg_write_all_data",
    "pg_monitor",
    "pg_create_subscription",
];
/// The oldest server that is tested.
const OLDEST: i64 = 150_000;
/// From then on, CREATEROLE alone gives no right over groups.
const ADMIN_NEEDED: i64 = 160_000;
/// How far apart the clocks may be.
const MAX_APART_MILLIS: u64 = 5_000;

impl PostgresMinter {
    /// All there is to mend.
    pub(super) async fn findings(&self) -> Result<Vec<String>, MintError> {
        let mut home = self.roles.home().await?;
        let mut found = Vec::new();
        let version = self.look_at_broker(&mut home, &mut found).await?;
        let groups: Vec<&str> = self.target.groups.iter().map(Ident::as_str).collect();
        look_at_groups(&mut home, &groups, version, &mut found).await?;
        let databases: Vec<&str> = self.roles.server.databases().map(Ident::as_str).collect();
        let strays = sqlx::query(STRAYS).bind(&databases).fetch_all(&mut *home).await.map_err(failed)?;
        for row in strays {
            let name: String = row.try_get("name").map_err(failed)?;
            found.push(format!(
                "every role may connect to the database {name}, which the backend does not list, so nothing is removed \
                there: add it to `databases`, or run `revoke connect on database \"{name}\" from public`"
            ));
        }
        drop(home);
        for database in self.roles.server.databases() {
            match self.roles.server.connect(database).await {
                Ok(mut connection) if !self.target.allow_create => {
                    look_at_creators(&mut connection, database, &groups, &mut found).await?;
                }
                Ok(_) => {}
                Err(why) => found.push(format!("the database {database} cannot be reached: {why}")),
            }
        }
        Ok(found)
    }

    async fn look_at_broker(&self, home: &mut PgConnection, found: &mut Vec<String>) -> Result<i64, MintError> {
        let before = self.clock.now();
        let row = sqlx::query(BROKER).fetch_one(home).await.map_err(failed)?;
        let after = self.clock.now();
        let name: String = row.try_get("name").map_err(failed)?;
        let is_super: bool = row.try_get("rolsuper").map_err(failed)?;
        let version: i64 = row.try_get("version").map_err(failed)?;
        if version < OLDEST {
            found.push(format!("the server is older than PostgreSQL 15 (it says {version}): upgrade it"));
        }
        if is_super && !self.target.allow_superuser {
            found.push(format!(
                "the broker logs in as {name}, a superuser: make a login as docs/backends/postgres-setup.sql does, or \
                say `allow_superuser = true`"
            ));
        }
        if !is_super && !row.try_get::<bool, _>("rolcreaterole").map_err(failed)? {
            found.push(format!("{name} may not make roles: run `alter role \"{name}\" createrole`"));
        }
        if !row.try_get::<bool, _>("may_end").map_err(failed)? {
            found.push(format!("{name} may not end sessions: run `grant pg_signal_backend to \"{name}\"`"));
        }
        if row.try_get::<i64, _>("prepared").map_err(failed)? > 0 {
            found.push(
                "the server keeps prepared transactions, which outlive their role's sessions and hold their locks: set \
                max_prepared_transactions = 0"
                    .to_owned(),
            );
        }
        let there = Timestamp::from_millis(row.try_get("now_millis").map_err(failed)?);
        let apart = there.millis_since(after).max(before.millis_since(there));
        if apart > i64::try_from(MAX_APART_MILLIS).unwrap_or(i64::MAX) {
            found.push(format!("the server's clock and ours are {apart} ms apart: let both follow one time server"));
        }
        Ok(version)
    }
}

async fn look_at_groups(
    home: &mut PgConnection,
    groups: &[&str],
    version: i64,
    found: &mut Vec<String>,
) -> Result<(), MintError> {
    let rows = sqlx::query(GROUPS).bind(groups).bind(POWERFUL.as_slice()).fetch_all(home).await.map_err(failed)?;
    for row in rows {
        let name: String = row.try_get("name").map_err(failed)?;
        if !row.try_get::<bool, _>("is_there").map_err(failed)? {
            found.push(format!(
                "there is no group {name}: run `create role \"{name}\" nologin` and grant it its rights"
            ));
            continue;
        }
        if version >= ADMIN_NEEDED && !row.try_get::<bool, _>("may_grant").map_err(failed)? {
            found.push(format!(
                "the broker may not put roles into {name}: grant it to the broker's login `with admin true, inherit \
                false, set false`"
            ));
        }
        let powers: Vec<String> = row.try_get("powers").map_err(failed)?;
        if !powers.is_empty() {
            found.push(format!(
                "a member of {name} can be more than its grants say, by {}: take that away from the group",
                powers.join(", ")
            ));
        }
    }
    Ok(())
}

async fn look_at_creators(
    connection: &mut PgConnection,
    database: &Ident,
    groups: &[&str],
    found: &mut Vec<String>,
) -> Result<(), MintError> {
    let rows = sqlx::query(CREATORS).bind(groups).fetch_all(connection).await.map_err(failed)?;
    for row in rows {
        let (name, place): (String, String) =
            (row.try_get("name").map_err(failed)?, row.try_get("place").map_err(failed)?);
        found.push(format!(
            "{name} may create objects in {place} of the database {database}: revoke CREATE from it or from public, or \
            say `allow_create = true`"
        ));
    }
    Ok(())
}
