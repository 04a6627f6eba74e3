-- Two indexes by agent go: each agent has a page of its own in them, so that they cost every group of changes more than the
-- few questions they answer are worth. Leases of an agent are found by its tasks; its events by reading in order.
DROP INDEX lease_by_agent;
DROP INDEX event_by_agent;
