-- name: exchange
WITH own AS (
  -- The demand at this process. The join leaves out organisations that do not exist.
  INSERT INTO inbound_demand (organisation_id, process, demand)
  SELECT o.id, $1, n.demand FROM unnest($2::text[], $3::real[]) AS n (id, demand)
  JOIN organisations o ON o.id = n.id
  ON CONFLICT (organisation_id, process) DO UPDATE SET demand = excluded.demand, updated_at = now()
), ended AS (
  -- Rows of this process to delete, and rows of processes that ended.
  DELETE FROM inbound_demand WHERE (process = $1 AND organisation_id = ANY($4::text[]))
    OR updated_at < now() - interval '1 hour'
)
SELECT organisation_id, demand FROM inbound_demand
WHERE organisation_id = ANY($5::text[]) AND process <> $1
  -- A row that was not updated for six exchanges belongs to a process that ended.
  AND updated_at > now() - interval '3 seconds'
