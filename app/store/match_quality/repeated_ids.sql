-- name: add
INSERT INTO repeated_event_ids AS r (day, destination, mapping, event_type, earlier_mapping, earlier_type,
  events)
SELECT (now() AT TIME ZONE 'UTC')::date, x.*
FROM unnest($1::int[], $2::int[], $3::text[], $4::int[], $5::text[], $6::bigint[])
  AS x (destination, mapping, event_type, earlier_mapping, earlier_type, events)
ON CONFLICT (destination, day, mapping, event_type, earlier_mapping, earlier_type)
DO UPDATE SET events = r.events + excluded.events

-- name: forget
DELETE FROM repeated_event_ids WHERE destination = ANY($1)
  AND day < (now() AT TIME ZONE 'UTC')::date - 31

-- name: since
SELECT m.id AS mapping, r.event_type, e.id AS earlier_mapping, r.earlier_type,
  sum(r.events)::bigint AS events
FROM repeated_event_ids r
JOIN mappings m ON m.number = r.mapping JOIN mappings e ON e.number = r.earlier_mapping
WHERE r.destination = $1 AND r.day >= $2 AND m.organisation_id = acting_organisation()
GROUP BY 1, 2, 3, 4, r.mapping, r.earlier_mapping ORDER BY 5 DESC, r.mapping, 2, r.earlier_mapping, 4

-- name: accepted
-- `nodes` still has the events that left their batch, erased ones among them.
SELECT coalesce(sum(greatest(events, cardinality(nodes))), 0)::bigint FROM batch_states
WHERE destination = $1 AND accepted_at >= $2 AND accepted_at < $3

-- name: batches_between
SELECT batch FROM batch_states WHERE destination = $1 AND accepted_at >= $2 AND accepted_at < $3
  AND batch = ANY($4::bigint[])
