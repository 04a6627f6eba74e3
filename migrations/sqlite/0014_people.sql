-- What people do besides saying yes or no: they look at a request, ask its agent, let another decide while they are away, and look
-- again at what was let pass in an emergency.
CREATE TABLE viewing (
    request_id TEXT NOT NULL,
    person TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (request_id, person)
) STRICT, WITHOUT ROWID;
CREATE INDEX viewing_at ON viewing (at);
CREATE INDEX approval_at ON approval (at);
CREATE TABLE question (
    request_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    id TEXT NOT NULL,
    person TEXT NOT NULL,
    text TEXT NOT NULL,
    asked_at INTEGER NOT NULL,
    answer TEXT,
    answered_at INTEGER,
    PRIMARY KEY (request_id, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE delegation (
    id TEXT NOT NULL PRIMARY KEY,
    giver TEXT NOT NULL,
    receiver TEXT NOT NULL,
    reason TEXT NOT NULL,
    given_at INTEGER NOT NULL,
    from_at INTEGER NOT NULL,
    until_at INTEGER NOT NULL,
    ended_at INTEGER,
    ended_by TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX delegation_by_giver ON delegation (giver, until_at);
CREATE INDEX delegation_by_receiver ON delegation (receiver, until_at);
CREATE INDEX delegation_until ON delegation (until_at);
CREATE TABLE review (
    request_id TEXT NOT NULL PRIMARY KEY,
    task_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    rule TEXT NOT NULL,
    breaker TEXT NOT NULL,
    broken_at INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    reviewer TEXT,
    note TEXT,
    reviewed_at INTEGER,
    overdue_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX review_due ON review (due_at) WHERE reviewed_at IS NULL;
