-- One credential's life each, found by its task and agent and by the time a sweep must look at it; and how much each
-- agent holds and asks, counted where it is changed.
CREATE TABLE lease (
    id TEXT NOT NULL PRIMARY KEY,
    grant_id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    backend TEXT NOT NULL,
    scopes TEXT NOT NULL,
    plan TEXT NOT NULL,
    handle TEXT NOT NULL,
    intent_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    native_end INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    state TEXT NOT NULL,
    minted_at INTEGER,
    fingerprint TEXT,
    cause TEXT,
    since INTEGER,
    attempts INTEGER,
    ends_by INTEGER,
    proof TEXT,
    due_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX lease_by_task ON lease (task_id, id);
CREATE INDEX lease_by_agent ON lease (agent_id, id);
CREATE INDEX lease_due ON lease (due_at) WHERE due_at IS NOT NULL;
CREATE TABLE agent_usage (
    agent_id TEXT NOT NULL PRIMARY KEY,
    live_leases INTEGER NOT NULL,
    pending_requests INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
