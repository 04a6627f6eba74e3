-- What agents ask for and what they are answered: requests, decisions, approvals, grants.
CREATE TABLE access_request (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    task_id TEXT COLLATE "C" NOT NULL,
    agent_id TEXT COLLATE "C" NOT NULL,
    backend TEXT COLLATE "C" NOT NULL,
    scopes TEXT COLLATE "C" NOT NULL,
    ttl BIGINT NOT NULL,
    confirmation_key TEXT COLLATE "C",
    digest TEXT COLLATE "C" NOT NULL,
    plan TEXT COLLATE "C" NOT NULL,
    effect TEXT COLLATE "C" NOT NULL,
    decision_id TEXT COLLATE "C" NOT NULL,
    asked_at BIGINT NOT NULL,
    settled_at BIGINT,
    state TEXT COLLATE "C" NOT NULL,
    rule TEXT COLLATE "C",
    grant_id TEXT COLLATE "C",
    reason TEXT COLLATE "C",
    due_at BIGINT
);
CREATE INDEX access_request_by_task ON access_request (task_id, id);
CREATE INDEX access_request_due ON access_request (due_at) WHERE due_at IS NOT NULL;
CREATE TABLE decision (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    request_id TEXT COLLATE "C",
    task_id TEXT COLLATE "C",
    agent_id TEXT COLLATE "C" NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    determining TEXT COLLATE "C" NOT NULL,
    bundle TEXT COLLATE "C" NOT NULL,
    input TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX decision_by_task ON decision (task_id, id) WHERE task_id IS NOT NULL;
CREATE TABLE approval (
    request_id TEXT COLLATE "C" NOT NULL,
    person TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    person_groups TEXT COLLATE "C" NOT NULL,
    verdict TEXT COLLATE "C" NOT NULL,
    request_digest TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C",
    at BIGINT NOT NULL,
    PRIMARY KEY (request_id, person)
);
CREATE TABLE access_grant (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    request_id TEXT COLLATE "C" NOT NULL,
    task_id TEXT COLLATE "C" NOT NULL,
    agent_id TEXT COLLATE "C" NOT NULL,
    backend TEXT COLLATE "C" NOT NULL,
    scopes TEXT COLLATE "C" NOT NULL,
    plan TEXT COLLATE "C" NOT NULL,
    ttl BIGINT NOT NULL,
    given_at BIGINT NOT NULL,
    until_at BIGINT NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    cause TEXT COLLATE "C",
    ended_at BIGINT
);
CREATE INDEX access_grant_by_task ON access_grant (task_id, id);
