-- name: sent
SELECT incident, channel, opened_at, resolved_at, reminded_at, severity FROM incident_messages
WHERE incident = ANY ($1::text[])

-- name: loads
SELECT organisation_id, channel, count(*) AS messages,
  count(*) FILTER (WHERE type = 'incident.digest') AS digests
FROM notifications WHERE created_at > now() - $1::interval GROUP BY 1, 2

-- name: enqueue
INSERT INTO notifications (organisation_id, id, channel, type, incidents, body)
VALUES ($1, $2, $3, $4, $5, $6)

-- name: drop_unsent
WITH dropped AS (
  -- Messages that no process is sending now.
  DELETE FROM notifications WHERE organisation_id = $1 AND channel = $2 AND finished_at IS NULL
    AND type = ANY ($3::text[]) AND incidents <@ $4::text[]
    AND (leased_until IS NULL OR leased_until < now())
  RETURNING type, incidents)
UPDATE incident_messages m SET opened_at = NULL, severity = NULL FROM dropped d
WHERE $5 AND d.type = 'incident.opened' AND m.channel = $2 AND m.incident = ANY (d.incidents)

-- name: claim
UPDATE notifications SET leased_until = now() + $3::interval, tries = tries + 1
WHERE id = (SELECT id FROM notifications n
  WHERE organisation_id = $1 AND channel = $2 AND finished_at IS NULL AND due_at <= now()
    AND (leased_until IS NULL OR leased_until < now())
    AND NOT EXISTS (SELECT FROM notifications earlier
      WHERE earlier.organisation_id = $1 AND earlier.channel = $2 AND earlier.finished_at IS NULL
        AND earlier.number < n.number AND earlier.incidents && n.incidents)
  ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, body, tries, now() - created_at AS age

-- name: forget
DELETE FROM notifications WHERE finished_at < now() - $1::interval
  OR created_at < now() - $2::interval

-- name: make_waiting_due
UPDATE notifications SET due_at = now()
WHERE organisation_id = $1 AND channel = $2 AND finished_at IS NULL AND due_at > now()
  AND EXISTS (SELECT FROM notification_channels
    WHERE organisation_id = $1 AND name = $2 AND failing_since IS NOT NULL)

-- name: channel_succeeded
INSERT INTO notification_channels (organisation_id, name, last_success_at) VALUES ($1, $2, now())
ON CONFLICT (organisation_id, name)
DO UPDATE SET last_success_at = now(), failing_since = NULL, last_error = NULL

-- name: channel_failed
INSERT INTO notification_channels (organisation_id, name, failing_since, last_error)
VALUES ($1, $2, now(), $3)
ON CONFLICT (organisation_id, name) DO UPDATE
SET failing_since = coalesce(notification_channels.failing_since, now()),
  last_error = excluded.last_error

-- name: channel_health
SELECT name, last_success_at, failing_since, last_error FROM notification_channels
WHERE organisation_id = acting_organisation()

-- name: declare
INSERT INTO notification_channels (organisation_id, name, declared_at)
SELECT o.id, c.name, now() FROM unnest($1::text[], $2::text[]) AS c (organisation, name)
JOIN organisations o ON o.id = c.organisation
-- In a fixed order, because several processes lock these rows at the same time.
ORDER BY o.id, c.name
ON CONFLICT (organisation_id, name) DO UPDATE SET declared_at = now()

-- name: declared
SELECT organisation_id AS organisation, name AS key FROM notification_channels
WHERE declared_at > now() - $1::interval ORDER BY 1, 2

-- name: failing_channels
SELECT organisation_id, name, failing_since FROM notification_channels
WHERE failing_since IS NOT NULL

-- name: mark_sent
INSERT INTO incident_messages AS m (organisation_id, incident, channel, opened_at, resolved_at, reminded_at,
  severity)
VALUES ($1, $2, $3, CASE $4 WHEN 'incident.opened' THEN $5::timestamptz END,
  CASE $4 WHEN 'incident.resolved' THEN $5::timestamptz END,
  CASE $4 WHEN 'incident.reminder' THEN $5::timestamptz END, $6)
ON CONFLICT (incident, channel) DO UPDATE SET opened_at = coalesce(excluded.opened_at, m.opened_at),
  resolved_at = coalesce(excluded.resolved_at, m.resolved_at),
  reminded_at = coalesce(excluded.reminded_at, m.reminded_at),
  -- Only the message that an incident opened changes the severity.
  severity = CASE $4 WHEN 'incident.opened' THEN excluded.severity ELSE m.severity END

-- name: finish
UPDATE notifications SET finished_at = now(), leased_until = NULL WHERE id = $1

-- name: reschedule
UPDATE notifications SET due_at = now() + $2::interval, leased_until = NULL WHERE id = $1
