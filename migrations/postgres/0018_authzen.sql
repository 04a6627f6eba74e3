-- What agents file through AuthZEN's access request profile, with what was denied and what its approval is bound to; and who wants
-- to be called when a filing is settled.
CREATE TABLE filing (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    agent_id TEXT COLLATE "C" NOT NULL,
    task_id TEXT COLLATE "C" NOT NULL,
    filed TEXT COLLATE "C" NOT NULL,
    filed_at BIGINT NOT NULL,
    readable_until BIGINT NOT NULL
);
CREATE INDEX filing_by_task ON filing (task_id, id);
CREATE TABLE callback (
    filing_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    request_id TEXT COLLATE "C" NOT NULL,
    endpoint TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C",
    events TEXT COLLATE "C" NOT NULL,
    due_at BIGINT NOT NULL,
    tries BIGINT NOT NULL,
    keep_until BIGINT NOT NULL
);
CREATE INDEX callback_due ON callback (due_at);
CREATE INDEX callback_keep ON callback (keep_until);
