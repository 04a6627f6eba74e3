-- Whose history this is: where the database was when it was last relied on, so that a restored or copied one is noticed; which
-- deployment's marks its credentials carry; and the epoch that begins when it is noticed, during which nothing is issued and
-- nothing is ended until an operator has it reconciled. Tokens of workloads from before then may have been used.
ALTER TABLE control ADD COLUMN restore_epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE control ADD COLUMN quarantine TEXT;
ALTER TABLE control ADD COLUMN tokens_from INTEGER NOT NULL DEFAULT 0;
CREATE TABLE lineage (
    id INTEGER NOT NULL PRIMARY KEY,
    place TEXT NOT NULL,
    deployment TEXT NOT NULL,
    reconciled_epoch INTEGER NOT NULL
) STRICT;
