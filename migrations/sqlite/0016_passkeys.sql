-- Passkeys: whose they are, and what they may be asked to sign. A person has as many as there are slots; one that was removed keeps
-- its row, because what it signed must stay verifiable and its credential may never be another person's, but gives its slot back.
CREATE TABLE passkey (
    id TEXT NOT NULL PRIMARY KEY,
    person TEXT NOT NULL,
    slot INTEGER,
    credential TEXT NOT NULL,
    cose_key TEXT NOT NULL,
    sign_count INTEGER NOT NULL,
    backup TEXT NOT NULL,
    aaguid TEXT NOT NULL,
    transports TEXT NOT NULL,
    name TEXT NOT NULL,
    user_handle TEXT NOT NULL,
    registered TEXT NOT NULL,
    registration TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    last_used_at INTEGER,
    ended_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX passkey_credential ON passkey (credential);
CREATE UNIQUE INDEX passkey_slot ON passkey (person, slot);

-- A challenge is used up by deleting its row in the commit of what was signed, so that it counts once.
CREATE TABLE passkey_challenge (
    id TEXT NOT NULL PRIMARY KEY,
    person TEXT NOT NULL,
    slot INTEGER NOT NULL,
    kind TEXT NOT NULL,
    session TEXT,
    nonce TEXT NOT NULL,
    statement TEXT NOT NULL,
    shown TEXT,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX passkey_challenge_slot ON passkey_challenge (person, slot);
CREATE INDEX passkey_challenge_expires ON passkey_challenge (expires_at);
