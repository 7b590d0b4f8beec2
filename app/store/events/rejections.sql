-- name: add
WITH given AS (
  -- The records to write.
  SELECT *, date_trunc('minute', received_at) AS minute
  FROM unnest($1::int[], $2::timestamptz[], $3::text[], $4::text[], $5::int[], $6::text[], $7::text[], $8::text[],
    $9::text[], $10::text[], $11::text[], $12::text[], $13::jsonb[])
    AS g (destination, received_at, request_id, event_id, mapping, code, reason, field, mapping_field, journey_id,
      node_id, execution_id, also)
), stored AS (
  -- The number of stored records of each destination and minute.
  SELECT m.destination, m.minute, (SELECT count(*) FROM rejection_records r
    WHERE r.destination = m.destination AND r.received_at >= m.minute
      AND r.received_at < m.minute + interval '1 minute') AS records
  FROM (SELECT DISTINCT destination, minute FROM given) m
), ranked AS (
  -- The rank of each new record within its minute, the oldest first.
  SELECT g.*, row_number() OVER (PARTITION BY destination, minute ORDER BY received_at) AS rank FROM given g
)
INSERT INTO rejection_records (organisation_id, destination, received_at, request_id, event_id, mapping, code, reason,
  field, mapping_field, journey_id, node_id, execution_id, also)
SELECT d.organisation_id, r.destination, r.received_at, r.request_id, r.event_id, r.mapping, r.code, r.reason,
  r.field, r.mapping_field, r.journey_id, r.node_id, r.execution_id, r.also
FROM ranked r JOIN stored s USING (destination, minute) JOIN destinations d ON d.number = r.destination
WHERE s.records + r.rank <= $14 ORDER BY r.received_at

-- name: delete_old
DELETE FROM rejection_records WHERE id IN (SELECT id FROM (
  SELECT id, received_at FROM rejection_records ORDER BY id LIMIT $2) oldest
  WHERE received_at < now() - $1::interval)
