-- Who is signed in, in a browser or on a command line, and command lines that wait to be signed in. Of every secret there is only
-- the SHA-256 here, so that whoever reads the table is nobody. A row goes when the session ends; the audit keeps the rest.
CREATE TABLE session (
    id TEXT NOT NULL PRIMARY KEY,
    token_hash TEXT NOT NULL,
    kind TEXT NOT NULL,
    person TEXT NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    email TEXT,
    person_groups TEXT NOT NULL,
    auth_time INTEGER,
    acr TEXT,
    user_agent TEXT NOT NULL,
    address TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    lapses_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX session_by_token ON session (token_hash);
CREATE INDEX session_by_person ON session (person, id);
CREATE INDEX session_lapses ON session (lapses_at);
CREATE TABLE device_sign_in (
    device_hash TEXT NOT NULL PRIMARY KEY,
    user_hash TEXT NOT NULL,
    client TEXT NOT NULL,
    address TEXT NOT NULL,
    asked_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    pause INTEGER NOT NULL,
    polled_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    session_id TEXT
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX device_sign_in_by_user ON device_sign_in (user_hash);
CREATE INDEX device_sign_in_expires ON device_sign_in (expires_at);
