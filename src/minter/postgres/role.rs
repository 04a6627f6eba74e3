//! The life of one role at the server: made without LOGIN, let log in, stopped with its sessions, and removed with what it owns.
//! Each step is safe to repeat, and none touches a role that does not carry our mark.

use std::collections::BTreeMap;

use sqlx::pool::PoolConnection;
use sqlx::{Acquire as _, PgConnection, Postgres, Row as _};

use super::quote::{Ident, Part, Script};
use super::server::{Server, failed, run};
use crate::minter::MintError;

const FIND: &str = "-- postgres.find_role
    select r.oid::int8 as oid, r.rolcanlogin as can_login, coalesce(r.rolvaliduntil > now(), true) as is_valid,
        starts_with(coalesce(shobj_description(r.oid, 'pg_authid'), ''), $2) as is_ours,
        array(select g.rolname::text from pg_auth_members m join pg_roles g on g.oid = m.roleid
            where m.member = r.oid) as groups,
        array(select g.rolname::text from pg_auth_members m join pg_roles g on g.oid = m.member
            where m.roleid = r.oid and g.rolname <> current_user) as members
    from pg_roles r where r.rolname = $1";
/// Without the comment it could not be told from somebody else's, so it is there from the first moment.
const CREATE: &str = "-- postgres.create_role
    create role {} nologin nosuperuser nocreatedb nocreaterole noreplication nobypassrls inherit
    connection limit {} password {} valid until {}";
const CREATE_AGAIN: &str = "-- postgres.create_role_again
    alter role {} nologin connection limit {} password {} valid until {}";
const COMMENT: &str = "-- postgres.comment
    comment on role {} is {}";
const GRANT: &str = "-- postgres.grant_group
    grant {} to {}";
const FORGET_ROWS: &str = "-- postgres.forget_rows
    delete from hallpass.scope_values where role = $1::name";
/// The same for a script.
const FORGET_ROWS_TOO: &str = "-- postgres.forget_rows_too
    delete from hallpass.scope_values where role = {}::name";
const SET_ROWS: &str = "-- postgres.set_rows
    insert into hallpass.scope_values (role, key, value)
    select $1::name, given.key, given.value from unnest($2::text[], $3::text[]) as given (key, value)";
const HAS_ROWS: &str = "-- postgres.has_rows
    select to_regclass('hallpass.scope_values') is not null as has_rows";
const LOGIN: &str = "-- postgres.login
    alter role {} login";
/// An agent can hold its own role's row by an open transaction; that must not take a lock's whole time.
const HASTE: &str = "-- postgres.haste
    set local lock_timeout = '250ms'";
const STOP: &str = "-- postgres.stop
    alter role {} nologin password null valid until '-infinity'";
const LEAVE: &str = "-- postgres.leave_group
    revoke {} from {}";
const TERMINATE: &str = "-- postgres.terminate
    select count(pg_terminate_backend(pid)) from pg_stat_activity where usesysid = $1::int8::oid";
const PAUSE: &str = "-- postgres.pause
    select pg_sleep(0.05)";
const WORKS: &str = "-- postgres.works
    select exists(select from pg_roles where rolname = $1 and rolcanlogin and coalesce(rolvaliduntil > now(), true))
        or exists(select from pg_stat_activity where usename = $1) as works";
/// Whoever drops what a role owns must be a member of it; it has left its groups by then.
const JOIN: &str = "-- postgres.join_role
    grant {} to current_user";
const DROP_OWNED: &str = "-- postgres.drop_owned
    drop owned by {}";
const DROP: &str = "-- postgres.drop_role
    drop role {}";
const LIST: &str = "-- postgres.list
    select rolname::text as name from pg_roles
    where starts_with(rolname, $1) and starts_with(coalesce(shobj_description(oid, 'pg_authid'), ''), $2)
    order by rolname";

/// How often an end is tried against a role that is being changed by its own sessions.
const STOP_ATTEMPTS: u8 = 6;
/// How often sessions are looked for, with a twentieth of a second between.
const MAX_SCANS: u8 = 60;

/// A role that a mint is to make.
pub(super) struct NewRole<'a> {
    /// Its name.
    pub(super) name: &'a Ident,
    /// The password's verifier.
    pub(super) verifier: &'a str,
    /// When it stops accepting its password, as PostgreSQL reads it.
    pub(super) valid_until: &'a str,
    /// Most connections.
    pub(super) connection_limit: u16,
    /// Its comment, which begins with our mark.
    pub(super) comment: &'a str,
    /// Its groups.
    pub(super) groups: &'a [Ident],
    /// The database in which row policies read something for it.
    pub(super) database: &'a Ident,
    /// What they read.
    pub(super) rows: &'a BTreeMap<String, String>,
}

/// Roles of one deployment at one server.
pub(super) struct Roles {
    pub(super) server: Server,
    /// The database in which roles are made.
    pub(super) home: Ident,
    /// How the comment of each of ours begins.
    pub(super) mark: String,
}

/// A role that is there.
struct Found {
    oid: i64,
    can_login: bool,
    is_valid: bool,
    groups: Vec<Ident>,
    members: Vec<Ident>,
}

impl Roles {
    /// Make it, without LOGIN. Made again, it has the new password alone.
    pub(super) async fn create(&self, role: &NewRole<'_>) -> Result<(), MintError> {
        let mut connection = self.server.connect(&self.home).await?;
        // In a transaction with an end of its own, so that what was given up on half-way is undone by the server.
        let mut tx = connection.begin().await.map_err(failed)?;
        let template = if self.find(&mut tx, role.name).await?.is_some() { CREATE_AGAIN } else { CREATE };
        let limit = Part::Number(role.connection_limit);
        let (verifier, until) = (Part::Text(role.verifier), Part::Text(role.valid_until));
        let mut script = Script::default()
            .then(template, &[Part::Name(role.name), limit, verifier, until])
            .then(COMMENT, &[Part::Name(role.name), Part::Text(role.comment)]);
        for group in role.groups {
            script = script.then(GRANT, &[Part::Name(group), Part::Name(role.name)]);
        }
        run(&mut tx, script).await.map_err(failed)?;
        if *role.database == self.home {
            set_rows(&mut tx, role).await?;
            return tx.commit().await.map_err(failed);
        }
        tx.commit().await.map_err(failed)?;
        drop(connection);
        if role.rows.is_empty() {
            return Ok(());
        }
        let mut elsewhere = self.server.connect(role.database).await?;
        let mut tx = elsewhere.begin().await.map_err(failed)?;
        set_rows(&mut tx, role).await?;
        tx.commit().await.map_err(failed)
    }

    /// Let it log in.
    pub(super) async fn enable(&self, name: &Ident) -> Result<(), MintError> {
        let mut connection = self.server.connect(&self.home).await?;
        let mut tx = connection.begin().await.map_err(failed)?;
        match self.find(&mut tx, name).await? {
            Some(Found { is_valid: true, .. }) => {}
            Some(_) => return Err(MintError::Refused(format!("the role {name} has ended"))),
            None => return Err(MintError::Refused(format!("the server has no role {name}"))),
        }
        run(&mut tx, Script::default().then(LOGIN, &[Part::Name(name)])).await.map_err(failed)?;
        tx.commit().await.map_err(failed)
    }

    /// Stop it: no login, no rights, no session. How we know.
    pub(super) async fn stop(&self, name: &Ident) -> Result<String, MintError> {
        let mut connection = self.server.connect(&self.home).await?;
        match self.find(&mut connection, name).await? {
            Some(found) => self.stop_found(&mut connection, name, &found).await,
            None => Ok("the server has no such role".to_owned()),
        }
    }

    async fn stop_found(&self, on: &mut PgConnection, name: &Ident, found: &Found) -> Result<String, MintError> {
        let mut attempts = 0_u8;
        // NOLOGIN first, or a session that was ended would come back.
        while let Err(error) = run(on, script_to_stop(name, found)).await {
            attempts = attempts.saturating_add(1);
            if attempts >= STOP_ATTEMPTS || !is_contended(&error) {
                return Err(failed(error));
            }
            // Its own sessions change it: they can be ended first, for what they hold goes with them.
            terminate(on, found.oid).await?;
        }
        let mut clean = 0_u8;
        for _ in 0..MAX_SCANS {
            clean = if terminate(on, found.oid).await? == 0 { clean.saturating_add(1) } else { 0 };
            // A login that was let through before may show up only after the first look.
            if clean == 2 {
                return Ok("the role may not log in, has no group, and two looks found no session of it".to_owned());
            }
            sqlx::query(PAUSE).execute(&mut *on).await.map_err(failed)?;
        }
        Err(MintError::Unavailable(format!("sessions of {name} do not end")))
    }

    /// Whether it may log in, or is logged in.
    pub(super) async fn works(&self, name: &Ident) -> Result<bool, MintError> {
        let mut connection = self.server.connect(&self.home).await?;
        let row = sqlx::query(WORKS).bind(name.as_str()).fetch_one(&mut *connection).await;
        row.and_then(|row| row.try_get("works")).map_err(failed)
    }

    /// Remove what it owns in each database, what row policies read for it, and itself.
    pub(super) async fn remove(&self, name: &Ident) -> Result<(), MintError> {
        let mut home = self.server.connect(&self.home).await?;
        let found = self.find(&mut home, name).await?;
        if let Some(found) = found.as_ref().filter(|found| found.can_login) {
            self.stop_found(&mut home, name, found).await?;
        }
        let owned = |script: Script| script.then(DROP_OWNED, &[Part::Name(name)]);
        let joined = Script::default().then(JOIN, &[Part::Name(name)]);
        let others: Vec<&Ident> = self.server.databases().filter(|database| **database != self.home).collect();
        if found.is_some() && !others.is_empty() {
            run(&mut home, joined.clone()).await.map_err(failed)?;
        }
        for database in others {
            let mut connection = self.server.connect(database).await?;
            forget_rows(&mut connection, name).await?;
            if found.is_some() {
                run(&mut connection, owned(Script::default())).await.map_err(failed)?;
            }
        }
        let Some(_) = found else { return forget_rows(&mut home, name).await };
        // With the role in one transaction, which is one sync of the server's log less.
        let has_rows: bool = sqlx::query_scalar(HAS_ROWS).fetch_one(&mut *home).await.map_err(failed)?;
        let joined = if has_rows { joined.then(FORGET_ROWS_TOO, &[Part::Text(name.as_str())]) } else { joined };
        run(&mut home, owned(joined).then(DROP, &[Part::Name(name)])).await.map_err(failed)
    }

    /// The names of ours that begin so.
    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<String>, MintError> {
        let mut connection = self.server.connect(&self.home).await?;
        let rows = sqlx::query(LIST).bind(prefix).bind(&self.mark).fetch_all(&mut *connection).await.map_err(failed)?;
        rows.iter().map(|row| row.try_get("name").map_err(failed)).collect()
    }

    /// One of ours by its name.
    async fn find(&self, on: &mut PgConnection, name: &Ident) -> Result<Option<Found>, MintError> {
        let row = sqlx::query(FIND).bind(name.as_str()).bind(&self.mark).fetch_optional(on).await.map_err(failed)?;
        let Some(row) = row else { return Ok(None) };
        if !row.try_get("is_ours").map_err(failed)? {
            return Err(MintError::Refused(format!("the role {name} does not carry our mark, so it is left alone")));
        }
        let names = |column| -> Result<Vec<Ident>, MintError> {
            let names: Vec<String> = row.try_get(column).map_err(failed)?;
            names.iter().map(|name| Ident::new(name).map_err(|why| MintError::Refused(why.to_owned()))).collect()
        };
        Ok(Some(Found {
            oid: row.try_get("oid").map_err(failed)?,
            can_login: row.try_get("can_login").map_err(failed)?,
            is_valid: row.try_get("is_valid").map_err(failed)?,
            groups: names("groups")?,
            members: names("members")?,
        }))
    }

    /// A connection to the database in which roles are made.
    pub(super) async fn home(&self) -> Result<PoolConnection<Postgres>, MintError> {
        self.server.connect(&self.home).await
    }
}

/// Up to PostgreSQL 15 a role can put others into itself: they lose what came by it, too.
fn script_to_stop(name: &Ident, found: &Found) -> Script {
    let mut script = Script::default().then(HASTE, &[]).then(STOP, &[Part::Name(name)]);
    for group in &found.groups {
        script = script.then(LEAVE, &[Part::Name(group), Part::Name(name)]);
    }
    for member in &found.members {
        script = script.then(LEAVE, &[Part::Name(name), Part::Name(member)]);
    }
    script
}

/// Whether somebody else holds, or has just changed, what we wanted to change.
fn is_contended(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| matches!(&*code, "55P03" | "57014" | "40P01" | "XX000"))
}

/// End every session of a role; how many there were.
async fn terminate(on: &mut PgConnection, oid: i64) -> Result<i64, MintError> {
    sqlx::query_scalar(TERMINATE).bind(oid).fetch_one(on).await.map_err(failed)
}

async fn set_rows(on: &mut PgConnection, role: &NewRole<'_>) -> Result<(), MintError> {
    if role.rows.is_empty() {
        return Ok(());
    }
    let keys: Vec<&str> = role.rows.keys().map(String::as_str).collect();
    let values: Vec<&str> = role.rows.values().map(String::as_str).collect();
    sqlx::query(FORGET_ROWS).bind(role.name.as_str()).execute(&mut *on).await.map_err(failed)?;
    let set = sqlx::query(SET_ROWS).bind(role.name.as_str()).bind(keys).bind(values);
    set.execute(on).await.map_err(failed).map(drop)
}

async fn forget_rows(on: &mut PgConnection, name: &Ident) -> Result<(), MintError> {
    if sqlx::query_scalar(HAS_ROWS).fetch_one(&mut *on).await.map_err(failed)? {
        sqlx::query(FORGET_ROWS).bind(name.as_str()).execute(on).await.map_err(failed)?;
    }
    Ok(())
}
