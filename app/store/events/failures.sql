-- name: groups
-- Equal texts are grouped first, so that the pattern runs once per text instead of once per event.
WITH texts AS (
  SELECT e.status, e.reason, e.amazon_code, e.amazon_message, coalesce(e.mapping, $3) AS mapping,
    count(*) AS events, count(e.dismissed_at) AS dismissed, min(e.changed_at) AS first_at,
    max(e.changed_at) AS last_at
  FROM exceptions e JOIN batch_states s ON s.batch = e.batch AND s.day = e.day
  WHERE e.destination = $1 AND e.status IN ('dead', 'expired') AND e.day >= '2000-01-01'
    AND ($2::timestamptz IS NULL OR s.accepted_at >= $2)
  GROUP BY 1, 2, 3, 4, 5
  UNION ALL
  -- Batches that were never sent.
  SELECT CASE disposition WHEN 'discarded' THEN 'dead' ELSE disposition END, reason, NULL, NULL,
    $3::integer, sum(events), 0, min(settled_at), max(settled_at)
  FROM batch_states WHERE destination = $1 AND disposition IN ('discarded', 'expired') AND events > 0
    AND ($2::timestamptz IS NULL OR accepted_at >= $2)
  GROUP BY 1, 2
)
SELECT e.status, coalesce(e.reason, e.status) AS reason, e.amazon_code AS code,
  -- As in `app.store.events.failures.CAUSE`.
  nullif(regexp_replace(coalesce(e.amazon_message, ''), 'events\[[0-9]+\][.:]? *', '', 'g'), '') AS message,
  e.mapping, sum(e.events)::bigint AS events, sum(e.dismissed)::bigint AS dismissed,
  min(e.first_at) AS first_at, max(e.last_at) AS last_at
FROM texts e GROUP BY 1, 2, 3, 4, 5 ORDER BY events DESC, 1, 2, 3, 4, 5 LIMIT 50
