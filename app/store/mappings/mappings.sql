-- name: lock
SELECT FROM mappings WHERE organisation_id = acting_organisation() AND id = $1 AND destination = $2 FOR UPDATE

-- name: lock_all
SELECT FROM mappings WHERE organisation_id = acting_organisation() AND destination = ANY ($1)
ORDER BY number FOR UPDATE

-- name: create
INSERT INTO mappings (organisation_id, id, destination, name, draft)
VALUES (acting_organisation(), $1, $2, $3, $4::text::jsonb)

-- name: publish
INSERT INTO mapping_versions (organisation_id, mapping, version, document, published_by, note)
SELECT acting_organisation(), $1, coalesce(max(version), 0) + 1, $2::text::jsonb, $3, $4
FROM mapping_versions WHERE organisation_id = acting_organisation() AND mapping = $1
RETURNING version

-- name: change_draft
UPDATE mappings SET version = version + 1, updated_at = now(), name = $2, draft = $3::text::jsonb
WHERE organisation_id = acting_organisation() AND id = $1

-- name: point_at
UPDATE mappings SET version = version + 1, updated_at = now(), published_version = $2
WHERE organisation_id = acting_organisation() AND id = $1

-- name: archive
UPDATE mappings SET version = version + 1, updated_at = now(), archived_at = now()
WHERE organisation_id = acting_organisation() AND id = $1
