-- name: edit
-- Change a run that no worker has; one that is due at another time now is claimable once the timer has marked it as due.
UPDATE runs
SET run_at = coalesce(:run_at::bigint, run_at), priority = coalesce(:priority::bigint, priority),
    max_attempts = coalesce(:max_attempts::integer, max_attempts),
    due_order = coalesce(:run_at::bigint, run_at) - coalesce(:priority::bigint, priority) * 1000,
    ready = :run_at::bigint IS NULL AND ready,
    hold = CASE WHEN :run_at::bigint IS NULL OR hold = 'suspect' THEN hold
        WHEN hold = 'suspect_limit' OR hold = 'suspect_rate' THEN 'suspect' END
WHERE id = :id AND (state = 'pending' OR (state = 'waiting' AND :run_at::bigint IS NULL));

-- name: run_now
-- Make a run due that was to start later.
UPDATE runs SET run_at = :now, due_order = :now - priority * 1000 WHERE id = :id AND state = 'pending' AND NOT ready;

-- name: move
-- Move a live run to another group; a running one keeps its worker, and its next attempt is in the other group.
UPDATE runs SET worker_group = :to, group_source = 'moved'
WHERE id = :id AND (state = 'pending' OR state = 'running' OR state = 'waiting')
RETURNING hold, id;
