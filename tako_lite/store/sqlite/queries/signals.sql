-- name: send
-- A signal is stored; the first one for a name stays.
INSERT INTO signals (event, payload, sent_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;

-- name: payload
-- What a signal carries, if it was sent.
SELECT payload FROM signals WHERE event = ?;

-- name: expire
-- Old signals go.
DELETE FROM signals WHERE sent_at < ?;

-- name: oldest
-- When the oldest signal was sent.
SELECT min(sent_at) FROM signals;
