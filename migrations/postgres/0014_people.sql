-- What people do besides saying yes or no: they look at a request, ask its agent, let another decide while they are away, and look
-- again at what was let pass in an emergency.
CREATE TABLE viewing (
    request_id TEXT COLLATE "C" NOT NULL,
    person TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (request_id, person)
);
CREATE INDEX viewing_at ON viewing (at);
CREATE INDEX approval_at ON approval (at);
CREATE TABLE question (
    request_id TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    person TEXT COLLATE "C" NOT NULL,
    text TEXT COLLATE "C" NOT NULL,
    asked_at BIGINT NOT NULL,
    answer TEXT COLLATE "C",
    answered_at BIGINT,
    PRIMARY KEY (request_id, number)
);
CREATE TABLE delegation (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    giver TEXT COLLATE "C" NOT NULL,
    receiver TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    given_at BIGINT NOT NULL,
    from_at BIGINT NOT NULL,
    until_at BIGINT NOT NULL,
    ended_at BIGINT,
    ended_by TEXT COLLATE "C"
);
CREATE INDEX delegation_by_giver ON delegation (giver, until_at);
CREATE INDEX delegation_by_receiver ON delegation (receiver, until_at);
CREATE INDEX delegation_until ON delegation (until_at);
CREATE TABLE review (
    request_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    task_id TEXT COLLATE "C" NOT NULL,
    agent_id TEXT COLLATE "C" NOT NULL,
    rule TEXT COLLATE "C" NOT NULL,
    breaker TEXT COLLATE "C" NOT NULL,
    broken_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    reviewer TEXT COLLATE "C",
    note TEXT COLLATE "C",
    reviewed_at BIGINT,
    overdue_at BIGINT
);
CREATE INDEX review_due ON review (due_at) WHERE reviewed_at IS NULL;
