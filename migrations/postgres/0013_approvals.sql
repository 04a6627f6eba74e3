-- A yes is bound to what was shown: each verdict carries what policy and plan it was given under, what it left out, and a seal over
-- all of it; a grant that rests on verdicts carries how often and until when it may be minted on, under a seal of its own. And what
-- issuers last said of the people who sign in is kept, because a yes counts only while its giver is in the group.
ALTER TABLE access_request ADD COLUMN terms TEXT COLLATE "C";
ALTER TABLE approval ADD COLUMN in_place_of TEXT COLLATE "C";
ALTER TABLE approval ADD COLUMN narrow TEXT COLLATE "C";
ALTER TABLE approval ADD COLUMN bundle TEXT COLLATE "C";
ALTER TABLE approval ADD COLUMN plan TEXT COLLATE "C";
ALTER TABLE approval ADD COLUMN proof TEXT COLLATE "C";
ALTER TABLE approval ADD COLUMN thought_millis BIGINT;
ALTER TABLE approval ADD COLUMN seal TEXT COLLATE "C";
CREATE INDEX approval_by_person ON approval (person, id);
CREATE INDEX approval_by_digest ON approval (request_digest);
ALTER TABLE access_grant ADD COLUMN uses BIGINT;
ALTER TABLE access_grant ADD COLUMN mint_until BIGINT;
ALTER TABLE access_grant ADD COLUMN seal TEXT COLLATE "C";
CREATE TABLE person_known (
    issuer TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    person TEXT COLLATE "C" NOT NULL,
    email TEXT COLLATE "C",
    person_groups TEXT COLLATE "C" NOT NULL,
    seen_at BIGINT NOT NULL,
    recheck_at BIGINT,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX person_known_by_person ON person_known (person);
CREATE INDEX person_known_recheck ON person_known (recheck_at) WHERE recheck_at IS NOT NULL;
