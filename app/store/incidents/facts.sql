-- name: destinations
SELECT d.number, d.id, d.organisation_id AS organisation, d.lane, d.sign_in_reason, l.breaker,
  coalesce(l.blocked_until > now(), false) AS is_blocked, d.state = 'paused' AS is_paused,
  CASE WHEN d.state IN ('connected', 'active') AND s.refresh_until IS NOT NULL
    AND coalesce(s.access_until, s.connected_at) < now()
    THEN coalesce(s.access_until, s.connected_at) END AS no_token_since,
  a.alerting::text AS alerting, a.channels, a.kinds, a.min_severity
FROM destinations d JOIN lanes l ON l.id = d.lane
LEFT JOIN sign_ins s ON s.destination = d.id
LEFT JOIN destination_alerting a ON a.destination = d.id
WHERE d.archived_at IS NULL ORDER BY d.number

-- name: requests
-- The upper limit of the days excludes the empty partitions of later days.
WITH active AS MATERIALIZED (
  -- Destinations with a recent request. LIMIT makes this one index probe each instead of a join.
  SELECT w.* FROM unnest($1::int[], $2::float8[]) AS w (number, seconds), LATERAL (
    SELECT FROM attempts WHERE destination = w.number
      AND day BETWEEN (now() AT TIME ZONE 'UTC')::date - 1 AND (now() AT TIME ZONE 'UTC')::date
      AND started_at > now() - greatest(make_interval(secs => w.seconds + 120), interval '15 minutes')
    LIMIT 1) recent
)
SELECT w.number, recent.requests, recent.failed AS failed_requests, newest.outcome AS last_outcome,
  newest.http_status AS last_status, success.settled_at AS success_at, recent.unanswered_since,
  silent.since AS silent_since
FROM active w
-- Requests with a result within the window, and the oldest request without one. A request can start up to
-- two minutes before the window.
CROSS JOIN LATERAL (
  SELECT count(outcome) AS requests, count(*) FILTER (WHERE outcome IN ('broken', 'lost')) AS failed,
    min(started_at) FILTER (WHERE outcome IS NULL) AS unanswered_since
  FROM attempts WHERE destination = w.number
    AND day BETWEEN (now() AT TIME ZONE 'UTC')::date - 1 AND (now() AT TIME ZONE 'UTC')::date
    AND started_at > now() - make_interval(secs => w.seconds + 120)
    AND (outcome IS NULL
      OR settled_at > now() - make_interval(secs => w.seconds) AND outcome <> 'not_sent')) recent
-- The last request with a result: if it succeeded, the fault is over.
LEFT JOIN LATERAL (
  SELECT outcome, http_status FROM attempts WHERE destination = w.number
    AND day BETWEEN (now() AT TIME ZONE 'UTC')::date - 1 AND (now() AT TIME ZONE 'UTC')::date
    AND started_at > now() - interval '15 minutes' AND settled_at IS NOT NULL AND outcome <> 'not_sent'
  ORDER BY started_at DESC LIMIT 1) newest ON true
LEFT JOIN LATERAL (
  SELECT settled_at FROM attempts WHERE destination = w.number
    AND day BETWEEN (now() AT TIME ZONE 'UTC')::date - 1 AND (now() AT TIME ZONE 'UTC')::date
    AND started_at > now() - interval '15 minutes' AND outcome = 'answered'
  ORDER BY started_at DESC LIMIT 1) success ON true
-- The newest request with a response, and the first one after it.
LEFT JOIN LATERAL (
  SELECT started_at FROM attempts WHERE destination = w.number
    AND day BETWEEN (now() AT TIME ZONE 'UTC')::date - 1 AND (now() AT TIME ZONE 'UTC')::date
    AND started_at > now() - interval '15 minutes' AND outcome NOT IN ('lost', 'not_sent')
  ORDER BY started_at DESC LIMIT 1) heard ON true
CROSS JOIN LATERAL (
  SELECT min(started_at) AS since FROM attempts WHERE destination = w.number
    AND day BETWEEN (now() AT TIME ZONE 'UTC')::date - 1 AND (now() AT TIME ZONE 'UTC')::date
    AND started_at > coalesce(heard.started_at, now() - interval '15 minutes')
    AND (outcome IS NULL OR outcome = 'lost')) silent

-- name: waiting
WITH RECURSIVE waiting AS (
  -- Each step finds the next destination with a row, by an index probe of each table. All numbers are above 0.
  SELECT 0 AS number
  UNION ALL
  SELECT least((SELECT destination FROM batch_states WHERE settled_at IS NULL
      AND destination > w.number ORDER BY destination LIMIT 1),
    (SELECT destination FROM exceptions WHERE status = 'retrying'
      AND destination > w.number ORDER BY destination LIMIT 1))
  FROM waiting w WHERE w.number IS NOT NULL
)
SELECT w.number, front.oldest_at AS oldest_waiting_at FROM waiting w
-- The oldest of the first 50 live batches and exceptions. Replays and backfills may wait: they have queue 2.
CROSS JOIN LATERAL (SELECT min(accepted_at) AS oldest_at FROM (
  (SELECT accepted_at FROM batch_states
    WHERE destination = w.number AND queue = 0 AND settled_at IS NULL AND events > 0
    ORDER BY due_at LIMIT 50)
  UNION ALL
  SELECT s.accepted_at FROM (SELECT batch, day FROM exceptions
    WHERE destination = w.number AND queue = 0 AND status = 'retrying'
    ORDER BY due_at LIMIT 50) e
  JOIN batch_states s ON s.batch = e.batch AND s.day = e.day) x) front
WHERE w.number > 0

-- name: dead
WITH RECURSIVE failing AS (
  -- Each step finds the next destination with a row, by one index probe.
  SELECT 0 AS destination
  UNION ALL
  SELECT (SELECT destination FROM exceptions WHERE status = 'dead' AND dismissed_at IS NULL
    AND destination > failing.destination ORDER BY destination LIMIT 1)
  FROM failing WHERE failing.destination IS NOT NULL
)
SELECT failing.destination AS number, dead.n AS dead_open, first_dead.accepted_at AS oldest_dead_at
FROM failing
-- Further dead letters are not counted.
CROSS JOIN LATERAL (SELECT count(*) AS n FROM (SELECT FROM exceptions
  WHERE destination = failing.destination AND status = 'dead' AND dismissed_at IS NULL LIMIT 10000) x) dead
CROSS JOIN LATERAL (SELECT min(s.accepted_at) AS accepted_at FROM (SELECT batch, day FROM exceptions
  WHERE destination = failing.destination AND status = 'dead' AND dismissed_at IS NULL
  ORDER BY changed_at LIMIT 50) x
  JOIN batch_states s ON s.batch = x.batch AND s.day = x.day) first_dead
WHERE failing.destination > 0

-- name: expiring
SELECT destination AS number, sum(events)::bigint AS expiring_events, min(first) + $1 AS first_expiry_at,
  min(since) AS expiring_since
FROM (
  SELECT destination, events, last_event AS first, accepted_at AS since FROM batch_states
  WHERE settled_at IS NULL AND disposition IS NULL AND events > 0 AND last_event < now() - $1::interval + $2::interval
  UNION ALL
  SELECT e.destination, 1, e.event_at, s.accepted_at FROM exceptions e
  JOIN batch_states s ON s.batch = e.batch AND s.day = e.day
  WHERE e.status = 'retrying'
    AND e.event_at BETWEEN '2000-01-01+00' AND now() - $1::interval + $2::interval) x
GROUP BY destination

-- name: waiting_events
SELECT n AS number, (coalesce(b.events, 0) + e.events)::bigint AS waiting_events,
  least(b.first, e.first) + $2::interval AS earliest_expiry_at
FROM unnest($1::int[]) AS n
CROSS JOIN LATERAL (SELECT sum(events) AS events, min(first_event) FILTER (WHERE events > 0) AS first
  FROM (SELECT events, first_event FROM batch_states
    WHERE destination = n AND settled_at IS NULL LIMIT 10000) x) b
CROSS JOIN LATERAL (SELECT count(*) AS events, min(event_at) AS first FROM (
  SELECT event_at FROM exceptions
  WHERE destination = n AND status = 'retrying' LIMIT 10000) x) e

-- name: workers
WITH RECURSIVE open_batches AS (
  -- Each step finds the next destination with a row, by one index probe.
  SELECT 0 AS destination
  UNION ALL
  SELECT (SELECT destination FROM batch_states WHERE settled_at IS NULL
    AND destination > open_batches.destination ORDER BY destination LIMIT 1)
  FROM open_batches WHERE open_batches.destination IS NOT NULL
)
-- A lease beyond $1 was written while the database's clock was ahead.
SELECT EXISTS (SELECT FROM lanes WHERE leased_until BETWEEN now() AND now() + $1::interval) AS is_leased,
  (SELECT min(front.accepted_at) FROM open_batches o JOIN destinations d ON d.number = o.destination,
   LATERAL (SELECT accepted_at FROM batch_states
     WHERE settled_at IS NULL AND destination = d.number AND events > 0 AND due_at <= now()
     ORDER BY queue, due_at LIMIT 1) front
   WHERE d.state IN ('connected', 'active')) AS oldest_sendable_at

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
SELECT f.destination, extract(day FROM now() - f.hour)::int AS days_of_volume,
  -- An hour without a row had no event.
  coalesce(sum(v.events) FILTER (WHERE h.days_ago = 0), 0)::bigint AS last_hour,
  array_agg(coalesce(v.events, 0)) FILTER (WHERE h.days_ago > 0) AS same_hours
FROM first f JOIN hours h ON h.at >= f.hour
LEFT JOIN volumes v ON v.destination = f.destination AND v.days_ago = h.days_ago
GROUP BY f.destination, f.hour

-- name: mapping_problems
SELECT c.destination, c.mapping, c.events, c.purchases, c.suspect_rule AS rule, c.suspect_path, c.suspects,
  c.drift_path AS path, c.drift_successor AS successor, c.drift_is_text AS is_text
FROM mapping_checks c
WHERE (c.suspect_rule IS NOT NULL OR c.drift_path IS NOT NULL)
  AND c.observed_at > now() - interval '1 day'
  AND c.observed_at > (SELECT max(o.observed_at) FROM mapping_checks o WHERE o.mapping = c.mapping)
    - interval '1 minute'
ORDER BY c.suspects DESC, c.events DESC, c.mapping
