-- name: read_shapes_of
SELECT p.id, p.shapes FROM unnest($1::bigint[], $2::date[]) AS requested (id, day)
JOIN batches p ON p.id = requested.id AND p.day = requested.day

-- name: value
SELECT CASE $4 WHEN 'shapes' THEN shapes ELSE content END FROM batches
WHERE id = $1 AND day = $2 AND ($3::integer IS NULL OR destination = $3)

-- name: states
SELECT s.batch AS id, s.data_key, p.content, p.shapes
FROM batch_states s LEFT JOIN batches p ON p.id = s.batch AND p.day = s.day
WHERE s.batch BETWEEN $1 AND $2 AND to_regclass('batches_p' || to_char(s.day, 'YYYYMMDD')) IS NOT NULL
ORDER BY s.batch

-- name: without_state
SELECT p.id FROM batches p WHERE p.id BETWEEN $1 AND $2
  AND NOT EXISTS (SELECT FROM batch_states s
    WHERE s.batch = p.id AND s.day = p.day AND s.batch BETWEEN $1 AND $2)
