-- What agents file through AuthZEN's access request profile, with what was denied and what its approval is bound to; and who wants
-- to be called when a filing is settled.
CREATE TABLE filing (
    id TEXT NOT NULL PRIMARY KEY,
    agent_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    filed TEXT NOT NULL,
    filed_at INTEGER NOT NULL,
    readable_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX filing_by_task ON filing (task_id, id);
CREATE TABLE callback (
    filing_id TEXT NOT NULL PRIMARY KEY,
    request_id TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    state TEXT,
    events TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    keep_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX callback_due ON callback (due_at);
CREATE INDEX callback_keep ON callback (keep_until);
