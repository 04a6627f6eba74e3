-- A yes is bound to what was shown: each verdict carries what policy and plan it was given under, what it left out, and a seal over
-- all of it; a grant that rests on verdicts carries how often and until when it may be minted on, under a seal of its own. And what
-- issuers last said of the people who sign in is kept, because a yes counts only while its giver is in the group.
ALTER TABLE access_request ADD COLUMN terms TEXT;
ALTER TABLE approval ADD COLUMN in_place_of TEXT;
ALTER TABLE approval ADD COLUMN narrow TEXT;
ALTER TABLE approval ADD COLUMN bundle TEXT;
ALTER TABLE approval ADD COLUMN plan TEXT;
ALTER TABLE approval ADD COLUMN proof TEXT;
ALTER TABLE approval ADD COLUMN thought_millis INTEGER;
ALTER TABLE approval ADD COLUMN seal TEXT;
CREATE INDEX approval_by_person ON approval (person, id);
CREATE INDEX approval_by_digest ON approval (request_digest);
ALTER TABLE access_grant ADD COLUMN uses INTEGER;
ALTER TABLE access_grant ADD COLUMN mint_until INTEGER;
ALTER TABLE access_grant ADD COLUMN seal TEXT;
CREATE TABLE person_known (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    person TEXT NOT NULL,
    email TEXT,
    person_groups TEXT NOT NULL,
    seen_at INTEGER NOT NULL,
    recheck_at INTEGER,
    PRIMARY KEY (issuer, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX person_known_by_person ON person_known (person);
CREATE INDEX person_known_recheck ON person_known (recheck_at) WHERE recheck_at IS NOT NULL;
