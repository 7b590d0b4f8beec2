-- name: record
WITH period AS (
  -- The time whose requests are recorded now. It ends five seconds ago, because a row with an earlier
  -- time may still be committed.
  SELECT coalesce((SELECT outcomes_recorded_at FROM commit_probes WHERE id = 1),
      now() - interval '1 minute') AS since, now() - interval '5 seconds' AS until
), totals AS (
  -- The current counts of today and yesterday.
  SELECT d.organisation_id, c.destination, c.day, sum(c.accepted)::bigint AS accepted,
    sum(c.duplicates)::bigint AS duplicates, sum(c.rejected)::bigint AS rejected,
    sum(c.delivered)::bigint AS delivered, sum(c.dead)::bigint AS dead, sum(c.expired)::bigint AS expired
  FROM destinations d JOIN counts c ON c.destination = d.number
    AND c.day >= (now() AT TIME ZONE 'UTC')::date - 1
  WHERE d.archived_at IS NULL GROUP BY 1, 2, 3
), changes AS (
  -- Their increase since the last recording. A replay decreases the count `dead`, but the counts of a bucket
  -- never decrease.
  SELECT t.destination, greatest(sum(t.accepted - coalesce(o.accepted, 0)), 0)::bigint AS accepted,
    greatest(sum(t.duplicates - coalesce(o.duplicates, 0)), 0)::bigint AS duplicates,
    greatest(sum(t.rejected - coalesce(o.rejected, 0)), 0)::bigint AS rejected,
    greatest(sum(t.delivered - coalesce(o.delivered, 0)), 0)::bigint AS delivered,
    greatest(sum(t.dead - coalesce(o.dead, 0)), 0)::bigint AS dead,
    greatest(sum(t.expired - coalesce(o.expired, 0)), 0)::bigint AS expired
  FROM totals t LEFT JOIN outcome_totals o ON o.destination = t.destination AND o.day = t.day
  WHERE (t.accepted, t.duplicates, t.rejected, t.delivered, t.dead, t.expired) IS DISTINCT FROM
    (o.accepted, o.duplicates, o.rejected, o.delivered, o.dead, o.expired)
  GROUP BY 1
), remembered AS (
  -- The current counts, for the next recording.
  INSERT INTO outcome_totals AS o (organisation_id, destination, day, accepted, duplicates, rejected, delivered,
    dead, expired)
  SELECT * FROM totals ON CONFLICT (destination, day) DO UPDATE SET accepted = excluded.accepted,
    duplicates = excluded.duplicates, rejected = excluded.rejected, delivered = excluded.delivered,
    dead = excluded.dead, expired = excluded.expired
  WHERE (o.accepted, o.duplicates, o.rejected, o.delivered, o.dead, o.expired) IS DISTINCT FROM
    (excluded.accepted, excluded.duplicates, excluded.rejected, excluded.delivered, excluded.dead,
     excluded.expired)
), marked AS (
  -- The next recording begins where this one ends.
  UPDATE commit_probes SET outcomes_recorded_at = period.until FROM period WHERE id = 1
), news AS (
  -- Destinations with a change, a request or a waiting event.
  SELECT d.organisation_id, d.number AS destination,
    coalesce(c.accepted, 0) AS accepted, coalesce(c.duplicates, 0) AS duplicates,
      coalesce(c.rejected, 0) AS rejected, coalesce(c.delivered, 0) AS delivered, coalesce(c.dead, 0) AS dead,
      coalesce(c.expired, 0) AS expired, r.requests, r.failed_requests, r.retried,
    w.age AS oldest_waiting_seconds, least(d.requests_per_second, l.learned_rate)::real AS learned_rate
  FROM period CROSS JOIN destinations d JOIN lanes l ON l.id = d.lane
  LEFT JOIN changes c ON c.destination = d.number
  LEFT JOIN unnest($1::int[], $2::real[]) AS w (destination, age) ON w.destination = d.number
  CROSS JOIN LATERAL (
    SELECT count(*) AS requests, count(*) FILTER (WHERE outcome <> 'answered') AS failed_requests,
      coalesce(sum(events) FILTER (WHERE outcome <> 'answered'), 0)::bigint AS retried
    FROM attempts WHERE destination = d.number AND day BETWEEN (now() AT TIME ZONE 'UTC')::date - 1
      AND (now() AT TIME ZONE 'UTC')::date
      AND outcome <> 'not_sent'
      AND started_at > period.since - interval '3 minutes'
      AND settled_at > period.since AND settled_at <= period.until) r
  WHERE d.archived_at IS NULL
    AND (c.destination IS NOT NULL OR w.destination IS NOT NULL OR r.requests > 0)
)
INSERT INTO outcome_history AS h (bucket_seconds, at, organisation_id, destination, accepted, duplicates,
  rejected, delivered, dead, expired, requests, failed_requests, retried, oldest_waiting_seconds, learned_rate)
SELECT width.seconds, date_bin(make_interval(secs => width.seconds), now(), TIMESTAMPTZ '2000-01-01 00:00Z'),
  n.*
FROM news n CROSS JOIN unnest($3::int[]) AS width (seconds)
ON CONFLICT (destination, bucket_seconds, at) DO UPDATE
SET accepted = h.accepted + excluded.accepted, duplicates = h.duplicates + excluded.duplicates,
  rejected = h.rejected + excluded.rejected, delivered = h.delivered + excluded.delivered,
  dead = h.dead + excluded.dead, expired = h.expired + excluded.expired,
  requests = h.requests + excluded.requests, failed_requests = h.failed_requests + excluded.failed_requests,
  retried = h.retried + excluded.retried,
  -- The home page shows the newest age of a minute as the present one. Wider buckets have the highest age.
  oldest_waiting_seconds = CASE WHEN h.bucket_seconds = 60 THEN excluded.oldest_waiting_seconds
    ELSE greatest(h.oldest_waiting_seconds, excluded.oldest_waiting_seconds) END,
  learned_rate = coalesce(excluded.learned_rate, h.learned_rate)

-- name: forget
DELETE FROM outcome_history h USING unnest($1::int[], $2::interval[]) AS width (seconds, kept)
WHERE h.bucket_seconds = width.seconds AND h.at < now() - width.kept

-- name: forget_totals
DELETE FROM outcome_totals WHERE day < (now() AT TIME ZONE 'UTC')::date - 2

-- name: buckets
SELECT destination, at, sum(accepted)::bigint AS accepted, sum(duplicates)::bigint AS duplicates,
  sum(rejected)::bigint AS rejected, sum(delivered)::bigint AS delivered, sum(dead)::bigint AS dead,
  sum(expired)::bigint AS expired, sum(requests)::bigint AS requests,
  sum(failed_requests)::bigint AS failed_requests, sum(retried)::bigint AS retried,
  max(oldest_waiting_seconds) AS oldest_waiting_seconds, max(learned_rate) AS learned_rate
FROM (
  SELECT destination, at, accepted, duplicates, rejected, delivered, dead, expired, requests, failed_requests,
    retried, oldest_waiting_seconds, learned_rate
  FROM outcome_history WHERE organisation_id = acting_organisation()
    AND destination = ANY($1::int[]) AND bucket_seconds = $2 AND at >= $3
  UNION ALL
  -- The increase since the last recording.
  SELECT destination, date_bin(make_interval(secs => $2), now(), TIMESTAMPTZ '2000-01-01 00:00Z'),
    greatest(sum(accepted), 0), greatest(sum(duplicates), 0), greatest(sum(rejected), 0),
    greatest(sum(delivered), 0), greatest(sum(dead), 0), greatest(sum(expired), 0), 0, 0, 0, NULL, NULL
  FROM (
    SELECT destination, accepted, duplicates, rejected, delivered, dead, expired FROM counts
    WHERE destination = ANY($1::int[]) AND day >= (now() AT TIME ZONE 'UTC')::date - 1
    UNION ALL
    SELECT destination, -accepted, -duplicates, -rejected, -delivered, -dead, -expired FROM outcome_totals
    WHERE organisation_id = acting_organisation() AND destination = ANY($1::int[])
      AND day >= (now() AT TIME ZONE 'UTC')::date - 1) increase
  GROUP BY destination
) x GROUP BY destination, at ORDER BY destination, at
