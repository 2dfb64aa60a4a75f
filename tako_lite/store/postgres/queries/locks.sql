-- name: take
-- Take locks that end with the transaction, in the order of their numbers.
SELECT pg_advisory_xact_lock(number)
FROM (
    SELECT hashtextextended(value, 0) AS number FROM json_array_elements_text(:names::json) ORDER BY 1 OFFSET 0
) AS sorted;
