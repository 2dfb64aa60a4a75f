-- name: enqueue
-- Insert runs on a connection of the user, and notify the servers of their groups. One row for each run that is stored, or that
-- was: with its own id, or the live one with its unique key. No row if a rival has committed that one since the statement began.
WITH clock AS MATERIALIZED (
    SELECT CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS bigint) AS now
),
given AS MATERIALIZED (
    SELECT new.*, clock.now, coalesce(new.run_at, clock.now + new.delay_ms) AS due_at
    FROM clock, json_to_recordset(CAST(CAST(:runs AS text) AS json)) AS new (
        place integer, id text, workflow text, worker_group text, group_source text, payload text, run_at bigint, delay_ms bigint,
        priority bigint, max_attempts integer, unique_key text, parent text, tenant text, fallback text, fallback_source text,
        limit_key text, rate_key text, again_of text, trace text, state text, error text, fingerprint text
    )
),
made AS (
    INSERT INTO "{schema}".runs (id, workflow, worker_group, group_source, payload, run_at, priority, max_attempts, unique_key,
        parent, tenant, fallback, fallback_source, limit_key, rate_key, again_of, trace, state, error, fingerprint, ready, due_order, created_at,
        finished_at)
    SELECT id, workflow, worker_group, group_source, payload, due_at, priority, max_attempts, unique_key,
        parent, tenant, fallback, fallback_source, limit_key, rate_key, again_of, trace, state, error, fingerprint,
        state = 'pending' AND limit_key IS NULL AND due_at <= now, due_at - priority * 1000, now,
        CASE WHEN state <> 'pending' THEN now END
    FROM given ORDER BY place
    ON CONFLICT DO NOTHING
    RETURNING id, worker_group, state, ready, run_at
),
notified AS MATERIALIZED (
    SELECT count(pg_notify('tako_{schema}', CAST(json_strip_nulls(note) AS text))) AS number
    FROM (
        SELECT json_build_object(
            'work', CASE WHEN bool_or(ready) THEN json_build_array(worker_group) END,
            'due', min(run_at) FILTER (WHERE NOT ready),
            'again', CASE told.value WHEN 'true' THEN true END
        ) AS note
        FROM made JOIN json_each_text(CAST(CAST(:notified AS text) AS json)) AS told ON told.key = worker_group
        WHERE state = 'pending'
        GROUP BY worker_group, told.value
    ) AS notes
)
SELECT coalesce(known.id, given.id) AS id, coalesce(known.state, given.state) AS state,
    coalesce(known.worker_group, given.worker_group) AS "group", made.id IS NULL AS deduplicated
FROM (SELECT FROM notified) AS sent, given
LEFT JOIN made ON made.id = given.id
LEFT JOIN LATERAL (
    SELECT * FROM (
        (SELECT 1 AS choice, id, state, worker_group FROM "{schema}".runs WHERE runs.id = given.id)
        UNION ALL
        (
            SELECT 2, id, state, worker_group FROM "{schema}".runs
            WHERE runs.workflow = given.workflow AND runs.unique_key = given.unique_key
                AND runs.state IN ('pending', 'running', 'waiting') AND given.unique_key IS NOT NULL
        )
    ) AS either ORDER BY choice LIMIT 1
) AS known ON made.id IS NULL
WHERE made.id IS NOT NULL OR known.id IS NOT NULL
ORDER BY place;

-- name: signal
-- Store a signal on a connection of the user, unless one of its name is stored, and notify the servers, which end the waits for it.
WITH made AS (
    INSERT INTO "{schema}".signals (event, payload, sent_at, delivered)
    SELECT CAST(:event AS text), CAST(:payload AS text), CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS bigint), false
    ON CONFLICT DO NOTHING
)
SELECT count(pg_notify('tako_{schema}', CAST(json_strip_nulls(
    json_build_object('signals', true, 'again', CASE told.how WHEN 'again' THEN true END)
) AS text)))
FROM (SELECT CAST(:notified AS text) AS how) AS told WHERE told.how <> 'no';
