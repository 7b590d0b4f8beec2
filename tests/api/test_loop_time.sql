-- name: large_request
-- A request with all events of the largest batch of a destination.
INSERT INTO attempts (id, day, lane, destination, fence, worker, batches, events, generation, started_at,
  settled_at, outcome, http_status, duration_ms, delivered)
SELECT 1, s.day, d.lane, d.number, 1, 'w', ARRAY[s.batch], s.events, 1, now(), now(), 'answered', 207, 80, 500
FROM batch_states s JOIN destinations d ON d.number = s.destination
WHERE d.id = $1 ORDER BY s.events DESC LIMIT 1 RETURNING id

-- name: samples
INSERT INTO schema_samples (mapping, events, content)
SELECT number, $2, $3 FROM mappings WHERE destination = $1

-- name: shops
-- 200 copies of a destination, and 200 of its mapping.
WITH numbers AS (
  SELECT n, lpad(n::text, 20, '0') AS id FROM generate_series(1001, 1200) AS n
), shops AS (
  INSERT INTO destinations (organisation_id, id, lane, name, advertiser_id, region, currency,
    requests_per_second, burst)
  SELECT organisation_id, 'dst_' || numbers.id, lane, 'Shop ' || n, advertiser_id, region, currency,
    requests_per_second, burst FROM destinations d, numbers WHERE d.id = $1)
INSERT INTO mappings (organisation_id, id, destination, name, draft)
SELECT organisation_id, 'map_' || numbers.id, destination, 'Mapping ' || n, draft
FROM mappings, numbers WHERE destination = $1

-- name: keys
INSERT INTO api_keys (id, name, hint, digest, scopes, created_by)
SELECT 'key_' || lpad(n::text, 20, '0'), 'key ' || n, 'ack_0000', sha256(n::text::bytea), '{events:write}', 'x'
FROM generate_series(1, 200) n

-- name: mappings
-- As many published mappings of a destination, all with this document.
WITH made AS (
  INSERT INTO mappings (organisation_id, id, destination, name, draft, published_version)
  SELECT organisation_id, 'map_' || lpad((1000 + n)::text, 20, '0'), $1, 'Mapping ' || n, $2::jsonb, 1
  FROM destinations, generate_series(1, $3::int) AS n WHERE id = $1 RETURNING organisation_id, id)
INSERT INTO mapping_versions (organisation_id, mapping, version, document, published_by)
SELECT organisation_id, id, 1, $2::jsonb, 'x' FROM made

-- name: versions
-- 19 more versions of the mapping of a destination, each with a change.
INSERT INTO mapping_versions (organisation_id, mapping, version, document, published_by)
SELECT organisation_id, id, n, jsonb_set($2::jsonb, '{custom_data,0,name}', to_jsonb('n' || n)), 'x'
FROM mappings, generate_series(2, 20) AS n WHERE destination = $1

-- name: expired_batches
-- 60 copies of the last batch of a destination. Its events expired before they were sent.
INSERT INTO batches (day, id, destination, content, shapes)
SELECT day, id + 1000 * n, destination, content, shapes FROM batches b, generate_series(1, 60) AS n
WHERE destination = (SELECT number FROM destinations WHERE id = $1)
  AND id = (SELECT max(id) FROM batches o WHERE o.destination = b.destination)

-- name: expired_states
INSERT INTO batch_states (day, batch, destination, events, bytes, first_event, last_event, data_key,
  disposition, settled_at)
SELECT day, batch + 1000 * n, destination, events, bytes, first_event, last_event, data_key, 'expired', now()
FROM batch_states b, generate_series(1, 60) AS n
WHERE destination = (SELECT number FROM destinations WHERE id = $1)
  AND batch = (SELECT max(batch) FROM batch_states o WHERE o.destination = b.destination)

-- name: duplicates
INSERT INTO mapped_duplicates (key, day, batch, place)
SELECT decode(md5(batch::text), 'hex'), day, batch, 0 FROM batch_states
