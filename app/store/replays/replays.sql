-- name: begin
INSERT INTO replays (organisation_id, id, destination, requested_by, selection)
VALUES (acting_organisation(), $1, $2, $3, $4::text::jsonb) RETURNING number

-- name: requeue
UPDATE replays SET replayed = replayed + $2
WHERE organisation_id = acting_organisation() AND number = $1

-- name: make_batches_due
UPDATE batch_states s SET due_at = clock_timestamp() FROM (
  SELECT batch, day FROM batch_states
  -- The first columns of the index of open batches.
  WHERE destination = $1 AND queue = ANY('{0,2}') AND settled_at IS NULL AND due_at > clock_timestamp()
  LIMIT $2 FOR UPDATE SKIP LOCKED) later
WHERE s.batch = later.batch AND s.day = later.day

-- name: make_exceptions_due
UPDATE exceptions e SET due_at = clock_timestamp() FROM (
  SELECT batch, place FROM exceptions
  WHERE destination = $1 AND queue = ANY('{0,2}') AND status = 'retrying' AND due_at > clock_timestamp()
  LIMIT $2 FOR UPDATE SKIP LOCKED) later
WHERE e.batch = later.batch AND e.place = later.place

-- name: make_probe_due
UPDATE destinations SET endpoint_probe_at = clock_timestamp()
WHERE organisation_id = acting_organisation() AND number = $1 AND endpoint_probe_at > clock_timestamp()

-- name: progress
WITH page AS (
  -- The replays of this page.
  SELECT * FROM replays
  WHERE organisation_id = acting_organisation() AND destination = $1
    AND ($2::integer IS NULL OR number < $2) AND ($3::text IS NULL OR id = $3)
  ORDER BY number DESC LIMIT $4
), events AS (
  -- The events of these replays by status: first those with their own row, then the others by batch.
  SELECT p.number, e.status, count(*)::bigint AS n FROM page p JOIN exceptions e
    ON e.destination = $1 AND e.changed_at >= p.requested_at AND e.replays IS NOT NULL
      AND e.replays @> ARRAY[p.number]
  GROUP BY 1, 2
  UNION ALL
  SELECT p.number, CASE coalesce(s.disposition, 'open') WHEN 'open' THEN 'retrying'
    WHEN 'sent' THEN 'delivered' WHEN 'discarded' THEN 'dead' ELSE s.disposition END,
    sum(s.events)::bigint
  FROM page p JOIN batch_states s ON s.destination = $1 AND s.replays IS NOT NULL
    AND s.replays @> ARRAY[p.number]
  GROUP BY 1, 2
)
SELECT p.number, p.id AS replay_id, p.requested_at, p.requested_by, p.replayed, p.selection::text AS selection,
  coalesce(sum(e.n) FILTER (WHERE e.status = 'retrying'), 0)::bigint AS waiting,
  coalesce(sum(e.n) FILTER (WHERE e.status = 'delivered'), 0)::bigint AS delivered,
  coalesce(sum(e.n) FILTER (WHERE e.status = 'dead'), 0)::bigint AS dead,
  coalesce(sum(e.n) FILTER (WHERE e.status = 'expired'), 0)::bigint AS expired,
  coalesce(sum(e.n) FILTER (WHERE e.status = 'erased'), 0)::bigint AS erased
FROM page p LEFT JOIN events e ON e.number = p.number
GROUP BY p.number, p.id, p.requested_at, p.requested_by, p.replayed, p.selection
ORDER BY p.number DESC
