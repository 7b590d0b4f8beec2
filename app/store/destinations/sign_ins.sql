-- name: delete_expired
DELETE FROM oauth_states WHERE expires_at < now() - interval '1 day'

-- name: begin
INSERT INTO oauth_states (organisation_id, state_hash, destination, key_id, code_verifier, expires_at)
VALUES (acting_organisation(), $1, $2, $3, $4, now() + interval '10 minutes')

-- name: spend
UPDATE oauth_states SET used_at = now() WHERE state_hash = $1 AND used_at IS NULL AND expires_at > now()
RETURNING organisation_id AS organisation, destination, key_id AS key, code_verifier AS sealed_verifier

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

-- name: save_account
INSERT INTO amazon_accounts (organisation_id, destination, name, currency)
VALUES (acting_organisation(), $1, $2, $3)
ON CONFLICT (destination) DO UPDATE SET name = excluded.name, currency = excluded.currency, seen_at = now()

-- name: find_account
SELECT name, currency, seen_at FROM amazon_accounts
WHERE organisation_id = acting_organisation() AND destination = $1
