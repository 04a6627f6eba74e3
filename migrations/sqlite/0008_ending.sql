-- What is due is found backend by backend, so that one that hangs holds up no other; and what is ending, by how often that
-- has failed, without looking at what lives.
CREATE INDEX lease_due_by_backend ON lease (backend, due_at) WHERE due_at IS NOT NULL;
DROP INDEX lease_due;
CREATE INDEX lease_ending ON lease (attempts, backend) WHERE attempts IS NOT NULL;
