-- name: starts
SELECT to_date(right(c.relname, 8), 'YYYYMMDD') AS day
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = $1::text::regclass ORDER BY day

-- name: days_without_keys
-- MATERIALIZED: Postgres may read the names of other tables first, and they end in no day.
WITH partitions AS MATERIALIZED (
  SELECT right(c.relname, 8) AS day FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
  WHERE i.inhparent = 'batches'::regclass
    AND NOT EXISTS (SELECT FROM pg_constraint k
      WHERE k.conrelid = c.oid AND k.conname = 'without_content'))
SELECT to_date(day, 'YYYYMMDD') AS day FROM partitions
WHERE to_date(day, 'YYYYMMDD') <= (now() AT TIME ZONE 'UTC')::date - 2 ORDER BY day

-- name: has_keys
-- Each half uses a partial index.
SELECT EXISTS (SELECT FROM batch_states WHERE day = $1 AND settled_at IS NULL)
  OR EXISTS (SELECT FROM batch_states WHERE day = $1 AND settled_at IS NOT NULL AND data_key IS NOT NULL)

-- name: has_open
-- ORDER BY makes Postgres use the index of open batches, which is short. With EXISTS it would ignore
-- the order and scan all states.
SELECT (SELECT batch FROM batch_states WHERE day = $1 AND settled_at IS NULL
    ORDER BY destination, queue, due_at, batch LIMIT 1) IS NOT NULL
  OR EXISTS (SELECT FROM exceptions WHERE day = $1 AND status = 'retrying')

-- name: delete_generation
DELETE FROM ledger_generations WHERE generation = (SELECT min(generation) FROM ledger_generations)
  AND generation < (SELECT max(generation) - 2 FROM ledger_generations) RETURNING generation

-- name: newest_generation
SELECT generation, now() - began_at AS age FROM ledger_generations ORDER BY generation DESC LIMIT 1
