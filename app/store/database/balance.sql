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
  p.id IS NOT NULL AS has_batch, p.shapes, (s.batch IS NOT NULL)::int AS states,
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
SELECT x.kind, coalesce(x.counted, 0)::bigint AS counted,
  (coalesce(x.in_batches, 0) + x.single)::bigint AS stored, c.is_complete
FROM (
  SELECT sum(accepted - delivered - dead - expired - erased) AS waiting, sum(retrying) AS retrying,
    sum(dead) AS dead, sum(expired) AS expired, sum(erased) AS erased,
    coalesce(min(day) FILTER (WHERE accepted > 0) >= $2, true) AS is_complete
  FROM counts WHERE destination = $1) c, (
  SELECT sum(events) AS waiting, sum(events) FILTER (WHERE tries > 0) AS retrying
  FROM batch_states WHERE destination = $1 AND settled_at IS NULL) o, (
  SELECT sum(events) FILTER (WHERE disposition = 'discarded') AS dead,
    sum(events) FILTER (WHERE disposition = 'expired') AS expired
  FROM batch_states WHERE destination = $1 AND disposition IN ('expired', 'discarded')) f, (
  SELECT count(*) FILTER (WHERE status = 'retrying') AS retrying, count(*) FILTER (WHERE status = 'dead') AS dead,
    count(*) FILTER (WHERE status = 'expired') AS expired, count(*) FILTER (WHERE status = 'erased') AS erased
  FROM exceptions WHERE destination = $1) e,
LATERAL (VALUES ('waiting_count', c.waiting, o.waiting, e.retrying),
  ('retrying_count', c.retrying, o.retrying, e.retrying), ('dead_count', c.dead, f.dead, e.dead),
  ('expired_count', c.expired, f.expired, e.expired), ('erased_count', c.erased, 0, e.erased))
  AS x (kind, counted, in_batches, single)

-- name: begin
INSERT INTO balance_checks AS b (id, owner, started_at) VALUES (1, $1, now())
ON CONFLICT (id) DO UPDATE SET owner = $1, started_at = now()
WHERE b.started_at < now() - $2::interval OR b.started_at > now() + interval '1 minute'
RETURNING (extract(epoch FROM now()) / 3600)::int

-- name: last
SELECT finished_at, imbalance, batches, mismatches FROM balance_checks WHERE finished_at IS NOT NULL

-- name: finish
INSERT INTO balance_checks AS b (id, owner, started_at, finished_at, imbalance, batches, mismatches)
VALUES (1, '', now(), now(), $1, $2, $3)
ON CONFLICT (id) DO UPDATE SET finished_at = now(), imbalance = $1, batches = $2, mismatches = $3
