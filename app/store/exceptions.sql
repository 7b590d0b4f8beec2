-- name: write
INSERT INTO exceptions AS e (batch, place, day, destination, status, send_group, tries, due_at,
  event_at, code, reason, amazon_code, amazon_message, item_outcomes, delivered_at, queue, mapping)
SELECT w.batch, w.place, w.day, $1, w.status, w.send_group, w.costs_try::int, now() + coalesce(w.wait, '0'),
  w.event_at, w.code, w.reason, w.amazon_code, w.amazon_message,
  -- The first item outcome, if this attempt had one.
  CASE WHEN w.answers_attempt AND $2::bigint IS NOT NULL THEN ARRAY[jsonb_build_object('attempt', $2::bigint, 'outcome', w.reason,
    'code', w.amazon_code, 'message', w.amazon_message)] ELSE '{}' END,
  CASE w.status WHEN 'delivered' THEN now() END, $3::smallint, w.mapping
-- The fields of `ExceptionChange`.
FROM unnest($4::bigint[], $5::smallint[], $6::date[], $7::text[], $8::timestamptz[], $9::text[],
  $10::text[], $11::integer[], $12::interval[], $13::bigint[], $14::boolean[], $15::text[],
  $16::text[], $17::boolean[])
  AS w (batch, place, day, status, event_at, reason, code, mapping, wait, send_group, costs_try,
    amazon_code, amazon_message, answers_attempt)
ON CONFLICT (batch, place) DO UPDATE SET status = excluded.status, send_group = excluded.send_group,
  tries = least(e.tries + excluded.tries::int, 32767), due_at = excluded.due_at, code = excluded.code,
  reason = excluded.reason, amazon_code = excluded.amazon_code,
    amazon_message = excluded.amazon_message, delivered_at = excluded.delivered_at,
  mapping = coalesce(e.mapping, excluded.mapping),
  -- At most 31 item outcomes: the first, then the latest thirty.
  item_outcomes = CASE
    WHEN cardinality(e.item_outcomes) < 31 THEN e.item_outcomes || excluded.item_outcomes
    WHEN cardinality(excluded.item_outcomes) = 0 THEN e.item_outcomes
    ELSE e.item_outcomes[1:1] || e.item_outcomes[3:31] || excluded.item_outcomes END,
  changed_at = now()

-- name: due
-- Due conversions of the queue that are not in flight.
WITH free AS (SELECT batch, place, day, tries, send_group, event_at, due_at FROM exceptions e
  WHERE e.destination = $1 AND e.queue = $5 AND e.status = 'retrying' AND e.due_at <= now()
    AND NOT EXISTS
    (SELECT FROM unnest($2::bigint[], $3::smallint[]) AS f (batch, place)
     WHERE f.batch = e.batch AND f.place = e.place)
  -- In the order of the index, so that few rows are read without sorting.
  ORDER BY due_at, batch, place LIMIT $4 * 4),
-- The conversion that has been due for longest determines the send group of the request.
head AS (SELECT send_group FROM free ORDER BY due_at, batch, place LIMIT 1)
SELECT free.* FROM free, head WHERE free.send_group IS NOT DISTINCT FROM head.send_group
ORDER BY free.due_at, free.batch, free.place LIMIT $4

-- name: lock_retrying
-- `|| ''`, here and below: with `status = 'retrying'` Postgres reads all retrying conversions by an index of these, if
-- there were few at its last ANALYZE.
SELECT e.batch, e.place FROM exceptions e JOIN unnest($1::bigint[], $2::smallint[])
  AS requested (batch, place) ON requested.batch = e.batch AND requested.place = e.place
WHERE e.batch = ANY($1) AND e.status || '' = 'retrying' ORDER BY e.batch, e.place FOR UPDATE OF e

-- name: requeue
UPDATE exceptions e SET tries = least(tries + 1, 32767), due_at = now() + $3::interval, reason = $4,
  changed_at = now()
FROM unnest($1::bigint[], $2::smallint[]) AS w (batch, place)
WHERE e.batch = ANY($1) AND e.batch = w.batch AND e.place = w.place AND e.status || '' = 'retrying'

-- name: expire
-- Retrying conversions beyond the age limit that no unsettled attempt carries.
WITH old AS (SELECT batch, place FROM exceptions e WHERE status = 'retrying'
  AND event_at BETWEEN '2000-01-01+00' AND now() - $1::interval AND NOT EXISTS (SELECT FROM attempts a
    WHERE a.settled_at IS NULL AND a.places IS NOT NULL AND e.batch = ANY(a.batches))
  LIMIT $2 FOR UPDATE SKIP LOCKED)
UPDATE exceptions e SET status = 'expired', code = 'MISC_ERROR', reason = 'expired',
  send_group = NULL, changed_at = now() FROM old WHERE e.batch = old.batch
    AND e.place = old.place RETURNING e.destination
