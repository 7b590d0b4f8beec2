-- name: record_intake
WITH totals AS (
  -- The current counts of today and yesterday.
  SELECT d.organisation_id, c.destination, c.day,
    sum(c.accepted + c.duplicates + c.rejected)::bigint AS received,
    sum(c.rejected)::bigint AS rejected
  FROM destinations d JOIN counts c ON c.destination = d.number
    AND c.day >= (now() AT TIME ZONE 'UTC')::date - 1
  WHERE d.archived_at IS NULL GROUP BY 1, 2, 3
), changes AS (
  -- The increase since the last call.
  SELECT t.organisation_id, t.destination, sum(t.received - coalesce(o.received, 0)) AS received,
    sum(t.rejected - coalesce(o.rejected, 0)) AS rejected
  FROM totals t LEFT JOIN intake_totals o ON o.destination = t.destination AND o.day = t.day
  GROUP BY 1, 2 HAVING sum(t.received - coalesce(o.received, 0)) > 0
), remembered AS (
  -- The current counts, for the next call.
  INSERT INTO intake_totals AS o (organisation_id, destination, day, received, rejected)
  SELECT * FROM totals ON CONFLICT (destination, day)
  DO UPDATE SET received = excluded.received, rejected = excluded.rejected
  WHERE o.received <> excluded.received
)
INSERT INTO intake_steps AS s (organisation_id, destination, at, received, rejected)
SELECT organisation_id, destination, date_bin($1, now(), TIMESTAMPTZ '2000-01-01'), received, rejected
FROM changes ON CONFLICT (destination, at)
DO UPDATE SET received = s.received + excluded.received, rejected = s.rejected + excluded.rejected

-- name: intake
SELECT w.number, least(newest.at + $3::interval, now()) AS received_at, s.received, s.rejected,
  CASE WHEN s.rejected > 0 THEN (
    SELECT reason FROM rejections r WHERE r.destination = w.number
      AND r.day >= (newest.at AT TIME ZONE 'UTC')::date - 1
      AND r.last_at > newest.at - make_interval(secs => w.seconds)
    GROUP BY reason ORDER BY sum(rejected) DESC, reason LIMIT 1) END AS rejected_for
FROM unnest($1::int[], $2::float8[]) AS w (number, seconds)
-- LIMIT makes this one index probe.
CROSS JOIN LATERAL (SELECT at FROM intake_steps WHERE destination = w.number
  ORDER BY at DESC LIMIT 1) newest
CROSS JOIN LATERAL (
  SELECT sum(received)::bigint AS received, sum(rejected)::bigint AS rejected FROM intake_steps
  WHERE destination = w.number AND at > newest.at - make_interval(secs => w.seconds)) s

-- name: volumes
WITH first AS MATERIALIZED (
  -- The first hour with data of each destination.
  SELECT d.number AS destination, h.at AS hour FROM destinations d CROSS JOIN LATERAL (
    SELECT at FROM outcome_history WHERE destination = d.number AND bucket_seconds = 3600
    ORDER BY at LIMIT 1) h
  WHERE d.archived_at IS NULL AND h.at <= date_trunc('hour', now()) - interval '7 days'
), hours AS (
  -- The last complete hour and the same hour of the days before.
  SELECT n AS days_ago, date_trunc('hour', now()) - interval '1 hour' - make_interval(days => n) AS at
  FROM generate_series(0, 14) n
), volumes AS (
  -- The events of every destination in these hours.
  SELECT h.destination, hours.days_ago, h.events FROM hours CROSS JOIN LATERAL (
    SELECT destination, accepted + duplicates + rejected AS events FROM outcome_history
    -- OFFSET keeps Postgres from planning a join that scans the complete history.
    WHERE bucket_seconds = 3600 AND at = hours.at OFFSET 0) h
)
SELECT f.destination, extract(day FROM now() - f.hour)::int AS days,
  coalesce(sum(v.events) FILTER (WHERE v.days_ago = 0), 0)::bigint AS last_hour,
  coalesce(array_agg(v.events) FILTER (WHERE v.days_ago > 0), '{}') AS same_hours,
  (SELECT count(*) FROM hours WHERE days_ago > 0 AND at >= f.hour)::int AS hours
FROM first f LEFT JOIN volumes v ON v.destination = f.destination
GROUP BY f.destination, f.hour
