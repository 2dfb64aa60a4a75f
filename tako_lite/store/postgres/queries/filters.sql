-- name: workflow
-- Runs of a workflow.
workflow = :workflow;

-- name: group
-- Runs of a group.
worker_group = :group;

-- name: state
-- Runs in a state.
state = :state;

-- name: since
-- Runs that were enqueued at a time or later.
created_at >= :since;

-- name: until
-- Runs that were enqueued before a time.
created_at < :until;

-- name: ended_since
-- Runs that ended at a time or later.
finished_at >= :ended_since;

-- name: ended_until
-- Runs that ended before a time.
finished_at < :ended_until;

-- name: due_before
-- Pending runs that are due before a time.
state = 'pending' AND run_at < :due_before;

-- name: due_after
-- Pending runs that are due after a time.
state = 'pending' AND run_at > :due_after;

-- name: min_duration
-- Runs that took a time or longer.
finished_at - started_at >= :min_duration;

-- name: tenant
-- Runs of a tenant.
tenant = :tenant;

-- name: unique_key
-- Runs with a unique key.
unique_key = :unique_key;

-- name: parent
-- Runs that a run started.
parent = :parent;

-- name: again_of
-- Runs that repeat a run.
again_of = :again_of;

-- name: reason
-- Runs that ended for a reason.
json_text(error, 'reason') = :reason;

-- name: fingerprint
-- Runs that failed alike.
fingerprint = :fingerprint;

-- name: text
-- Runs with a text in their payload, error or unique key.
(strpos(payload, :text) > 0 OR strpos(coalesce(error, ''), :text) > 0 OR strpos(coalesce(unique_key, ''), :text) > 0);

-- name: error
-- Runs with a text in their error.
strpos(error, :error) > 0;

-- name: step
-- Runs with a step or a wait of this name.
EXISTS (SELECT 1 FROM steps WHERE run_id = runs.id AND name = :step)
OR EXISTS (SELECT 1 FROM waits WHERE run_id = runs.id AND name = :step);

-- name: has_children
-- Runs that started others.
EXISTS (SELECT 1 FROM runs AS child WHERE child.parent = runs.id);

-- name: has_crashes
-- Runs whose worker died.
crashes > 0;

-- name: has_error
-- Runs that failed, the last time at least.
error IS NOT NULL;

-- name: has_key
-- Runs with a unique key.
unique_key IS NOT NULL;

-- name: has_parent
-- Runs that another run started.
parent IS NOT NULL;

-- name: has_progress
-- Runs that reported progress.
progress IS NOT NULL;

-- name: has_retries
-- Runs of which more than one attempt began; the stored number leaves out the one that is running or parked.
attempts > CASE WHEN state IN ('running', 'waiting') THEN 0 ELSE 1 END;

-- name: has_steps
-- Runs with a stored step.
EXISTS (SELECT 1 FROM steps WHERE run_id = runs.id);

-- name: has_tenant
-- Runs with a tenant.
tenant IS NOT NULL;

-- name: has_waits
-- Runs that wait for a time, a signal or another run.
EXISTS (SELECT 1 FROM waits WHERE run_id = runs.id);

-- name: discarded
-- Runs that are discarded, or those that are not.
(discarded_at IS NOT NULL) = :discarded;

-- name: before
-- Runs with a smaller id.
id < :before;

-- name: after
-- Runs with a larger id.
id > :after;

-- name: shown
-- All but the evaluations of triggers, which are no runs to people.
id NOT IN (SELECT evaluation FROM triggers WHERE evaluation IS NOT NULL);

-- name: in_pending
-- Runs in this state, by its indexes.
state = 'pending';

-- name: in_running
-- Runs in this state, by its index.
state = 'running';

-- name: in_waiting
-- Runs in this state, by its index.
state = 'waiting';

-- name: in_succeeded
-- Runs in this state, by its index.
state = 'succeeded' AND finished_at IS NOT NULL;

-- name: in_cancelled
-- Runs in this state, by its index.
state = 'cancelled' AND finished_at IS NOT NULL;

-- name: in_dead
-- Runs in this state, by its index.
state = 'dead' AND finished_at IS NOT NULL;
