-- name: record_day
INSERT INTO organisation_usage (organisation_id, day, requests, bytes)
SELECT o.id, $1::date,
  -- An attempt that failed before anything was sent is not a request.
  (SELECT count(*) FROM attempts a JOIN destinations d ON d.number = a.destination
   WHERE d.organisation_id = o.id AND a.day = $1::date AND a.outcome IS DISTINCT FROM 'not_sent'),
  (SELECT coalesce(sum(s.bytes), 0) FROM batch_states s JOIN destinations d ON d.number = s.destination
   WHERE d.organisation_id = o.id AND s.day = $1::date)
FROM organisations o ON CONFLICT DO NOTHING

-- name: by_day
SELECT t.day,
  (SELECT coalesce(sum(c.accepted), 0)::bigint FROM counts c JOIN destinations d ON d.number = c.destination
   WHERE d.organisation_id = o.id AND c.day = t.day) AS events,
  -- Stored if the partitions of the day were dropped, else counted as in `record_day`.
  coalesce(u.requests, (
    SELECT count(*) FROM attempts a JOIN destinations d ON d.number = a.destination
    WHERE d.organisation_id = o.id AND a.day = t.day AND a.outcome IS DISTINCT FROM 'not_sent')) AS requests,
  coalesce(u.bytes, (
    SELECT coalesce(sum(s.bytes), 0) FROM batch_states s JOIN destinations d ON d.number = s.destination
    WHERE d.organisation_id = o.id AND s.day = t.day))::bigint AS bytes
FROM organisations o
CROSS JOIN (SELECT d::date AS day FROM generate_series($2::date, $3::date, interval '1 day') AS d) AS t
LEFT JOIN organisation_usage u ON u.organisation_id = o.id AND u.day = t.day
WHERE o.id = $1 ORDER BY t.day

-- name: exchange_demand
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
