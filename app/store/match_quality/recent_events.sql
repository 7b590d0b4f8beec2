-- name: add_to_day
WITH today AS (SELECT (now() AT TIME ZONE 'UTC')::date AS day), added AS (
  -- In order, so that two processes cannot deadlock.
  INSERT INTO path_days AS p (destination, mapping, day, path, events, filled, texts, others)
  SELECT x.destination, x.mapping, t.day, x.path, x.events, x.filled, x.texts, x.filled - x.texts
  FROM today t, unnest($1::integer[], $2::integer[], $3::bigint[], $4::text[], $5::bigint[],
    $6::bigint[]) AS x (destination, mapping, events, path, filled, texts)
  ORDER BY x.mapping, x.path
  ON CONFLICT (mapping, day, path) DO UPDATE
  SET events = p.events + excluded.events, filled = p.filled + excluded.filled,
    texts = p.texts + excluded.texts, others = p.others + excluded.others
  RETURNING mapping, path, events, filled, texts, others
)
SELECT mapping, path, sum(events)::bigint AS events, sum(filled)::bigint AS filled,
  sum(texts)::bigint AS texts, sum(others)::bigint AS others FROM (
  SELECT * FROM added
  UNION ALL SELECT p.mapping, p.path, p.events, p.filled, p.texts, p.others FROM path_days p, today t
  WHERE p.mapping = ANY($2) AND p.day = t.day - 1) x
GROUP BY mapping, path

-- name: write_check
INSERT INTO mapping_checks (destination, mapping, process, events, purchases, suspect_rule,
  suspect_path, suspects, drift_path, drift_successor, drift_is_text)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (mapping, process) DO UPDATE
SET observed_at = now(), events = excluded.events, purchases = excluded.purchases,
  suspect_rule = excluded.suspect_rule, suspect_path = excluded.suspect_path,
  suspects = excluded.suspects, drift_path = excluded.drift_path,
  drift_successor = excluded.drift_successor, drift_is_text = excluded.drift_is_text

-- name: forget_checks
DELETE FROM mapping_checks WHERE mapping = ANY($1) AND observed_at < now() - interval '1 day'

-- name: forget_days
DELETE FROM path_days WHERE mapping = ANY($1) AND day < (now() AT TIME ZONE 'UTC')::date - 2
