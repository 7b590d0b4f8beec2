-- name: dead_open
SELECT count(*) FROM exceptions WHERE destination = $1 AND status = 'dead' AND dismissed_at IS NULL

-- name: open_dead_letters
SELECT reason, count(*) AS n FROM exceptions
WHERE destination = $1 AND status = 'dead' AND dismissed_at IS NULL GROUP BY reason ORDER BY n DESC
