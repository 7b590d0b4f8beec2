-- name: past
-- What the statements below refer to: a row with the shop, its mapping, and how much to add.
CREATE TEMP TABLE past AS
SELECT d.number, d.lane, d.id AS shop, m.number AS mapping, m.draft, b.content, b.shapes,
  0 AS events, 0 AS destinations
FROM destinations d, mappings m, batches b LIMIT 0

-- name: of_shop
INSERT INTO past
SELECT d.number, d.lane, d.id, m.number, m.draft, $3, $4, $5, $6
FROM destinations d JOIN mappings m ON m.destination = d.id WHERE d.id = $1 AND m.id = $2

-- name: batches
-- Each of one event, which is the hardest on lists.
INSERT INTO batches (day, id, destination, content, shapes)
SELECT (now() AT TIME ZONE 'UTC')::date, n, number, content, shapes
FROM past, generate_series(1, events) n

-- name: batch_states
INSERT INTO batch_states (batch, day, destination, events, bytes, accepted_at, due_at, first_event,
  last_event, disposition, settled_at, attempts)
SELECT n, (now() AT TIME ZONE 'UTC')::date, number, 1, 900, at, at, at, at, 'sent', at,
  ARRAY[1000000000 + n / 500]
FROM past, generate_series(1, events) n,
  LATERAL (SELECT now() - ((events - n) * 3500.0 / events + 60) * interval '1 s' AS at) x

-- name: attempts
INSERT INTO attempts (id, day, lane, destination, fence, worker, batches, events, generation, started_at,
  settled_at, outcome, http_status, duration_ms, delivered)
SELECT 1000000000 + n, (now() AT TIME ZONE 'UTC')::date, lane, number, 1, 'w', ARRAY[n], 500, 1, at, at,
  'answered', 207, 80 + n % 97, 500
FROM past, generate_series(0, events / 500) n,
  LATERAL (SELECT now() - ((events / 500 - n) * 3500.0 / (events / 500) + 60) * interval '1 s' AS at) x

-- name: ledger
INSERT INTO ledger (generation, key, content, batch, place)
SELECT (SELECT max(generation) FROM ledger_generations), substr(decode(md5(n::text), 'hex'), 1, 11),
  substr(decode(md5('c' || n), 'hex'), 1, 7), n, 0
FROM past, generate_series(1, events) n

-- name: exceptions
-- One event in a hundred is dead.
INSERT INTO exceptions (batch, place, day, destination, mapping, status, event_at, code, reason,
  amazon_message, changed_at)
SELECT 1 + n * 100, 0, (now() AT TIME ZONE 'UTC')::date, number, mapping, 'dead', now(), 'BAD_REQUEST',
  'amazon_refused', 'events[' || n % 500 || ']: No.', now()
FROM past, generate_series(0, events / 100 - 1) n

-- name: counts
INSERT INTO counts (destination, day, writer, accepted, delivered, dead)
SELECT number, (now() AT TIME ZONE 'UTC')::date - n % 30, 600 + n / 30, events / 120,
  events / 120 - events / 12000, events / 12000
FROM past, generate_series(0, 119) n

-- name: rejection_records
-- A tenth as many events were rejected.
INSERT INTO rejection_records (organisation_id, destination, received_at, event_id, mapping, code, reason,
  field, mapping_field, request_id, execution_id, journey_id, node_id)
SELECT 'default', number, now() - ((events / 10 - n) * 3500.0 / (events / 10) + 60) * interval '1 s',
  'bad-' || n, mapping, 'BAD_REQUEST', 'timestamp_missing', 'event.timestamp', 'event_timestamp',
  'req-' || n / 50, 'run-' || n, 'cart-reminder', 'n' || n % 20
FROM past, generate_series(1, events / 10) n

-- name: rejections
INSERT INTO rejections (destination, day, writer, code, reason, mapping, field, rejected)
SELECT number, (now() AT TIME ZONE 'UTC')::date - d, 500, 'BAD_REQUEST', 'wrong_type', mapping,
  'event.properties.p' || n, 1 + n
FROM past, generate_series(0, 6) d, generate_series(1, 60) n

-- name: journey_nodes
INSERT INTO journey_nodes (destination, day, number, journey_id, node_id)
SELECT number, (now() AT TIME ZONE 'UTC')::date - d, n, 'journey-' || n % 20, 'n' || n
FROM past, generate_series(0, 29) d, generate_series(1, 200) n ON CONFLICT DO NOTHING

-- name: journey_figures
INSERT INTO journey_figures (destination, day, node, writer, rejected)
SELECT number, (now() AT TIME ZONE 'UTC')::date - d, n, 0, 1 + n
FROM past, generate_series(0, 29) d, generate_series(1, 200) n

-- name: other_lanes
INSERT INTO lanes (region, advertiser_id)
SELECT 'NA', (6000000000000 + n)::text FROM past, generate_series(1, destinations) n

-- name: other_destinations
INSERT INTO destinations (id, lane, name, advertiser_id, region, currency, sign_in, published_mappings)
SELECT 'dst_' || lpad(id::text, 20, '0'), id, 'Shop ' || id, advertiser_id, 'NA', 'USD', 'valid', 1
FROM lanes WHERE advertiser_id LIKE '600000%'

-- name: other_mappings
WITH made AS (
  INSERT INTO mappings (id, destination, name, draft, published_version)
  SELECT 'map_' || substr(d.id, 5), d.id, 'Cart', p.draft, 1
  FROM destinations d, past p WHERE d.advertiser_id LIKE '600000%' RETURNING id, draft)
INSERT INTO mapping_versions (mapping, version, document, published_by)
SELECT id, 1, draft, 'key_1' FROM made

-- name: other_counts
INSERT INTO counts (destination, day, writer, accepted, delivered)
SELECT number, (now() AT TIME ZONE 'UTC')::date, 600, 90, 90 FROM destinations ON CONFLICT DO NOTHING

-- name: other_attempts
INSERT INTO attempts (id, day, lane, destination, fence, worker, batches, events, generation, started_at,
  settled_at, outcome, http_status, duration_ms, delivered, request_id)
SELECT 2000000000 + 10 * d.number + n, (now() AT TIME ZONE 'UTC')::date, d.lane, d.number, 1, 'w', ARRAY[1],
  1, 1, at, at, 'answered', 207, 90, 1, md5(d.number || '-' || n)
FROM destinations d, generate_series(1, 3) n,
  LATERAL (SELECT now() - n * interval '4 minutes' AS at) x

-- name: history
-- Each destination delivered in every 16th bucket. The monitor of the running instance writes the present
-- buckets in another order, so the table is locked.
LOCK TABLE outcome_history IN SHARE ROW EXCLUSIVE MODE;
INSERT INTO outcome_history (organisation_id, destination, bucket_seconds, at, accepted, delivered, rejected,
  dead, requests, oldest_waiting_seconds, learned_rate)
SELECT 'default', d.number, w.seconds, b.at, w.seconds / 50, w.seconds / 60 * (1 + d.number % 7),
  w.seconds / 60, w.seconds / 900 * (d.number % 3), 2, d.number % 900, 4.5
FROM destinations d,
  (VALUES (60, 1), (300, 6), (900, 24), (3600, 360), (10800, 168), (86400, 720)) AS w (seconds, hours),
  LATERAL (SELECT date_bin(make_interval(secs => w.seconds), now(), TIMESTAMPTZ '2000-01-01 00:00Z')
      - n * make_interval(secs => w.seconds) AS at
    FROM generate_series(0, w.hours * 3600 / w.seconds, 16) n) b
ORDER BY b.at ON CONFLICT DO NOTHING

-- name: incidents
-- Each tenth destination is in trouble.
INSERT INTO incidents (organisation_id, id, destination, kind, severity, state, opened_at, last_seen_at,
  summary, affected_events)
SELECT 'default', 'inc_' || md5(id), id, 'rejections', 'warning', 'acknowledged', now(),
  now() + interval '1 hour', '40 % of the events of the last 5 minutes were rejected.', 12
FROM destinations WHERE number % 10 = 0

-- name: audit
INSERT INTO audit (actor, action, subject, destination, before, after)
SELECT 'key_1', 'destination.changed', shop, shop, '{"name": "a"}', '{"name": "b"}'
FROM past, generate_series(1, 20000)
