-- Some credentials can be ended only by whoever holds them: what that takes is kept, sealed with the key-encryption key and bound to
-- its lease, from the commit that records the credential to the one that records its end.
CREATE TABLE kept_secret (
    lease_id TEXT NOT NULL PRIMARY KEY,
    sealed TEXT NOT NULL,
    keep_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX kept_secret_keep ON kept_secret (keep_until);
