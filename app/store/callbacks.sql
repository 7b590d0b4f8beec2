-- name: note
INSERT INTO callback_events (destination, batch, day, places, events, status, code, reason)
SELECT t.destination, f.batch, f.day, f.places::smallint[], f.events, f.status, f.code, f.reason
FROM callback_destinations t, unnest($2::bigint[], $3::date[], $4::text[], $5::smallint[], $6::text[],
  $7::text[], $8::text[]) AS f (batch, day, places, events, status, code, reason)
WHERE t.destination = $1

-- name: mark_failed
INSERT INTO callback_events (destination, batch, day, places, events, status, code, reason)
SELECT s.destination, s.batch, s.day, NULL, s.events,
  CASE s.disposition WHEN 'expired' THEN 'expired' ELSE 'dead' END, 'MISC_ERROR', s.reason
FROM batch_states s JOIN callback_destinations t USING (destination)
WHERE s.destination = ANY($1::int[]) AND s.settled_at = now() AND s.data_key IS NOT NULL
  AND s.disposition IN ('expired', 'discarded') AND s.events > 0
UNION ALL
SELECT e.destination, e.batch, e.day, array_agg(e.place ORDER BY e.place), count(*)::smallint,
  e.status, e.code, e.reason
FROM exceptions e JOIN callback_destinations t USING (destination)
WHERE e.destination = ANY($1::int[]) AND e.status IN ('expired', 'dead') AND e.changed_at = now()
  AND e.changed_at >= '2000-01-01+00'  -- as the index exceptions_failed says
GROUP BY e.destination, e.batch, e.day, e.status, e.code, e.reason

-- name: bundle
-- The oldest final states without a callback; none if enough callbacks exist.
WITH free AS (SELECT id, events FROM callback_events WHERE callback IS NULL
    AND (SELECT count(*) FROM callbacks) < $2
  ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED),
-- Running sum of their events.
summed AS (SELECT id, events, sum(events) OVER (ORDER BY id) AS so_far FROM free),
new_callback AS (INSERT INTO callbacks (tries) SELECT 0 WHERE EXISTS (SELECT FROM free) RETURNING id)
-- The first is included even if it exceeds the limit.
UPDATE callback_events n SET callback = new_callback.id FROM summed s, new_callback
WHERE n.id = s.id AND (s.so_far <= $1 OR s.so_far = s.events)

-- name: claim
UPDATE callbacks SET leased_until = now() + $1::interval, tries = tries + 1
WHERE id = (SELECT id FROM callbacks
  WHERE due_at <= now() AND coalesce(leased_until, due_at) <= now()
  ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, made_at, tries, now() - made_at AS age

-- name: events_of_callback
-- Without those that a transaction committed after their destination's callbacks were disabled.
SELECT destination, batch, day, places, events, status, code, reason, at FROM callback_events
JOIN callback_destinations USING (destination) WHERE callback = $1 ORDER BY id

-- name: reschedule
UPDATE callbacks SET due_at = now() + $2::interval, leased_until = NULL, problem = $3 WHERE id = $1

-- name: excepted_places
SELECT batch, array_agg(place) AS places FROM exceptions
WHERE batch = ANY($1::bigint[]) GROUP BY batch

-- name: destinations_of
SELECT number, id FROM destinations WHERE number = ANY($1::int[])

-- name: mappings_of
SELECT m.number, m.id FROM mappings m JOIN destinations d ON d.id = m.destination
WHERE d.number = ANY($1::int[])

-- name: read_status
SELECT EXISTS (SELECT FROM callback_destinations WHERE destination = $1) AS enabled,
  $2::boolean AS configured,
  coalesce(sum(n.events), 0)::bigint AS waiting, min(n.at) AS oldest_waiting, max(c.problem) AS problem
FROM callback_events n LEFT JOIN callbacks c ON c.id = n.callback WHERE n.destination = $1

-- name: enable
INSERT INTO callback_destinations (organisation_id, destination, by_actor)
VALUES (acting_organisation(), $1, $2) ON CONFLICT DO NOTHING

-- name: disable
DELETE FROM callback_destinations WHERE organisation_id = acting_organisation() AND
destination = $1
