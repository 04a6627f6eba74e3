-- What the whole broker obeys: the control row, suspended agents, policy bundles, signing keys; and what must not happen
-- twice: used tokens and idempotency keys.
CREATE TABLE control (
    id INTEGER NOT NULL PRIMARY KEY,
    kill_epoch INTEGER NOT NULL,
    kill_switch TEXT NOT NULL,
    bundle TEXT,
    agents_epoch INTEGER NOT NULL
) STRICT;
INSERT INTO control (id, kill_epoch, kill_switch, bundle, agents_epoch) VALUES (1, 0, 'released', NULL, 0);
CREATE TABLE suspension (
    agent_id TEXT NOT NULL PRIMARY KEY,
    suspended_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE bundle (
    digest TEXT NOT NULL PRIMARY KEY,
    files TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
CREATE TABLE signing_key (
    kid TEXT NOT NULL PRIMARY KEY,
    algorithm TEXT NOT NULL,
    state TEXT NOT NULL,
    sealed TEXT NOT NULL,
    public_jwk TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    activates_at INTEGER NOT NULL,
    retires_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE token_seen (
    token_key TEXT NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL,
    keep_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX token_seen_keep ON token_seen (keep_until);
CREATE TABLE idempotency (
    owner TEXT NOT NULL,
    used_key TEXT NOT NULL,
    request TEXT NOT NULL,
    subject TEXT NOT NULL,
    at INTEGER NOT NULL,
    keep_until INTEGER NOT NULL,
    PRIMARY KEY (owner, used_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_keep ON idempotency (keep_until);
CREATE TABLE probe (
    id INTEGER NOT NULL PRIMARY KEY,
    writes INTEGER NOT NULL
) STRICT;
INSERT INTO probe (id, writes) VALUES (1, 0);
