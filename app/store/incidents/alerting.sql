-- name: read_all
SELECT destination, alerting::text AS alerting, channels, kinds, min_severity
FROM destination_alerting
WHERE organisation_id = acting_organisation() AND destination = ANY ($1::text[])

-- name: write_alerting
INSERT INTO destination_alerting (organisation_id, destination, alerting)
SELECT organisation_id, id, $2::jsonb FROM destinations
WHERE organisation_id = acting_organisation() AND id = $1
ON CONFLICT (destination) DO UPDATE SET alerting = excluded.alerting

-- name: write_preference
INSERT INTO destination_alerting (organisation_id, destination, channels, kinds, min_severity)
SELECT organisation_id, id, $2, $3, $4 FROM destinations
WHERE organisation_id = acting_organisation() AND id = $1
ON CONFLICT (destination) DO UPDATE
SET channels = excluded.channels, kinds = excluded.kinds, min_severity = excluded.min_severity
