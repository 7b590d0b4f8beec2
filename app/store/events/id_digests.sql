-- name: unread
SELECT s.batch AS id, s.day, d.organisation_id
FROM batch_states s JOIN destinations d ON d.number = s.destination
WHERE s.batch > coalesce((SELECT max(last_batch) FROM id_digests), 0) AND s.batch <= $1
ORDER BY s.batch LIMIT $2

-- name: add
INSERT INTO id_digests (organisation_id, first_batch, last_batch, day, digests)
VALUES ($1, $2, $3, $4, $5)

-- name: next_spans
WITH covered AS (
  -- The highest batch that has digests.
  SELECT coalesce((SELECT last_batch FROM id_digests
    WHERE organisation_id = (SELECT acting_organisation())
    ORDER BY first_batch DESC LIMIT 1), 0) AS batch)
SELECT batch + 1 AS first, $1::bigint AS last FROM covered WHERE batch < $1
UNION ALL
(SELECT first_batch, least(last_batch, $1) FROM id_digests
 WHERE organisation_id = (SELECT acting_organisation()) AND first_batch <= $1
   AND ($3::date IS NULL OR day >= $3)
   AND (digests IS NULL OR position($2::bytea IN digests) > 0)
 ORDER BY first_batch DESC LIMIT $4)
ORDER BY first DESC
