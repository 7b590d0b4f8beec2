-- name: count_unsent
SELECT count(*) AS matched, count(*) FILTER (WHERE young AND has_key) AS ready,
  count(*) FILTER (WHERE NOT young) AS too_old,
  count(*) FILTER (WHERE young AND NOT has_key) AS forgotten
FROM (SELECT g.event_at >= now() - $4::interval AS young, s.data_key IS NOT NULL AS has_key
  FROM unnest($1::bigint[], $2::smallint[], $3::timestamptz[]) AS g (batch, place, event_at)
  JOIN batch_states s ON s.batch = g.batch AND s.disposition IN ('discarded', 'expired')
  WHERE NOT EXISTS (SELECT FROM exceptions e WHERE e.batch = g.batch AND e.place = g.place)) found

-- name: separate
WITH given AS (
  -- The events to separate.
  SELECT * FROM unnest($2::bigint[], $3::smallint[], $4::timestamptz[], $5::integer[])
    AS g (batch, place, event_at, mapping)
), locked AS (
  -- Their batches. The lock keeps an erasure from changing them meanwhile.
  SELECT batch, day, reason, settled_at, disposition FROM batch_states
  WHERE batch = ANY($2) AND destination = $1 AND disposition IN ('discarded', 'expired')
    AND data_key IS NOT NULL
  ORDER BY batch FOR UPDATE
), added AS (
  -- Their own rows.
  INSERT INTO exceptions (batch, place, day, destination, mapping, status, event_at, reason,
    changed_at)
  SELECT g.batch, g.place, l.day, $1, g.mapping,
    CASE l.disposition WHEN 'discarded' THEN 'dead' ELSE l.disposition END, g.event_at,
    coalesce(l.reason, l.disposition), l.settled_at
  FROM given g JOIN locked l USING (batch) WHERE g.event_at >= now() - $6::interval
  ON CONFLICT DO NOTHING RETURNING batch, place
), moved AS (
  -- The events that left each batch.
  SELECT batch, count(*) AS events, array_agg(place) AS places FROM added GROUP BY batch
)
UPDATE batch_states s SET events = s.events - m.events,
  -- The figures of journeys count events that left their batch by their own rows.
  nodes = (SELECT array_agg(CASE WHEN position - 1 = ANY(m.places) THEN -abs(node) ELSE node END
    ORDER BY position) FROM unnest(CASE WHEN cardinality(s.nodes) = 1 AND s.events > 1
      THEN array_fill(s.nodes[1], ARRAY[s.events::integer]) ELSE s.nodes END)
    WITH ORDINALITY AS n (node, position))
FROM moved m WHERE s.batch = m.batch

-- name: candidate_batches
-- All exceptions of a batch have its day. One query per status, because the index has their order then.
SELECT DISTINCT batch, day FROM unnest($2::text[]) AS wanted (status), LATERAL (
  SELECT batch, day FROM exceptions
  WHERE destination = $1 AND status = wanted.status AND batch > $3
    AND day >= '2000-01-01'  -- as the index says
  GROUP BY batch, day ORDER BY batch, day LIMIT (SELECT $4::int)) found
ORDER BY batch LIMIT $4::int

-- name: dead_open
SELECT count(*) FROM exceptions WHERE destination = $1 AND status = 'dead' AND dismissed_at IS NULL

-- name: open_dead_letters
SELECT reason, count(*) AS n FROM exceptions
WHERE destination = $1 AND status = 'dead' AND dismissed_at IS NULL GROUP BY reason ORDER BY n DESC
