-- name: insert
-- Store a signal; the first one for a name wins.
INSERT INTO signals (event, payload, sent_at) VALUES (:event, :payload, :now) ON CONFLICT DO NOTHING;

-- name: find_payload
-- The payload of a signal, if it was sent.
SELECT payload FROM signals WHERE event = :event;

-- name: select_undelivered
-- Signals that were stored by others than servers and clients: none in a file.
SELECT event FROM signals WHERE false LIMIT :limit;

-- name: mark_delivered
-- The waits for a signal have ended.
SELECT 1 WHERE false;

-- name: delete_expired
-- Delete old signals.
DELETE FROM signals WHERE sent_at < :before;

-- name: oldest_sent_at
-- When the oldest signal was sent.
SELECT min(sent_at) FROM signals;

-- name: select_awaited
-- The waits for signals, those that began first.
SELECT waits.key AS event, waits.run_id, runs.workflow, waits.started_at, waits.wake_at
FROM waits JOIN runs ON runs.id = waits.run_id
WHERE waits.kind = 'signal' AND waits.key IS NOT NULL ORDER BY waits.started_at, waits.run_id LIMIT :limit;
