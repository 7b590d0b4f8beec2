-- name: batches
INSERT INTO batches
VALUES (current_date, $1::int, $1::int, '', '')

-- name: batch_states
INSERT INTO batch_states (batch, day, destination, events, bytes, first_event, last_event, data_key)
VALUES ($1::int, current_date, $1::int, 1, 1, now(), now(), '')

-- name: exceptions
INSERT INTO exceptions (batch, place, day, destination, status, event_at, reason)
VALUES ($1::int, 0, current_date, $1::int, 'dead', now(), 'r')

-- name: attempts
INSERT INTO attempts (id, day, lane, destination, fence, worker, batches, events, generation)
VALUES ($1::int, current_date, 1, $1::int, 1, 'w', ARRAY[$1::int], 1, 1)

-- name: mapped_duplicates
INSERT INTO mapped_duplicates (key, day, batch, place)
VALUES (decode(lpad(to_hex($1::int), 32, '0'), 'hex'), current_date, $1::int, 0)

-- name: lanes
-- Of an advertiser that neither organisation has: the lane of another one.
INSERT INTO lanes (id, region, advertiser_id) OVERRIDING SYSTEM VALUE
VALUES (1000 + $1::int, 'EU', $1::int::text)

-- name: callbacks
INSERT INTO callbacks (id) OVERRIDING SYSTEM VALUE
VALUES ($1::int)

-- name: counts
INSERT INTO counts (destination, day, writer)
VALUES ($1::int, current_date, 1)

-- name: rejections
INSERT INTO rejections (destination, day, writer, code, reason)
VALUES ($1::int, current_date, 2, 'c', 'r')

-- name: consent_stops
INSERT INTO consent_stops (destination, day, writer, reason, basis)
VALUES ($1::int, current_date, 1, 'r', 'tcf')

-- name: callback_events
INSERT INTO callback_events (destination, batch, day, events, status, callback)
VALUES ($1::int, $1::int, current_date, 1, 'dead', $1::int)

-- name: schema_samples
INSERT INTO schema_samples (mapping, events, content)
SELECT m.number, 1, '' FROM mappings m JOIN destinations d ON d.id = m.destination WHERE d.number = $1::int

-- name: schema_fingerprints
-- The row exists already if the destination has a mapping.
INSERT INTO schema_fingerprints (destination, closed)
VALUES ($1::int, '{}')
ON CONFLICT DO NOTHING
