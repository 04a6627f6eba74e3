-- Who is told what: one row for each message to one recipient of one channel, written in the commit that moves the channel's cursor
-- past the audit event it follows from, so that no event is passed over and none is told twice.
CREATE TABLE notice (
    id TEXT NOT NULL PRIMARY KEY,
    channel TEXT NOT NULL,
    request_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    recipient TEXT NOT NULL,
    follows TEXT,
    payload TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    claimed_by TEXT,
    due_at INTEGER,
    reference TEXT,
    created_at INTEGER NOT NULL,
    settled_at INTEGER,
    keep_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX notice_about ON notice (request_id, channel);
CREATE INDEX notice_due ON notice (channel, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX notice_keep ON notice (keep_until);
-- Up to which audit event a channel has been told.
CREATE TABLE notice_cursor (
    channel TEXT NOT NULL PRIMARY KEY,
    seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
