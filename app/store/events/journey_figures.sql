-- name: register
WITH today AS (SELECT (now() AT TIME ZONE 'UTC')::date AS day),
-- The wanted nodes with their numbers, and the highest number of their destination.
wanted AS (
  SELECT w.*, t.day, n.number, coalesce((SELECT max(number) FROM journey_nodes h
    WHERE h.destination = w.destination AND h.day = t.day), 0) AS highest
  FROM unnest($1::integer[], $2::text[], $3::text[]) AS w (destination, journey_id, node_id)
  CROSS JOIN today t LEFT JOIN journey_nodes n ON n.destination = w.destination AND n.day = t.day
    AND n.journey_id = w.journey_id AND n.node_id = w.node_id
), added AS (
  -- New nodes, in order, so that two sessions cannot deadlock.
  INSERT INTO journey_nodes (destination, day, number, journey_id, node_id)
  SELECT * FROM (SELECT destination, day,
      highest + row_number() OVER (PARTITION BY destination ORDER BY journey_id, node_id) AS number,
      journey_id, node_id
    FROM wanted WHERE number IS NULL) new
  WHERE number <= $4 ORDER BY destination, number
  ON CONFLICT DO NOTHING RETURNING destination, journey_id, node_id, number
)
SELECT w.day, w.destination, w.journey_id, w.node_id, coalesce(w.number, a.number) AS number,
  w.highest >= $4 AS is_full
FROM wanted w LEFT JOIN added a USING (destination, journey_id, node_id)
UNION ALL SELECT day, NULL, NULL, NULL, NULL, NULL FROM today

-- name: add
INSERT INTO journey_figures AS f (day, writer, destination, node, rejected, duplicates)
SELECT (now() AT TIME ZONE 'UTC')::date, pg_backend_pid(), x.*
FROM unnest($1::integer[], $2::smallint[], $3::bigint[], $4::bigint[])
  AS x (destination, node, rejected, duplicates)
ON CONFLICT (destination, day, node, writer) DO UPDATE
SET rejected = f.rejected + excluded.rejected, duplicates = f.duplicates + excluded.duplicates

-- name: by_node
SELECT n.journey_id, n.node_id, sum(f.accepted)::bigint AS accepted, sum(f.duplicates)::bigint AS duplicates,
  sum(f.rejected)::bigint AS rejected, sum(f.retrying)::bigint AS retrying, sum(f.delivered)::bigint AS delivered,
  sum(f.dead)::bigint AS dead, sum(f.expired)::bigint AS expired, sum(f.erased)::bigint AS erased
FROM journey_figures f LEFT JOIN journey_nodes n
  ON n.destination = f.destination AND n.day = f.day AND n.number = f.node
WHERE f.destination = $1
  AND ($2::timestamptz IS NULL OR f.day >= ($2::timestamptz AT TIME ZONE 'UTC')::date)
  AND ($3::text IS NULL OR n.journey_id = $3) AND ($4::text IS NULL OR n.node_id = $4) GROUP BY 1, 2

-- name: fold
WITH split AS (
  -- Nodes with rows of several sessions, or of one that may have ended.
  SELECT destination, day, node FROM journey_figures
  WHERE day < (now() AT TIME ZONE 'UTC')::date AND writer <> 0 LIMIT $1
), taken AS (
  -- Their rows, without those that a session is changing.
  SELECT f.ctid, f.* FROM journey_figures f JOIN split USING (destination, day, node)
  WHERE writer <> 0 FOR UPDATE OF f SKIP LOCKED
), gone AS (
  -- Each is deleted and added to the row 0 of its node.
  DELETE FROM journey_figures f USING taken t WHERE f.ctid = t.ctid RETURNING f.*
), merged AS (
  -- No session has the number 0.
  INSERT INTO journey_figures AS f (destination, day, node, writer, accepted, duplicates, rejected,
    retrying, delivered, dead, expired, erased)
  SELECT destination, day, node, 0, sum(accepted), sum(duplicates), sum(rejected), sum(retrying),
    sum(delivered), sum(dead), sum(expired), sum(erased)
  FROM gone GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
  ON CONFLICT (destination, day, node, writer) DO UPDATE
  SET accepted = f.accepted + excluded.accepted,
    duplicates = f.duplicates + excluded.duplicates, rejected = f.rejected + excluded.rejected,
    retrying = f.retrying + excluded.retrying, delivered = f.delivered + excluded.delivered,
    dead = f.dead + excluded.dead, expired = f.expired + excluded.expired,
    erased = f.erased + excluded.erased
)
SELECT count(*) FROM gone
