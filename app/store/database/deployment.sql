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
  clock_timestamp() AS now, to_regclass('alembic_version') IS NOT NULL AS migrated

-- name: hides_rows
SELECT row_security_active('batch_states') AND current_setting($1, true) IS DISTINCT FROM $2

-- name: stored_batches
SELECT coalesce(sum(n_live_tup), 0)::bigint FROM pg_stat_user_tables
WHERE relid IN (SELECT relid FROM pg_partition_tree('batch_states'))
