-- What agents declare: a task, found by its agent and by the time it is due.
CREATE TABLE task (
    id TEXT NOT NULL PRIMARY KEY,
    agent_id TEXT NOT NULL,
    identity TEXT NOT NULL,
    purpose TEXT NOT NULL,
    kind TEXT,
    beneficiary TEXT,
    refs TEXT NOT NULL,
    message TEXT,
    ceiling TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    heartbeat INTEGER,
    heard_at INTEGER,
    state TEXT NOT NULL,
    cause TEXT,
    ended_at INTEGER,
    due_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX task_by_agent ON task (agent_id, id);
CREATE INDEX task_due ON task (due_at) WHERE due_at IS NOT NULL;
