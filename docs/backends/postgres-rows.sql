-- In each database with row policies that a scope's parameters decide, as a superuser, after postgres-setup.sql.
-- A policy reads a value with (select hallpass.scope_value('tenant')), in a sub-select so that it is read once a query:
--   create policy tenant on public.orders using (tenant = (select hallpass.scope_value('tenant')));

create schema hallpass authorization hallpass_scope;
grant usage on schema hallpass to public;

create table hallpass.scope_values (role name not null, key text not null, value text not null, primary key (role, key));
alter table hallpass.scope_values owner to hallpass_scope;

-- What the broker wrote for the role that logged in. `session_user` is that role whatever it has SET; nobody but the owner of the
-- table writes there; and nothing a session can set or create decides what the names in here mean.
-- Up to PostgreSQL 15 a role may put others into itself, which mixes the rights of one with the rows of another: whoever was put
-- into a task's role reads no value at all.
create function hallpass.scope_value(wanted text) returns text
    language sql stable parallel safe security definer set search_path = pg_catalog, pg_temp
as $$
    with recursive reach (role) as (
        select m.roleid from pg_catalog.pg_auth_members m join pg_catalog.pg_roles r on r.oid = m.member
            where r.rolname = session_user
        union select m.roleid from reach join pg_catalog.pg_auth_members m on m.member = reach.role
    )
    select v.value from hallpass.scope_values v
    where v.role = session_user and v.key = wanted and not exists (
        select from reach join pg_catalog.pg_roles r on r.oid = reach.role
        where pg_catalog.starts_with(r.rolname, 'jit_')
    )
$$;
alter function hallpass.scope_value(text) owner to hallpass_scope;
