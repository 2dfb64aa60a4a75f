-- name: put
-- Insert or update a schedule from the catalog; its last slot and its pause stay.
INSERT INTO schedules (workflow, cron, timezone, catch_up, last_slot) VALUES (:workflow, :cron, :timezone, :catch_up, :from_slot)
ON CONFLICT (workflow) DO UPDATE
SET cron = excluded.cron, timezone = excluded.timezone, catch_up = excluded.catch_up,
    last_slot = CASE WHEN schedules.active THEN schedules.last_slot ELSE greatest(schedules.last_slot, excluded.last_slot) END,
    active = true;

-- name: retire
-- Retire the schedules that are no longer in the catalog; their last slot stays.
UPDATE schedules SET active = false
WHERE workflow NOT IN (SELECT value FROM json_array_elements_text(:scheduled::json)) AND (
    workflow IN (SELECT value FROM json_array_elements_text(:workflows::json)) OR NOT EXISTS (
        SELECT 1 FROM handlers JOIN servers ON servers.boot_id = handlers.boot_id
        WHERE handlers.workflow = schedules.workflow AND ended_at IS NULL AND handlers.boot_id <> :boot_id
    )
);

-- name: take_slot
-- Take a slot, exactly once; a slot that is not after the last one, or of another expression, is not taken.
UPDATE schedules SET last_slot = :slot, fired_at = :slot
WHERE workflow = :workflow AND last_slot < :slot AND NOT paused AND active
    AND (:cron::text IS NULL OR (cron = :cron AND timezone = :timezone::text));

-- name: skip_slots
-- Skip the slots up to this one, unless they are of another expression.
UPDATE schedules SET last_slot = :slot
WHERE workflow = :workflow AND last_slot < :slot AND (:cron::text IS NULL OR (cron = :cron AND timezone = :timezone::text));

-- name: set_paused
-- Pause a schedule, or resume it from this slot.
UPDATE schedules SET paused = :paused::bigint = 1, last_slot = greatest(last_slot, :slot) WHERE workflow = :workflow AND active;

-- name: select
-- Every schedule of the catalog.
SELECT workflow, cron, timezone, catch_up, last_slot, fired_at, paused FROM schedules WHERE active ORDER BY workflow;
