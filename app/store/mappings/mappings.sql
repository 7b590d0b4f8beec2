-- name: lock
SELECT FROM mappings WHERE organisation_id = acting_organisation() AND id = $1 AND destination = $2 FOR UPDATE

-- name: create
INSERT INTO mappings (organisation_id, id, destination, name, draft)
VALUES (acting_organisation(), $1, $2, $3, $4::text::jsonb)

-- name: publish
INSERT INTO mapping_versions (organisation_id, mapping, version, document, published_by, note)
SELECT acting_organisation(), $1, coalesce(max(version), 0) + 1, $2::text::jsonb, $3, $4
FROM mapping_versions WHERE organisation_id = acting_organisation() AND mapping = $1
RETURNING version

-- name: change
UPDATE mappings SET version = version + 1, updated_at = now(), name = coalesce($2, name),
  draft = coalesce($3::text::jsonb, draft), published_version = coalesce($4, published_version),
  archived_at = CASE WHEN $5 THEN now() ELSE archived_at END
WHERE organisation_id = acting_organisation() AND id = $1
