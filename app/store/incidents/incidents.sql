-- name: limit_silence
SELECT set_config('idle_session_timeout', $1, false),
  set_config('idle_in_transaction_session_timeout', $1, false)

-- name: current
SELECT i.*, i.organisation_id AS organisation, d.name AS destination_name
FROM (SELECT * FROM incidents WHERE state <> 'resolved' UNION ALL
  SELECT * FROM incidents WHERE state = 'resolved' AND resolved_at > now() - $1::interval) i
LEFT JOIN destinations d ON d.id = i.destination ORDER BY i.number

-- name: accepted_findings
SELECT destination, kind, reason FROM incidents
WHERE destination = ANY ($1) AND kind = ANY ($2) AND acknowledged_at > now() - $3::interval

-- name: insert
INSERT INTO incidents (organisation_id, id, destination, kind, state, opened_at, severity, last_seen_at, summary,
  affected_events, oldest_event_at, expires_at, is_silent, reason, consequences)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
ON CONFLICT (organisation_id, coalesce(destination, ''), kind) WHERE state <> 'resolved' DO NOTHING

-- name: update
UPDATE incidents SET resolved_at = $2::timestamptz, merged_into = $3, severity = $4, last_seen_at = $5,
  summary = $6, affected_events = $7, oldest_event_at = $8, expires_at = $9, is_silent = $10, reason = $11,
  consequences = $12,
  -- A person may have acknowledged the incident since the monitor read it.
  state = CASE WHEN $2::timestamptz IS NOT NULL THEN 'resolved'
    WHEN acknowledged_at IS NOT NULL THEN 'acknowledged' ELSE 'open' END
WHERE id = $1

-- name: page
SELECT i.*, i.organisation_id AS organisation, d.name AS destination_name
FROM incidents i LEFT JOIN destinations d ON d.id = i.destination
WHERE i.organisation_id = acting_organisation()
  AND ($1::text IS NULL OR i.state = $1) AND ($2::text IS NULL OR i.destination = $2)
  AND ($3::text IS NULL OR i.kind = $3) AND ($4::text[] IS NULL OR i.destination = ANY ($4))
  AND ($5::text IS NULL OR i.id = $5) AND ($6::bigint IS NULL OR i.number < $6)
ORDER BY i.number DESC LIMIT $7

-- name: most_severe
WITH listed AS (
  SELECT i.*, i.organisation_id AS organisation, d.name AS destination_name, d.number AS destination_number,
    d.suspended, count(*) OVER () AS open,
    -- Whether the condition still lasts, as in `app.store.destinations.health`.
    coalesce(i.last_seen_at > (SELECT max(at) FROM commit_probes) - $2::interval, true)
      AND (i.kind NOT IN ('sign_in_lost', 'amazon_forbidden') OR d.sign_in_reason IS NOT NULL) AS holds,
    row_number() OVER (ORDER BY CASE i.severity WHEN 'critical' THEN 0 WHEN 'warning' THEN 1 ELSE 2 END,
      i.state = 'acknowledged', i.opened_at, i.number) AS place
  FROM incidents i LEFT JOIN destinations d ON d.id = i.destination
  WHERE i.organisation_id = acting_organisation() AND i.state <> 'resolved'
    AND ($1::text[] IS NULL OR i.destination = ANY ($1))
  ORDER BY place LIMIT $3
)
SELECT listed.*, newest.* FROM listed LEFT JOIN LATERAL (
  SELECT reason AS failed_for, amazon_message FROM exceptions
  WHERE listed.kind = 'dead_letters' AND destination = listed.destination_number
    AND status = 'dead' AND dismissed_at IS NULL ORDER BY changed_at DESC LIMIT 1) newest ON true
ORDER BY place

-- name: monitor_age_s
SELECT coalesce(extract(epoch FROM clock_timestamp() - max(at))::float8, 'Infinity') FROM commit_probes

-- name: acknowledge
UPDATE incidents SET acknowledged_at = coalesce(acknowledged_at, now()),
  acknowledged_by = coalesce(acknowledged_by, $2), note = coalesce($3, note),
  state = CASE WHEN state = 'open' THEN 'acknowledged' ELSE state END
WHERE organisation_id = acting_organisation() AND id = $1

-- name: mute
UPDATE incidents SET muted_until = $2 WHERE organisation_id = acting_organisation() AND id = $1

-- name: open_kinds
SELECT destination, kind, severity FROM incidents
WHERE organisation_id = acting_organisation() AND state <> 'resolved'
  AND destination = ANY ($1::text[])

-- name: last_received
SELECT n AS number, greatest(accepted.at, rejected.at) AS at FROM unnest($1::int[]) AS n
LEFT JOIN LATERAL (SELECT accepted_at AS at FROM batch_states WHERE destination = n
  ORDER BY batch DESC LIMIT 1) accepted ON true
LEFT JOIN LATERAL (SELECT max(last_at) AS at FROM rejections WHERE destination = n
  AND day >= (now() AT TIME ZONE 'UTC')::date - 1) rejected ON true

-- name: record_run
INSERT INTO commit_probes (id, at) VALUES (1, now()) ON CONFLICT (id) DO UPDATE SET at = now()

-- name: delete_old
DELETE FROM incidents WHERE state = 'resolved' AND resolved_at < now() - $1::interval

-- name: open_by_kind
SELECT kind, severity, count(*) AS n FROM incidents WHERE state <> 'resolved' GROUP BY 1, 2

-- name: lock
SELECT FROM incidents WHERE organisation_id = acting_organisation() AND id = $1 FOR UPDATE
