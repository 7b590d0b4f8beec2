-- name: close
-- A batch that is named by its id is open if `disposition IS NULL`, here and below. `settled_at IS NULL` means the
-- same, but Postgres then reads all open batches by an index of these, if there were few at its last ANALYZE.
UPDATE batch_states SET disposition = $3, settled_at = now(),
attempts = attempts || array_remove(ARRAY[$2::bigint], NULL)
WHERE batch = ANY($1) AND disposition IS NULL

-- name: still_open
-- Locked until the caller requeues them: an erasure changes the number of their events.
SELECT batch AS id, events, tries FROM batch_states WHERE batch = ANY($1::bigint[]) AND disposition IS NULL
ORDER BY batch FOR UPDATE

-- name: lock_unchanged
SELECT s.batch FROM batch_states s JOIN unnest($1::bigint[], $2::bytea[]) AS read (batch, data_key)
  ON read.batch = s.batch AND read.data_key = s.data_key
WHERE s.batch = ANY($1) AND s.disposition IS NULL ORDER BY s.batch FOR UPDATE OF s

-- name: requeue
UPDATE batch_states SET tries = least(tries + 1, 32767), due_at = now() + $2, reason = $3
WHERE batch = ANY($1) AND disposition IS NULL

-- name: postpone
WITH owned AS (SELECT id FROM lanes WHERE id = $2 AND fence = $3 FOR KEY SHARE),
retries AS (UPDATE exceptions SET
    due_at = now() + greatest('30 s', least('5 min', now() - changed_at))
  -- As in exceptions.sql.
  WHERE batch = ANY($1) AND status || '' = 'retrying' AND due_at <= now() AND EXISTS (SELECT FROM owned))
UPDATE batch_states SET due_at = now() + greatest('30 s', least('5 min', now() - accepted_at))
WHERE batch = ANY($1) AND disposition IS NULL AND due_at <= now() AND EXISTS (SELECT FROM owned)

-- name: expire
-- Open batches beyond the age limit that no unsettled attempt carries.
WITH old AS (SELECT batch FROM batch_states s WHERE settled_at IS NULL AND disposition IS NULL
  AND last_event < now() - $1::interval AND NOT EXISTS (SELECT FROM attempts a
    WHERE a.settled_at IS NULL AND s.batch = ANY(a.batches))
  ORDER BY last_event LIMIT $2 FOR UPDATE SKIP LOCKED)
UPDATE batch_states s SET disposition = 'expired', settled_at = now(), reason = 'expired' FROM old
WHERE s.batch = old.batch RETURNING s.destination, s.events, s.tries > 0 AS retrying

-- name: waiting
SELECT (SELECT coalesce(sum(events), 0) FROM batch_states WHERE destination = $1 AND settled_at IS NULL
    AND queue = ANY($2::smallint[]))::bigint
  + (SELECT count(*) FROM exceptions WHERE destination = $1 AND status = 'retrying'
    AND queue = ANY($2::smallint[]))

-- name: read_keys
SELECT s.batch, s.data_key FROM unnest($1::bigint[], $2::date[]) AS requested (id, day)
JOIN batch_states s ON s.batch = requested.id AND s.day = requested.day WHERE s.batch = ANY($1)

-- name: read
SELECT p.id, s.data_key, p.content, p.shapes FROM unnest($1::bigint[], $2::date[]) AS requested (id, day)
JOIN batches p ON p.id = requested.id AND p.day = requested.day
  AND ($3::integer IS NULL OR p.destination = $3)
JOIN batch_states s ON s.batch = requested.id AND s.day = requested.day
WHERE p.id = ANY($1) AND s.batch = ANY($1)

-- name: delete_keys
-- Of locked batches. A replay may have queued some of their events before they were locked.
UPDATE batch_states s SET data_key = NULL WHERE batch = ANY($1::bigint[]) AND batch BETWEEN $3 AND $4
AND NOT EXISTS (SELECT FROM exceptions e WHERE e.batch = s.batch
  AND (e.status = 'retrying' OR e.changed_at > now() - $2::interval)) RETURNING 1
