-- What has ended before its backend would stop honouring it by itself is published in lists that hosts fetch, backend by
-- backend, until its native end has passed.
CREATE INDEX lease_over ON lease (backend, native_end, id) WHERE cause IS NOT NULL;
