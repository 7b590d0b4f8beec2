-- name: read
SELECT refresh_token, access_token, generation, coalesce(lifetime_s, 0) AS lifetime_s,
coalesce(extract(epoch FROM access_until - clock_timestamp()), -1)::float8 AS left_s,
forced_at IS NOT NULL AS forced FROM sign_ins WHERE destination = $1

-- name: acquire
UPDATE sign_ins SET refresh_owner = $3,
  refresh_until = clock_timestamp() + make_interval(secs => $4::float8)
WHERE destination = $1 AND generation = $2
-- No lease or pause lasts longer than a new lease, unless the database's clock went back.
AND (refresh_until IS NULL OR refresh_until NOT BETWEEN clock_timestamp()
  AND clock_timestamp() + make_interval(secs => $4::float8))

-- name: release
UPDATE sign_ins SET refresh_owner = NULL,
  refresh_until = clock_timestamp() + make_interval(secs => $3::float8)
WHERE destination = $1 AND refresh_owner = $2

-- name: store_tokens
UPDATE sign_ins SET access_token = $3, refresh_token = coalesce($4, refresh_token), lifetime_s = $5,
access_until = clock_timestamp() + make_interval(secs => $5::integer), issued_at = now(),
generation = generation + 1, refresh_owner = NULL, refresh_until = NULL
WHERE destination = $1 AND generation = $2

-- name: lock_destination
SELECT FROM destinations WHERE id = $1 FOR NO KEY UPDATE

-- name: record_refusal
UPDATE sign_ins SET forced_at = now(), access_until = now()
WHERE destination = $1 AND generation = $2 AND forced_at IS NULL

-- name: was_refreshed
-- Whether the token was refreshed after a 401 and is not expired.
SELECT forced_at IS NOT NULL AND access_until > clock_timestamp() FROM sign_ins
WHERE destination = $1 AND generation = $2

-- name: confirm_token
UPDATE sign_ins SET forced_at = NULL WHERE destination = $1 AND generation = $2

-- name: park
UPDATE destinations SET sign_in = 'broken', sign_in_reason = $3, version = version + 1,
  updated_at = now(), endpoint_probe_at = clock_timestamp() + make_interval(secs => $4::float8)
WHERE id = $1 AND sign_in = 'valid'
AND EXISTS (SELECT FROM sign_ins WHERE destination = $1 AND generation = $2)

-- name: endpoint_found
UPDATE destinations SET sign_in = 'valid', sign_in_reason = NULL, endpoint_probe_at = NULL,
  version = version + 1, updated_at = now()
WHERE id = $1 AND sign_in = 'broken' AND sign_in_reason = 'endpoint_not_found'
