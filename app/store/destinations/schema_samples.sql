-- name: add
INSERT INTO schema_samples (mapping, events, content) VALUES ($1, $2, $3)

-- name: trim
DELETE FROM schema_samples WHERE id IN (
  SELECT id FROM (
    SELECT id, sum(events) OVER (PARTITION BY mapping ORDER BY id DESC) - events AS newer
    FROM schema_samples WHERE mapping = ANY ($1)
  ) AS counted WHERE newer >= $2)

-- name: write_fingerprints
UPDATE schema_fingerprints f SET content = k.content
FROM unnest($1::integer[], $2::bytea[]) AS k (destination, content)
WHERE f.destination = k.destination AND f.content <> k.content

-- name: lock_fingerprints
SELECT destination, closed, content, generation, erasures FROM schema_fingerprints
WHERE destination = ANY($1)
-- In order, so that two processes cannot deadlock.
ORDER BY destination FOR UPDATE

-- name: close
INSERT INTO schema_fingerprints AS f (destination, closed)
SELECT number, $3::text[] FROM destinations
WHERE number = $1 OR (id = $2 AND organisation_id = acting_organisation())
ON CONFLICT (destination) DO UPDATE
SET closed = ARRAY(SELECT DISTINCT unnest(f.closed || excluded.closed)), content = '',
  generation = f.generation + 1
WHERE NOT f.closed @> excluded.closed

-- name: newest
-- A value that is not returned is not read, so the ids of damaged contents can be.
SELECT o.id, CASE WHEN $3 THEN o.content END AS content FROM schema_samples o JOIN mappings m ON m.number = o.mapping
WHERE m.organisation_id = acting_organisation() AND $1 IN (m.id, m.destination)
ORDER BY o.id DESC LIMIT $2

-- name: content
SELECT content FROM schema_samples WHERE id = $1

-- name: fingerprints
SELECT f.closed, f.content, f.generation FROM schema_fingerprints f
JOIN destinations d ON d.number = f.destination JOIN mappings m ON m.destination = d.id
WHERE m.organisation_id = acting_organisation() AND $1 IN (m.id, m.destination) LIMIT 1
