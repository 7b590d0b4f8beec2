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
