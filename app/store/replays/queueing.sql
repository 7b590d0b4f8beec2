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
