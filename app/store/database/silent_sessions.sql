-- name: end_silent
-- Only sessions of the own database role, because a role may always end its own sessions. Waits up to a
-- second for each session to end, so that its locks are free when this statement returns.
SELECT l.pid, pg_terminate_backend(l.pid, 1000) AS is_over
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.classid::bigint = $1 AND l.objid::bigint = $2 AND l.granted
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND a.usename = current_user
  -- The last statement started or ended before this time. No statement of a living process takes so long.
  AND a.state_change < clock_timestamp() - $3::interval

-- name: speaking
SELECT count(*) AS holders, count(*) FILTER (
  -- As in `end_silent`.
  WHERE a.usename = current_user AND a.state_change < clock_timestamp() - $3::interval) AS silent
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.classid::bigint = $1 AND l.objid::bigint = $2 AND l.granted
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
