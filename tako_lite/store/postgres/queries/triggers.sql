-- name: put
-- Insert or update a trigger from the catalog; its cursor and its pause stay, and its next evaluation moves up to its new interval.
INSERT INTO triggers (name, worker_group, starts, every_ms, next_at) VALUES (:name, :group, :starts, :every_ms, :now)
ON CONFLICT (name) DO UPDATE
SET worker_group = excluded.worker_group, starts = excluded.starts, every_ms = excluded.every_ms,
    next_at = least(triggers.next_at, :now + excluded.every_ms), active = true;

-- name: retire
-- Retire the triggers that are no longer in the catalog; their cursor stays.
UPDATE triggers SET active = false
WHERE name NOT IN (SELECT value FROM json_array_elements_text(:names::json)) AND NOT EXISTS (
    SELECT 1 FROM handlers JOIN servers ON servers.boot_id = handlers.boot_id
    WHERE handlers.workflow = '@' || triggers.name AND ended_at IS NULL AND handlers.boot_id <> :boot_id
);

-- name: select_due
-- When each trigger is due, except those that are paused or being evaluated.
SELECT name, next_at FROM triggers WHERE active AND NOT paused AND evaluation IS NULL;

-- name: begin_evaluation
-- Begin the evaluation of a due trigger, by one run alone; `by_hand` ignores its time and its pause.
UPDATE triggers SET evaluation = :id
WHERE name = :name AND active AND evaluation IS NULL
    AND (:by_hand::bigint = 1 OR (NOT paused AND (next_at <= :now OR next_at > :now + every_ms)))
RETURNING cursor;

-- name: end_evaluation
-- End a successful evaluation: the next one starts from the new cursor.
UPDATE triggers
SET evaluation = NULL, cursor = :cursor, next_at = :now + every_ms, evaluated_at = :now, started = started + :started::bigint, error = NULL
WHERE evaluation = :id;

-- name: fail_evaluation
-- End a failed evaluation: the trigger is tried again from the same cursor.
UPDATE triggers
SET evaluation = NULL, next_at = :now + every_ms, evaluated_at = :now,
    error = (
        SELECT error
        FROM runs WHERE id = :id
    )
WHERE evaluation = :id;

-- name: withdraw_evaluation
-- Withdraw an evaluation without outcome: the trigger is due as before.
UPDATE triggers SET evaluation = NULL WHERE evaluation = :id;

-- name: select_evaluations
-- The current evaluations, with the state of each, except those that a live server executes, or is about to: a claim locks its run.
SELECT runs.id, runs.state, triggers.name AS trigger FROM triggers JOIN runs ON runs.id = triggers.evaluation
WHERE triggers.evaluation IS NOT NULL
    AND NOT (runs.state = 'running' AND EXISTS (SELECT 1 FROM servers WHERE servers.boot_id = runs.boot_id AND ended_at IS NULL))
ORDER BY runs.id FOR UPDATE OF runs SKIP LOCKED;

-- name: delete_run
-- Delete the run of an evaluation: users do not see it as a run of theirs.
DELETE FROM runs WHERE id = :id;

-- name: set_paused
-- Pause or resume a trigger.
UPDATE triggers SET paused = :paused::bigint = 1 WHERE name = :name AND active;

-- name: select
-- The triggers of the catalog, with the state of their evaluations.
SELECT name, worker_group AS "group", starts, every_ms, cursor, next_at, evaluated_at, started, error, paused,
    (SELECT state FROM runs WHERE id = triggers.evaluation) AS evaluation
FROM triggers WHERE active ORDER BY name;
