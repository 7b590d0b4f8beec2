-- name: running
SELECT s.destination, s.mapping, m.id AS mapping_id, s.share, s.started_at,
  -- A process reads and compiles a draft once.
  CASE WHEN s.started_at <> ALL ($1::timestamptz[]) THEN s.document::text END AS document
FROM shadows s JOIN mappings m ON m.number = s.mapping WHERE s.ends_at > now()

-- name: add
UPDATE shadows s SET events = s.events + $3, same = s.same + $4, different = s.different + $5,
  newly_rejected = s.newly_rejected + $6, newly_accepted = s.newly_accepted + $7, skipped = s.skipped + $8,
  fields = (
    -- Gained, lost and changed, of this process and of the others.
    SELECT coalesce(jsonb_object_agg(t.name, jsonb_build_array(t.gained, t.lost, t.changed)), '{}')
    FROM (
      SELECT f.key AS name, sum((f.value -> 0)::bigint) AS gained, sum((f.value -> 1)::bigint) AS lost,
        sum((f.value -> 2)::bigint) AS changed
      FROM (SELECT * FROM jsonb_each(s.fields) UNION ALL SELECT * FROM jsonb_each($9::text::jsonb)) f
      GROUP BY f.key) t)
WHERE s.destination = $1 AND s.started_at = $2

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
