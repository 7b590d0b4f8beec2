-- name: attempts
-- Attempts whose ids are listed in the state of the batch.
WITH named AS (
  -- `+ 0`, here and below: no index reads all attempts of the destination.
  SELECT * FROM attempts WHERE id = ANY($5::bigint[]) AND day >= $4 AND destination + 0 = $1),
-- Settled attempts that the state does not list, such as retries. The function uses an index of batches.
off_fast_path AS (
  SELECT * FROM attempts WHERE id = ANY(ARRAY(SELECT attempts_of_batch($2, $4)))
    AND day >= $4 AND destination + 0 = $1),
-- Attempts without a result. The lane selects them by an index.
in_flight AS (
  SELECT a.* FROM attempts a JOIN destinations d ON d.lane = a.lane AND d.number = a.destination
  WHERE d.number = $1 AND a.settled_at IS NULL AND a.batches @> ARRAY[$2::bigint])
SELECT DISTINCT ON (started_at, id) id, started_at, settled_at, outcome, http_status, request_id,
  message, duration_ms, events, places IS NOT NULL AS is_retry
FROM (SELECT * FROM named UNION ALL SELECT * FROM off_fast_path
  UNION ALL SELECT * FROM in_flight) AS carried
-- A retry lists its events by batch and position, in two parallel arrays.
WHERE places IS NULL OR EXISTS (SELECT FROM unnest(batches, places) AS item (batch, place)
  WHERE item.batch = $2 AND item.place = $3)
ORDER BY started_at DESC, id DESC LIMIT $6

-- name: replays
SELECT id AS replay_id, requested_at AS at, requested_by AS by FROM replays
WHERE organisation_id = acting_organisation() AND number = ANY($1::integer[])
ORDER BY number

-- name: note_mapped_duplicates
INSERT INTO mapped_duplicates (key, day, batch, place)
SELECT key, (now() AT TIME ZONE 'UTC')::date, batch, place
FROM unnest($1::bytea[], $2::bigint[], $3::smallint[]) AS found (key, batch, place)
-- In order of keys, so that two flushes with the same keys cannot deadlock.
ORDER BY key ON CONFLICT DO NOTHING

-- name: mapped_duplicates
SELECT m.key, m.batch, m.place, m.answered_at, d.id AS destination
FROM mapped_duplicates m
  CROSS JOIN LATERAL (SELECT destination FROM batch_states WHERE batch = m.batch OFFSET 0) s
  JOIN destinations d ON d.number = s.destination
WHERE d.organisation_id = acting_organisation() AND m.key = ANY($1::bytea[]) ORDER BY m.answered_at

-- name: find_request
SELECT destination, batches, places FROM attempts
WHERE request_id = $2 AND ($1::integer[] IS NULL OR destination = ANY($1))
  AND destination IN (SELECT number FROM destinations WHERE organisation_id = acting_organisation())
LIMIT 1
