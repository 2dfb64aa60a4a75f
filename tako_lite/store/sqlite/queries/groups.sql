-- name: apply_fallback
-- Due runs of a lost group that are not to wait for it end.
UPDATE runs
SET state = CASE fallback WHEN 'cancel' THEN 'cancelled' ELSE 'dead' END, ready = 0, hold = NULL, finished_at = :now, error = :error
WHERE rowid IN (
    SELECT rowid FROM runs
    WHERE worker_group = :group AND fallback IN ('fail', 'cancel') AND fallback IS NOT NULL AND state = 'pending' AND ready = 1
    LIMIT :limit
)
RETURNING id, state;

-- name: move_to_fallback
-- Due runs of a lost group that may run anywhere go to another, where limits are judged anew.
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
-- Due runs that have waited for a lost group for too long end.
UPDATE runs SET state = 'dead', ready = 0, hold = NULL, finished_at = :now, error = :error
WHERE rowid IN (
    SELECT rowid FROM runs
    WHERE worker_group = :group AND state = 'pending' AND ready = 1 AND max(run_at, created_at, ifnull(back_at, 0)) <= :before
        AND (fallback IS NULL OR fallback = 'wait' OR (fallback = 'ignore' AND :group = :to))
    LIMIT :limit
)
RETURNING id, state;

-- name: oldest_waiting
-- Since when the run waits that has waited for a lost group the longest.
SELECT min(max(run_at, created_at, ifnull(back_at, 0))) FROM runs
WHERE worker_group = :group AND state = 'pending' AND ready = 1
    AND (fallback IS NULL OR fallback = 'wait' OR (fallback = 'ignore' AND :group = :to));

-- name: move_runs
-- Live runs of a group go to another; one that is running stays where it is, and comes back to the other.
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
-- What was asked of a group is asked no more.
DELETE FROM groups WHERE name = :name;

-- name: mark_unavailable
-- A group is lost from this moment on, or since an earlier one.
INSERT INTO groups (name, lost_at) VALUES (:name, :now) ON CONFLICT (name) DO UPDATE SET lost_at = ifnull(lost_at, excluded.lost_at)
RETURNING lost_at;

-- name: mark_available
-- A group is available again.
UPDATE groups SET lost_at = NULL WHERE name = :name;

-- name: mark_all_available
-- After a start only paused groups are lost still.
UPDATE groups SET lost_at = NULL WHERE paused = 0 AND lost_at IS NOT NULL;

-- name: select_overrides
-- What people asked of groups.
SELECT name, paused, scale FROM groups;

-- name: pause
-- A group is paused or goes on.
INSERT INTO groups (name, paused) VALUES (:name, :paused) ON CONFLICT (name) DO UPDATE SET paused = excluded.paused;

-- name: scale
-- A group is to have another number of workers; null means what the configuration says.
INSERT INTO groups (name, scale) VALUES (:name, :scale) ON CONFLICT (name) DO UPDATE SET scale = excluded.scale;
