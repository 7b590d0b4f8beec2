-- name: delivered
SELECT coalesce(sum(delivered), 0) FROM counts WHERE destination = $1

-- name: ever_accepted
SELECT EXISTS (SELECT FROM counts WHERE destination = $1 AND accepted > 0)
  -- The ORDER BY makes the planner use the index. Otherwise it could scan all states to find that a destination has
  -- none.
  OR (SELECT batch FROM batch_states WHERE destination = $1 ORDER BY batch LIMIT 1) IS NOT NULL
