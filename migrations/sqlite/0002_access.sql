-- What agents ask for and what they are answered: requests, decisions, approvals, grants.
CREATE TABLE access_request (
    id TEXT NOT NULL PRIMARY KEY,
    task_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    backend TEXT NOT NULL,
    scopes TEXT NOT NULL,
    ttl INTEGER NOT NULL,
    confirmation_key TEXT,
    digest TEXT NOT NULL,
    plan TEXT NOT NULL,
    effect TEXT NOT NULL,
    decision_id TEXT NOT NULL,
    asked_at INTEGER NOT NULL,
    settled_at INTEGER,
    state TEXT NOT NULL,
    rule TEXT,
    grant_id TEXT,
    reason TEXT,
    due_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX access_request_by_task ON access_request (task_id, id);
CREATE INDEX access_request_due ON access_request (due_at) WHERE due_at IS NOT NULL;
CREATE TABLE decision (
    id TEXT NOT NULL PRIMARY KEY,
    request_id TEXT,
    task_id TEXT,
    agent_id TEXT NOT NULL,
    outcome TEXT NOT NULL,
    determining TEXT NOT NULL,
    bundle TEXT NOT NULL,
    input TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX decision_by_task ON decision (task_id, id) WHERE task_id IS NOT NULL;
CREATE TABLE approval (
    request_id TEXT NOT NULL,
    person TEXT NOT NULL,
    id TEXT NOT NULL,
    person_groups TEXT NOT NULL,
    verdict TEXT NOT NULL,
    request_digest TEXT NOT NULL,
    reason TEXT,
    at INTEGER NOT NULL,
    PRIMARY KEY (request_id, person)
) STRICT, WITHOUT ROWID;
CREATE TABLE access_grant (
    id TEXT NOT NULL PRIMARY KEY,
    request_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    backend TEXT NOT NULL,
    scopes TEXT NOT NULL,
    plan TEXT NOT NULL,
    ttl INTEGER NOT NULL,
    given_at INTEGER NOT NULL,
    until_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    cause TEXT,
    ended_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX access_grant_by_task ON access_grant (task_id, id);
