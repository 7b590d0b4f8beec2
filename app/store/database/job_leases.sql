-- name: acquire
INSERT INTO job_leases AS l (job, owner, leased_until) VALUES ($1, $2, clock_timestamp() + $3)
ON CONFLICT (job) DO UPDATE SET owner = excluded.owner, leased_until = excluded.leased_until
  -- No lease lasts longer than a new one, unless the database's clock went back.
  WHERE l.owner = excluded.owner
    OR l.leased_until NOT BETWEEN clock_timestamp() AND clock_timestamp() + $3
