-- name: destinations
SELECT d.id, d.number, d.name, d.state, d.sign_in_reason, d.suspended,
  CASE WHEN l.blocked_until > now() THEN l.blocked_until END AS throttled_until
FROM destinations d JOIN lanes l ON l.id = d.lane
WHERE d.organisation_id = acting_organisation()
  AND ($1::integer[] IS NULL OR d.number = ANY($1)) AND ($2::text[] IS NULL OR d.id = ANY($2))

-- name: mappings
SELECT number, id, name, destination FROM mappings
WHERE organisation_id = (SELECT acting_organisation())
  AND ($1::text[] IS NULL OR destination = ANY($1))

-- name: batches
SELECT s.batch AS id, s.destination, s.day, s.accepted_at, s.due_at, s.tries, s.first_event, s.disposition,
  s.settled_at, s.reason, s.attempts, coalesce(s.replays, '{}') AS replays
FROM batch_states s WHERE s.batch = ANY($2::bigint[]) AND s.destination + 0 = $1
  -- Without its partition of batches, the batch was dropped.
  AND to_regclass('batches_p' || to_char(s.day, 'YYYYMMDD')) IS NOT NULL
ORDER BY s.day

-- name: exceptions
SELECT batch, place, day, status, tries, due_at, code, reason, amazon_code, amazon_message,
  item_outcomes, coalesce(replays, '{}') AS replays, changed_at, event_at, delivered_at, erased_at,
  dismissed_at, dismissed_by
FROM exceptions -- `+ 0`: no index reads all of the destinations.
WHERE batch = ANY($1::bigint[]) AND destination + 0 = ANY($2::integer[])
