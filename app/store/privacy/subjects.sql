-- name: next_batches
SELECT s.batch, s.disposition, d.id AS destination,
  -- The events that have their own row, and their statuses.
  (SELECT array_agg(e.place ORDER BY e.place) FROM exceptions e WHERE e.batch = s.batch) AS places,
  (SELECT array_agg(e.status ORDER BY e.place) FROM exceptions e WHERE e.batch = s.batch) AS statuses
FROM unnest($1::bigint[], $2::date[]) AS requested (id, day)
JOIN batch_states s ON s.batch = requested.id AND s.day = requested.day
JOIN destinations d ON d.number = s.destination AND d.organisation_id = acting_organisation()
ORDER BY s.batch

-- name: pending_erasures
SELECT id, sealed FROM erasures
WHERE organisation_id = acting_organisation() AND finished_at IS NULL
