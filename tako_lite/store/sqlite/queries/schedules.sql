-- name: put
-- Insert or update a schedule from the catalog; its last slot and its pause stay.
INSERT INTO schedules (workflow, cron, timezone, catch_up, last_slot) VALUES (:workflow, :cron, :timezone, :catch_up, :from_slot)
ON CONFLICT (workflow) DO UPDATE
SET cron = excluded.cron, timezone = excluded.timezone, catch_up = excluded.catch_up,
    last_slot = CASE WHEN active = 0 THEN max(last_slot, excluded.last_slot) ELSE last_slot END, active = 1;

-- name: retire
-- Retire the schedules that are no longer in the catalog; their last slot stays.
UPDATE schedules SET active = 0 WHERE workflow NOT IN (SELECT value FROM json_each(:scheduled));

-- name: take_slot
-- Take a slot, exactly once; a slot that is not after the last one is not taken.
UPDATE schedules SET last_slot = :slot, fired_at = :slot
WHERE workflow = :workflow AND last_slot < :slot AND paused = 0 AND active = 1;

-- name: skip_slots
-- Skip the slots up to this one.
UPDATE schedules SET last_slot = :slot WHERE workflow = :workflow AND last_slot < :slot;

-- name: set_paused
-- Pause a schedule, or resume it from this slot.
UPDATE schedules SET paused = :paused, last_slot = max(last_slot, :slot) WHERE workflow = :workflow AND active = 1;

-- name: select
-- Every schedule of the catalog.
SELECT workflow, cron, timezone, catch_up, last_slot, fired_at, paused FROM schedules WHERE active = 1 ORDER BY workflow;
