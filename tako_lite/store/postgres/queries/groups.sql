-- name: apply_fallback
-- End the due runs of an unavailable group whose fallback does not wait for it.
WITH fallen AS MATERIALIZED (
    SELECT id FROM runs
    WHERE worker_group = :group AND fallback IN ('fail', 'cancel') AND fallback IS NOT NULL AND state = 'pending' AND ready
    ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
)
UPDATE runs
SET state = CASE fallback WHEN 'cancel' THEN 'cancelled' ELSE 'dead' END, ready = false, hold = NULL, finished_at = :now, error = :error,
    fingerprint = CASE fallback WHEN 'cancel' THEN NULL ELSE :fingerprint::text END
FROM fallen WHERE runs.id = fallen.id
RETURNING runs.id, state;

-- name: move_to_fallback
-- Move the due runs of an unavailable group that may run elsewhere to another group; limits are applied anew there.
WITH moving AS MATERIALIZED (
    SELECT id FROM runs
    WHERE worker_group = :group AND fallback = 'ignore' AND fallback IS NOT NULL AND state = 'pending' AND ready
    ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
)
UPDATE runs SET worker_group = :to, group_source = 'fallback',
    hold = CASE WHEN hold = 'limit' OR hold = 'rate' THEN NULL
        WHEN hold = 'suspect_limit' OR hold = 'suspect_rate' THEN 'suspect' ELSE hold END
FROM moving WHERE runs.id = moving.id
RETURNING hold, runs.id;

-- name: end_waited
-- End the due runs that have waited too long for an unavailable group.
WITH late AS MATERIALIZED (
    SELECT id FROM runs
    WHERE worker_group = :group AND state = 'pending' AND ready AND greatest(run_at, created_at, coalesce(back_at, 0)) <= :before
        AND (fallback IS NULL OR fallback = 'wait' OR (fallback = 'ignore' AND :group::text = :to::text))
    ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
)
UPDATE runs SET state = 'dead', ready = false, hold = NULL, finished_at = :now, error = :error, fingerprint = :fingerprint
FROM late WHERE runs.id = late.id
RETURNING runs.id, state;

-- name: oldest_waiting
-- When the run that has waited longest for an unavailable group began to wait.
SELECT min(greatest(run_at, created_at, coalesce(back_at, 0))) FROM runs
WHERE worker_group = :group AND state = 'pending' AND ready
    AND (fallback IS NULL OR fallback = 'wait' OR (fallback = 'ignore' AND :group::text = :to::text));

-- name: move_runs
-- Move the live runs of a group to another; a running one keeps its worker, and its next attempt is in the other group.
WITH moving AS MATERIALIZED (
    SELECT id FROM runs
    WHERE worker_group = :group AND (state = 'pending' OR state = 'running' OR state = 'waiting')
    ORDER BY id LIMIT :limit FOR UPDATE
)
UPDATE runs SET worker_group = :to, group_source = 'moved' FROM moving WHERE runs.id = moving.id
RETURNING hold;

-- name: forget
-- Delete the overrides of a group.
DELETE FROM groups WHERE name = :name;

-- name: mark_unavailable
-- Mark a group as unavailable from this moment on, unless it already is.
INSERT INTO groups (name, lost_at) VALUES (:name, :now) ON CONFLICT (name) DO UPDATE SET lost_at = coalesce(groups.lost_at, excluded.lost_at)
RETURNING lost_at;

-- name: mark_available
-- Mark a group as available again.
UPDATE groups SET lost_at = NULL WHERE name = :name;

-- name: mark_all_available
-- After a start, mark all groups as available except the paused ones.
UPDATE groups SET lost_at = NULL WHERE NOT paused AND lost_at IS NOT NULL;

-- name: select_overrides
-- The operators' overrides of groups.
SELECT name, paused, scale FROM groups;

-- name: pause
-- Pause or resume a group.
INSERT INTO groups (name, paused) VALUES (:name, :paused::bigint = 1) ON CONFLICT (name) DO UPDATE SET paused = excluded.paused;

-- name: scale
-- Override the number of workers of a group; null restores the configured number.
INSERT INTO groups (name, scale) VALUES (:name, :scale) ON CONFLICT (name) DO UPDATE SET scale = excluded.scale;
