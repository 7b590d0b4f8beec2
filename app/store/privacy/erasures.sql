-- name: count_on_lanes
UPDATE lanes SET erasures = erasures + 1
FROM (SELECT id FROM lanes WHERE organisation_id = acting_organisation() ORDER BY id FOR UPDATE)
  AS locked WHERE lanes.id = locked.id

-- name: create
INSERT INTO erasures (organisation_id, id, requested_by, kinds, sealed, requested_at)
VALUES (acting_organisation(), $1, $2, $3, $4, clock_timestamp()) RETURNING requested_at

-- name: newest_attempt
SELECT coalesce(max(id), 0) FROM attempts WHERE settled_at IS NULL

-- name: under_way
SELECT EXISTS (SELECT FROM attempts WHERE settled_at IS NULL AND id <= $1
  AND started_at > clock_timestamp() - $2::interval)

-- name: pending
SELECT organisation_id, id, number,
  CASE WHEN number = ANY($1::bigint[]) THEN NULL ELSE sealed END AS sealed, scanned_to
FROM erasures WHERE finished_at IS NULL ORDER BY number

-- name: oldest_age_s
SELECT coalesce(extract(epoch FROM clock_timestamp() - min(requested_at)), 0)::float8 FROM erasures
WHERE finished_at IS NULL

-- name: newest
SELECT id, requested_at, requested_by, kinds, scanned, waiting, dead, delivered, unreadable, finished_at,
  sealed, number
FROM erasures WHERE organisation_id = acting_organisation()
  AND ($1::bigint IS NULL OR number < $1) AND ($3::text IS NULL OR id = $3) ORDER BY number DESC LIMIT $2

-- name: next_batches
SELECT s.batch, s.day, d.organisation_id, s.events FROM batch_states s
JOIN destinations d ON d.number = s.destination
WHERE s.data_key IS NOT NULL AND batch BETWEEN $2 AND $3 ORDER BY batch LIMIT $1

-- name: advance
UPDATE erasures SET scanned_to = $2, scanned = scanned + $3, unreadable = unreadable + $4
WHERE number = ANY($1)

-- name: add_found
UPDATE erasures SET waiting = waiting + $2, dead = dead + $3, delivered = delivered + $4 WHERE id = $1

-- name: finish
UPDATE erasures SET finished_at = now(), sealed = NULL
WHERE number = ANY($1) AND finished_at IS NULL

-- name: lock
SELECT FROM batch_states WHERE batch = $1 AND day = $2 AND data_key IS NOT NULL FOR UPDATE

-- name: read_locked
SELECT (SELECT organisation_id FROM destinations WHERE number = s.destination), s.destination,
  s.disposition, s.settled_at, s.tries, s.events, s.data_key, s.last_event, p.content, p.shapes
FROM batch_states s LEFT JOIN batches p
  ON p.id = s.batch AND p.day = s.day AND p.destination = s.destination
WHERE s.batch = $1 AND s.day = $2 AND s.data_key IS NOT NULL

-- name: lock_exceptions
SELECT place, status FROM exceptions WHERE batch = $1 FOR UPDATE

-- name: rewrite_state
UPDATE batch_states SET data_key = $2, events = events - $3,
  -- The figures of journeys count the conversions that leave the batch by their exceptions.
  nodes = (SELECT array_agg(CASE WHEN position - 1 = ANY($4::bigint[]) THEN -abs(node) ELSE node END
    ORDER BY position) FROM unnest(CASE WHEN cardinality(nodes) = 1 AND events > 1
      THEN array_fill(nodes[1], ARRAY[events::integer]) ELSE nodes END)
    WITH ORDINALITY AS n (node, position)),
  -- An open batch that counts no conversion any more is closed. Each conversion has an exception.
  disposition = CASE WHEN disposition IS NULL AND events = $3 THEN 'sent' ELSE disposition END,
  settled_at = CASE WHEN disposition IS NULL AND events = $3 THEN now() ELSE settled_at END
WHERE batch = $1

-- name: write_exceptions
INSERT INTO exceptions AS e (batch, place, day, destination, status, event_at, code, reason,
  delivered_at, erased_at)
SELECT $1, g.place, $2, $3, g.status, g.event_at, NULL,
  CASE g.status WHEN 'erased' THEN 'erased' ELSE 'delivered' END,
  -- A delivered conversion without an exception was delivered with its batch.
  CASE g.status WHEN 'delivered' THEN $7::timestamptz END, now()
FROM unnest($4::smallint[], $5::text[], $6::timestamptz[]) AS g (place, status, event_at)
ON CONFLICT (batch, place) DO UPDATE SET status = excluded.status, erased_at = now(),
  send_group = NULL, reason = CASE excluded.status WHEN 'erased' THEN 'erased' ELSE e.reason END,
  code = CASE excluded.status WHEN 'erased' THEN NULL ELSE e.code END, changed_at = now()

-- name: delete_samples
DELETE FROM schema_samples WHERE mapping IN (SELECT m.number FROM mappings m
  JOIN destinations d ON d.id = m.destination WHERE d.number = $1)

-- name: empty_fingerprints
UPDATE schema_fingerprints SET content = '', generation = generation + 1, erasures = erasures + 1
WHERE destination = $1

-- name: readable
SELECT s.batch, s.disposition, d.id AS destination,
  -- The events that have their own row, and their statuses.
  (SELECT array_agg(e.place ORDER BY e.place) FROM exceptions e WHERE e.batch = s.batch) AS places,
  (SELECT array_agg(e.status ORDER BY e.place) FROM exceptions e WHERE e.batch = s.batch) AS statuses
FROM unnest($1::bigint[], $2::date[]) AS requested (id, day)
JOIN batch_states s ON s.batch = requested.id AND s.day = requested.day
JOIN destinations d ON d.number = s.destination AND d.organisation_id = acting_organisation()
ORDER BY s.batch

-- name: rewrite_content
UPDATE batches SET content = $3 WHERE id = $1 AND day = $2
