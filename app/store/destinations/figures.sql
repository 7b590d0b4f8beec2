-- name: destination_figures
SELECT d.state, d.requests_per_second, d.burst, l.learned_rate, l.breaker, l.error_rate,
  coalesce(l.leased_until > now(), false) AS lane_owned, is_shared_account(d.number) AS shared_account,
  (SELECT row_to_json(c)::text FROM (
     SELECT coalesce(sum(accepted), 0)::bigint AS accepted, coalesce(sum(duplicates), 0)::bigint AS duplicates,
       coalesce(sum(rejected), 0)::bigint AS rejected, coalesce(sum(retrying), 0)::bigint AS retrying,
       coalesce(sum(delivered), 0)::bigint AS delivered, coalesce(sum(dead), 0)::bigint AS dead,
       coalesce(sum(expired), 0)::bigint AS expired, coalesce(sum(erased), 0)::bigint AS erased
     FROM counts WHERE destination = d.number) c) AS totals,
  (SELECT coalesce(json_agg(json_build_array(code, reason, n)), '[]')::text FROM (
     SELECT code, reason, sum(rejected)::bigint AS n FROM rejections WHERE destination = d.number
     GROUP BY code, reason ORDER BY 3 DESC LIMIT 50) r) AS rejected,
  (SELECT coalesce(json_agg(json_build_array(reason, n)), '[]')::text FROM (
     SELECT reason, count(*) AS n FROM exceptions WHERE destination = d.number AND status = 'dead' AND day >= '2000-01-01'
     GROUP BY reason) x) AS dead
FROM destinations d JOIN lanes l ON l.id = d.lane WHERE d.number = $1

-- name: oldest
SELECT min(accepted_at) AS oldest_waiting, min(first_event) AS earliest_expiry FROM batch_states
WHERE destination = $1 AND settled_at IS NULL

-- name: response_times
SELECT part.bucket_at AS at, percentile_cont(0.5) WITHIN GROUP (ORDER BY a.duration_ms) AS p50_ms,
  percentile_cont(0.95) WITHIN GROUP (ORDER BY a.duration_ms) AS p95_ms
FROM (
  SELECT b AS bucket_at, b + n * $3::interval / $4 AS begins, b + (n + 1) * $3::interval / $4 AS ends
  FROM generate_series($2::timestamptz, now(), $3::interval) AS b, generate_series(0, $4 - 1) AS n
) part
CROSS JOIN LATERAL (
  SELECT duration_ms FROM attempts
  -- The days let Postgres skip the other partitions.
  WHERE destination = $1 AND day BETWEEN (part.begins AT TIME ZONE 'UTC')::date
      AND (part.ends AT TIME ZONE 'UTC')::date
    AND started_at >= part.begins AND started_at < part.ends AND duration_ms IS NOT NULL
  ORDER BY started_at LIMIT $5) a
GROUP BY 1 ORDER BY 1

-- name: requests
-- An attempt that failed before anything was sent (`not_sent`) is not a request.
SELECT started_at, outcome, http_status, message, events, duration_ms FROM attempts
WHERE destination = $1 AND settled_at IS NOT NULL AND outcome IS DISTINCT FROM 'not_sent'
ORDER BY started_at DESC LIMIT (SELECT $2::int)

-- name: request_page
WITH scanned AS (
  SELECT id, started_at, coalesce(outcome, 'under_way') AS outcome, http_status, message, events, duration_ms,
    request_id, delivered
  FROM attempts
  WHERE destination = $1 AND outcome IS DISTINCT FROM 'not_sent' AND started_at >= $2
    -- The day lets Postgres skip the other partitions.
    AND day >= ($2 AT TIME ZONE 'UTC')::date - 1
    AND ($3::timestamptz IS NULL OR (started_at, id) < ($3, $4::bigint))
  -- Failed requests are few: without a limit, their page could read every request of the range.
  ORDER BY started_at DESC, id DESC LIMIT (SELECT CASE WHEN $5 THEN $7::int ELSE $6 END)
)
SELECT read.n AS scanned, read.started_at AS back_to, read.id AS back_to_id, found.*
FROM (SELECT count(*) AS n, min(started_at) AS started_at,
    (array_agg(id ORDER BY started_at, id))[1] AS id FROM scanned) read
LEFT JOIN LATERAL (
  SELECT * FROM scanned WHERE NOT $5 OR outcome NOT IN ('answered', 'under_way') OR delivered < events
  ORDER BY started_at DESC, id DESC LIMIT $6) found ON true
ORDER BY found.started_at DESC, found.id DESC

-- name: request
SELECT a.id, a.started_at, coalesce(a.outcome, 'under_way') AS outcome, a.http_status, a.message, a.events,
  a.duration_ms, a.request_id, a.delivered, a.batches, a.places, r.content AS response
FROM attempts a LEFT JOIN responses r ON r.attempt = a.id
WHERE a.destination = $1 AND a.id = $2 AND a.outcome IS DISTINCT FROM 'not_sent'

-- name: days_of_batches
SELECT batch, day FROM batch_states WHERE destination = $1 AND batch = ANY($2::bigint[])

-- name: failure_run
SELECT min(started_at) AS since, count(*) AS requests FROM attempts
WHERE destination = $1 AND settled_at IS NOT NULL AND outcome IS DISTINCT FROM 'not_sent'
  AND started_at > coalesce(
    (SELECT started_at FROM attempts WHERE destination = $1 AND outcome = 'answered'
     ORDER BY started_at DESC LIMIT 1), '-infinity')
HAVING count(*) > 0

-- name: first_answer
SELECT settled_at FROM attempts WHERE destination = $1 AND outcome = 'answered'
ORDER BY started_at LIMIT 1

-- name: connection_of
SELECT s.connected_at, s.connected_by, k.name AS key_name, s.access_until, l.blocked_until,
  d.paused_since, d.broken_since, a.currency AS account_currency, (SELECT count(*) FROM destinations o
    WHERE o.lane = d.lane AND o.number <> d.number AND o.state IN ('connected', 'active'))
  AS lane_shared_with
FROM destinations d JOIN lanes l ON l.id = d.lane LEFT JOIN sign_ins s ON s.destination = d.id
LEFT JOIN api_keys k ON k.id = s.connected_by
LEFT JOIN amazon_accounts a ON a.destination = d.id
WHERE d.organisation_id = acting_organisation() AND d.number = $1

-- name: next_attempt_at
SELECT CASE WHEN d.state IN ('connected', 'active') THEN greatest(waiting.due_at, l.probe_at, l.blocked_until)
  ELSE d.endpoint_probe_at END AS at
FROM destinations d JOIN lanes l ON l.id = d.lane
-- The first due events, with one index probe for each queue.
CROSS JOIN LATERAL (SELECT min(due_at) AS due_at FROM generate_series(0, 2, 2) AS queue
  CROSS JOIN LATERAL (
    (SELECT due_at FROM batch_states WHERE destination = d.number AND batch_states.queue = queue.queue
       AND settled_at IS NULL ORDER BY due_at LIMIT 1)
    UNION ALL
    (SELECT due_at FROM exceptions WHERE destination = d.number AND exceptions.queue = queue.queue
       AND status = 'retrying' ORDER BY due_at LIMIT 1)) heads) waiting
WHERE d.organisation_id = acting_organisation() AND d.number = $1

-- name: rejection_reasons
SELECT code, reason, sum(rejected)::bigint AS n FROM rejections
WHERE destination = $1 AND day >= $2 GROUP BY code, reason ORDER BY n DESC, reason LIMIT 50

-- name: rates
WITH accepted AS (
  -- The newest batches, because there is no index by time. If $3 batches are all within the span,
  -- they cover only the part of it since the oldest of them.
  SELECT coalesce(sum(events), 0) AS events, count(*) = $3 AS is_part, min(accepted_at) AS since
  FROM (SELECT events, accepted_at FROM batch_states WHERE destination = $1
        ORDER BY batch DESC LIMIT (SELECT $3::bigint)) newest
  WHERE accepted_at > now() - $2::interval
), sent AS (
  -- Settled requests of the span.
  SELECT count(*) AS requests, count(*) FILTER (WHERE outcome <> 'answered') AS failed,
    coalesce(sum(delivered), 0) AS events
  FROM attempts WHERE destination = $1 AND started_at > now() - $2::interval
    AND outcome IS DISTINCT FROM 'not_sent'
), seconds AS (
  -- The time covered by each sum.
  SELECT extract(epoch FROM $2::interval) AS sent,
    extract(epoch FROM CASE WHEN is_part THEN greatest(now() - since, interval '1 second')
      ELSE $2::interval END) AS accepted
  FROM accepted
)
SELECT (accepted.events / seconds.accepted)::float AS accepted_per_second,
  (sent.events / seconds.sent)::float AS delivered_per_second,
  (sent.requests / seconds.sent)::float AS requests_per_second,
  (sent.failed / seconds.sent)::float AS failed_requests_per_second
FROM accepted, sent, seconds

-- name: newest_batches
SELECT s.batch, s.day FROM batch_states s
WHERE s.destination = $1 AND to_regclass('batches_p' || to_char(s.day, 'YYYYMMDD')) IS NOT NULL
ORDER BY s.batch DESC LIMIT (SELECT $2::int)
