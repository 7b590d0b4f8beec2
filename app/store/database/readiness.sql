-- name: write
INSERT INTO readiness (id, at) VALUES (1, now()) ON CONFLICT (id) DO UPDATE SET at = now()

-- name: unsafe_settings
SELECT reason FROM (VALUES ('fsync', 'fsync_off'), ('synchronous_commit', 'synchronous_commit_off'),
  ('full_page_writes', 'full_page_writes_off')) AS s (name, reason)
WHERE current_setting(name) = 'off'

-- name: read_due
(SELECT batch FROM batch_states WHERE settled_at IS NULL
 ORDER BY destination, queue, due_at, batch LIMIT 1)
UNION ALL (SELECT batch FROM exceptions WHERE status = 'retrying'
 ORDER BY destination, queue, due_at, batch, place LIMIT 1)

-- name: write_attempt
INSERT INTO attempts (id, day, lane, destination, fence, worker, batches, events, generation)
VALUES (nextval('attempt_ids'), (now() AT TIME ZONE 'UTC')::date, 0, 0, 0, 'probe', '{}', 1, 0)
