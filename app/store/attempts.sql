-- name: start
-- The lane, if it is ours and no erasure was requested since the batches were read.
WITH lane AS (SELECT id FROM lanes WHERE id = $1 AND fence = $2
  AND leased_until > clock_timestamp() AND erasures = $9 FOR KEY SHARE),
-- The destination, if it may send. The token of an earlier sign-in, which has another generation, must not
-- be used. A statement that waited for the destination reads its new row beside the old one of its sign-in, so
-- the destination's version must not have changed during the wait.
ready AS (SELECT d.number FROM destinations d JOIN sign_ins s ON s.destination = d.id
  JOIN destinations before ON before.number = d.number AND before.version = d.version
  WHERE d.number = $3 AND d.state IN ('connected', 'active') AND s.generation = $8 FOR SHARE OF d)
INSERT INTO attempts (id, day, lane, destination, fence, worker, batches, places, events, generation)
SELECT nextval('attempt_ids'), (now() AT TIME ZONE 'UTC')::date, lane.id, ready.number, $2, $4,
  $5, $6, $7, $8
FROM lane, ready RETURNING id, day

-- name: start_probe
-- The lane, if it is ours and no erasure was requested since the batches were read.
WITH lane AS (SELECT id FROM lanes WHERE id = $1 AND fence = $2
  AND leased_until > clock_timestamp() AND erasures = $9 FOR KEY SHARE),
-- The destination, if its probe is due. Setting the time of the next probe lets only one worker send one.
ready AS (UPDATE destinations d
  SET endpoint_probe_at = clock_timestamp() + make_interval(secs => $10::float8)
  FROM sign_ins s, lane WHERE s.destination = d.id AND d.number = $3 AND s.generation = $8
    AND d.state = 'needs_reconnect' AND d.sign_in_reason = 'endpoint_not_found'
    AND d.endpoint_probe_at <= clock_timestamp()
  RETURNING d.number)
INSERT INTO attempts (id, day, lane, destination, fence, worker, batches, places, events, generation)
SELECT nextval('attempt_ids'), (now() AT TIME ZONE 'UTC')::date, lane.id, ready.number, $2, $4,
  $5, $6, $7, $8
FROM lane, ready RETURNING id, day

-- name: write_outcome
-- No index of unsettled attempts serves `outcome IS NULL`, so the attempt is found by its id.
UPDATE attempts SET settled_at = clock_timestamp(), outcome = $5, http_status = $6, request_id = $7,
  message = $8, duration_ms = $9, delivered = $10
WHERE id = $1 AND day = $2 AND outcome IS NULL
AND EXISTS (SELECT FROM lanes WHERE id = $3 AND fence = $4 FOR KEY SHARE)

-- name: add_response
INSERT INTO responses (attempt, day, destination, content)
-- A response that is too long must not prevent the write of the outcome.
SELECT id, day, destination, $3 FROM attempts WHERE id = $1 AND day = $2 AND octet_length($3) <= 2048

-- name: delete_responses
DELETE FROM responses WHERE attempt IN (
  SELECT attempt FROM responses WHERE day < (now() AT TIME ZONE 'UTC')::date - $1::int LIMIT $2)

-- name: find_outcome
SELECT true FROM attempts a JOIN lanes l ON l.id = a.lane
WHERE a.id = $1 AND a.day = $2 AND a.settled_at IS NOT NULL AND l.fence = $3

-- name: write_delivered
-- Nothing is written unless `settled` finds the attempt. `settled` locks the lane's row. A new owner of the lane
-- therefore waits for this commit, or this statement sees the new owner and writes nothing.
-- The attempt, if it has no result and this worker still owns the lane.
WITH settled AS (
  UPDATE attempts SET settled_at = clock_timestamp(), outcome = 'answered', http_status = $5,
    request_id = $6, duration_ms = $7, delivered = $13::bigint
  WHERE id = $1 AND day = $2 AND outcome IS NULL
  AND EXISTS (SELECT FROM lanes WHERE id = $3 AND fence = $4 FOR KEY SHARE) RETURNING id),
-- Its batches; `day` limits the partitions that are searched.
closed AS (
  UPDATE batch_states SET disposition = 'sent', settled_at = now(), attempts = attempts || $1::bigint
  WHERE batch = ANY($8::bigint[]) AND day BETWEEN $9 AND $10 AND disposition IS NULL
  AND EXISTS (SELECT FROM settled) RETURNING batch),
-- The counts of the destination.
counted AS (
  INSERT INTO counts AS c (destination, day, writer, delivered, retrying)
  SELECT $11, (now() AT TIME ZONE 'UTC')::date, $12, $13::bigint, $14::bigint FROM settled
  ON CONFLICT (destination, day, writer) DO UPDATE
  SET delivered = c.delivered + excluded.delivered, retrying = c.retrying + excluded.retrying)
SELECT CASE WHEN count(*) = 0 THEN false
  -- Division by zero rolls everything back if another transaction closed one of the batches.
  ELSE 1 / ((SELECT count(*) FROM closed) = cardinality($8::bigint[]))::int = 1 END
FROM settled

-- name: unsettled
SELECT lane, id, day, destination, batches, places, clock_timestamp() - started_at AS age FROM attempts
WHERE lane = ANY($1::int[]) AND settled_at IS NULL
  AND ($2::interval IS NULL OR started_at < clock_timestamp() - $2) ORDER BY id

-- name: any_in_flight
SELECT EXISTS (SELECT FROM destinations d JOIN attempts a ON a.lane = d.lane
  AND a.destination = d.number
WHERE d.number = $1 AND a.settled_at IS NULL AND a.started_at > clock_timestamp() - $2::interval)
