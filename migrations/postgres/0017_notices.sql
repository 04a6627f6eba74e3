-- Who is told what: one row for each message to one recipient of one channel, written in the commit that moves the channel's cursor
-- past the audit event it follows from, so that no event is passed over and none is told twice.
CREATE TABLE notice (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    channel TEXT COLLATE "C" NOT NULL,
    request_id TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    recipient TEXT COLLATE "C" NOT NULL,
    follows TEXT COLLATE "C",
    payload TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    attempts BIGINT NOT NULL,
    fence BIGINT NOT NULL,
    claimed_by TEXT COLLATE "C",
    due_at BIGINT,
    reference TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    settled_at BIGINT,
    keep_until BIGINT NOT NULL
);
CREATE INDEX notice_about ON notice (request_id, channel);
CREATE INDEX notice_due ON notice (channel, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX notice_keep ON notice (keep_until);
-- Up to which audit event a channel has been told.
CREATE TABLE notice_cursor (
    channel TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    seq BIGINT NOT NULL
);
