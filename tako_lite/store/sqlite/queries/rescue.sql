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
-- Delete runs whose long payload was lost: they cannot be executed.
DELETE FROM runs
WHERE payload = '' AND NOT EXISTS (SELECT 1 FROM large_values WHERE run_id = runs.id AND kind = 'payload') RETURNING id;

-- name: drop_without_result
-- Delete runs whose long result was lost: parents and clients could not read it.
DELETE FROM runs
WHERE result = '' AND NOT EXISTS (SELECT 1 FROM large_values WHERE run_id = runs.id AND kind = 'result') RETURNING id;

-- name: forget_error
-- Clear the error of runs whose long error was lost.
UPDATE runs SET error = NULL
WHERE error = '' AND NOT EXISTS (SELECT 1 FROM large_values WHERE run_id = runs.id AND kind = 'error') RETURNING id;

-- name: drop_step_without_value
-- Delete steps whose long value was lost, so that they run again.
DELETE FROM steps
WHERE result = ''
    AND NOT EXISTS (SELECT 1 FROM large_values WHERE run_id = steps.run_id AND kind = 'step:' || name) RETURNING run_id;

-- name: drop_steps
-- Delete the steps of lost runs.
DELETE FROM steps WHERE run_id NOT IN (SELECT id FROM runs) RETURNING run_id;

-- name: drop_attempts
-- Delete the history of lost runs.
DELETE FROM attempts WHERE run_id NOT IN (SELECT id FROM runs) RETURNING run_id;

-- name: drop_waits
-- Delete the waits of lost runs.
DELETE FROM waits WHERE run_id NOT IN (SELECT id FROM runs) RETURNING run_id;

-- name: drop_values
-- Delete the long values of lost runs.
DELETE FROM large_values WHERE run_id NOT IN (SELECT id FROM runs) RETURNING run_id;

-- name: drop_values_of_steps
-- Delete the long values of lost steps: a step that runs again may store another value.
DELETE FROM large_values
WHERE kind LIKE 'step:%' AND NOT EXISTS (SELECT 1 FROM steps WHERE run_id = large_values.run_id AND 'step:' || name = kind)
RETURNING run_id;

-- name: drop_waits_for_lost
-- Delete the waits for lost children.
DELETE FROM waits WHERE kind = 'child' AND key NOT IN (SELECT id FROM runs) RETURNING run_id;

-- name: drop_unbegun_children
-- Delete children that have not begun and that their parents do not know of: the parent starts them again.
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
-- Make runs due that wait for nothing: they replay their steps and wait again where needed.
UPDATE runs SET state = 'pending', ready = 1, run_at = :now, due_order = :now - priority * 1000
WHERE state = 'waiting' AND (:all OR NOT EXISTS (SELECT 1 FROM waits WHERE run_id = runs.id));

-- name: end_evaluations
-- Reset the triggers whose evaluation was lost: they are due as before.
UPDATE triggers SET evaluation = NULL WHERE evaluation NOT IN (SELECT id FROM runs);

-- name: drop_evaluations
-- Delete evaluations whose trigger was lost.
DELETE FROM runs
WHERE workflow LIKE '@%' AND id NOT IN (SELECT evaluation FROM triggers WHERE evaluation IS NOT NULL)
RETURNING id;
