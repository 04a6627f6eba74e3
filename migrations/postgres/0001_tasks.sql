-- What agents declare: a task, found by its agent and by the time it is due.
CREATE TABLE task (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    agent_id TEXT COLLATE "C" NOT NULL,
    identity TEXT COLLATE "C" NOT NULL,
    purpose TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C",
    beneficiary TEXT COLLATE "C",
    refs TEXT COLLATE "C" NOT NULL,
    message TEXT COLLATE "C",
    ceiling TEXT COLLATE "C" NOT NULL,
    opened_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    heartbeat BIGINT,
    heard_at BIGINT,
    state TEXT COLLATE "C" NOT NULL,
    cause TEXT COLLATE "C",
    ended_at BIGINT,
    due_at BIGINT
);
CREATE INDEX task_by_agent ON task (agent_id, id);
CREATE INDEX task_due ON task (due_at) WHERE due_at IS NOT NULL;
