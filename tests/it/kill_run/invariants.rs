//! What must hold in the database at every moment, looked at from outside the broker: triggers that write down each step of a
//! lease, and questions that must have no answer. The numbers are those of the invariants in docs/testing.md.

use crate::support::postgres::Server;

/// Writes down how each lease moves and refuses nothing: it watches. The indexes are for the questions below.
pub(super) const WATCH: &str = "
    create table watched_step (
        n bigint generated always as identity primary key, lease_id text not null, was text, is_now text not null,
        fence_was bigint, fence_now bigint not null, ends_was bigint, ends_now bigint not null
    );
    create function watch_lease() returns trigger language plpgsql as $$
    begin
        if tg_op = 'INSERT' then
            insert into watched_step (lease_id, is_now, fence_now, ends_now)
            values (new.id, new.state, new.fence, new.ends_at);
        else
            insert into watched_step (lease_id, was, is_now, fence_was, fence_now, ends_was, ends_now)
            values (new.id, old.state, new.state, old.fence, new.fence, old.ends_at, new.ends_at);
        end if;
        return null;
    end;
    $$;
    create index watched_lease on event (lease_id, kind);
    create index watched_switch on event (seq) where kind in ('kill_switch.engaged', 'kill_switch.released');
    create index watched_agent on lease (agent_id) where state in ('minting', 'live');
    create trigger watch_lease after insert or update on lease for each row execute function watch_lease();
";

/// Each is a name and a question whose every row is a violation, at any moment.
const ALWAYS: &[(&str, &str)] = &[
    (
        "I1: a credential was minted without an intent before it",
        "select e.lease_id from event e where e.kind = 'credential.minted' and not exists (
            select 1 from event i where i.lease_id = e.lease_id and i.kind = 'credential.minting' and i.seq < e.seq)",
    ),
    (
        "I3: a credential was delivered that was not minted before, or a secret was minted twice",
        "select d.lease_id from event d where d.kind = 'credential.delivered' and not exists (
            select 1 from event m where m.lease_id = d.lease_id and m.kind = 'credential.minted' and m.seq < d.seq)
         union all
         select lease_id from event where kind in ('credential.minting', 'credential.minted')
         group by lease_id, kind having count(*) > 1",
    ),
    (
        "I4: a lease, a task or a request is in a state that no event explains, or twice",
        "select l.id from lease l where (select count(*) from event e where e.lease_id = l.id and e.kind = 'lease.ended')
            <> (case l.state when 'ended' then 1 else 0 end)
         union all
         select l.id from lease l where l.state in ('ending', 'ended')
            and (select count(*) from event e where e.lease_id = l.id and e.kind in ('lease.ending', 'credential.failed')) < 1
         union all
         select t.id from task t where (select count(*) from event e where e.task_id = t.id and e.kind = 'task.opened') <> 1
         union all
         select t.id from task t where (select count(*) from event e where e.task_id = t.id and e.kind = 'task.closed')
            <> (case t.state when 'closed' then 1 else 0 end)",
    ),
    (
        "I5: a lease rests on no grant, a grant on no request, or a request on no decision that permits it",
        "select l.id from lease l left join access_grant g on g.id = l.grant_id and g.request_id = l.request_id
            and g.task_id = l.task_id and g.agent_id = l.agent_id where g.id is null
         union all
         select g.id from access_grant g left join access_request r on r.id = g.request_id and r.state = 'granted'
            where r.id is null
         union all
         select r.id from access_request r left join decision d on d.id = r.decision_id where d.id is null",
    ),
    (
        "I5: something that needs a person was granted without one",
        "select r.id from access_request r where r.state = 'granted' and r.scopes like '%:write%' and not exists (
            select 1 from approval a where a.request_id = r.id and a.verdict = 'approve' and a.request_digest = r.digest)",
    ),
    (
        "I6: a lease permits something that was not granted, or a grant something that was not asked for",
        "select l.id from lease l join access_grant g on g.id = l.grant_id where l.scopes <> g.scopes
         union all
         select g.id from access_grant g join access_request r on r.id = g.request_id where g.scopes <> r.scopes",
    ),
    (
        "I9: one idempotency key led to two things",
        "select owner || used_key from idempotency group by owner, used_key having count(*) > 1",
    ),
    (
        "I10: something was minted while the kill switch was thrown",
        "select m.id from event m where m.kind = 'credential.minted' and (
            select k.kind from event k where k.kind in ('kill_switch.engaged', 'kill_switch.released') and k.seq < m.seq
            order by k.seq desc limit 1) = 'kill_switch.engaged'",
    ),
    (
        "I11: a fence fell, or a lease moved without one",
        "select lease_id from watched_step where fence_now < fence_was
         union all
         select lease_id from watched_step where was <> is_now and fence_now <= fence_was",
    ),
    (
        "I12: a lease has no end, or one that moved",
        "select lease_id from watched_step where ends_was <> ends_now
         union all
         select l.id from lease l join task t on t.id = l.task_id where l.ends_at > t.ends_at",
    ),
    (
        "a lease took a step that its life does not have",
        "select lease_id from watched_step where (coalesce(was, ''), is_now) not in (
            ('', 'minting'), ('', 'live'), ('minting', 'minting'), ('minting', 'live'), ('minting', 'ending'),
            ('live', 'live'), ('live', 'ending'), ('live', 'ended'), ('ending', 'ending'), ('ending', 'ended'))",
    ),
    (
        "an agent's count of live leases is not what it holds",
        "select u.agent_id from agent_usage u where u.live_leases <> (
            select count(*) from lease l where l.agent_id = u.agent_id and l.state in ('minting', 'live'))",
    ),
];

/// Questions that must have no answer once faults have stopped and every clock has run out.
const AT_REST: &[(&str, &str)] = &[
    (
        "I13: something that is due has not ended",
        "select id from lease where state <> 'ended' union all select id from task where state <> 'closed'",
    ),
    (
        "I14: something waits for people that cannot be answered any more",
        "select r.id from access_request r join task t on t.id = r.task_id where r.state = 'pending' and t.state = 'closed'",
    ),
];

/// The violations that are there now, each with a few examples.
pub(super) fn violations(server: &Server, database: &str, at_rest: bool) -> Vec<String> {
    let asked = ALWAYS.iter().chain(if at_rest { AT_REST } else { &[] });
    asked
        .filter_map(|(name, question)| {
            let found = server.query(database, &format!("select * from ({question}) as found limit 5"));
            (!found.is_empty()).then(|| format!("{name}: {}", found.replace('\n', ", ")))
        })
        .collect()
}
