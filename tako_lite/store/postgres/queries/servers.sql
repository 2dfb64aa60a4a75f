-- name: find_own
-- The live row of an earlier daemon of the same folder on the same machine.
SELECT boot_id FROM servers WHERE server_id = :server_id AND ended_at IS NULL;

-- name: find_by_name
-- The live server of a name.
SELECT boot_id, host, beat, extract(epoch FROM lease)::double precision AS lease
FROM servers WHERE name = :name AND ended_at IS NULL;

-- name: end_own
-- End the earlier daemon of the same folder, which is confirmed dead.
UPDATE servers SET ended_at = :now, ended_by = :boot_id WHERE server_id = :server_id AND ended_at IS NULL;

-- name: join
-- Become a server; a live server of the name makes it a no-op.
INSERT INTO servers (boot_id, server_id, name, host, program, groups, lease, renewed_at, joined_at)
VALUES (:boot_id, :server_id, :name, :host, :program, (SELECT array_agg(value) FROM json_array_elements_text(:groups::json)),
        make_interval(secs => :lease::double precision), clock_timestamp(), (extract(epoch FROM clock_timestamp()) * 1000)::bigint)
ON CONFLICT DO NOTHING;

-- name: renew
-- Renew the lease; nothing is returned once another server has ended this one.
UPDATE servers SET beat = beat + 1, renewed_at = clock_timestamp() WHERE boot_id = :boot_id AND ended_at IS NULL
RETURNING (extract(epoch FROM clock_timestamp()) * 1000)::bigint;

-- name: end_server
-- End a server whose beat has stood still; one that has renewed its lease meanwhile is unchanged.
UPDATE servers SET ended_at = (extract(epoch FROM clock_timestamp()) * 1000)::bigint, ended_by = :boot_id
WHERE boot_id = :dead AND beat = :seen AND ended_at IS NULL RETURNING name;

-- name: leave
-- End the own lease.
UPDATE servers SET ended_at = (extract(epoch FROM clock_timestamp()) * 1000)::bigint, ended_by = :boot_id
WHERE boot_id = :boot_id AND ended_at IS NULL;

-- name: select_others
-- The other live servers.
SELECT boot_id, name, host, program, array_to_json(groups)::text AS groups, joined_at,
    (extract(epoch FROM renewed_at + lease) * 1000)::bigint AS lease_until, beat,
    extract(epoch FROM lease)::double precision AS lease
FROM servers WHERE ended_at IS NULL AND boot_id <> :boot_id;

-- name: select_live
-- The servers whose lease is not over.
SELECT boot_id FROM servers WHERE ended_at IS NULL AND renewed_at + lease > clock_timestamp();

-- name: select_group_states
-- What the other live servers say about their groups.
SELECT server_groups.boot_id, server_groups.name, available, trouble, state, workers, max_workers, slots, busy
FROM server_groups JOIN servers ON servers.boot_id = server_groups.boot_id
WHERE ended_at IS NULL AND servers.boot_id <> :boot_id;

-- name: put_group_state
-- Say how a group is.
INSERT INTO server_groups (boot_id, name, available, trouble, state, workers, max_workers, slots, busy)
VALUES (:boot_id, :name, :available, :trouble, :state, :workers, :max_workers, :slots, :busy)
ON CONFLICT (boot_id, name) DO UPDATE
SET available = excluded.available, trouble = excluded.trouble, state = excluded.state, workers = excluded.workers,
    max_workers = excluded.max_workers, slots = excluded.slots, busy = excluded.busy;

-- name: drop_handlers
-- Forget the workflows that this server no longer has.
DELETE FROM handlers
WHERE boot_id = :boot_id AND workflow NOT IN (SELECT value FROM json_array_elements_text(:workflows::json));

-- name: add_handlers
-- Say which workflows this server has.
INSERT INTO handlers (workflow, boot_id)
SELECT value, :boot_id FROM json_array_elements_text(:workflows::json) ON CONFLICT DO NOTHING;

-- name: select_handlers_elsewhere
-- The workflows that only other live servers have.
SELECT DISTINCT workflow FROM handlers JOIN servers ON servers.boot_id = handlers.boot_id
WHERE ended_at IS NULL AND handlers.boot_id <> :boot_id
    AND workflow NOT IN (SELECT own.workflow FROM handlers AS own WHERE own.boot_id = :boot_id);

-- name: forget_ended
-- Forget what servers said that ended more than a day ago.
WITH gone AS (
    DELETE FROM servers WHERE ended_at < (extract(epoch FROM clock_timestamp() - interval '1 day') * 1000)::bigint RETURNING boot_id
), states AS (
    DELETE FROM server_groups USING gone WHERE server_groups.boot_id = gone.boot_id
)
DELETE FROM handlers USING gone WHERE handlers.boot_id = gone.boot_id;

-- name: is_any_orphan
-- Whether a run belongs to a server that has ended.
SELECT EXISTS (
    SELECT 1 FROM runs
    WHERE state = 'running' AND NOT EXISTS (SELECT 1 FROM servers WHERE servers.boot_id = runs.boot_id AND ended_at IS NULL)
);

-- name: select_cancelling
-- The running runs of this server whose cancellation was requested.
SELECT id FROM runs WHERE state = 'running' AND boot_id = :boot_id AND cancel_requested;

-- name: select_own
-- The running runs of this server.
SELECT id, claim_token AS token FROM runs WHERE state = 'running' AND boot_id = :boot_id;

-- name: groups_with_work
-- The groups that have due runs with this hold; each group is looked up from the one before it. Neither min() nor EXISTS: where
-- the statistics are of an empty table, they read all due runs.
WITH RECURSIVE found (name) AS (
    (SELECT worker_group FROM runs WHERE state = 'pending' AND ready ORDER BY worker_group LIMIT 1)
    UNION ALL
    SELECT (
        SELECT worker_group FROM runs WHERE state = 'pending' AND ready AND worker_group > found.name
        ORDER BY worker_group LIMIT 1
    ) FROM found WHERE found.name IS NOT NULL
)
SELECT name FROM found WHERE name IS NOT NULL AND (
    SELECT true FROM runs WHERE worker_group = found.name AND coalesce(hold, '') = :hold AND state = 'pending' AND ready LIMIT 1
);

-- name: next_due
-- When the first delayed run is due, which another program may have stored.
SELECT min(run_at) FROM runs WHERE state = 'pending' AND NOT ready;

-- name: is_any_undelivered
-- Whether a transaction of a user has stored a signal whose waits have not ended.
SELECT EXISTS (SELECT 1 FROM signals WHERE NOT delivered);

-- name: version
-- A number that changes with what servers keep in memory.
SELECT version FROM meta;

-- name: bump_version
-- Have every server read again what it keeps in memory.
UPDATE meta SET version = version + 1;

-- name: put_limits
-- Announce limits: the newest announcement of a workflow holds.
INSERT INTO limits (workflow, value) SELECT key, value FROM json_each_text(:limits::json)
ON CONFLICT (workflow) DO UPDATE SET value = excluded.value WHERE limits.value <> excluded.value;

-- name: drop_limits
-- Drop the limits of workflows that have none in this catalog, and of those that no live server has.
DELETE FROM limits WHERE workflow NOT IN (SELECT json_object_keys(:limits::json)) AND (
    workflow IN (SELECT value FROM json_array_elements_text(:workflows::json)) OR NOT EXISTS (
        SELECT 1 FROM handlers JOIN servers ON servers.boot_id = handlers.boot_id
        WHERE handlers.workflow = limits.workflow AND ended_at IS NULL AND handlers.boot_id <> :boot_id
    )
);

-- name: select_limits
-- The limits of all servers.
SELECT workflow, value FROM limits;

-- name: first_due
-- Where the first due run of a group is in the order of claims.
SELECT due_order, id FROM runs
WHERE worker_group = :group AND coalesce(hold, '') = coalesce(:hold::text, '') AND state = 'pending' AND ready
ORDER BY due_order, id LIMIT 1;
