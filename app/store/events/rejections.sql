-- name: delete_old
DELETE FROM rejection_records WHERE id IN (SELECT id FROM (
  SELECT id, received_at FROM rejection_records ORDER BY id LIMIT $2) oldest
  WHERE received_at < now() - $1::interval)
