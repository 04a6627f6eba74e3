-- Once on a server, as a superuser, with psql: the broker's login, the groups that tasks may be put into, and who may connect.
-- Change the names `hallpass_broker`, `orders`, `orders_reader` and `orders_writer` to yours. The broker's password is set apart
-- (`\password hallpass_broker`), so that it is in no file.

create role hallpass_broker login createrole connection limit 100;
grant pg_signal_backend to hallpass_broker;

-- A group has the rights; a task's role is a member of it and has none of its own. In each database:
--   grant usage on schema public to orders_reader;
--   grant select on public.orders to orders_reader;
create role orders_reader nologin;
create role orders_writer nologin;

-- From PostgreSQL 16 on, CREATEROLE alone may not put a role into a group.
select format('grant %I to hallpass_broker with admin true, inherit false, set false', name)
from unnest(array['orders_reader', 'orders_writer']) as name
where current_setting('server_version_num')::int >= 160000 \gexec

-- Who keeps what row policies read (postgres-rows.sql); the broker is a member, no task ever is.
create role hallpass_scope nologin;
grant hallpass_scope to hallpass_broker;

-- A task's role can connect where its group can, and nowhere else.
revoke connect on database orders, postgres, template1 from public;
grant connect on database orders to hallpass_broker, orders_reader, orders_writer;
