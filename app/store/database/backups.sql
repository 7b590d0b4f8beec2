-- name: note_base
INSERT INTO last_base_backup VALUES (1, now())
ON CONFLICT (id) DO UPDATE SET verified_at = excluded.verified_at

-- name: read
SELECT (SELECT verified_at FROM last_base_backup) AS base_verified_at,
  (SELECT last_archived_time FROM pg_stat_archiver) AS wal_archived_at,
  CASE WHEN slot_name IS NOT NULL THEN coalesce(pg_wal_lsn_diff(
    -- A standby has no current position to write.
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END,
    -- Postgres forgets the position of a slot whose WAL it removed (max_slot_wal_keep_size).
    restart_lsn)::float8, 'Infinity') END AS retained_bytes,
  coalesce(active, false) AS has_receiver
-- One row, also without a slot.
FROM (SELECT) AS server LEFT JOIN pg_replication_slots ON slot_name = $1

-- name: has_slot
SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)

-- name: drop_lost_slot
-- It retains nothing, and Postgres 18 streams nothing through it.
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
WHERE slot_name = $1 AND wal_status = 'lost' AND NOT active
