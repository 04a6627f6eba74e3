-- What a lease must remember so that no crash leaves a credential behind: whether its agent has it, from when on no call of its
-- mint can land any more, since when its backend does not honour it, and which replica works on it. Leases that live when
-- this is applied were handed over before, so they count as delivered when they were minted. And answers sealed to a key of
-- the agent's, kept so that a lost one can be fetched again.
ALTER TABLE lease ADD COLUMN delivered_at INTEGER;
ALTER TABLE lease ADD COLUMN settles_at INTEGER;
ALTER TABLE lease ADD COLUMN disabled_at INTEGER;
ALTER TABLE lease ADD COLUMN claimed_by TEXT;
UPDATE lease SET delivered_at = minted_at WHERE state = 'live';
CREATE TABLE sealed_delivery (
    lease_id TEXT NOT NULL PRIMARY KEY,
    task_id TEXT NOT NULL,
    sealed TEXT NOT NULL,
    keep_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sealed_delivery_by_task ON sealed_delivery (task_id, lease_id);
CREATE INDEX sealed_delivery_keep ON sealed_delivery (keep_until);
