-- name: put
-- Store what a person did, or how far it has come by now.
INSERT INTO activity (id, at, actor, source, action, target, detail)
VALUES (:id, :at, :actor, :source, :action, :target, :detail)
ON CONFLICT (id) DO UPDATE
SET at = excluded.at, actor = excluded.actor, source = excluded.source, action = excluded.action, target = excluded.target,
    detail = excluded.detail;

-- name: find
-- One entry.
SELECT id, at, actor, source, action, target, detail FROM activity WHERE id = :id;

-- name: select
-- The newest entries before an id.
SELECT id, at, actor, source, action, target, detail FROM activity
WHERE id < :before AND (:actor::text IS NULL OR actor = :actor) AND (:action::text IS NULL OR action = :action)
ORDER BY id DESC LIMIT :limit;

-- name: delete_expired
-- Delete entries that are too old, and those older than the newest ones that are kept.
DELETE FROM activity
WHERE id < greatest(:before::text, coalesce((SELECT id FROM activity ORDER BY id DESC LIMIT 1 OFFSET :most), ''));
