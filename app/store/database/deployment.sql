-- name: settings
SELECT current_setting('server_version_num')::int AS version, current_setting('fsync') AS fsync,
  current_setting('synchronous_commit') AS synchronous_commit,
  current_setting('full_page_writes') AS full_page_writes,
  current_setting('max_connections')::int AS max_connections,
  (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser,
  coalesce((SELECT pg_has_role(current_user, relowner, 'USAGE') FROM pg_class
    WHERE oid = to_regclass('audit')), false) AS owner,
  current_setting('transaction_read_only') = 'on' AS is_read_only,
  array(SELECT oid::regclass::text FROM pg_class WHERE NOT relrowsecurity
    AND oid IN (SELECT polrelid FROM pg_policy) ORDER BY 1) AS unprotected,
  current_setting('data_checksums') = 'on' AS checksums,
  -- A row without a name counts the objects that all databases share.
  coalesce((SELECT sum(checksum_failures) FROM pg_stat_database
    WHERE datname = current_database() OR datname IS NULL), 0)::bigint AS checksum_failures,
  (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
    AND application_name = 'conversions-api')::int AS api_sessions,
  -- Every worker holds this lock while it runs.
  (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted
    AND classid::bigint = $1 AND objid::bigint = 0
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))::int AS workers,
  clock_timestamp() AS now, to_regclass('alembic_version') IS NOT NULL AS migrated

-- name: hides_rows
SELECT row_security_active('batch_states') AND current_setting($1, true) IS DISTINCT FROM $2

-- name: stored_batches
SELECT coalesce(sum(n_live_tup), 0)::bigint FROM pg_stat_user_tables
WHERE relid IN (SELECT relid FROM pg_partition_tree('batch_states'))

-- name: database
SELECT current_setting('server_version') AS version,
  pg_database_size(current_database()) AS size_bytes,
  (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database())::int AS connections,
  current_setting('max_connections')::int AS max_connections,
  current_setting('fsync') = 'on' AS fsync,
  current_setting('synchronous_commit') <> 'off' AS synchronous_commit,
  pg_postmaster_start_time() AS started_at, clock_timestamp() AS now,
  (SELECT max(version_num) FROM alembic_version) AS revision,
  -- Every worker holds this lock while it runs.
  (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted
     AND classid::bigint = $1 AND objid::bigint = 0
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))::int AS workers

-- name: processes
SELECT substr(application_name, length($1::text) + 1) AS role, count(*)::int AS sessions,
  count(*) FILTER (WHERE state = 'active')::int AS active, min(backend_start) AS since
FROM pg_stat_activity WHERE datname = current_database() AND starts_with(application_name, $1::text)
GROUP BY 1 HAVING min(backend_start) IS NOT NULL ORDER BY 1

-- name: lanes_by_worker
SELECT CASE WHEN l.leased_until > now() THEN l.owner END AS owner, count(*)::int AS lanes,
  count(*) FILTER (WHERE l.blocked_until > now())::int AS blocked,
  count(*) FILTER (WHERE l.breaker <> 'closed')::int AS breakers_open,
  max(l.leased_until) AS leased_until
FROM lanes l WHERE EXISTS (SELECT FROM destinations d WHERE d.lane = l.id
  AND d.organisation_id = acting_organisation() AND d.archived_at IS NULL)
GROUP BY 1 ORDER BY count(*) DESC LIMIT 50

-- name: waiting_events
SELECT coalesce(sum(events), 0)::bigint AS events, count(*) >= $1 AS is_least FROM (
  (SELECT s.events FROM batch_states s JOIN destinations d ON d.number = s.destination
   WHERE s.settled_at IS NULL AND s.events > 0 AND d.organisation_id = acting_organisation()
   LIMIT $1)
  UNION ALL
  -- Events that are retried separately from their batch.
  (SELECT 1 FROM exceptions e JOIN destinations d ON d.number = e.destination
   WHERE e.status = 'retrying' AND d.organisation_id = acting_organisation()
   LIMIT $1)) AS waiting
