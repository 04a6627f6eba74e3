-- One credential's life each, found by its task and agent and by the time a sweep must look at it; and how much each
-- agent holds and asks, counted where it is changed.
CREATE TABLE lease (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    grant_id TEXT COLLATE "C" NOT NULL,
    request_id TEXT COLLATE "C" NOT NULL,
    task_id TEXT COLLATE "C" NOT NULL,
    agent_id TEXT COLLATE "C" NOT NULL,
    backend TEXT COLLATE "C" NOT NULL,
    scopes TEXT COLLATE "C" NOT NULL,
    plan TEXT COLLATE "C" NOT NULL,
    handle TEXT COLLATE "C" NOT NULL,
    intent_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    native_end BIGINT NOT NULL,
    fence BIGINT NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    minted_at BIGINT,
    fingerprint TEXT COLLATE "C",
    cause TEXT COLLATE "C",
    since BIGINT,
    attempts BIGINT,
    ends_by BIGINT,
    proof TEXT COLLATE "C",
    due_at BIGINT
);
CREATE INDEX lease_by_task ON lease (task_id, id);
CREATE INDEX lease_by_agent ON lease (agent_id, id);
CREATE INDEX lease_due ON lease (due_at) WHERE due_at IS NOT NULL;
CREATE TABLE agent_usage (
    agent_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    live_leases BIGINT NOT NULL,
    pending_requests BIGINT NOT NULL
);
