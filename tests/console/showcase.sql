-- name: attempt
UPDATE attempts SET started_at = started_at - $2::interval, settled_at = settled_at - $2::interval,
  duration_ms = $3
WHERE id = $1

-- name: counts
INSERT INTO counts (destination, day, writer, accepted, delivered, rejected, dead)
SELECT c.destination, (now() AT TIME ZONE 'UTC')::date - d, 900 + d, sum(c.delivered) * w,
  sum(c.delivered) * w, 0, 0
FROM counts c,
  LATERAL (SELECT d, 1 + (d * 7 + c.destination * 3) % 5 AS w FROM generate_series(1, 13) d) x
WHERE c.delivered > 0 GROUP BY c.destination, d, w

-- name: history
INSERT INTO outcome_history (organisation_id, destination, bucket_seconds, at, accepted, delivered, rejected,
  dead, requests, failed_requests, retried, oldest_waiting_seconds, learned_rate)
SELECT 'default', c.destination, w.seconds, b.at, e, e, e * (n % 7) / 90, 0, e / 40 + 1, (n % 9) / 8,
  e * ((n % 9) / 8), 1 + (n * 5 + c.destination) % 9, 4 + (n % 5) / 5.0
FROM (SELECT DISTINCT destination FROM counts WHERE delivered > 0) c,
  (VALUES (60, 124), (300, 72), (900, 96), (3600, 330), (10800, 56), (86400, 30)) AS w (seconds, buckets),
  LATERAL (SELECT n, date_bin(make_interval(secs => w.seconds), now(), TIMESTAMPTZ '2000-01-01 00:00Z')
      - n * make_interval(secs => w.seconds) AS at
    FROM generate_series(1, w.buckets) n) b,
  LATERAL (SELECT (sqrt(w.seconds) * (3 + 2 * sin(n / 9.0) + (n * 7 + c.destination) % 3))::int AS e) x
ON CONFLICT DO NOTHING
