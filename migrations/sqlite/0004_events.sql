-- The audit: every intent and fact in the order of commits, never changed and never removed.
CREATE TABLE event (
    seq INTEGER NOT NULL PRIMARY KEY,
    id TEXT NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    actor TEXT NOT NULL,
    agent_id TEXT,
    task_id TEXT,
    request_id TEXT,
    lease_id TEXT,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX event_by_task ON event (task_id, seq) WHERE task_id IS NOT NULL;
CREATE INDEX event_by_agent ON event (agent_id, seq) WHERE agent_id IS NOT NULL;
CREATE TRIGGER event_is_never_changed BEFORE UPDATE ON event
BEGIN
    SELECT RAISE(ABORT, 'audit events are never changed');
END;
CREATE TRIGGER event_is_never_removed BEFORE DELETE ON event
BEGIN
    SELECT RAISE(ABORT, 'audit events are never removed');
END;
