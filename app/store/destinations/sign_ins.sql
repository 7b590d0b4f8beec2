-- name: store_connection
INSERT INTO sign_ins AS s (organisation_id, destination, refresh_token, access_token, lifetime_s, connected_by,
  access_until, issued_at, generation)
VALUES (acting_organisation(), $1, $2, $3, $4, $5, now() + make_interval(secs => $4::integer), now(),
  extract(epoch FROM now())::bigint)
ON CONFLICT (destination) DO UPDATE SET refresh_token = excluded.refresh_token,
  access_token = excluded.access_token, access_until = excluded.access_until, issued_at = excluded.issued_at,
  lifetime_s = excluded.lifetime_s, generation = greatest(s.generation + 1, excluded.generation),
  forced_at = NULL, refresh_owner = NULL, refresh_until = NULL, connected_at = now(),
  connected_by = excluded.connected_by

-- name: access_token
SELECT access_token FROM sign_ins WHERE organisation_id = acting_organisation() AND destination = $1
  AND access_token IS NOT NULL AND access_until > now() + interval '1 minute'
