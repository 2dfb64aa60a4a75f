-- name: tables
-- The tables of a file, in the order of their creation.
SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid;

-- name: root
-- The root page of a table or an index.
SELECT rootpage FROM sqlite_schema WHERE name = ?;

-- name: roots
-- The root pages of all tables and indexes.
SELECT rootpage FROM sqlite_schema WHERE rootpage > 0;

-- name: graft
-- Give a table another root page.
UPDATE sqlite_schema SET rootpage = ? WHERE type = 'table' AND name = ?;

-- name: columns
-- The columns of a table: their names, types, and positions in its primary key (0 outside of it).
SELECT name, type, pk FROM pragma_table_info(?);

-- name: without_rowid
-- Whether a table has no rowids.
SELECT wr FROM pragma_table_list WHERE name = ? AND schema = 'main';

-- name: walk
-- The rows of a range, in the order of their keys.
SELECT {wanted} FROM {table} {way} WHERE {bounds} ORDER BY {order} LIMIT {limit};

-- name: put
-- Insert a row unchanged.
INSERT INTO {table} ({columns}) VALUES ({marks});

-- name: keys
-- The keys of the rows of a table.
SELECT {key} FROM {table};

-- name: has
-- Whether a table has a row with a key.
SELECT 1 FROM {table} {way} WHERE ({key}) = ({marks});

-- name: restore_wait
-- Restore a parent's wait for its child.
INSERT INTO waits (run_id, name, kind, key, started_at)
SELECT parent.id, :name, 'child', child.id, child.created_at FROM runs AS parent JOIN runs AS child
WHERE parent.id = :parent AND parent.finished_at IS NULL AND child.id = :child
ON CONFLICT DO NOTHING;

-- name: drop_without_payload
-- A run whose long payload was lost cannot be executed.
DELETE FROM runs
WHERE payload = '' AND NOT EXISTS (SELECT 1 FROM large_values WHERE run_id = runs.id AND kind = 'payload') RETURNING id;

-- name: drop_without_result
-- A run whose long result was lost has nothing to give to who waits for it.
DELETE FROM runs
WHERE result = '' AND NOT EXISTS (SELECT 1 FROM large_values WHERE run_id = runs.id AND kind = 'result') RETURNING id;

-- name: forget_error
-- A run whose long error was lost has none.
UPDATE runs SET error = NULL
WHERE error = '' AND NOT EXISTS (SELECT 1 FROM large_values WHERE run_id = runs.id AND kind = 'error') RETURNING id;

-- name: drop_step_without_value
-- A step whose long value was lost is done again.
DELETE FROM steps
WHERE result = ''
    AND NOT EXISTS (SELECT 1 FROM large_values WHERE run_id = steps.run_id AND kind = 'step:' || name) RETURNING run_id;

-- name: drop_steps
-- Steps go with their runs.
DELETE FROM steps WHERE run_id NOT IN (SELECT id FROM runs) RETURNING run_id;

-- name: drop_waits
-- What lost runs waited for goes with them.
DELETE FROM waits WHERE run_id NOT IN (SELECT id FROM runs) RETURNING run_id;

-- name: drop_values
-- Long values go with their runs.
DELETE FROM large_values WHERE run_id NOT IN (SELECT id FROM runs) RETURNING run_id;

-- name: drop_values_of_steps
-- Long values go with their steps: one that is done again may have another.
DELETE FROM large_values
WHERE kind LIKE 'step:%' AND NOT EXISTS (SELECT 1 FROM steps WHERE run_id = large_values.run_id AND 'step:' || name = kind)
RETURNING run_id;

-- name: drop_waits_for_lost
-- A child that was lost is not waited for.
DELETE FROM waits WHERE kind = 'child' AND key NOT IN (SELECT id FROM runs) RETURNING run_id;

-- name: drop_unbegun_children
-- A child that had not begun and that its parent does not know of goes: the parent starts it anew.
DELETE FROM runs
WHERE state = 'pending' AND claim_token = 0 AND finished_at IS NULL AND parent IN (SELECT id FROM runs WHERE finished_at IS NULL)
    AND (parent, id) NOT IN (SELECT run_id, key FROM waits WHERE kind = 'child' AND key IS NOT NULL)
    AND (parent, id) NOT IN (SELECT run_id, trim(result, '"') FROM steps WHERE kind = 'enqueue' AND result IS NOT NULL)
    AND (parent, id) NOT IN (SELECT run_id, ifnull(json_extract(error, '$.child_id'), '') FROM steps
        WHERE kind = 'child' AND state = 'failed')
RETURNING id;

-- name: unknown_children
-- Children that their parents do not know of.
SELECT id FROM runs
WHERE finished_at IS NULL AND parent IN (SELECT id FROM runs WHERE finished_at IS NULL)
    AND (parent, id) NOT IN (SELECT run_id, key FROM waits WHERE kind = 'child' AND key IS NOT NULL)
    AND (parent, id) NOT IN (SELECT run_id, trim(result, '"') FROM steps WHERE kind = 'enqueue' AND result IS NOT NULL)
    AND (parent, id) NOT IN (SELECT run_id, ifnull(json_extract(error, '$.child_id'), '') FROM steps
        WHERE kind = 'child' AND state = 'failed');

-- name: wake
-- Runs that wait for nothing that is known are due: they go through their steps, and come upon what they wait for.
UPDATE runs SET state = 'pending', ready = 1, run_at = :now, due_order = :now - priority * 1000
WHERE state = 'waiting' AND (:all OR NOT EXISTS (SELECT 1 FROM waits WHERE run_id = runs.id));

-- name: end_evaluations
-- A trigger whose evaluation was lost is due as it was.
UPDATE triggers SET evaluation = NULL WHERE evaluation NOT IN (SELECT id FROM runs);

-- name: drop_evaluations
-- An evaluation whose trigger was lost is nobody's.
DELETE FROM runs
WHERE workflow LIKE '@%' AND id NOT IN (SELECT evaluation FROM triggers WHERE evaluation IS NOT NULL)
RETURNING id;
