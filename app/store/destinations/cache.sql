-- name: load
SELECT d.*, CASE WHEN d.suspended THEN -d.version ELSE d.version END AS cached_version,
  d.organisation_id AS organisation, d.sign_in <> 'none' AS signed_in,
  -- JSON, because one row carries all mappings.
  (SELECT coalesce(json_agg(json_build_object('id', m.id, 'number', m.number,
          'version', m.published_version, 'document', v.document) ORDER BY m.number), '[]')
   FROM mappings m
   -- LEFT JOIN: a mapping without a published version has no document.
   LEFT JOIN mapping_versions v ON v.mapping = m.id AND v.version = m.published_version
   WHERE m.organisation_id = d.organisation_id AND m.destination = d.id
     AND m.archived_at IS NULL)::text AS mappings,
  (SELECT coalesce(json_object_agg(n.event_type, n.name), '{}')
   FROM event_names n WHERE n.organisation_id = d.organisation_id
     AND n.advertiser_id = d.advertiser_id)::text AS pins
FROM destinations d WHERE d.id = ANY($1)

-- name: pin_names
INSERT INTO event_names (organisation_id, advertiser_id, event_type, name)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
-- A name that another transaction pinned first stays.
ON CONFLICT DO NOTHING

-- name: pinned_names
SELECT n.organisation_id, n.advertiser_id, n.event_type, n.name FROM event_names n
JOIN unnest($1::text[], $2::text[], $3::text[]) AS w (organisation_id, advertiser_id, event_type)
  USING (organisation_id, advertiser_id, event_type)
