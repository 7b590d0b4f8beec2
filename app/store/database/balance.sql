-- name: bounds
SELECT min(id) AS first, max(id) AS last, (SELECT last_value FROM batch_ids) AS newest
FROM batches WHERE day = $1

-- name: next_ids
SELECT id FROM (
  (SELECT id FROM batches WHERE day = $1 AND id > $2 AND id <= $3 ORDER BY id LIMIT $4)
  UNION
  (SELECT batch FROM batch_states WHERE day = $1 AND batch > $2 AND batch <= $3
   ORDER BY batch LIMIT $4)
  UNION
  (SELECT DISTINCT batch FROM exceptions WHERE day = $1 AND batch > $2 AND batch <= $3
   ORDER BY batch LIMIT $4)
) AS either ORDER BY id LIMIT $4

-- name: read
SELECT page.id, coalesce(p.destination, s.destination, e.destination, 0) AS destination,
  p.id IS NOT NULL AS has_batch, p.shapes, s.batch IS NOT NULL AS has_state,
  coalesce(s.events, 0) AS events, s.disposition, s.accepted_at, coalesce(e.number, 0) AS exceptions,
  -- Over all days, because an id must be unique.
  (SELECT count(*) FROM batch_states t WHERE t.batch = page.id) AS ids
FROM unnest($2::bigint[]) AS page (id)
LEFT JOIN batches p ON p.id = page.id AND p.day = $1
LEFT JOIN batch_states s ON s.batch = page.id AND s.day = $1
LEFT JOIN LATERAL (SELECT count(*) AS number, min(destination) AS destination FROM exceptions
  WHERE batch = page.id AND day = $1) e ON true

-- name: accepted
SELECT destination, sum(accepted)::bigint AS accepted FROM counts WHERE day = $1
GROUP BY destination HAVING sum(accepted) > 0

-- name: ledger_since
SELECT CASE WHEN min(generation) = 1 THEN '2000-01-01'::timestamptz
  ELSE min(began_at) + interval '1 hour' END FROM ledger_generations

-- name: totals
SELECT c.*, o.*, f.*, e.* FROM (
  SELECT coalesce(sum(accepted - delivered - dead - expired - erased), 0)::bigint
      AS waiting, coalesce(sum(retrying), 0)::bigint AS retrying,
    coalesce(sum(dead), 0)::bigint AS dead, coalesce(sum(expired), 0)::bigint AS expired,
    coalesce(sum(erased), 0)::bigint AS erased,
    coalesce(min(day) FILTER (WHERE accepted > 0) >= $2, true) AS is_complete
  FROM counts WHERE destination = $1) c, (
  SELECT coalesce(sum(events), 0)::bigint AS open,
    coalesce(sum(events) FILTER (WHERE tries > 0), 0)::bigint AS open_failing
  FROM batch_states WHERE destination = $1 AND settled_at IS NULL) o, (
  SELECT coalesce(sum(events) FILTER (WHERE disposition = 'discarded'), 0)::bigint AS whole_dead,
    coalesce(sum(events) FILTER (WHERE disposition = 'expired'), 0)::bigint AS whole_expired
  FROM batch_states WHERE destination = $1 AND disposition IN ('expired', 'discarded')) f, (
  SELECT count(*) FILTER (WHERE status = 'retrying') AS single_retrying,
    count(*) FILTER (WHERE status = 'dead') AS single_dead,
    count(*) FILTER (WHERE status = 'expired') AS single_expired,
    count(*) FILTER (WHERE status = 'erased') AS single_erased
  FROM exceptions WHERE destination = $1) e

-- name: begin
INSERT INTO balance_checks AS b (id, owner, started_at) VALUES (1, $1, now())
ON CONFLICT (id) DO UPDATE SET owner = $1, started_at = now()
WHERE b.started_at < now() - $2::interval OR b.started_at > now() + interval '1 minute'
RETURNING (extract(epoch FROM now()) / 3600)::int

-- name: finish
INSERT INTO balance_checks AS b (id, owner, started_at, finished_at, imbalance, batches, mismatches)
VALUES (1, '', now(), now(), $1, $2, $3)
ON CONFLICT (id) DO UPDATE SET finished_at = now(), imbalance = $1, batches = $2, mismatches = $3
