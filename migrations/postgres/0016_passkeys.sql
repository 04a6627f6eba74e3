-- Passkeys: whose they are, and what they may be asked to sign. A person has as many as there are slots; one that was removed keeps
-- its row, because what it signed must stay verifiable and its credential may never be another person's, but gives its slot back.
CREATE TABLE passkey (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    person TEXT COLLATE "C" NOT NULL,
    slot BIGINT,
    credential TEXT COLLATE "C" NOT NULL,
    cose_key TEXT COLLATE "C" NOT NULL,
    sign_count BIGINT NOT NULL,
    backup TEXT COLLATE "C" NOT NULL,
    aaguid TEXT COLLATE "C" NOT NULL,
    transports TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    user_handle TEXT COLLATE "C" NOT NULL,
    registered TEXT COLLATE "C" NOT NULL,
    registration TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT,
    ended_at BIGINT
);
CREATE UNIQUE INDEX passkey_credential ON passkey (credential);
CREATE UNIQUE INDEX passkey_slot ON passkey (person, slot);

-- A challenge is used up by deleting its row in the commit of what was signed, so that it counts once.
CREATE TABLE passkey_challenge (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    person TEXT COLLATE "C" NOT NULL,
    slot BIGINT NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    session TEXT COLLATE "C",
    nonce TEXT COLLATE "C" NOT NULL,
    statement TEXT COLLATE "C" NOT NULL,
    shown TEXT COLLATE "C",
    expires_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX passkey_challenge_slot ON passkey_challenge (person, slot);
CREATE INDEX passkey_challenge_expires ON passkey_challenge (expires_at);
