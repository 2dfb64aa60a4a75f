-- name: put
-- Store what a person did, or how far it has come by now.
INSERT OR REPLACE INTO activity (id, at, actor, source, action, target, detail)
VALUES (:id, :at, :actor, :source, :action, :target, :detail);

-- name: find
-- One entry.
SELECT id, at, actor, source, action, target, detail FROM activity WHERE id = :id;

-- name: select
-- The newest entries before an id.
SELECT id, at, actor, source, action, target, detail FROM activity
WHERE id < :before AND (:actor IS NULL OR actor = :actor) AND (:action IS NULL OR action = :action)
ORDER BY id DESC LIMIT :limit;

-- name: delete_expired
-- Delete entries that are too old, and those older than the newest ones that are kept.
DELETE FROM activity
WHERE id < max(:before, ifnull((SELECT id FROM activity ORDER BY id DESC LIMIT 1 OFFSET :most), ''));
