-- name: find
-- What is stored of a minute, a group and a workflow.
SELECT minute, worker_group AS "group", workflow, started, succeeded, failed, dead, cancelled, waited_ms, executed_ms, buckets
FROM minutes WHERE minute = :minute AND worker_group = :group AND workflow = :workflow;

-- name: put
-- Store what happened in a minute.
INSERT OR REPLACE INTO minutes
    (minute, worker_group, workflow, started, succeeded, failed, dead, cancelled, waited_ms, executed_ms, buckets)
VALUES (:minute, :group, :workflow, :started, :succeeded, :failed, :dead, :cancelled, :waited_ms, :executed_ms, :buckets);

-- name: select
-- What happened from one minute up to another, oldest first.
SELECT minute, worker_group AS "group", workflow, started, succeeded, failed, dead, cancelled, waited_ms, executed_ms, buckets
FROM minutes WHERE minute >= :since AND minute < :until ORDER BY minute;

-- name: delete_expired
-- Delete minutes that are too old.
DELETE FROM minutes WHERE minute < :before;
