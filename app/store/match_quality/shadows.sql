-- name: running
SELECT s.destination, s.mapping, m.id AS mapping_id, s.document::text AS document, s.share,
  s.started_at
FROM shadows s JOIN mappings m ON m.number = s.mapping WHERE s.ends_at > now()

-- name: lock_counts
SELECT events, same, different, newly_rejected, newly_accepted, skipped, fields::text AS fields
FROM shadows WHERE destination = $1 AND started_at = $2 FOR UPDATE

-- name: write_counts
UPDATE shadows SET events = $2, same = $3, different = $4, newly_rejected = $5, newly_accepted = $6,
  skipped = $7, fields = $8::jsonb WHERE destination = $1

-- name: start
INSERT INTO shadows (destination, mapping, document, share, started_by, ends_at)
SELECT number, $2, $3::text::jsonb, $4, $5, now() + make_interval(mins => $6)
FROM destinations WHERE number = $1 AND organisation_id = acting_organisation()
ON CONFLICT (destination) DO UPDATE SET mapping = excluded.mapping, document = excluded.document,
  share = excluded.share, started_by = excluded.started_by, started_at = now(), ends_at = excluded.ends_at,
  events = 0, same = 0, different = 0, newly_rejected = 0, newly_accepted = 0, skipped = 0, fields = '{}'

-- name: end
UPDATE shadows SET ends_at = now() WHERE destination = $1 AND mapping = $2 AND ends_at > now()
  AND EXISTS (SELECT FROM destinations d WHERE d.number = $1 AND d.organisation_id = acting_organisation())

-- name: find
SELECT s.share, s.started_by, s.started_at, s.ends_at, s.ends_at > now() AS is_running, s.events, s.same,
  s.different, s.newly_rejected, s.newly_accepted, s.skipped, s.fields::text AS fields
FROM shadows s JOIN destinations d ON d.number = s.destination
WHERE s.destination = $1 AND s.mapping = $2 AND d.organisation_id = acting_organisation()
