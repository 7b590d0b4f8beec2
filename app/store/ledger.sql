-- name: claim
-- New rows go to the current generation, so the two earlier ones need no ON CONFLICT.
INSERT INTO ledger (generation, key, content, batch, place)
SELECT $1, ledger_digest(c.key, $6, $1), ledger_digest(c.content, $7, $1), c.batch, c.place
-- In the order of the sorted arrays.
FROM unnest($2::bytea[], $3::bytea[], $4::bigint[], $5::smallint[])
  WITH ORDINALITY AS c (key, content, batch, place, ordinal)
WHERE NOT EXISTS (SELECT FROM ledger l
    WHERE l.generation = $1 - 1 AND l.key = ledger_digest(c.key, $6, $1 - 1))
  AND NOT EXISTS (SELECT FROM ledger l
    WHERE l.generation = $1 - 2 AND l.key = ledger_digest(c.key, $6, $1 - 2))
ORDER BY c.ordinal ON CONFLICT DO NOTHING

-- name: find
-- One query per generation: Postgres 16 and older would not use the index for a range of generations. LIMIT makes it
-- one index probe per key. Without it, Postgres 15 may read a complete generation that was not analysed yet.
SELECT l.* FROM unnest($2::bytea[]) AS k (key), LATERAL (
  (SELECT key, content, batch, place FROM ledger WHERE generation = $1 AND key = k.key LIMIT 1)
  UNION ALL
  (SELECT key, content, batch, place FROM ledger WHERE generation = $1 - 1 AND key = k.key LIMIT 1)
  UNION ALL
  (SELECT key, content, batch, place FROM ledger WHERE generation = $1 - 2 AND key = k.key LIMIT 1)) l

-- name: release
DELETE FROM ledger WHERE generation = $1 AND key = ANY($2)
