-- name: living_workers
WITH workers AS (
  -- The sessions of this database that hold the lock of the workers. The last statement of a silent one started or
  -- ended before this time: no statement of a living process takes so long. Only sessions of the own database role
  -- count as silent, because a role may always end its own sessions.
  SELECT l.pid, coalesce(a.usename = current_user AND a.state_change < clock_timestamp() - $2::interval, false)
    AS is_silent
  FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
  WHERE l.locktype = 'advisory' AND l.classid::bigint = $1 AND l.objid = 0 AND l.granted
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
), ended AS (
  -- Waits up to a second for each silent session to end, so that its locks are free afterwards.
  SELECT pg_terminate_backend(pid, 1000) AS is_gone FROM workers WHERE is_silent
)
-- Reading the CTE makes it end the sessions.
SELECT count(*) FILTER (WHERE NOT is_silent) AS living, (SELECT count(is_gone) FROM ended) AS ended FROM workers

-- name: acquire
UPDATE lanes SET fence = fence + 1, owner = $2, leased_until = now() + $3::interval
WHERE id = (
  -- The advisory lock proves that the former owner's session has ended. Without it, the lease
  -- must have expired. SKIP LOCKED: a frozen owner may have locked the row in a transaction.
  SELECT id FROM lanes WHERE id = $1 AND ($4 OR leased_until < now()) FOR UPDATE SKIP LOCKED)
RETURNING id, fence, organisation_id AS organisation, region, advertiser_id,
  coalesce(greatest(extract(epoch FROM blocked_until - now()), 0), 0)::float8 AS blocked_for,
  learned_rate

-- name: renew
WITH mine AS (SELECT * FROM unnest($1::int[], $2::bigint[]) AS mine (id, fence)),
-- A worker renews all its leases together: it does not wait for the one row that is locked.
free AS (SELECT id FROM lanes l JOIN mine USING (id, fence) FOR NO KEY UPDATE OF l SKIP LOCKED),
-- The leases of the other rows.
renewed AS (
  UPDATE lanes l SET leased_until = now() + $3::interval FROM free WHERE l.id = free.id
  RETURNING l.id)
-- The lanes that still have the same fence, locked or not.
SELECT id, id IN (SELECT id FROM renewed) AS is_renewed FROM lanes JOIN mine USING (id, fence)

-- name: release
-- One statement, so that the lock and the lease end together. A lock without a lease would block the
-- lane for every other worker.
WITH freed AS (
  UPDATE lanes SET leased_until = NULL, owner = NULL WHERE id = (
    -- Only if this worker still owns the lane. SKIP LOCKED: a lease without the lock has no effect.
    SELECT id FROM lanes WHERE id = $1 AND fence = $2 FOR NO KEY UPDATE SKIP LOCKED) RETURNING 1)
-- Reading the CTE makes the update run before the unlock.
SELECT pg_advisory_unlock($3, $1) FROM (SELECT count(*) FROM freed) AS updated

-- name: record_summary
UPDATE lanes SET learned_rate = $3, breaker = $4, error_rate = $5,
  probe_at = clock_timestamp() + make_interval(secs => $6::float8) WHERE id = $1 AND fence = $2

-- name: block_until
UPDATE lanes SET blocked_until = greatest(blocked_until, clock_timestamp() + make_interval(secs => $2::float8)) WHERE id = $1
