-- name: find
-- What is stored of a minute, a group and a workflow.
SELECT minute, worker_group AS "group", workflow, started, succeeded, failed, dead, cancelled, waited_ms, executed_ms, buckets
FROM minutes WHERE minute = :minute AND worker_group = :group AND workflow = :workflow;

-- name: put
-- Store what happened in a minute.
INSERT INTO minutes
    (minute, worker_group, workflow, started, succeeded, failed, dead, cancelled, waited_ms, executed_ms, buckets)
VALUES (:minute, :group, :workflow, :started, :succeeded, :failed, :dead, :cancelled, :waited_ms, :executed_ms, :buckets)
ON CONFLICT (minute, worker_group, workflow) DO UPDATE
SET started = excluded.started, succeeded = excluded.succeeded, failed = excluded.failed, dead = excluded.dead,
    cancelled = excluded.cancelled, waited_ms = excluded.waited_ms, executed_ms = excluded.executed_ms, buckets = excluded.buckets;

-- name: select
-- What happened from one minute up to another, oldest first.
SELECT minute, worker_group AS "group", workflow, started, succeeded, failed, dead, cancelled, waited_ms, executed_ms, buckets
FROM minutes WHERE minute >= :since AND minute < :until ORDER BY minute;

-- name: delete_expired
-- Delete minutes that are too old.
DELETE FROM minutes WHERE minute < :before;

-- name: sum_by_slot
-- The totals of slots of `width` minutes, oldest first: of one workflow or group, or of all but the evaluations of triggers.
SELECT minute / :width AS slot, sum(started)::bigint AS started, sum(succeeded)::bigint AS succeeded, sum(failed)::bigint AS failed, sum(dead)::bigint AS dead,
    sum(cancelled)::bigint AS cancelled, sum(executed_ms)::bigint AS executed_ms, '[' || string_agg(buckets, ',') || ']' AS buckets
FROM minutes
WHERE minute >= :since AND (:workflow::text IS NULL OR workflow = :workflow) AND (:group::text IS NULL OR worker_group = :group)
    AND substr(workflow, 1, 1) <> '@'
GROUP BY slot ORDER BY slot;

-- name: sum_by_workflow
-- The totals of each workflow from a minute on.
SELECT workflow, sum(started)::bigint AS started, sum(succeeded)::bigint AS succeeded, sum(failed)::bigint AS failed, sum(dead)::bigint AS dead,
    sum(cancelled)::bigint AS cancelled, sum(executed_ms)::bigint AS executed_ms
FROM minutes WHERE minute >= :since GROUP BY workflow;
