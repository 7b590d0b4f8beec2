-- name: suspend_destinations
UPDATE destinations SET suspended = $2 WHERE id IN (
  -- Locked in order of number, so that two callers cannot deadlock.
  SELECT id FROM destinations WHERE organisation_id = $1 AND suspended IS DISTINCT FROM $2 ORDER BY number
  FOR NO KEY UPDATE)

-- name: lock_limit
SELECT max_destinations FROM organisations WHERE id = acting_organisation() FOR NO KEY UPDATE

-- name: count_destinations
SELECT count(*) FROM destinations WHERE organisation_id = acting_organisation() AND archived_at IS NULL
