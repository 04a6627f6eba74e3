-- Who is signed in, in a browser or on a command line, and command lines that wait to be signed in. Of every secret there is only
-- the SHA-256 here, so that whoever reads the table is nobody. A row goes when the session ends; the audit keeps the rest.
CREATE TABLE session (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    token_hash TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    person TEXT COLLATE "C" NOT NULL,
    issuer TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    email TEXT COLLATE "C",
    person_groups TEXT COLLATE "C" NOT NULL,
    auth_time BIGINT,
    acr TEXT COLLATE "C",
    user_agent TEXT COLLATE "C" NOT NULL,
    address TEXT COLLATE "C" NOT NULL,
    opened_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    lapses_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX session_by_token ON session (token_hash);
CREATE INDEX session_by_person ON session (person, id);
CREATE INDEX session_lapses ON session (lapses_at);
CREATE TABLE device_sign_in (
    device_hash TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    user_hash TEXT COLLATE "C" NOT NULL,
    client TEXT COLLATE "C" NOT NULL,
    address TEXT COLLATE "C" NOT NULL,
    asked_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    pause BIGINT NOT NULL,
    polled_at BIGINT NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    session_id TEXT COLLATE "C"
);
CREATE UNIQUE INDEX device_sign_in_by_user ON device_sign_in (user_hash);
CREATE INDEX device_sign_in_expires ON device_sign_in (expires_at);
