-- name: read
SELECT d.id AS destination, d.state, w.failing, sum(w.events)::bigint AS events,
  greatest(extract(epoch FROM now() - min(w.since)), 0)::float8 AS age_s
FROM (
  SELECT destination, tries > 0 AS failing, sum(events) AS events, min(accepted_at) AS since
  FROM batch_states WHERE settled_at IS NULL AND events > 0 GROUP BY 1, 2
  UNION ALL
  SELECT e.destination, true, count(*), min(s.accepted_at)
  FROM exceptions e JOIN batch_states s ON s.batch = e.batch AND s.day = e.day
  WHERE e.status = 'retrying' GROUP BY 1
) w JOIN destinations d ON d.number = w.destination GROUP BY 1, 2, 3

-- name: paces
SELECT d.id AS destination,
  -- The learned rate is never above the configured limit of the lane.
  least(d.requests_per_second, l.learned_rate)::float8 AS rate,
  l.breaker <> 'closed' AS breaker_open,
  -- An idle destination keeps an expired token until it sends again. A probe of the index for each destination:
  -- Postgres would read all batches for EXISTS.
  CASE WHEN (
    SELECT true FROM batch_states b
    WHERE b.settled_at IS NULL AND b.destination = d.number AND b.queue = 0 ORDER BY b.due_at LIMIT 1)
  THEN extract(epoch FROM s.access_until - now())::float8 END AS token_left_s
FROM destinations d JOIN lanes l ON l.id = d.lane LEFT JOIN sign_ins s ON s.destination = d.id
WHERE d.state IN ('connected', 'active')

-- name: longest_waits
SELECT d.organisation_id AS organisation, d.id AS destination, now() - front.accepted_at AS waited
FROM destinations d, LATERAL (
  SELECT accepted_at FROM batch_states
  WHERE settled_at IS NULL AND destination = d.number AND queue = 0
  ORDER BY due_at LIMIT 1) front
WHERE d.state IN ('connected', 'active')

-- name: discard
-- Up to $2 batches without a final state.
WITH open AS (SELECT batch, day FROM batch_states WHERE destination = $1 AND queue = ANY('{0,2}')
  AND settled_at IS NULL LIMIT $2 FOR UPDATE),
-- All their events become dead.
closed AS (
  UPDATE batch_states s SET disposition = 'discarded', settled_at = now(), reason = 'discarded' FROM open
  WHERE s.batch = open.batch AND s.day = open.day RETURNING s.events, s.tries > 0 AS retrying),
-- Up to $2 single events that are sent again.
retries AS (SELECT batch, place FROM exceptions WHERE destination = $1 AND queue = ANY('{0,2}')
  AND status = 'retrying' LIMIT $2 FOR UPDATE),
-- They become dead, too.
dead AS (
  UPDATE exceptions e SET status = 'dead', code = 'MISC_ERROR', reason = 'discarded', send_group = NULL,
    changed_at = now() FROM retries r WHERE e.batch = r.batch AND e.place = r.place RETURNING 1)
SELECT coalesce(sum(events), 0) AS events, coalesce(sum(events) FILTER (WHERE retrying), 0) AS retrying
FROM (SELECT * FROM closed UNION ALL SELECT 1, true FROM dead) AS settled

-- name: of_archived
SELECT number FROM destinations d WHERE archived_at < now() - $1::interval
  -- A frozen worker may still write a result. After a day this is improbable: if the worker has ended, its attempt never
  -- gets a result, because no other worker acquires the lane of an archived destination.
  AND NOT EXISTS (SELECT FROM attempts a WHERE a.lane = d.lane AND a.destination = d.number
    AND a.settled_at IS NULL AND a.started_at > now() - interval '1 day')
  -- The first columns of the index of open batches, and of that of retrying events.
  AND (EXISTS (SELECT FROM batch_states
      WHERE destination = d.number AND queue = ANY('{0,2}') AND settled_at IS NULL)
    OR EXISTS (SELECT FROM exceptions
      WHERE destination = d.number AND queue = ANY('{0,2}') AND status = 'retrying'))
