-- name: apply_fallback
-- End the due runs of an unavailable group whose fallback does not wait for it.
UPDATE runs
SET state = CASE fallback WHEN 'cancel' THEN 'cancelled' ELSE 'dead' END, ready = 0, hold = NULL, finished_at = :now, error = :error,
    fingerprint = CASE fallback WHEN 'cancel' THEN NULL ELSE :fingerprint END
WHERE rowid IN (
    SELECT rowid FROM runs
    WHERE worker_group = :group AND fallback IN ('fail', 'cancel') AND fallback IS NOT NULL AND state = 'pending' AND ready = 1
    LIMIT :limit
)
RETURNING id, state;

-- name: move_to_fallback
-- Move the due runs of an unavailable group that may run elsewhere to another group; limits are applied anew there.
UPDATE runs SET worker_group = :to, group_source = 'fallback',
    hold = CASE WHEN hold = 'limit' OR hold = 'rate' THEN NULL
        WHEN hold = 'suspect_limit' OR hold = 'suspect_rate' THEN 'suspect' ELSE hold END
WHERE rowid IN (
    SELECT rowid FROM runs
    WHERE worker_group = :group AND fallback = 'ignore' AND fallback IS NOT NULL AND state = 'pending' AND ready = 1
    LIMIT :limit
)
RETURNING hold, id;

-- name: end_waited
-- End the due runs that have waited too long for an unavailable group.
UPDATE runs SET state = 'dead', ready = 0, hold = NULL, finished_at = :now, error = :error, fingerprint = :fingerprint
WHERE rowid IN (
    SELECT rowid FROM runs
    WHERE worker_group = :group AND state = 'pending' AND ready = 1 AND max(run_at, created_at, ifnull(back_at, 0)) <= :before
        AND (fallback IS NULL OR fallback = 'wait' OR (fallback = 'ignore' AND :group = :to))
    LIMIT :limit
)
RETURNING id, state;

-- name: oldest_waiting
-- When the run that has waited longest for an unavailable group began to wait.
SELECT min(max(run_at, created_at, ifnull(back_at, 0))) FROM runs
WHERE worker_group = :group AND state = 'pending' AND ready = 1
    AND (fallback IS NULL OR fallback = 'wait' OR (fallback = 'ignore' AND :group = :to));

-- name: move_runs
-- Move the live runs of a group to another; a running one keeps its worker, and its next attempt is in the other group.
UPDATE runs SET worker_group = :to, group_source = 'moved'
WHERE rowid IN (
    SELECT rowid FROM runs WHERE worker_group = :group AND state = 'pending' AND ready = 1
    UNION ALL SELECT rowid FROM runs WHERE worker_group = :group AND state = 'pending' AND ready = 0
    UNION ALL SELECT rowid FROM runs WHERE worker_group = :group AND state = 'running'
    UNION ALL SELECT rowid FROM runs WHERE worker_group = :group AND state = 'waiting'
    LIMIT :limit
)
RETURNING hold;

-- name: forget
-- Delete the overrides of a group.
DELETE FROM groups WHERE name = :name;

-- name: mark_unavailable
-- Mark a group as unavailable from this moment on, unless it already is.
INSERT INTO groups (name, lost_at) VALUES (:name, :now) ON CONFLICT (name) DO UPDATE SET lost_at = ifnull(lost_at, excluded.lost_at)
RETURNING lost_at;

-- name: mark_available
-- Mark a group as available again.
UPDATE groups SET lost_at = NULL WHERE name = :name;

-- name: mark_all_available
-- After a start, mark all groups as available except the paused ones.
UPDATE groups SET lost_at = NULL WHERE paused = 0 AND lost_at IS NOT NULL;

-- name: select_overrides
-- The operators' overrides of groups.
SELECT name, paused, scale FROM groups;

-- name: pause
-- Pause or resume a group.
INSERT INTO groups (name, paused) VALUES (:name, :paused) ON CONFLICT (name) DO UPDATE SET paused = excluded.paused;

-- name: scale
-- Override the number of workers of a group; null restores the configured number.
INSERT INTO groups (name, scale) VALUES (:name, :scale) ON CONFLICT (name) DO UPDATE SET scale = excluded.scale;
