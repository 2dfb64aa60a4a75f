-- name: insert
-- A signal is stored; the first one for a name stays.
INSERT INTO signals (event, payload, sent_at) VALUES (:event, :payload, :now) ON CONFLICT DO NOTHING;

-- name: find_payload
-- What a signal carries, if it was sent.
SELECT payload FROM signals WHERE event = :event;

-- name: delete_expired
-- Old signals go.
DELETE FROM signals WHERE sent_at < :before;

-- name: oldest_sent_at
-- When the oldest signal was sent.
SELECT min(sent_at) FROM signals;
