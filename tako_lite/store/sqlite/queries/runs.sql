-- name: insert
-- Insert a run; an existing id or live unique key makes it a no-op.
INSERT INTO runs (id, workflow, worker_group, group_source, payload, run_at, priority, max_attempts, unique_key, parent,
                  tenant, fallback, fallback_source, limit_key, rate_key, again_of, trace, state, ready, due_order, created_at)
VALUES (:id, :workflow, :group, :group_source, :payload, :run_at, :priority, :max_attempts, :unique_key, :parent, :tenant,
        :fallback, :fallback_source, :limit_key, :rate_key, :again_of, :trace, 'pending', :run_at <= :due_by,
        :run_at - :priority * 1000, :now)
ON CONFLICT DO NOTHING;

-- name: insert_many
-- Insert runs that differ in id and payload only; existing ids are skipped.
INSERT INTO runs (id, workflow, worker_group, group_source, payload, run_at, priority, max_attempts, parent, tenant, fallback,
                  fallback_source, limit_key, rate_key, trace, state, ready, due_order, created_at)
SELECT id, :workflow, :group, :group_source, payload, :run_at, :priority, :max_attempts, :parent, :tenant, :fallback,
       :fallback_source, :limit_key, :rate_key, :trace, 'pending', :run_at <= :due_by, :run_at - :priority * 1000, :now
FROM (SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS payload FROM json_each(:rows))
WHERE true
ON CONFLICT DO NOTHING;

-- name: select_known_ids
-- Those ids of a list of ids and payloads that exist already.
SELECT id FROM runs WHERE id IN (SELECT json_extract(value, '$[0]') FROM json_each(:rows));

-- name: refuse
-- End a run that must not start; a run that was claimed or has ended is unchanged.
UPDATE runs
SET state = :state, ready = 0, finished_at = :now, error = :error, fingerprint = :fingerprint
WHERE id = :id AND state = 'pending' AND claim_token = 0;

-- name: put_large
-- Store a value too long for its row; the row has an empty text instead.
INSERT OR REPLACE INTO large_values (run_id, kind, value) VALUES (:run_id, :kind, :value);

-- name: add_large
-- Store a long value unless it exists.
INSERT OR IGNORE INTO large_values (run_id, kind, value) VALUES (:run_id, :kind, :value);

-- name: find
-- The run with an id.
SELECT id, state, worker_group AS "group", hold FROM runs WHERE id = :id;

-- name: find_by_unique_key
-- The live run with a unique key.
SELECT id, state, worker_group AS "group", hold FROM runs
WHERE workflow = :workflow AND unique_key = :unique_key AND state IN ('pending', 'running', 'waiting');

-- name: find_dead
-- A dead run, for its hooks.
SELECT workflow, worker_group AS "group", tenant, attempts, finished_at,
    CASE error WHEN '' THEN (SELECT value FROM large_values WHERE run_id = runs.id AND kind = 'error') ELSE error END AS error
FROM runs WHERE id = :id AND state = 'dead';

-- name: descends_from
-- Whether a run is of one of these workflows, or descends from a run of one in less than a thousand generations.
WITH RECURSIVE line (workflow, parent, generation) AS (
    SELECT workflow, parent, 0 FROM runs WHERE id = :id
    UNION ALL
    SELECT runs.workflow, runs.parent, generation + 1 FROM line JOIN runs ON runs.id = line.parent WHERE generation < 1000
)
SELECT 1 FROM line WHERE workflow IN (SELECT value FROM json_each(:workflows)) LIMIT 1;

-- name: claim
-- Claim the first due runs of a group that is not paused, each with a new token; runs of tenants not in `allowed` end instead.
UPDATE runs
SET state = CASE WHEN :allowed IS NULL OR tenant IN (SELECT value FROM json_each(:allowed)) THEN 'running' ELSE 'dead' END,
    claim_token = claim_token + 1, server = :server, boot_id = :boot_id, worker_pid = NULL,
    claimed_at = :now, started_at = ifnull(started_at, :now), not_reached = NULL,
    code = ifnull(code, (SELECT hash FROM code WHERE code.server = :server AND code.workflow = runs.workflow))
WHERE rowid IN (
    SELECT rowid FROM runs
    WHERE worker_group = :group AND hold IS :hold AND state = 'pending' AND ready = 1
        AND NOT EXISTS (SELECT 1 FROM groups WHERE name = :group AND paused = 1)
    ORDER BY due_order, id
    LIMIT :limit
)
RETURNING due_order, id, workflow, claim_token AS token, attempts, max_attempts, crashes, executed_ms, parent, tenant,
    CASE payload WHEN '' THEN (SELECT value FROM large_values WHERE run_id = runs.id AND kind = 'payload') ELSE payload END
        AS payload,
    state, limit_key, rate_key, max(run_at, ifnull(back_at, 0)) AS due_at, trace, code, NULL AS stored;

-- name: end_denied
-- End a run that its group refused at the claim because of its tenant; no worker had it.
UPDATE runs
SET finished_at = :now, hold = NULL, ready = 0, error = :error, fingerprint = :fingerprint, claim_token = claim_token - 1,
    server = NULL, boot_id = NULL, claimed_at = NULL,
    started_at = CASE claim_token WHEN 1 THEN NULL ELSE started_at END, code = CASE claim_token WHEN 1 THEN NULL ELSE code END
WHERE id = :id AND state = 'dead';

-- name: has_due
-- Whether a group has due runs left to claim.
SELECT EXISTS (
    SELECT 1 FROM runs WHERE worker_group = :group AND hold IS :hold AND state = 'pending' AND ready = 1
);

-- name: complete
-- End a claimed run as succeeded.
UPDATE runs
SET state = 'succeeded', result = :result, finished_at = :now, worker_pid = :pid, attempts = attempts + 1, hold = NULL,
    error = NULL, fingerprint = NULL
WHERE id = :id AND claim_token = :token AND state = 'running';

-- name: find_slice
-- The two ids behind the newest `others` ones before an id: the end of a slice, and the first one that is not in it.
SELECT id FROM runs WHERE id < :before ORDER BY id DESC LIMIT 2 OFFSET :others;

-- name: select_upcoming
-- The delayed runs that are due next.
SELECT id, workflow, 'run' AS kind, run_at AS at FROM runs WHERE state = 'pending' AND ready = 0 ORDER BY run_at LIMIT :limit;

-- name: select_waking
-- The waits that end next by themselves.
SELECT waits.run_id AS id, runs.workflow, waits.kind, waits.wake_at AS at
FROM waits JOIN runs ON runs.id = waits.run_id
WHERE waits.wake_at IS NOT NULL ORDER BY waits.wake_at LIMIT :limit;

-- name: succeeded_under
-- Whether a run succeeded under a claim.
SELECT 1 FROM runs WHERE id = :id AND claim_token = :token AND state = 'succeeded';

-- name: reschedule
-- Return a claimed run to the queue for its next attempt; `charged` is 1 if this attempt counts.
UPDATE runs
SET state = 'pending', run_at = :run_at, due_order = :run_at - priority * 1000, ready = :run_at <= :now,
    attempts = attempts + :charged, executed_ms = 0, error = :error, fingerprint = :fingerprint,
    worker_pid = :pid, hold = NULL
WHERE id = :id AND claim_token = :token AND state = 'running' AND cancel_requested = 0;

-- name: finish
-- End a claimed run as dead or cancelled; `charged` is 1 if this attempt counts.
UPDATE runs
SET state = :state, error = :error, fingerprint = :fingerprint, finished_at = :now, attempts = attempts + :charged,
    worker_pid = :pid, hold = NULL
WHERE id = :id AND claim_token = :token AND state = 'running';

-- name: requeue
-- Re-queue a claimed run without charging an attempt; a suspect stays one.
UPDATE runs
SET state = 'pending', ready = 1, back_at = :now, hold = ifnull(:hold, hold), worker_pid = NULL, executed_ms = executed_ms + :executed_ms
WHERE id = :id AND claim_token = :token AND state = 'running' AND cancel_requested = 0;

-- name: requeue_orphans
-- Re-queue, as for a single run, those of many claimed runs whose cancellation was not requested.
UPDATE runs SET state = 'pending', ready = 1, back_at = :now, worker_pid = NULL
WHERE id IN (SELECT value FROM json_each(:ids)) AND state = 'running' AND cancel_requested = 0
RETURNING id, claim_token AS token, worker_group AS "group", hold;

-- name: forget_start
-- Forget when a run started and with which code: no worker received it at its first claim.
UPDATE runs SET started_at = NULL, code = NULL, back_at = NULL
WHERE id = :id AND claim_token = :token AND claim_token = 1 AND state = 'pending';

-- name: charge_crash
-- Re-queue a claimed run whose worker crashed while it ran alone; it will run alone again.
UPDATE runs
SET state = 'pending', ready = 1, back_at = :now, hold = 'suspect', crashes = crashes + 1, executed_ms = 0,
    error = :error, fingerprint = :fingerprint, worker_pid = :pid
WHERE id = :id AND claim_token = :token AND state = 'running' AND cancel_requested = 0 AND crashes + 1 < :max_crashes;

-- name: end_crashed
-- End a claimed run that crashed its worker too often.
UPDATE runs
SET state = 'dead', finished_at = :now, hold = NULL, crashes = crashes + 1, error = :error, fingerprint = :fingerprint,
    worker_pid = :pid
WHERE id = :id AND claim_token = :token AND state = 'running' AND cancel_requested = 0;

-- name: is_cancel_requested
-- Whether the cancellation of a claimed run was requested.
SELECT cancel_requested FROM runs WHERE id = :id AND claim_token = :token AND state = 'running';

-- name: select_orphans
-- The running runs that another process has claimed.
SELECT id, claim_token AS token, 0 AS lost, coalesce(server, '') AS server FROM runs WHERE state = 'running' AND boot_id IS NOT :live;

-- name: is_claimed
-- Whether a claim is still valid.
SELECT 1 FROM runs WHERE id = :id AND claim_token = :token AND state = 'running';

-- name: park
-- Park a claimed run: it releases its slot until one of its waits ends.
UPDATE runs SET state = 'waiting', ready = 0, hold = NULL, worker_pid = NULL, executed_ms = executed_ms + :executed_ms
WHERE id = :id AND claim_token = :token AND state = 'running' AND cancel_requested = 0;

-- name: wake
-- Make a waiting run due.
UPDATE runs
SET state = 'pending', ready = 1, run_at = :now, due_order = :now - priority * 1000
WHERE id = :id AND state = 'waiting'
RETURNING worker_group;

-- name: mark_due
-- Mark scheduled runs as due once their time has come.
UPDATE runs SET ready = 1
WHERE rowid IN (SELECT rowid FROM runs WHERE state = 'pending' AND ready = 0 AND run_at <= :now ORDER BY run_at LIMIT :limit)
RETURNING worker_group AS "group", due_order, id, workflow, limit_key, claim_token AS token;

-- name: next_due
-- When the next delayed run becomes due.
SELECT min(run_at) FROM runs WHERE state = 'pending' AND ready = 0;

-- name: count_queued_by_workflow
-- How many runs wait in the queue of each workflow. At most a limit of due, of later and of waiting runs is read.
SELECT workflow, count(*) AS number FROM (
    SELECT * FROM (SELECT workflow FROM runs WHERE state = 'pending' AND ready = 1 LIMIT :limit)
    UNION ALL
    SELECT * FROM (SELECT workflow FROM runs WHERE state = 'pending' AND ready = 0 LIMIT :limit)
    UNION ALL
    SELECT * FROM (SELECT workflow FROM runs WHERE state = 'waiting' LIMIT :limit)
) GROUP BY workflow;

-- name: groups_with_work
-- The groups that have due runs.
SELECT DISTINCT worker_group FROM runs WHERE state = 'pending' AND ready = 1;

-- name: groups_with_suspects
-- The groups that have due runs which must run alone.
SELECT DISTINCT worker_group FROM runs WHERE state = 'pending' AND ready = 1 AND hold = 'suspect';

-- name: release_held
-- Release due runs that are held for a reason; each group is looked up from the one before it.
UPDATE runs SET hold = NULL
WHERE rowid IN (
    WITH RECURSIVE found (name) AS (
        SELECT min(worker_group) FROM runs WHERE state = 'pending' AND ready = 1
        UNION ALL
        SELECT (
            SELECT min(worker_group) FROM runs WHERE state = 'pending' AND ready = 1 AND worker_group > found.name
        ) FROM found WHERE found.name IS NOT NULL
    )
    SELECT runs.rowid FROM found CROSS JOIN runs
    WHERE worker_group = found.name AND state = 'pending' AND ready = 1 AND hold = :hold
    LIMIT :limit
)
RETURNING worker_group;

-- name: cancel
-- Cancel a run that is not running.
UPDATE runs
SET state = 'cancelled', finished_at = :now, hold = NULL, ready = 0, error = :error
WHERE id = :id AND state IN ('pending', 'waiting');

-- name: cancel_unclaimed
-- Cancel those of many runs that no server has ever claimed and no limit counts: nothing else is stored of them.
UPDATE runs
SET state = 'cancelled', finished_at = :now, hold = NULL, ready = 0, error = :error
WHERE id IN (SELECT value FROM json_each(:ids)) AND state = 'pending' AND claim_token = 0 AND limit_key IS NULL
    AND NOT EXISTS (SELECT 1 FROM triggers WHERE evaluation = runs.id)
RETURNING id AS run_id, boot_id, worker_group AS "group", workflow, state, worker_pid, json_extract(error, '$.reason') AS reason,
    json_extract(error, '$.type') AS error_type, json_extract(error, '$.message') AS error_message;

-- name: find_server
-- The process that last claimed a run.
SELECT id AS run_id, boot_id FROM runs WHERE id = :id;

-- name: select_ended
-- How a run ended, and the process that last claimed it.
SELECT run_id, boot_id, "group", workflow, state, worker_pid, json_extract(error, '$.reason') AS reason,
    json_extract(error, '$.type') AS error_type, json_extract(error, '$.message') AS error_message
FROM (
    SELECT id AS run_id, boot_id, worker_group AS "group", workflow, state, worker_pid,
        CASE error WHEN '' THEN (SELECT value FROM large_values WHERE run_id = runs.id AND kind = 'error') ELSE error END AS error
    FROM runs WHERE id = :id
);

-- name: request_cancel
-- Request the cancellation of a running run from its worker.
UPDATE runs SET cancel_requested = 1 WHERE id = :id AND state = 'running' RETURNING id AS run_id, boot_id;

-- name: retry
-- Start a run over that ended without success; it is unchanged if a live run has its unique key.
UPDATE OR IGNORE runs
SET state = 'pending', ready = :judged OR limit_key IS NULL OR claim_token > 0, run_at = :now, due_order = :now - priority * 1000,
    attempts = 0, crashes = 0, executed_ms = 0,
    worker_group = :group, group_source = :group_source, fallback = :fallback, fallback_source = :fallback_source,
    error = NULL, finished_at = NULL, cancel_requested = 0, hold = NULL, progress = NULL, progress_note = NULL,
    discarded_at = NULL, fingerprint = NULL
WHERE id = :id AND state IN ('dead', 'cancelled')
RETURNING worker_group AS "group", workflow, limit_key, claim_token AS token;

-- name: set_progress
-- Store the progress that a claimed run reports.
UPDATE runs SET progress = :fraction, progress_note = :note WHERE id = :id AND claim_token = :token AND state = 'running';

-- name: delete_expired
-- Delete the oldest ended runs of a state that are past their retention.
DELETE FROM runs
WHERE rowid IN (SELECT rowid FROM runs WHERE state = :state AND finished_at < :before ORDER BY finished_at LIMIT :limit)
RETURNING id;

-- name: delete_steps
-- Delete the steps of a deleted run.
DELETE FROM steps WHERE run_id = :id;

-- name: delete_large
-- Delete the long values of a deleted run.
DELETE FROM large_values WHERE run_id = :id;

-- name: count_pruned
-- Add the number of deleted runs to the ledger.
INSERT INTO ledger (state, pruned) VALUES (:state, :count)
ON CONFLICT (state) DO UPDATE SET pruned = pruned + excluded.pruned;

-- name: oldest_finished
-- When the oldest ended run of a state ended.
SELECT min(finished_at) FROM runs WHERE state = :state AND finished_at IS NOT NULL;

-- name: select_ledger
-- The counts of the ledger.
SELECT state, pruned FROM ledger;

-- name: select
-- A run with its values.
SELECT id, workflow, worker_group AS "group", group_source, state, attempts, max_attempts, crashes, priority,
    CASE payload WHEN '' THEN (SELECT value FROM large_values WHERE run_id = runs.id AND kind = 'payload') ELSE payload END
        AS payload,
    CASE result WHEN '' THEN (SELECT value FROM large_values WHERE run_id = runs.id AND kind = 'result') ELSE result END
        AS result,
    CASE error WHEN '' THEN (SELECT value FROM large_values WHERE run_id = runs.id AND kind = 'error') ELSE error END
        AS error,
    unique_key, parent, tenant, created_at, run_at, started_at, finished_at, server, worker_pid, claim_token, hold,
    cancel_requested, progress, progress_note, fallback, fallback_source, limit_key, rate_key,
    discarded_at, claimed_at, fingerprint, again_of, trace, code, not_reached
FROM runs;

-- name: select_repeats
-- The runs that repeat a run with another payload, oldest first.
SELECT id FROM runs WHERE again_of = :id ORDER BY id;

-- name: find_by_ending
-- The ids that end with a text; only the index of ids is read.
SELECT id FROM runs WHERE substr(id, -length(:ending)) = :ending ORDER BY id DESC LIMIT 2;

-- name: count_due_by_group
-- Count the due runs by group, with the oldest, without evaluations of triggers; only the index of due rows is read.
SELECT worker_group AS "group", count(*) AS number, min(run_at) AS oldest FROM runs
WHERE state = 'pending' AND ready = 1 AND (
    NOT EXISTS (SELECT 1 FROM triggers WHERE evaluation IS NOT NULL)
    OR rowid NOT IN (
        SELECT own.rowid FROM triggers JOIN runs AS own ON own.id = triggers.evaluation WHERE triggers.evaluation IS NOT NULL
    )
)
GROUP BY worker_group;

-- name: count_held_by_group
-- Count the held due runs of groups, by hold; only their part of the index of due rows is read.
SELECT worker_group AS "group", hold, count(*) AS number FROM runs
WHERE worker_group IN (SELECT value FROM json_each(:groups)) AND state = 'pending' AND ready = 1 AND hold > ''
GROUP BY worker_group, hold;

-- name: count_later_by_group
-- Runs that are due later, by group.
SELECT worker_group AS "group", count(*) AS number FROM runs WHERE state = 'pending' AND ready = 0 GROUP BY worker_group;

-- name: count_running_by_group
-- Running runs by group, without evaluations of triggers.
SELECT worker_group AS "group", count(*) AS number FROM runs
WHERE state = 'running' AND rowid NOT IN (
    SELECT own.rowid FROM triggers JOIN runs AS own ON own.id = triggers.evaluation WHERE triggers.evaluation IS NOT NULL
)
GROUP BY worker_group;

-- name: count_waiting_by_group
-- Waiting runs by group.
SELECT worker_group AS "group", count(*) AS number FROM runs WHERE state = 'waiting' GROUP BY worker_group;

-- name: count_dead_by_group
-- Dead runs that are not discarded, by group.
SELECT worker_group AS "group", count(*) AS number FROM runs WHERE state = 'dead' AND discarded_at IS NULL GROUP BY worker_group;

-- name: discard
-- Acknowledge a dead run.
UPDATE runs SET discarded_at = :now WHERE id = :id AND state = 'dead' AND discarded_at IS NULL;

-- name: count_finished_since
-- Count the runs that ended since a time, by state and group.
SELECT state, worker_group AS "group", count(*) AS number FROM runs
WHERE state IN ('succeeded', 'dead', 'cancelled') AND finished_at >= :since GROUP BY state, worker_group;

-- name: select_ids
-- The ids of runs.
SELECT id FROM runs;

-- name: count_chosen
-- The number of runs, counted up to a limit; a filter takes the place of the condition.
SELECT count(*) FROM (SELECT 1 FROM runs WHERE true LIMIT :limit);

-- name: count_ahead
-- The number of due runs of a group and a hold that start before this one, counted up to a limit.
SELECT count(*) FROM (
    SELECT 1 FROM runs
    WHERE worker_group = :group AND hold IS :hold AND state = 'pending' AND ready = 1
        AND (due_order, id) < (SELECT due_order, id FROM runs WHERE id = :id)
    LIMIT :limit
);
