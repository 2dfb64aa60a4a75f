-- name: put
-- Store the hash of the code of a workflow that a server has now.
INSERT INTO code (server, workflow, hash) VALUES (:server, :workflow, :hash)
ON CONFLICT (server, workflow) DO UPDATE SET hash = excluded.hash WHERE code.hash <> excluded.hash;

-- name: retire
-- Delete the hashes of workflows that the server does not have any more, and those of servers that live no longer.
DELETE FROM code
WHERE (server = :server AND workflow NOT IN (SELECT value FROM json_array_elements_text(:workflows::json)))
    OR (server <> :server AND NOT EXISTS (SELECT 1 FROM servers WHERE name = code.server AND ended_at IS NULL));

-- name: note_not_reached
-- Store which steps an attempt did not reach again.
UPDATE runs SET not_reached = :names WHERE id = :id AND claim_token = :token AND state = 'running';

-- name: hold
-- Re-queue a claimed run and hold it, because it did not reach steps again that are stored.
UPDATE runs
SET state = 'pending', ready = true, back_at = :now, hold = 'changed_steps', worker_pid = NULL, not_reached = :names,
    executed_ms = executed_ms + :executed_ms
WHERE id = :id AND claim_token = :token AND state = 'running' AND NOT cancel_requested;

-- name: accept
-- Release a run that is held because of its steps: the code that the server has now counts as the one that it began with.
UPDATE runs SET hold = NULL, code = NULL WHERE id = :id AND state = 'pending' AND hold = 'changed_steps'
RETURNING worker_group;

-- name: forget
-- Forget the code that a run began with: it begins again.
UPDATE runs SET code = NULL, not_reached = NULL WHERE id = :id;

-- name: count_others
-- How many waiting runs of each workflow began with other code than the server has now, and the oldest of them.
SELECT runs.workflow, count(*) AS number, min(runs.id) AS oldest
FROM runs JOIN code ON code.server = :server AND code.workflow = runs.workflow
WHERE runs.state = 'waiting' AND runs.code <> code.hash
GROUP BY runs.workflow ORDER BY runs.workflow;

-- name: count_held
-- How many runs of each workflow are held in some groups because of their steps, and the oldest of them.
SELECT workflow, count(*) AS number, min(id) AS oldest
FROM runs
WHERE worker_group IN (SELECT value FROM json_array_elements_text(:groups::json)) AND state = 'pending' AND ready AND coalesce(hold, '') = 'changed_steps'
GROUP BY workflow ORDER BY workflow;
