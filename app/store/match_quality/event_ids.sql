-- name: account
SELECT organisation_id AS organisation, region, advertiser_id FROM destinations
WHERE number = $1 AND organisation_id = acting_organisation()

-- name: mapping_ids
SELECT m.id FROM mappings m JOIN destinations d ON d.id = m.destination
WHERE d.number = $1 AND m.organisation_id = acting_organisation()

-- name: accepted
SELECT coalesce(sum(events), 0)::bigint FROM batch_states
WHERE destination = $1 AND accepted_at >= $2 AND accepted_at < $3

-- name: batches_between
SELECT batch FROM batch_states WHERE destination = $1 AND accepted_at >= $2 AND accepted_at < $3
  AND batch = ANY($4::bigint[])
