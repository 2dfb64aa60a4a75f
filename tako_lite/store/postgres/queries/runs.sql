-- name: insert
-- Insert a run; an existing id or live unique key makes it a no-op.
INSERT INTO runs (id, workflow, worker_group, group_source, payload, run_at, priority, max_attempts, unique_key, parent,
                  tenant, fallback, fallback_source, limit_key, rate_key, again_of, trace, state, ready, due_order, created_at)
SELECT new.id, new.workflow, new.worker_group, new.group_source, new.payload, new.run_at, new.priority, new.max_attempts,
    new.unique_key, new.parent, new.tenant, new.fallback, new.fallback_source, new.limit_key, new.rate_key, new.again_of, new.trace,
    'pending', new.run_at <= new.due_by, new.run_at - new.priority * 1000, new.now
FROM unnest(:id::text[], :workflow::text[], :group::text[], :group_source::text[], :payload::text[], :run_at::bigint[],
            :priority::bigint[], :max_attempts::integer[], :unique_key::text[], :parent::text[], :tenant::text[], :fallback::text[],
            :fallback_source::text[], :limit_key::text[], :rate_key::text[], :again_of::text[], :trace::text[], :now::bigint[],
            :due_by::bigint[])
    AS new (id, workflow, worker_group, group_source, payload, run_at, priority, max_attempts, unique_key, parent, tenant, fallback,
            fallback_source, limit_key, rate_key, again_of, trace, now, due_by)
ON CONFLICT DO NOTHING;

-- name: insert_many
-- Insert runs that differ in id and payload only; existing ids are skipped.
INSERT INTO runs (id, workflow, worker_group, group_source, payload, run_at, priority, max_attempts, parent, tenant, fallback,
                  fallback_source, limit_key, rate_key, trace, state, ready, due_order, created_at)
SELECT row ->> 0, :workflow, :group, :group_source, row ->> 1, :run_at::bigint, :priority::bigint, :max_attempts::integer,
    :parent::text, :tenant::text, :fallback::text, :fallback_source::text, :limit_key::text, :rate_key::text, :trace::text, 'pending',
    :run_at::bigint <= :due_by::bigint, :run_at::bigint - :priority::bigint * 1000, :now::bigint
FROM json_array_elements(:rows::json) AS row
ON CONFLICT DO NOTHING;

-- name: select_known_ids
-- Those ids of a list of ids and payloads that exist already.
SELECT id FROM runs WHERE id IN (SELECT row ->> 0 FROM json_array_elements(:rows::json) AS row);

-- name: refuse
-- End a run that must not start; a run that was claimed or has ended is unchanged.
UPDATE runs
SET state = :state, ready = false, finished_at = :now, error = :error, fingerprint = :fingerprint
WHERE id = :id AND state = 'pending' AND claim_token = 0;

-- name: put_large
-- Store a value too long for its row; the row has an empty text instead.
SELECT 1 WHERE false;

-- name: add_large
-- Store a long value unless it exists.
SELECT 1 WHERE false;

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
    error
FROM runs WHERE id = :id AND state = 'dead';

-- name: descends_from
-- Whether a run is of one of these workflows, or descends from a run of one in less than a thousand generations.
WITH RECURSIVE line (workflow, parent, generation) AS (
    SELECT workflow, parent, 0 FROM runs WHERE id = :id
    UNION ALL
    SELECT runs.workflow, runs.parent, generation + 1 FROM line JOIN runs ON runs.id = line.parent WHERE generation < 1000
)
SELECT 1 FROM line WHERE workflow IN (SELECT value FROM json_array_elements_text(:workflows::json)) LIMIT 1;

-- name: claim
-- Claim the first due runs of a group that is not paused, each with a new token; runs of tenants not in `allowed` end instead.
WITH picked AS MATERIALIZED (
    SELECT id FROM runs
    WHERE worker_group = :group AND coalesce(hold, '') = coalesce(:hold::text, '') AND state = 'pending' AND ready
        AND (due_order, id) >= (:lowest::bigint, :first::text)
        AND NOT EXISTS (SELECT 1 FROM groups WHERE name = :group AND paused)
        AND NOT EXISTS (
            SELECT 1 FROM servers
            WHERE servers.boot_id = :boot_id AND (ended_at IS NOT NULL OR renewed_at + lease <= clock_timestamp())
        )
        AND workflow NOT IN (SELECT value FROM json_array_elements_text(:elsewhere::json))
    ORDER BY due_order, id
    LIMIT :limit
    FOR UPDATE SKIP LOCKED
)
UPDATE runs
SET state = CASE
        WHEN :allowed::text IS NULL OR tenant IN (SELECT value FROM json_array_elements_text(:allowed::json)) THEN 'running'
        ELSE 'dead' END,
    claim_token = claim_token + 1, server = :server, boot_id = :boot_id, worker_pid = NULL,
    claimed_at = :now, started_at = coalesce(started_at, :now), not_reached = NULL,
    code = coalesce(code, (SELECT hash FROM code WHERE code.server = :server AND code.workflow = runs.workflow))
FROM picked WHERE runs.id = picked.id
RETURNING due_order, runs.id, workflow, claim_token AS token, attempts, max_attempts, crashes, executed_ms, parent, tenant,
    payload, state, limit_key, rate_key, greatest(run_at, coalesce(back_at, 0)) AS due_at, trace, code, NULL AS stored;

-- name: end_denied
-- End a run that its group refused at the claim because of its tenant; no worker had it.
UPDATE runs
SET finished_at = :now, hold = NULL, ready = false, error = :error, fingerprint = :fingerprint, claim_token = claim_token - 1,
    server = NULL, boot_id = NULL, claimed_at = NULL,
    started_at = CASE claim_token WHEN 1 THEN NULL ELSE started_at END, code = CASE claim_token WHEN 1 THEN NULL ELSE code END
WHERE id = :id AND state = 'dead';

-- name: has_due
-- Whether a group has due runs left to claim.
SELECT EXISTS (
    SELECT 1 FROM runs
    WHERE worker_group = :group AND coalesce(hold, '') = coalesce(:hold::text, '') AND state = 'pending' AND ready
        AND (due_order, id) >= (:lowest::bigint, :first::text)
);

-- name: complete
-- End a claimed run as succeeded.
WITH done AS MATERIALIZED (
    SELECT new.id, new.result, new.pid, new.now
    FROM unnest(:id::text[], :token::bigint[], :result::text[], :pid::integer[], :now::bigint[]) AS new (id, token, result, pid, now)
    CROSS JOIN LATERAL (
        SELECT 1 FROM runs
        WHERE id = new.id AND claim_token = new.token AND boot_id = :boot_id AND state = 'running' LIMIT 1 FOR UPDATE
    ) AS held
)
UPDATE runs
SET state = 'succeeded', result = done.result, finished_at = done.now, worker_pid = done.pid, attempts = attempts + 1, hold = NULL,
    error = NULL, fingerprint = NULL
FROM done WHERE runs.id = done.id;

-- name: find_slice
-- The two ids behind the newest `others` ones before an id: the end of a slice, and the first one that is not in it.
SELECT id FROM runs WHERE id < :before ORDER BY id DESC LIMIT 2 OFFSET :others;

-- name: select_upcoming
-- The delayed runs that are due next.
SELECT id, workflow, 'run' AS kind, run_at AS at FROM runs WHERE state = 'pending' AND NOT ready ORDER BY run_at LIMIT :limit;

-- name: select_waking
-- The waits that end next by themselves.
SELECT waits.run_id AS id, runs.workflow, waits.kind, waits.wake_at AS at
FROM waits JOIN runs ON runs.id = waits.run_id
WHERE waits.wake_at IS NOT NULL ORDER BY waits.wake_at LIMIT :limit;

-- name: succeeded_under
-- Whether a run succeeded under a claim.
SELECT 1 FROM runs WHERE id = :id AND claim_token = :token AND boot_id = :boot_id AND state = 'succeeded';

-- name: reschedule
-- Return a claimed run to the queue for its next attempt; `charged` is 1 if this attempt counts.
UPDATE runs
SET state = 'pending', run_at = :run_at, due_order = :run_at - priority * 1000, ready = :run_at <= :now,
    attempts = attempts + :charged::integer, executed_ms = 0, error = :error, fingerprint = :fingerprint,
    worker_pid = :pid, hold = NULL
WHERE id = :id AND claim_token = :token AND boot_id = :boot_id AND state = 'running' AND NOT cancel_requested;

-- name: finish
-- End a claimed run as dead or cancelled; `charged` is 1 if this attempt counts.
UPDATE runs
SET state = :state, error = :error, fingerprint = :fingerprint, finished_at = :now, attempts = attempts + :charged::integer,
    worker_pid = :pid, hold = NULL
WHERE id = :id AND claim_token = :token AND boot_id = :boot_id AND state = 'running';

-- name: requeue
-- Re-queue a claimed run without charging an attempt; a suspect stays one.
UPDATE runs
SET state = 'pending', ready = true, back_at = :now, hold = coalesce(:hold::text, hold), worker_pid = NULL, executed_ms = executed_ms + :executed_ms
WHERE id = :id AND claim_token = :token AND boot_id = :boot_id AND state = 'running' AND NOT cancel_requested;

-- name: requeue_orphans
-- Re-queue, as for a single run, those of many claimed runs whose cancellation was not requested.
UPDATE runs SET state = 'pending', ready = true, back_at = :now, worker_pid = NULL
WHERE id IN (SELECT value FROM json_array_elements_text(:ids::json)) AND boot_id = :boot_id AND state = 'running'
    AND NOT cancel_requested
RETURNING id, claim_token AS token, worker_group AS "group", hold;

-- name: forget_start
-- Forget when a run started and with which code: no worker received it at its first claim.
UPDATE runs SET started_at = NULL, code = NULL, back_at = NULL
WHERE id = :id AND claim_token = :token AND claim_token = 1 AND state = 'pending';

-- name: charge_crash
-- Re-queue a claimed run whose worker crashed while it ran alone; it will run alone again.
UPDATE runs
SET state = 'pending', ready = true, back_at = :now, hold = 'suspect', crashes = crashes + 1, executed_ms = 0,
    error = :error, fingerprint = :fingerprint, worker_pid = :pid
WHERE id = :id AND claim_token = :token AND boot_id = :boot_id AND state = 'running' AND NOT cancel_requested AND crashes + 1 < :max_crashes;

-- name: end_crashed
-- End a claimed run that crashed its worker too often.
UPDATE runs
SET state = 'dead', finished_at = :now, hold = NULL, crashes = crashes + 1, error = :error, fingerprint = :fingerprint,
    worker_pid = :pid
WHERE id = :id AND claim_token = :token AND boot_id = :boot_id AND state = 'running' AND NOT cancel_requested;

-- name: is_cancel_requested
-- Whether the cancellation of a claimed run was requested.
SELECT cancel_requested FROM runs WHERE id = :id AND claim_token = :token AND boot_id = :boot_id AND state = 'running';

-- name: select_orphans
-- The running runs that another process has claimed.
WITH orphans AS MATERIALIZED (
    SELECT id FROM runs
    WHERE state = 'running' AND boot_id IS DISTINCT FROM :live
        AND NOT EXISTS (SELECT 1 FROM servers WHERE servers.boot_id = runs.boot_id AND ended_at IS NULL)
    ORDER BY id
    LIMIT 1000
    FOR UPDATE SKIP LOCKED
)
UPDATE runs SET boot_id = :boot_id, lost = lost + CASE server WHEN :server THEN 0 ELSE 1 END
FROM orphans WHERE runs.id = orphans.id
RETURNING runs.id, claim_token AS token, lost, coalesce(server, '') AS server;

-- name: is_claimed
-- Whether a claim is still valid.
SELECT 1 FROM runs WHERE id = :id AND claim_token = :token AND boot_id = :boot_id AND state = 'running' FOR SHARE;

-- name: park
-- Park a claimed run: it releases its slot until one of its waits ends.
UPDATE runs SET state = 'waiting', ready = false, hold = NULL, worker_pid = NULL, executed_ms = executed_ms + :executed_ms
WHERE id = :id AND claim_token = :token AND boot_id = :boot_id AND state = 'running' AND NOT cancel_requested;

-- name: wake
-- Make a waiting run due. The condition hides the state: the statement would read the index of all waiting runs where the
-- statistics are of an empty table.
UPDATE runs
SET state = 'pending', ready = true, run_at = :now, due_order = :now - priority * 1000
WHERE id = :id AND state || '' = 'waiting'
RETURNING worker_group;

-- name: mark_due
-- Mark scheduled runs as due once their time has come.
WITH due AS MATERIALIZED (
    SELECT id FROM runs WHERE state = 'pending' AND NOT ready AND run_at <= :now ORDER BY run_at LIMIT :limit FOR UPDATE SKIP LOCKED
)
UPDATE runs SET ready = true FROM due WHERE runs.id = due.id
RETURNING worker_group AS "group", due_order, runs.id, workflow, limit_key, claim_token AS token;

-- name: next_due
-- When the next delayed run becomes due.
SELECT min(run_at) FROM runs WHERE state = 'pending' AND NOT ready;

-- name: count_queued_by_workflow
-- How many runs wait in the queue of each workflow. At most a limit of runs is read.
SELECT workflow, count(*) AS number FROM (
    SELECT workflow FROM runs WHERE state = 'pending' OR state = 'waiting' LIMIT :limit
) AS queued
GROUP BY workflow;

-- name: groups_with_work
-- The groups that have due runs.
SELECT DISTINCT worker_group FROM runs WHERE state = 'pending' AND ready;

-- name: groups_with_suspects
-- The groups that have due runs which must run alone.
SELECT DISTINCT worker_group FROM runs WHERE state = 'pending' AND ready AND hold = 'suspect';

-- name: release_held
-- Release due runs that are held for a reason; each group is looked up from the one before it.
WITH held AS MATERIALIZED (
    SELECT id FROM runs
    WHERE state = 'pending' AND ready AND hold = :hold AND (
        :hold <> 'no_handler' OR NOT EXISTS (SELECT 1 FROM servers WHERE ended_at IS NULL) OR EXISTS (
            SELECT 1 FROM handlers JOIN servers ON servers.boot_id = handlers.boot_id
            WHERE handlers.workflow = runs.workflow AND ended_at IS NULL
        )
    )
    ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
)
UPDATE runs SET hold = NULL FROM held WHERE runs.id = held.id RETURNING worker_group;

-- name: cancel
-- Cancel a run that is not running.
UPDATE runs
SET state = 'cancelled', finished_at = :now, hold = NULL, ready = false, error = :error
WHERE id = :id AND state IN ('pending', 'waiting');

-- name: cancel_unclaimed
-- Cancel those of many runs that no server has ever claimed and no limit counts: nothing else is stored of them.
WITH found AS MATERIALIZED (
    SELECT id FROM runs
    WHERE id IN (SELECT value FROM json_array_elements_text(:ids::json)) AND state = 'pending' AND claim_token = 0
        AND limit_key IS NULL AND NOT EXISTS (SELECT FROM triggers WHERE evaluation = runs.id)
    ORDER BY id FOR UPDATE
)
UPDATE runs SET state = 'cancelled', finished_at = :now, hold = NULL, ready = false, error = :error
FROM found WHERE runs.id = found.id
RETURNING runs.id AS run_id, boot_id, worker_group AS "group", workflow, state, worker_pid, json_text(error, 'reason') AS reason,
    json_text(error, 'type') AS error_type, json_text(error, 'message') AS error_message;

-- name: find_server
-- The process that last claimed a run.
SELECT id AS run_id, boot_id FROM runs WHERE id = :id;

-- name: select_ended
-- How a run ended, and the process that last claimed it.
SELECT id AS run_id, boot_id, worker_group AS "group", workflow, state, worker_pid, json_text(error, 'reason') AS reason,
    json_text(error, 'type') AS error_type, json_text(error, 'message') AS error_message
FROM runs WHERE id = :id;

-- name: request_cancel
-- Request the cancellation of a running run from its worker.
UPDATE runs SET cancel_requested = true WHERE id = :id AND state = 'running' RETURNING id AS run_id, boot_id;

-- name: retry
-- Start a run over that ended without success; it is unchanged if a live run has its unique key.
UPDATE runs
SET state = 'pending', ready = :judged::bigint = 1 OR limit_key IS NULL OR claim_token > 0, run_at = :now,
    due_order = :now - priority * 1000, attempts = 0, crashes = 0, lost = 0, executed_ms = 0,
    worker_group = :group, group_source = :group_source, fallback = :fallback, fallback_source = :fallback_source,
    error = NULL, finished_at = NULL, cancel_requested = false, hold = NULL, progress = NULL, progress_note = NULL,
    discarded_at = NULL, fingerprint = NULL
WHERE id = :id AND state IN ('dead', 'cancelled') AND NOT EXISTS (
    SELECT 1 FROM runs AS other
    WHERE other.workflow = runs.workflow AND other.unique_key = runs.unique_key AND other.state IN ('pending', 'running', 'waiting')
)
RETURNING worker_group AS "group", workflow, limit_key, claim_token AS token;

-- name: set_progress
-- Store the progress that a claimed run reports.
UPDATE runs SET progress = :fraction, progress_note = :note WHERE id = :id AND claim_token = :token AND boot_id = :boot_id AND state = 'running';

-- name: delete_expired
-- Delete the oldest ended runs of a state that are past their retention.
WITH expired AS MATERIALIZED (
    SELECT id FROM runs WHERE state = :state AND finished_at < :before ORDER BY finished_at LIMIT :limit FOR UPDATE SKIP LOCKED
)
DELETE FROM runs USING expired WHERE runs.id = expired.id RETURNING runs.id;

-- name: delete_steps
-- Delete the steps of a deleted run.
DELETE FROM steps WHERE run_id = ANY (:id::text[]);

-- name: delete_large
-- Delete the long values of a deleted run.
SELECT 1 WHERE false;

-- name: count_pruned
-- Add the number of deleted runs to the ledger.
INSERT INTO ledger (state, pruned) VALUES (:state, :count)
ON CONFLICT (state) DO UPDATE SET pruned = ledger.pruned + excluded.pruned;

-- name: oldest_finished
-- When the oldest ended run of a state ended.
SELECT min(finished_at) FROM runs WHERE state = :state AND finished_at IS NOT NULL;

-- name: select_ledger
-- The counts of the ledger.
SELECT state, pruned FROM ledger;

-- name: select
-- A run with its values.
SELECT id, workflow, worker_group AS "group", group_source, state, attempts, max_attempts, crashes, priority,
    payload,
    result,
    error,
    unique_key, parent, tenant, created_at, run_at, started_at, finished_at, server, worker_pid, claim_token, hold,
    cancel_requested, progress, progress_note, fallback, fallback_source, limit_key, rate_key,
    discarded_at, claimed_at, fingerprint, again_of, trace, code, not_reached
FROM runs;

-- name: select_repeats
-- The runs that repeat a run with another payload, oldest first.
SELECT id FROM runs WHERE again_of = :id ORDER BY id;

-- name: find_by_ending
-- The ids that end with a text; only the index of ids is read.
SELECT id FROM runs WHERE id LIKE '%' || :ending ORDER BY id DESC LIMIT 2;

-- name: count_due_by_group
-- Count the due runs by group, with the oldest, without evaluations of triggers; only the index of due rows is read.
SELECT worker_group AS "group", count(*) AS number, min(run_at) AS oldest FROM runs
WHERE state = 'pending' AND ready AND id NOT IN (SELECT evaluation FROM triggers WHERE evaluation IS NOT NULL)
GROUP BY worker_group;

-- name: count_held_by_group
-- Count the held due runs of groups, by hold; only their part of the index of due rows is read.
SELECT worker_group AS "group", hold, count(*) AS number FROM runs
WHERE worker_group IN (SELECT value FROM json_array_elements_text(:groups::json)) AND state = 'pending' AND ready AND hold > ''
GROUP BY worker_group, hold;

-- name: count_later_by_group
-- Runs that are due later, by group.
SELECT worker_group AS "group", count(*) AS number FROM runs WHERE state = 'pending' AND NOT ready GROUP BY worker_group;

-- name: count_running_by_group
-- Running runs by group, without evaluations of triggers.
SELECT worker_group AS "group", count(*) AS number FROM runs
WHERE state = 'running' AND id NOT IN (SELECT evaluation FROM triggers WHERE evaluation IS NOT NULL)
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
SELECT count(*) FROM (SELECT 1 FROM runs WHERE true LIMIT :limit) AS chosen;

-- name: count_ahead
-- The number of due runs of a group and a hold that start before this one, counted up to a limit.
SELECT count(*) FROM (
    SELECT 1 FROM runs
    WHERE worker_group = :group AND coalesce(hold, '') = coalesce(:hold::text, '') AND state = 'pending' AND ready
        AND (due_order, id) < (SELECT due_order, id FROM runs WHERE id = :id)
    LIMIT :limit
) AS ahead;
