-- Some credentials can be ended only by whoever holds them: what that takes is kept, sealed with the key-encryption key and bound to
-- its lease, from the commit that records the credential to the one that records its end.
CREATE TABLE kept_secret (
    lease_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    sealed TEXT COLLATE "C" NOT NULL,
    keep_until BIGINT NOT NULL
);
CREATE INDEX kept_secret_keep ON kept_secret (keep_until);
