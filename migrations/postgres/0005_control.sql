-- What the whole broker obeys: the control row, suspended agents, policy bundles, signing keys; and what must not happen
-- twice: used tokens and idempotency keys.
CREATE TABLE control (
    id BIGINT NOT NULL PRIMARY KEY,
    kill_epoch BIGINT NOT NULL,
    kill_switch TEXT COLLATE "C" NOT NULL,
    bundle TEXT COLLATE "C",
    agents_epoch BIGINT NOT NULL
);
INSERT INTO control (id, kill_epoch, kill_switch, bundle, agents_epoch) VALUES (1, 0, 'released', NULL, 0);
CREATE TABLE suspension (
    agent_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    suspended_by TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL
);
CREATE TABLE bundle (
    digest TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    files TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL
);
CREATE TABLE signing_key (
    kid TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    algorithm TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    sealed TEXT COLLATE "C" NOT NULL,
    public_jwk TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    activates_at BIGINT NOT NULL,
    retires_at BIGINT
);
CREATE TABLE token_seen (
    token_key TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    keep_until BIGINT NOT NULL
);
CREATE INDEX token_seen_keep ON token_seen (keep_until);
CREATE TABLE idempotency (
    owner TEXT COLLATE "C" NOT NULL,
    used_key TEXT COLLATE "C" NOT NULL,
    request TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    keep_until BIGINT NOT NULL,
    PRIMARY KEY (owner, used_key)
);
CREATE INDEX idempotency_keep ON idempotency (keep_until);
CREATE TABLE probe (
    id BIGINT NOT NULL PRIMARY KEY,
    writes BIGINT NOT NULL
);
INSERT INTO probe (id, writes) VALUES (1, 0);
