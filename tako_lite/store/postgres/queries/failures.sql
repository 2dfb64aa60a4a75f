-- name: group_dead
-- The errors of dead runs that are not discarded, by fingerprint: the one that occurred last is first.
SELECT fingerprint, count(*) AS number, count(*) FILTER (WHERE finished_at >= :hour) AS hour, count(*) FILTER (WHERE finished_at >= :day) AS day,
    count(*) FILTER (WHERE finished_at >= :week) AS week, min(finished_at) AS first_at, max(finished_at) AS last_at,
    string_agg(DISTINCT workflow, ',') AS workflows
FROM runs
WHERE fingerprint >= :lowest AND fingerprint <= :highest AND state = 'dead' AND discarded_at IS NULL
GROUP BY fingerprint ORDER BY last_at DESC LIMIT :limit;

-- name: group_attempts
-- The errors of all failed attempts, by fingerprint: the one that occurred last is first.
SELECT attempts.fingerprint, count(*) AS number, count(*) FILTER (WHERE ended_at >= :hour) AS hour, count(*) FILTER (WHERE ended_at >= :day) AS day,
    count(*) FILTER (WHERE ended_at >= :week) AS week, min(ended_at) AS first_at, max(ended_at) AS last_at,
    string_agg(DISTINCT runs.workflow, ',') AS workflows
FROM attempts JOIN runs ON runs.id = attempts.run_id
WHERE attempts.fingerprint >= :lowest AND attempts.fingerprint <= :highest
GROUP BY attempts.fingerprint ORDER BY last_at DESC LIMIT :limit;

-- name: newest_dead
-- The dead run with a fingerprint that ended last.
SELECT id, error
FROM runs WHERE fingerprint = :fingerprint AND state = 'dead' AND discarded_at IS NULL ORDER BY finished_at DESC LIMIT 1;

-- name: newest_attempt
-- The failed attempt with a fingerprint that ended last.
SELECT run_id AS id, error FROM attempts WHERE fingerprint = :fingerprint ORDER BY ended_at DESC LIMIT 1;

-- name: dead_by_hour
-- How many runs died of an error in each hour from `since` on.
SELECT (finished_at - :since) / 3600000 AS hour, count(*) AS number
FROM runs WHERE fingerprint = :fingerprint AND finished_at >= :since AND state = 'dead' GROUP BY 1;

-- name: attempts_by_hour
-- How many attempts failed with an error in each hour from `since` on.
SELECT (ended_at - :since) / 3600000 AS hour, count(*) AS number
FROM attempts WHERE fingerprint = :fingerprint AND ended_at >= :since GROUP BY 1;

-- name: messages
-- The most frequent messages among the newest 1,000 dead runs with a fingerprint.
SELECT json_text(error, 'message') AS name, count(*) AS number FROM (
    SELECT error
    FROM runs WHERE fingerprint = :fingerprint AND state = 'dead' ORDER BY finished_at DESC LIMIT 1000
) AS newest GROUP BY 1 ORDER BY 2 DESC LIMIT 5;

-- name: tenants
-- The tenants with the most runs among the newest 1,000 dead ones with a fingerprint.
SELECT tenant AS name, count(*) AS number FROM (
    SELECT tenant FROM runs WHERE fingerprint = :fingerprint AND state = 'dead' ORDER BY finished_at DESC LIMIT 1000
) AS newest WHERE tenant IS NOT NULL GROUP BY 1 ORDER BY 2 DESC LIMIT 5;
